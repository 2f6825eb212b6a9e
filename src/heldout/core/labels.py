"""Labels as the user gives them, turned into class ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from heldout.core.errors import InputError


def label_array(y: Any) -> np.ndarray:
    """Return labels as one array (n,) of a plain dtype.

    Raises:
        InputError: labels are not one-dimensional, or some are missing.

    >>> label_array([["a"], ["b"]]).tolist()
    ['a', 'b']
    """
    if isinstance(y, torch.Tensor):
        y = y.detach().cpu().numpy()
    elif hasattr(y, "to_numpy"):
        y = y.to_numpy()
    array = np.asarray(y)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InputError(
            f"labels of shape {array.shape}",
            "one class id per example, shape (n,)",
            "for one-hot labels pass y.argmax(axis=1); a data set whose items are batches needs "
            "DataLoader(data, batch_size=None)",
        )
    _refuse_missing(array)
    return _plain(array) if array.dtype == object else array


def _refuse_missing(array: np.ndarray) -> None:
    missing = np.zeros(len(array), dtype=bool)
    if array.dtype == object:
        missing[:] = [v is None or v != v or str(v) == "<NA>" for v in array.tolist()]
    elif array.dtype.kind == "f":
        missing = np.isnan(array)
    if missing.any():
        raise InputError(
            f"{int(missing.sum())} of {len(array)} labels missing, first at row "
            f"{int(np.argmax(missing))}",
            "a label for every example, or for none",
            "drop those rows, or pass the inputs alone where there are no labels",
        )


def _plain(array: np.ndarray) -> np.ndarray:
    # Frames hand over text, categories and nullable integers as objects.
    kinds = {type(v) for v in array.tolist()}
    if kinds <= {bool, np.bool_}:
        return array.astype(bool)
    if all(issubclass(k, int | np.integer) for k in kinds):
        return array.astype(np.int64)
    if all(issubclass(k, int | float | np.number) for k in kinds):
        return array.astype(np.float64)
    return np.asarray([str(v) for v in array.tolist()], dtype=np.str_)


def class_ids(name: str, labels: np.ndarray, classes: np.ndarray | None) -> np.ndarray | None:
    """Return labels as int64 class ids 0 .. k-1; None when every label is missing (-1).

    Args:
        name: what to call the labels in errors.
        labels: as from `label_array`.
        classes: label of each model output; None when labels are class ids already.

    Raises:
        InputError: labels are floats, negative, text without known classes, or unknown.

    >>> class_ids("test", np.array(["b", "a"]), np.array(["a", "b"])).tolist()
    [1, 0]
    """
    absent = labels.dtype.kind in "iu" and bool(len(labels)) and bool((labels == -1).all())
    if absent and (classes is None or -1 not in classes.tolist()):
        return None
    if classes is None:
        return _checked_ids(name, labels)
    order = np.argsort(classes)
    try:
        position = np.searchsorted(classes, labels, sorter=order).clip(max=len(classes) - 1)
        found = order[position]
        unknown = np.asarray(classes[found] != labels)
    except TypeError:  # text against numbers
        found = np.zeros(len(labels), dtype=np.int64)
        unknown = np.ones(len(labels), dtype=bool)
    if unknown.any():
        given = sorted({str(v) for v in labels[unknown][:200].tolist()})[:5]
        raise InputError(
            f"{name} labels unknown to the model: {given} (dtype {labels.dtype})",
            f"labels among {[str(c) for c in classes[:10].tolist()]} (dtype {classes.dtype})",
            "check spelling and dtype; train and test must use the same label names",
        )
    return np.asarray(found, dtype=np.int64)


def _checked_ids(name: str, labels: np.ndarray) -> np.ndarray:
    if labels.dtype == bool:
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iu":
        raise InputError(
            f"{name} labels of dtype {labels.dtype}, such as {labels[:1].tolist()}",
            "integer class ids 0 .. classes-1",
            "labels.astype(int) if they are whole numbers; Heldout audits classifiers only",
        )
    if labels.size and labels.min() < 0:
        raise InputError(
            f"{name} labels from {labels.min()} to {labels.max()}",
            "class ids 0 .. classes-1",
            "drop or relabel the negative ones; leave labels out where there are none",
        )
    return labels.astype(np.int64)
