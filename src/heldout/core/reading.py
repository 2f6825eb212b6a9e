"""Read a user's data, whatever form it has, into arrays: `read`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    WeightedRandomSampler,
)

from heldout.core.borrow import user_code
from heldout.core.errors import InputError
from heldout.core.inputs import Inputs, from_native, is_frame, stack
from heldout.core.labels import class_ids, label_array
from heldout.core.parts import (
    Form,
    as_batch,
    group_arrays,
    is_example,
    parts,
    split_frame,
    split_mapping,
)
from heldout.core.seeds import stream
from heldout.core.task import Split


@dataclass(frozen=True)
class Raw:
    """What was read, before labels are turned into class ids."""

    inputs: Inputs
    """The examples held."""
    labels: np.ndarray | None
    """As the user gave them (n,), or None."""
    groups: dict[str, np.ndarray]
    """Metadata by name, each (n,) of strings."""
    index: np.ndarray
    """Position of each example in the user's data (n,), ascending."""
    total: int
    """How many examples the user's data have."""
    source: Any = None
    """The map-style dataset they came from, if any."""

    def take(self, rows: np.ndarray) -> Raw:
        """Return some of the examples."""
        labels = None if self.labels is None else self.labels[rows]
        groups = {k: v[rows] for k, v in self.groups.items()}
        taken, index = self.inputs.take(rows), self.index[rows]
        return replace(self, inputs=taken, labels=labels, groups=groups, index=index)


def read(name: str, data: Any, max_examples: int = 20_000, seed: int = 0) -> Raw:
    """Read one split.

    Accepts a `DataLoader`, a torch or Hugging Face dataset, `(X, y)` or `(X, y, groups)` of
    arrays, tensors or frames, inputs alone, a dict of arrays, a frame with a label column, or
    any iterable of examples or batches given as tuples or dicts. A `DataLoader` is read in its
    dataset's own order, and only where its sampler goes, so that an index means a position.

    Args:
        name: what to call the split in errors.
        data: the user's object.
        max_examples: larger data are sampled at random down to this many.
        seed: of that sample, and of random transforms in the user's dataset.

    Raises:
        InputError: the data are empty, of an unknown form, or their parts differ in length.

    Cost: one pass; data with a length and positions are read only where sampled.

    >>> read("test", (np.zeros((3, 2)), np.array([0, 1, 1]))).total
    3
    """
    if data is None:
        raise InputError(f"{name}=None", "data", f"pass {name}=(X, y), a Dataset or a DataLoader")
    with user_code(seed, "read", name):
        found = _read(name, data, max_examples, seed)
    if len(found.index) == 0:
        raise _no_examples(name)
    return found


def split_from(name: str, raw: Raw, classes: np.ndarray | None) -> Split:
    """Turn labels into class ids and check them.

    Args:
        name: `train`, `test` or `shifted/<name>`.
        raw: what `read` gave.
        classes: label of each model output for estimators or named classes; None when labels
            are class ids already.

    Raises:
        InputError: labels are floats, negative, or unknown to the model.
    """
    labels = None if raw.labels is None else class_ids(name, raw.labels, classes)
    return Split(name, raw.inputs, labels, raw.index, raw.total, raw.groups, raw.source)


def _read(name: str, data: Any, limit: int, seed: int) -> Raw:
    if isinstance(data, DataLoader):
        return _from_loader(name, data, limit, seed)
    if is_frame(data):
        return _from_columns(name, *split_frame(data), limit, seed)
    if isinstance(data, np.ndarray | torch.Tensor) or hasattr(data, "toarray"):
        return _from_columns(name, data, None, {}, limit, seed)
    if isinstance(data, tuple | list) and _is_columns(data):
        groups = group_arrays(data[2]) if len(data) == 3 else {}
        return _from_columns(name, data[0], data[1], groups, limit, seed)
    if isinstance(data, Mapping):
        return _from_columns(name, *split_mapping(name, data), limit, seed)
    if isinstance(data, list | tuple):
        if data and is_example(name, data[0]):
            return _from_positions(name, data, limit, seed)
        return _from_stream(name, data, limit, seed)
    if isinstance(data, IterableDataset):
        return _from_stream(name, data, limit, seed)
    if _has_positions(data) and not isinstance(data, str | bytes):
        return _from_positions(name, data, limit, seed)
    if isinstance(data, Iterable) and not isinstance(data, str | bytes):
        return _from_stream(name, data, limit, seed)
    raise InputError(
        f"{name} of type {type(data).__name__}",
        "a DataLoader, Dataset, (X, y), frame, dict of arrays, or iterable of tuples or dicts",
        f"pass {name}=(X, y)",
    )


# -- data with positions --------------------------------------------------------------------


def _from_loader(name: str, loader: DataLoader[Any], limit: int, seed: int) -> Raw:
    dataset = loader.dataset
    sampler = None if loader.batch_sampler is None else loader.sampler
    if isinstance(dataset, IterableDataset) or sampler is None or not _has_positions(dataset):
        with _unmoved(loader.generator):
            batched = loader.batch_size is not None or loader.batch_sampler is not None
            return _from_stream(name, loader, limit, seed, batched)
    with _unmoved(getattr(sampler, "generator", None)):
        allowed = _positions(loader, len(dataset))  # type: ignore[arg-type]
    if not len(allowed):
        raise _no_examples(name)
    rows = allowed[_sample(len(allowed), limit, seed, name)]
    ordered: DataLoader[Any] = DataLoader(
        Subset(dataset, rows.tolist()),
        batch_size=loader.batch_size or 256,
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
        multiprocessing_context=loader.multiprocessing_context,
        worker_init_fn=loader.worker_init_fn,
    )
    found = _from_stream(name, ordered, len(rows), seed, batched=True)
    if len(found.index) != len(rows):
        raise InputError(
            f"{name}: a collate function that makes {len(found.index)} examples of {len(rows)}",
            "one example out for each one in",
            "pass the data set itself, or a list of the batches",
        )
    return replace(found, index=rows, total=len(allowed), source=dataset)


def _positions(loader: DataLoader[Any], total: int) -> np.ndarray:
    """Rows that a loader can yield: a sampler may leave out those held for validation."""
    sampler: Any = loader.sampler
    if loader.batch_size is None:  # a batch sampler of the user's own
        drawn = [i for batch in loader.batch_sampler for i in batch]  # type: ignore[union-attr]
    elif isinstance(sampler, SequentialSampler | RandomSampler):
        return np.arange(total)
    elif isinstance(sampler, WeightedRandomSampler):
        return np.flatnonzero(np.asarray(sampler.weights) > 0)
    else:
        drawn = list(sampler)
    return np.unique(np.asarray(drawn, dtype=np.int64))


def _from_positions(name: str, data: Any, limit: int, seed: int) -> Raw:
    total = len(data)
    rows = _sample(total, limit, seed, name)
    # A torch dataset's arrays become tensors, as they would in a DataLoader.
    form: Form = "tensor" if isinstance(data, Dataset) else "as given"
    items = (as_batch(data[int(i)], form) for i in rows)
    found = _from_stream(name, items, max(len(rows), 1), seed, batched=True)
    return replace(found, index=rows, total=total, source=data)


@contextmanager
def _unmoved(generator: Any) -> Iterator[None]:
    """Put back the state of a user's generator, from which shuffling draws."""
    state = generator.get_state() if isinstance(generator, torch.Generator) else None
    try:
        yield
    finally:
        if state is not None:
            generator.set_state(state)


def _has_positions(data: Any) -> bool:
    return hasattr(data, "__getitem__") and hasattr(data, "__len__")


def _sample(total: int, limit: int, seed: int, name: str) -> np.ndarray:
    if total <= limit:
        return np.arange(total)
    return np.sort(stream(seed, "sample", name).choice(total, limit, replace=False))


# -- columns --------------------------------------------------------------------------------


def _is_columns(data: tuple[Any, ...] | list[Any]) -> bool:
    """Whether this is (X, y) or (X, y, groups), not two or three examples or batches."""
    if not 2 <= len(data) <= 3 or not _is_column(data[0]):
        return False
    labels = data[1]
    if labels is None:
        return True
    if isinstance(labels, list | tuple):
        return all(np.ndim(v) == 0 and not isinstance(v, Mapping) for v in labels[:1])
    if isinstance(labels, Mapping) or not _is_column(labels):
        return False
    # Two batches of inputs alone have the same shape; labels have one axis.
    return np.shape(labels)[1:] in ((), (1,)) or np.shape(labels)[1:] != np.shape(data[0])[1:]


def _is_column(x: Any) -> bool:
    """Whether x holds many examples at once, unlike one example of an iterable."""
    if is_frame(x) or isinstance(x, Mapping) or hasattr(x, "toarray"):
        return True
    if isinstance(x, list):
        return not x or not isinstance(x[0], tuple | dict)
    return (hasattr(x, "shape") and len(x.shape) >= 1) or hasattr(x, "to_numpy")


def _from_columns(
    name: str, x: Any, y: Any, groups: dict[str, np.ndarray], limit: int, seed: int
) -> Raw:
    total = x.shape[0] if hasattr(x, "toarray") else None
    rows = None if total is None else _sample(total, limit, seed, name)
    inputs = from_native(x if rows is None else x.tocsr()[rows])  # dense only where sampled
    labels = None if y is None else label_array(y)
    lengths = {"inputs": len(inputs) if total is None else total}
    lengths |= {f"group {k!r}": len(v) for k, v in groups.items()}
    if labels is not None:
        lengths["labels"] = len(labels)
    if len(set(lengths.values())) > 1:
        raise InputError(
            f"{name} with mismatched lengths: {lengths}",
            "one label, and one value of each group, per example",
            "check that X and y come from the same rows",
        )
    n = lengths["inputs"]
    if rows is None:
        return _cut(Raw(inputs, labels, groups, np.arange(n), n), limit, seed, name)
    labels = None if labels is None else labels[rows]
    return Raw(inputs, labels, {k: v[rows] for k, v in groups.items()}, rows, n)


def _cut(raw: Raw, limit: int, seed: int, name: str) -> Raw:
    if len(raw.index) <= limit:
        return raw
    return raw.take(_sample(len(raw.index), limit, seed, name))


# -- streams --------------------------------------------------------------------------------


def _from_stream(
    name: str, data: Iterable[Any], limit: int, seed: int, batched: bool = False
) -> Raw:
    """Read an iterable; a stream larger than memory is thinned so that every example has the
    same chance: each draws a number, and the smallest numbers stay."""
    rng = stream(seed, "sample", name)
    kept: list[Raw] = []
    keys: list[np.ndarray] = []
    held = total = 0
    for item in data:
        single = not batched and is_example(name, item)
        inputs, labels, groups = parts(name, as_batch(item, "as given") if single else item)
        n = len(inputs)
        kept.append(Raw(inputs, labels, groups, np.arange(total, total + n), 0))
        keys.append(rng.random(n))
        total, held = total + n, held + n
        if held > 4 * limit:
            kept, keys = _thin(kept, keys, limit)
            held = limit
    if held > limit:
        kept, _ = _thin(kept, keys, limit)
    return _merged(name, kept, total)


def _thin(
    kept: list[Raw], keys: list[np.ndarray], limit: int
) -> tuple[list[Raw], list[np.ndarray]]:
    edge = np.partition(np.concatenate(keys), limit - 1)[limit - 1]
    rows = [np.flatnonzero(k <= edge) for k in keys]
    pairs = [(p.take(r), k[r]) for p, k, r in zip(kept, keys, rows, strict=True) if len(r)]
    return [p for p, _ in pairs], [k for _, k in pairs]


def _merged(name: str, kept: list[Raw], total: int) -> Raw:
    if not kept:
        raise _no_examples(name)
    first = kept[0]
    for part in kept:
        if (part.labels is None) != (first.labels is None) or set(part.groups) != set(first.groups):
            raise InputError(
                f"{name}: some items with labels or groups, and some without",
                "the same parts in every item",
                "check the dataset, or the collate function",
            )
    labels = None if first.labels is None else label_array(_joined([p.labels for p in kept]))
    groups = {k: np.concatenate([p.groups[k] for p in kept]) for k in first.groups}
    index = np.concatenate([p.index for p in kept])
    return Raw(stack([p.inputs for p in kept]), labels, groups, index, total)


def _joined(labels: list[Any]) -> np.ndarray:
    if len({a.dtype.kind for a in labels} & set("USO")) and len({a.dtype.kind for a in labels}) > 1:
        labels = [a.astype(object) for a in labels]  # else numpy would turn numbers into text
    return np.concatenate(labels)


def _no_examples(name: str) -> InputError:
    return InputError(
        f"{name} with no examples",
        "at least one example",
        "check the path or filter; an iterator can be read only once, so pass a list or a "
        "Dataset instead of one that was used up",
    )
