"""Take one item of a user's data apart: inputs, labels, metadata; example or batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch

from heldout.core.errors import InputError
from heldout.core.inputs import Inputs, from_native
from heldout.core.labels import label_array
from heldout.core.task import LABEL_KEYS

INPUT_KEYS = ("x", "X", "input", "inputs", "image", "images", "img", "pixel_values", "features",
              "data")  # fmt: skip
"""Names under which a dict may hold its inputs."""
GROUP_KEYS = ("group", "groups", "source", "domain", "metadata")
"""Names under which a dict may hold per-example metadata."""

Form = Literal["tensor", "as given"]


def parts(name: str, item: Any) -> tuple[Inputs, np.ndarray | None, dict[str, np.ndarray]]:
    """Take a batch apart into inputs, labels and groups.

    Args:
        name: what to call the data in errors.
        item: a dict, a tuple (x, y, groups) or shorter, or inputs alone; many examples at once.

    Raises:
        InputError: a dict has no known keys, or the parts differ in length.

    >>> parts("test", {"x": np.zeros((2, 3)), "y": [0, 1]})[1]
    array([0, 1])
    """
    if isinstance(item, Mapping):
        x, y, groups = split_mapping(name, item)
    elif isinstance(item, tuple | list):
        x, y = item[0], item[1] if len(item) > 1 else None
        groups = group_arrays(item[2]) if len(item) > 2 and item[2] is not None else {}
    else:
        x, y, groups = item, None, {}
    inputs = from_native(x)
    labels = None if y is None else label_array(y)
    lengths = {"labels": len(inputs) if labels is None else len(labels)}
    lengths |= {f"values of group {k!r}": len(v) for k, v in groups.items()}
    if set(lengths.values()) != {len(inputs)}:
        raise InputError(
            f"{name}: a batch with {len(inputs)} inputs, "
            + ", ".join(f"{n} {what}" for what, n in lengths.items()),
            "one label, and one value of each group, per input",
            "check the collate function",
        )
    return inputs, labels, groups


def split_mapping(name: str, item: Mapping[Any, Any]) -> tuple[Any, Any, dict[str, np.ndarray]]:
    """Find inputs, labels and groups in a dict of columns.

    Raises:
        InputError: no key, or more than one, is known to hold inputs.
    """
    label = next((k for k in LABEL_KEYS if k in item), None)
    group = [k for k in GROUP_KEYS if k in item]
    groups = {g: v for k in group for g, v in group_arrays(item[k], str(k)).items()}
    y = None if label is None else item[label]
    known = [k for k in INPUT_KEYS if k in item]
    if len(known) == 1:
        return item[known[0]], y, groups
    if "input_ids" in item:
        rest = {k: v for k, v in item.items() if k != label and k not in group}
        # The text that the tokens were made of often rides along; no model takes it.
        return {k: v for k, v in rest.items() if not _is_text(v)}, y, groups
    raise InputError(
        f"{name} as a dict with keys {sorted(map(str, item))}",
        f"inputs under one of {', '.join(INPUT_KEYS)} (or input_ids with its companions), "
        f"labels under one of {', '.join(LABEL_KEYS)}",
        "rename the keys, or yield (x, y) tuples",
    )


def split_frame(frame: Any) -> tuple[Any, Any, dict[str, np.ndarray]]:
    """Find inputs, labels and groups in a frame's columns."""
    names = [str(c) for c in frame.columns]
    label = next((k for k in LABEL_KEYS if k in names), None)
    group = [k for k in GROUP_KEYS if k in names]
    kept = [c for c in frame.columns if str(c) != label and str(c) not in group]
    y = None if label is None else frame[label]
    return frame[kept], y, {k: _strings(frame[k].to_numpy()) for k in group}


def group_arrays(meta: Any, name: str = "group") -> dict[str, np.ndarray]:
    """Return metadata as arrays of strings by name.

    >>> group_arrays([1, 2])
    {'group': array(['1', '2'], dtype='<U1')}
    """
    if isinstance(meta, Mapping):
        return {str(k): _strings(v) for k, v in meta.items()}
    return {name: _strings(meta)}


def is_example(name: str, item: Any) -> bool:
    """Whether an item of an iterable is one example rather than a batch.

    The label decides: one, or many. Without labels, the number of axes does.

    >>> is_example("test", (np.zeros(3), 1)), is_example("test", (np.zeros((2, 3)), [0, 1]))
    (True, False)
    """
    if isinstance(item, Mapping):
        key = next((k for k in LABEL_KEYS if k in item and item[k] is not None), None)
        if key is not None:
            return np.ndim(item[key]) == 0
        x, _, _ = split_mapping(name, item)
        return _is_single(next(iter(x.values())) if isinstance(x, Mapping) else x)
    if isinstance(item, tuple | list) and len(item) > 1 and item[1] is not None:
        return np.ndim(item[1]) == 0
    return _is_single(item[0] if isinstance(item, tuple) and item else item)


def as_batch(item: Any, form: Form = "as given") -> Any:
    """Give one example the leading axis of a batch of one.

    Args:
        item: a dict, a tuple (x, y, groups) or shorter, or x alone.
        form: `tensor` turns arrays and numbers of the inputs into tensors.
    """
    if isinstance(item, Mapping):
        return {k: _lead(v, "as given" if _is_text(v) else form) for k, v in item.items()}
    # A list is a row of numbers, unless it holds something else, as a collated pair does.
    if isinstance(item, tuple) or (isinstance(item, list) and any(np.ndim(v) for v in item)):
        x, *rest = item[:3]
        return (_lead(x, form), *(None if v is None else _lead(v) for v in rest))
    return _lead(item, form)


def _lead(value: Any, form: Form = "as given") -> Any:
    if isinstance(value, Mapping):
        return {k: _lead(v, form) for k, v in value.items()}
    if isinstance(value, torch.Tensor):
        return value[None]
    array = np.asarray(value)[None]
    return torch.from_numpy(array.copy()) if form == "tensor" and array.dtype != object else array


def _is_single(x: Any) -> bool:
    if not hasattr(x, "shape"):
        return True
    if len(x.shape) == 3:  # (c, h, w) or (h, w, c), or a batch of (h, w)
        return x.shape[0] in (1, 3, 4) or x.shape[-1] in (1, 3, 4)
    return len(x.shape) < 2


def _is_text(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return False
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return isinstance(value, str) or getattr(getattr(value, "dtype", None), "kind", "") in "USO"


def _strings(values: Any) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.cpu().numpy()
    array = np.asarray(values).reshape(-1)
    # Lone surrogates, from undecodable file names, could be written to no file.
    text = [str(v).encode("utf-8", "backslashreplace").decode() for v in array.tolist()]
    return np.asarray(text, dtype=np.str_)
