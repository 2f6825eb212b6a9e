"""Data in batches with the number of every example, and random draws that depend on it alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heldout.core.errors import InputError


@dataclass(frozen=True)
class Batch:
    """Some examples in their order in the data."""

    inputs: Any
    """What the model is called with: a tensor, a tuple (`model(*inputs)`) or a mapping
    (`model(**inputs)`)."""
    targets: Any
    """What the task's losses take: a tensor or a nest of tensors, examples first."""
    mask: Tensor | None
    """Which positions count, (n, T) bool; None: all. Padding never reaches a factor or a score."""
    start: int
    """Number of the first example in the data."""
    size: int
    """Number of examples."""
    derived: bool = False
    """Whether the mask was read off the targets: layers with other positions then go without."""

    def call(self, model: nn.Module) -> Any:
        """Run the model forward."""
        if isinstance(self.inputs, Mapping):
            return model(**self.inputs)
        return model(*self.inputs) if isinstance(self.inputs, tuple) else model(self.inputs)


@dataclass(frozen=True)
class Ignoring:
    """Data of a task in which targets of one value do not count, as `batches` takes them."""

    data: Any
    """As in `batches`."""
    value: int
    """The target that does not count."""


def without_padding(batch: Batch, ignore: int) -> Batch:
    """Return a batch whose mask and targets say the same about padding.

    Targets at masked positions become `ignore`. Without a mask, positions behind a row's last
    target that counts are masked: nothing there moves the loss of a causal model. Ignored targets
    before it may be a prompt, which takes part, or padding on the left: that cannot be known, and
    all of them count as inputs; pass a mask for data that are padded on the left.

    >>> x, y = torch.ones(1, 3), torch.tensor([[5, 6, -100]])
    >>> without_padding(Batch(x, y, None, 0, 1), -100).mask.tolist()
    [[True, True, False]]
    >>> without_padding(Batch(x, y, torch.tensor([[True, False, False]]), 0, 1), -100).targets
    tensor([[   5, -100, -100]])
    """
    y, mask = batch.targets, batch.mask
    if not isinstance(y, Tensor) or y.ndim != 2 or y.is_floating_point():
        return batch
    if mask is not None:
        same = mask.shape == y.shape
        return replace(batch, targets=y.masked_fill(~mask, ignore)) if same else batch
    counted = (y != ignore).flip(1).cumsum(1).flip(1) > 0
    return batch if bool(counted.all()) else replace(batch, mask=counted, derived=True)


def batches(data: Any, batch_size: int = 64, device: torch.device | None = None) -> Iterator[Batch]:
    """Go through data once, in order.

    Args:
        data: a tuple of arrays or tensors `(x, y)` or `(x, y, mask)`, cut into batches here; or
            anything that can be iterated again and again (a DataLoader that does not shuffle, a
            list) and gives such tuples as batches. `x` may be a tuple of a model's several inputs,
            or a mapping of keyword arguments; its "attention_mask" is the mask where none is
            given. Padding whose loss the task itself counts is left out for tasks with an
            `ignore` value only.
        batch_size: rows of a batch cut here.
        device: where the batches are put.

    Raises:
        InputError: an iterator that can be read only once, a loader that shuffles, batches of
            another form, no data, or a row of a mask without a position.

    >>> [b.size for b in batches((torch.zeros(5, 2), torch.zeros(5)), batch_size=2)]
    [2, 2, 1]
    """
    if isinstance(data, Ignoring):
        inner = batches(data.data, batch_size, device)
        yield from (without_padding(batch, data.value) for batch in inner)
        return
    start = 0
    for item in _cut(data, batch_size) if _is_whole(data) else _given(data):
        if isinstance(item, Batch):
            yield item
            start += item.size
            continue
        if not isinstance(item, tuple | list) or len(item) not in (2, 3):
            raise _unknown(item)
        moved = _moved(tuple(item), device)
        mask = moved[2] if len(moved) == 3 else None
        if mask is None and isinstance(moved[0], Mapping):
            mask = moved[0].get("attention_mask")
        size = _rows(moved[0])
        if mask is not None:
            _refuse_empty(mask, start)
        yield Batch(moved[0], moved[1], None if mask is None else mask.bool(), start, size)
        start += size
    if start == 0:
        raise InputError("no examples", "at least one", "pass (x, y) or a list of batches")


def expected(data: Any) -> int | None:
    """Number of examples where it is known without reading them, else None.

    >>> expected((torch.zeros(5, 2), torch.zeros(5))), expected([])
    (5, None)
    """
    if isinstance(data, Ignoring):
        return expected(data.data)
    if _is_whole(data):
        return _rows(data[0])
    dataset: Any = getattr(data, "dataset", None)
    return len(dataset) if hasattr(dataset, "__len__") else None


def doubled(batch: Batch, rows: int = 2) -> tuple[Batch, Batch]:
    """Return the first rows of a batch, and the same rows twice.

    >>> one, two = doubled(next(batches((torch.zeros(5, 2), torch.zeros(5)))))
    >>> one.size, two.size
    (2, 4)
    """
    k = min(rows, batch.size)

    def twice(t: Tensor) -> Tensor:
        return torch.cat([t[:k], t[:k]])

    parts = (batch.inputs, batch.targets, batch.mask)

    def cut(change: Callable[[Tensor], Tensor], size: int) -> Batch:
        inputs, targets, mask = (nested(p, change) for p in parts)
        return Batch(inputs, targets, mask, batch.start, size)

    few, more = cut(lambda t: t[:k], k), cut(twice, 2 * k)
    return few, more


@dataclass(frozen=True)
class Draws:
    """Uniform random numbers for the examples of a batch.

    The numbers of an example depend on the seed and on the example's number in the data only:
    not on the batch it is in, nor on which process it is read by.
    """

    seed: int
    """Of the fit."""
    batch: Batch
    """Whose examples they are for."""
    offset: int = 0
    """Added to the examples' numbers: where this process' share of the data begins."""

    def __call__(self, *shape: int) -> Tensor:
        """Return numbers in [0, 1), (n, *shape), float64.

        The k-th number of example i is a splitmix64 hash of (seed, i, k) (Steele et al. 2014).
        """
        first = self.batch.start + self.offset
        example = np.arange(first, first + self.batch.size, dtype=np.uint64)[:, None]
        k = np.arange(int(np.prod(shape)), dtype=np.uint64)[None]
        key = _mixed(np.array([abs(self.seed) + 1], dtype=np.uint64))
        bits = _mixed(_mixed(example + key) + k)
        numbers = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return torch.from_numpy(numbers.reshape(self.batch.size, *shape))


def _mixed(z: np.ndarray) -> np.ndarray:
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def nested(value: Any, change: Any) -> Any:
    """Apply a function to every tensor of a nest of tuples, lists and mappings.

    >>> nested({"a": (torch.ones(1), None)}, lambda t: t + 1)
    {'a': (tensor([2.]), None)}
    """
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {k: nested(v, change) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(nested(v, change) for v in value)
    return value


def _moved(value: Any, device: torch.device | None) -> Any:
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value)
    if isinstance(value, Tensor):
        return value if device is None else value.to(device)
    if isinstance(value, Mapping):
        return {k: _moved(v, device) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_moved(v, device) for v in value)
    return value


def _is_whole(data: Any) -> bool:
    # With a tuple first it may also be two or three batches, each a pair.
    if not isinstance(data, tuple) or len(data) not in (2, 3):
        return False
    return not isinstance(data[0], tuple) or isinstance(data[1], Tensor | np.ndarray)


def _cut(data: tuple[Any, ...], batch_size: int) -> Iterator[tuple[Any, ...]]:
    whole = _moved(data, None)
    n = _rows(whole[0])
    first = tuple(whole[0].values()) if isinstance(whole[0], Mapping) else whole[0]
    several = first if isinstance(first, tuple) else ()
    for part in (*several, *whole[1:]):
        if isinstance(part, Tensor) and len(part) != n:
            raise InputError(
                f"{n} inputs and {len(part)} {'targets' if part is whole[1] else 'beside them'}",
                "as many",
                "pass all whole; ((x1, x2), y) for a model of two inputs",
            )
    for i in range(0, n, batch_size):
        yield tuple(nested(part, lambda t, i=i: t[i : i + batch_size]) for part in whole)


def _given(data: Any) -> Iterable[Any]:
    if isinstance(data, Iterator) or not isinstance(data, Iterable):
        raise InputError(
            f"{type(data).__name__} as data",
            "(x, y), or batches that can be read more than once",
            "a list of batches, or a DataLoader",
        )
    inside = getattr(data, "batch_sampler", None)
    samplers = (getattr(data, "sampler", None), getattr(inside, "sampler", None))
    if any(type(s).__name__ in _SHUFFLING for s in samplers):
        raise InputError(
            f"a {type(data).__name__} that shuffles",
            "the same order in every pass: rows of the scores are numbered by it",
            "DataLoader(..., shuffle=False)",
        )
    return data


_SHUFFLING = ("RandomSampler", "WeightedRandomSampler", "SubsetRandomSampler")


def _refuse_empty(mask: Tensor, start: int) -> None:
    empty = ~mask.bool().flatten(1).any(1) if mask.ndim > 1 else torch.zeros(1, dtype=torch.bool)
    if bool(empty.any()):
        raise InputError(
            f"a mask without a True for example {start + int(empty.nonzero()[0])}",
            "at least one position that counts in every row",
            "leave the example out, or turn the mask round: True is what counts",
        )


def _rows(inputs: Any) -> int:
    if isinstance(inputs, Mapping):
        inputs = next(iter(inputs.values()))
    return len(inputs[0]) if isinstance(inputs, tuple) else len(inputs)


def _unknown(item: Any) -> InputError:
    return InputError(
        f"a batch that is {type(item).__name__}",
        "(inputs, targets) or (inputs, targets, mask)",
        "have the loader's collate_fn return such a tuple",
    )
