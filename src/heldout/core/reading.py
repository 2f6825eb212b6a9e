"""Read a user's data, whatever form it has, into one `Split`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from heldout.core.errors import InputError
from heldout.core.inputs import Inputs, from_native, is_frame, stack
from heldout.core.seeds import stream
from heldout.core.task import LABEL_KEYS, Split

INPUT_KEYS = ("x", "X", "input", "inputs", "image", "images", "img", "pixel_values", "features",
              "data")  # fmt: skip
"""Names under which a dict may hold its inputs."""
GROUP_KEYS = ("group", "groups", "source", "domain", "metadata")
"""Names under which a dict may hold per-example metadata."""


@dataclass(frozen=True)
class Raw:
    """What was read, before labels are turned into class ids."""

    inputs: Inputs
    labels: np.ndarray | None
    groups: dict[str, np.ndarray]
    index: np.ndarray
    total: int
    source: Any = None


def read(name: str, data: Any, max_examples: int = 20_000, seed: int = 0) -> Raw:
    """Read one split.

    Accepts a `DataLoader`, a torch or Hugging Face dataset, `(X, y)` or `(X, y, groups)` of
    arrays, tensors or frames, inputs alone, a dict of arrays, a frame with a label column, or
    any iterable of examples or batches given as tuples or dicts.

    Args:
        name: what to call the split in errors.
        data: the user's object.
        max_examples: larger data are sampled at random down to this many.
        seed: of that sample.

    Raises:
        InputError: the data are empty, of an unknown form, or their parts differ in length.

    Cost: one pass; data with a length and positions are read only where sampled.

    >>> read("test", (np.zeros((3, 2)), np.array([0, 1, 1]))).total
    3
    """
    if data is None:
        raise InputError(f"{name}=None", "data", f"pass {name}=(X, y), a Dataset or a DataLoader")
    found = _read(name, data, max_examples, seed)
    if found.total == 0 or len(found.index) == 0:
        raise InputError(
            f"{name} with no examples",
            "at least one example",
            "check the path or filter; an iterator can be read only once, so pass a list or a "
            "Dataset instead of one that was used up",
        )
    return found


def _read(name: str, data: Any, limit: int, seed: int) -> Raw:
    if isinstance(data, DataLoader):
        return _from_loader(name, data, limit, seed)
    if is_frame(data):
        return _from_columns(name, *_split_frame(data), limit, seed)
    if isinstance(data, np.ndarray | torch.Tensor) or hasattr(data, "toarray"):
        return _from_columns(name, data, None, {}, limit, seed)
    if isinstance(data, tuple | list) and 2 <= len(data) <= 3 and _is_column(data[0]):
        labels = data[1]
        if labels is None or _is_column(labels):
            groups = _groups(data[2]) if len(data) == 3 else {}
            return _from_columns(name, data[0], labels, groups, limit, seed)
    if isinstance(data, Mapping):
        return _from_columns(name, *_split_mapping(name, data), limit, seed)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, str):
        loader = DataLoader(_MapStyle(data), batch_size=256)
        if isinstance(data, list | tuple) and data and not _is_example(name, data[0]):
            return _from_stream(name, data, limit, seed)
        return _from_loader(name, loader, limit, seed, source=data)
    if isinstance(data, Iterable) and not isinstance(data, str):
        return _from_stream(name, data, limit, seed)
    raise InputError(
        f"{name} of type {type(data).__name__}",
        "a DataLoader, Dataset, (X, y), frame, dict of arrays, or iterable of tuples or dicts",
        f"pass {name}=(X, y)",
    )


class _MapStyle(Dataset[Any]):
    """Any object with positions, as a dataset."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> Any:
        return self.data[i]


def _from_loader(name: str, loader: Any, limit: int, seed: int, source: Any = None) -> Raw:
    """Read in the dataset's own order, so that an index means a position the user knows."""
    dataset = loader.dataset
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
        return _from_stream(name, loader, limit, seed)
    total = len(dataset)
    rows = _sample(total, limit, seed, name)
    ordered: DataLoader[Any] = DataLoader(
        Subset(dataset, rows.tolist()),
        batch_size=loader.batch_size or 256,
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
    )
    found = _from_stream(name, ordered, limit, seed) if total else None
    if found is None:
        return Raw(from_native(np.zeros((0, 1))), None, {}, np.arange(0), 0)
    return Raw(found.inputs, found.labels, found.groups, rows, total, source or dataset)


def _from_stream(name: str, data: Iterable[Any], limit: int, seed: int) -> Raw:
    batches: list[tuple[Inputs, np.ndarray | None, dict[str, np.ndarray]]] = []
    held, total = 0, 0
    for item in data:
        if _is_example(name, item):
            item = _as_batch(item)
        batch = _parts(name, item)
        batches.append(batch)
        total += len(batch[0])
        held += len(batch[0])
        if held > 4 * limit:  # a stream longer than memory: keep every batch's chance equal
            batches, held = _thin(batches, limit, stream(seed, "thin", name, total))
    if not batches:
        return Raw(from_native(np.zeros((0, 1))), None, {}, np.arange(0), 0)
    inputs = stack([b[0] for b in batches])
    labels = None if batches[0][1] is None else np.concatenate([b[1] for b in batches])  # type: ignore[misc]
    groups = {k: np.concatenate([b[2][k] for b in batches]) for k in batches[0][2]}
    if total > held:  # positions were lost in thinning; the sample is renumbered
        return _cut(Raw(inputs, labels, groups, np.arange(held), total), limit, seed, name)
    return _cut(Raw(inputs, labels, groups, np.arange(total), total), limit, seed, name)


def _thin(batches: list[Any], limit: int, rng: np.random.Generator) -> tuple[list[Any], int]:
    thinned = []
    for inputs, labels, groups in batches:
        rows = np.flatnonzero(rng.random(len(inputs)) < 0.5)
        if rows.size:
            labels = None if labels is None else labels[rows]
            thinned.append((inputs.take(rows), labels, {k: v[rows] for k, v in groups.items()}))
    return thinned, sum(len(b[0]) for b in thinned)


def _from_columns(
    name: str, x: Any, y: Any, groups: dict[str, np.ndarray], limit: int, seed: int
) -> Raw:
    inputs = from_native(x)
    labels = None if y is None else _label_array(y)
    lengths = {"inputs": len(inputs)} | {k: len(v) for k, v in groups.items()}
    if labels is not None:
        lengths["labels"] = len(labels)
    if len(set(lengths.values())) > 1:
        raise InputError(
            f"{name} with mismatched lengths: {lengths}",
            "one label, and one value of each group, per example",
            "check that X and y come from the same rows",
        )
    raw = Raw(inputs, labels, groups, np.arange(len(inputs)), len(inputs))
    return _cut(raw, limit, seed, name)


def _cut(raw: Raw, limit: int, seed: int, name: str) -> Raw:
    if len(raw.index) <= limit:
        return raw
    rows = _sample(len(raw.index), limit, seed, name)
    labels = None if raw.labels is None else raw.labels[rows]
    groups = {k: v[rows] for k, v in raw.groups.items()}
    return Raw(raw.inputs.take(rows), labels, groups, raw.index[rows], raw.total, raw.source)


def _sample(total: int, limit: int, seed: int, name: str) -> np.ndarray:
    if total <= limit:
        return np.arange(total)
    return np.sort(stream(seed, "sample", name).choice(total, limit, replace=False))


def _parts(name: str, item: Any) -> tuple[Inputs, np.ndarray | None, dict[str, np.ndarray]]:
    if isinstance(item, Mapping):
        x, y, groups = _split_mapping(name, item)
    elif isinstance(item, tuple | list):
        x, y = item[0], item[1] if len(item) > 1 else None
        groups = _groups(item[2]) if len(item) > 2 else {}
    else:
        x, y, groups = item, None, {}
    inputs = from_native(x)
    labels = None if y is None else _label_array(y)
    if labels is not None and len(labels) != len(inputs):
        raise InputError(
            f"{name}: a batch with {len(inputs)} inputs and {len(labels)} labels",
            "one label per input",
            "check the collate function",
        )
    return inputs, labels, groups


def _split_mapping(name: str, item: Mapping[Any, Any]) -> tuple[Any, Any, dict[str, np.ndarray]]:
    label = next((k for k in LABEL_KEYS if k in item), None)
    group = [k for k in GROUP_KEYS if k in item]
    groups = {g: v for k in group for g, v in _groups(item[k], str(k)).items()}
    y = None if label is None else item[label]
    known = [k for k in INPUT_KEYS if k in item]
    if len(known) == 1:
        return item[known[0]], y, groups
    if "input_ids" in item:
        return {k: v for k, v in item.items() if k != label and k not in group}, y, groups
    raise InputError(
        f"{name} as a dict with keys {sorted(map(str, item))}",
        f"inputs under one of {', '.join(INPUT_KEYS)} (or input_ids with its companions), "
        f"labels under one of {', '.join(LABEL_KEYS)}",
        "rename the keys, or yield (x, y) tuples",
    )


def _split_frame(frame: Any) -> tuple[Any, Any, dict[str, np.ndarray]]:
    names = [str(c) for c in frame.columns]
    label = next((k for k in LABEL_KEYS if k in names), None)
    group = [k for k in GROUP_KEYS if k in names]
    kept = [c for c in names if c != label and c not in group]
    y = None if label is None else frame[label]
    return frame[kept], y, {k: _strings(frame[k].to_numpy()) for k in group}


def _groups(meta: Any, name: str = "group") -> dict[str, np.ndarray]:
    if isinstance(meta, Mapping):
        return {str(k): _strings(v) for k, v in meta.items()}
    return {name: _strings(meta)}


def _strings(values: Any) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.cpu().numpy()
    return np.asarray([str(v) for v in np.asarray(values).reshape(-1)], dtype=np.str_)


def _label_array(y: Any) -> np.ndarray:
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
            "for one-hot labels pass y.argmax(axis=1)",
        )
    return array


def _is_column(x: Any) -> bool:
    """Whether x holds many examples at once, unlike one example of an iterable."""
    if is_frame(x) or isinstance(x, Mapping) or hasattr(x, "toarray"):
        return True
    if isinstance(x, list):
        return bool(x) and not isinstance(x[0], tuple | dict)
    return (hasattr(x, "shape") and len(x.shape) >= 1) or hasattr(x, "to_numpy")


def _is_example(name: str, item: Any) -> bool:
    """Whether an item of an iterable is one example rather than a batch."""
    if isinstance(item, Mapping):
        key = next((k for k in LABEL_KEYS if k in item), None)
        if key is not None:
            return np.ndim(item[key]) == 0
        x, _, _ = _split_mapping(name, item)
        return np.ndim(next(iter(x.values())) if isinstance(x, Mapping) else x) < 2
    if isinstance(item, tuple | list) and len(item) > 1 and item[1] is not None:
        return np.ndim(item[1]) == 0
    x = item[0] if isinstance(item, tuple | list) else item
    return np.ndim(x) in (1, 3) or not hasattr(x, "shape")


def _as_batch(item: Any) -> Any:
    """Give one example the leading axis of a batch of one."""
    if isinstance(item, Mapping):
        return {k: _lead(v) for k, v in item.items()}
    if isinstance(item, tuple | list):
        return tuple(None if v is None else _lead(v) for v in itertools.islice(item, 3))
    return _lead(item)


def _lead(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _lead(v) for k, v in value.items()}
    return value[None] if isinstance(value, torch.Tensor) else np.asarray(value)[None]


def split_from(name: str, raw: Raw, classes: np.ndarray | None) -> Split:
    """Turn labels into class ids and check them.

    Args:
        name: `train`, `test` or `shifted/<name>`.
        raw: what `read` gave.
        classes: label of each model output for estimators or named classes; None when labels
            are class ids already.

    Raises:
        InputError: labels are floats, negative, or unknown to the model; inputs hold infinities.
    """
    labels = None if raw.labels is None else class_ids(name, raw.labels, classes)
    return Split(name, raw.inputs, labels, raw.index, raw.total, raw.groups, raw.source)


def class_ids(name: str, labels: np.ndarray, classes: np.ndarray | None) -> np.ndarray | None:
    """Return labels as int64 class ids 0 .. k-1; None when every label is missing (-1).

    Raises:
        InputError: labels are floats, negative, text without known classes, or unknown.

    >>> class_ids("test", np.array(["b", "a"]), np.array(["a", "b"])).tolist()
    [1, 0]
    """
    if classes is None:
        if labels.dtype == bool:
            labels = labels.astype(np.int64)
        if labels.dtype.kind not in "iu":
            raise InputError(
                f"{name} labels of dtype {labels.dtype}, such as {labels[:1].tolist()}",
                "integer class ids 0 .. classes-1",
                "labels.astype(int) if they are whole numbers; Heldout audits classifiers only",
            )
        labels = labels.astype(np.int64)
        if labels.size and labels.max() == -1 and labels.min() == -1:
            return None
        if labels.size and labels.min() < 0:
            raise InputError(
                f"{name} labels from {labels.min()} to {labels.max()}",
                "class ids 0 .. classes-1",
                "drop or relabel the negative ones; leave labels out where there are none",
            )
        return labels
    order = np.argsort(classes)
    try:
        position = np.searchsorted(classes, labels, sorter=order).clip(max=len(classes) - 1)
        found = order[position]
        unknown = classes[found] != labels
    except TypeError:
        unknown = np.ones(len(labels), dtype=bool)
    if np.any(unknown):
        given = sorted({str(v) for v in np.asarray(labels)[unknown][:200].tolist()})[:5]
        raise InputError(
            f"{name} labels unknown to the model: {given}",
            f"labels among {[str(c) for c in classes[:10].tolist()]}",
            "check spelling and dtype; train and test must use the same label names",
        )
    return np.asarray(found, dtype=np.int64)


