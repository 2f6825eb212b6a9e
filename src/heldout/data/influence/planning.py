"""Time and memory of an influence run, before it is started, for this model and for larger ones.

Operations, for layers (n_in, n_out), P parameters, T tokens a sequence:

    pass      4 P a token: forward, and backward to the activations without weight gradients
    fit       two passes for each group of layers, and a token n_in^2 + n_out^2 for the sums of A
              and S (half of each product is made), then 2 (n_in^2 + n_out^2 + n_in n_out) for the
              eigenvalues
    bases     9 (n_in^3 + n_out^3) in float64, at the rate of an eigendecomposition
    queries   a pass, and 2 n_in n_out (n_in + n_out + 6 (rank + 8)) a query
    scores    a pass, and 2 q rank (n_in + n_out) a token
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .layers import Layer

DEVICE_FLOPS = 1e14
"""Assumed of an accelerator, for the last column: 100 TFLOP/s reached, in every stage."""


@dataclass(frozen=True)
class Shape:
    """What a plan needs to know of a model."""

    name: str
    """For the table."""
    layers: tuple[tuple[int, int], ...]
    """(n_in, n_out) of every layer that influence is taken over."""
    parameters: int
    """Of the whole model."""

    def total(self, of: Callable[[int, int], float]) -> float:
        """Add up a function of (n_in, n_out) over the layers."""
        return sum(of(i, o) for i, o in self.layers)


def _typical(name: str, blocks: int, width: int, inner: int, gated: bool, parameters: int) -> Shape:
    block = ((width, inner),) * (2 if gated else 1) + ((inner, width),)
    return Shape(name, block * blocks, parameters)


TYPICAL = (
    _typical("1B (16 blocks, 2048/8192, gated)", 16, 2048, 8192, True, 1_240_000_000),
    _typical("7B (32 blocks, 4096/11008, gated)", 32, 4096, 11008, True, 6_740_000_000),
    _typical("52B (64 blocks, 8192/32768)", 64, 8192, 32768, False, 52_000_000_000),
)
"""Feed-forward layers of common configurations of these sizes."""


@dataclass(frozen=True)
class Job:
    """What is to be done."""

    fit: int
    """Sequences that factors are fitted on."""
    train: int
    """Sequences that are scored."""
    queries: int
    """Queries, null queries among them."""
    length: int
    """Tokens of a sequence."""
    rank: int
    """Directions kept per query."""
    memory: int
    """Bytes that may be used."""
    base: int = 0
    """Bytes of these that are gone before factors: libraries, model, activations."""
    bytes_each: int = 2
    """Bytes of a weight and of a direction's number."""


@dataclass(frozen=True)
class Rates:
    """What a machine reaches, operations a second."""

    passes: float
    """Forward and backward of the model, counted as 4 P a token."""
    float32: float
    """Products of float32 matrices."""
    low: float
    """Products in the type of the directions."""
    eigen: float
    """Float64 eigendecomposition, counted as 9 n^3."""


@dataclass(frozen=True)
class Plan:
    """Time by stage, memory and disk."""

    seconds: dict[str, float]
    """fit, bases, queries, scores."""
    operations: float
    """All stages."""
    groups: int
    """Groups of layers: passes over the fitted data are twice as many."""
    query_groups: int
    """Passes over the training data."""
    least: int
    """Bytes for the largest layer alone: no less memory will do."""
    disk: int
    """Bytes of the factors."""

    @property
    def total(self) -> float:
        """Seconds of all stages."""
        return sum(self.seconds.values())


def shape_of(name: str, layers: dict[str, Layer], parameters: int) -> Shape:
    """Return the shape of a model at hand.

    >>> shape_of("none", {}, 5).parameters
    5
    """
    return Shape(name, tuple((v.n_in, v.n_out) for v in layers.values()), parameters)


def plan(shape: Shape, job: Job, rates: Rates) -> Plan:
    """Estimate a run; formulas in the module's docstring.

    The model itself is taken to fit beside the factors: for models larger than `job.memory` the
    times are those of a machine that has the memory.

    >>> small = Shape("", ((4, 4),), 100)
    >>> made = plan(small, Job(10, 10, 1, 8, 2, 10**6), Rates(1e6, 1e6, 1e6, 1e6))
    >>> made.groups, made.disk, round(made.seconds["scores"], 4)
    (1, 192, 0.0346)
    """
    squares = shape.total(lambda i, o: i * i + o * o)
    cells = shape.total(lambda i, o: i * o)
    widths = shape.total(lambda i, o: i + o)
    held = int(4 * (squares + cells))
    largest = max(4 * (i * i + o * o + i * o) + 36 * max(i, o) ** 2 for i, o in shape.layers)
    free = max(1, job.memory - job.base)
    # A group's last layer does not fill it: half of a layer is lost on average.
    groups = max(1, math.ceil(held / max(free, largest)))
    a_pass = 4.0 * shape.parameters * job.length
    each_query = int(job.bytes_each * job.rank * widths)
    query_groups = math.ceil(job.queries / max(1, free // max(1, each_query)))
    sums = job.fit * job.length * (3 * squares + 2 * cells)
    eigen = shape.total(lambda i, o: 9.0 * (i**3 + o**3))
    prepared = job.queries * shape.total(
        lambda i, o: 2.0 * i * o * (i + o + 6 * (job.rank + 8))
    )  # fmt: skip
    products = 2.0 * job.train * job.length * job.queries * job.rank * widths
    passes = (2 * groups * job.fit, job.queries, query_groups * job.train)
    operations = sum(passes) * a_pass + sums + eigen + prepared + products
    seconds = {
        "fit": passes[0] * a_pass / rates.passes + sums / rates.float32,
        "bases": eigen / rates.eigen,
        "queries": passes[1] * a_pass / rates.passes + prepared / rates.float32,
        "scores": passes[2] * a_pass / rates.passes + products / rates.low,
    }
    return Plan(seconds, operations, groups, query_groups, largest, held)


def measure_rates(
    a_pass: Callable[[], int], parameters: int, dtype: torch.dtype, width: int = 768
) -> Rates:
    """Measure this machine for about three seconds.

    Args:
        a_pass: runs a forward and backward pass and returns its number of tokens.
        parameters: of the model.
        dtype: of the directions.
        width: of the matrices that are tried.
    """
    a_pass()  # the first allocates
    seconds, tokens = _timed(a_pass, 1.0)
    found = []
    for kind in (torch.float32, dtype):
        x = torch.ones(512, width, dtype=kind)
        y = torch.ones(width, width, dtype=kind)
        spent, done = _timed(partial(_multiplied, x, y), 0.3)
        found.append(done / spent)
    matrix = torch.eye(width, dtype=torch.float64) + 1.0 / width
    spent, done = _timed(lambda: (torch.linalg.eigh(matrix), 9 * width**3)[1], 0.3)
    return Rates(4.0 * parameters * tokens / seconds, found[0], found[1], done / spent)


def _multiplied(x: Tensor, y: Tensor) -> int:
    return 2 * (x @ y).numel() * len(y)


def _timed(run: Callable[[], int], least: float) -> tuple[float, int]:
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < least:
        done += run()
    return time.perf_counter() - start, done


def table(shapes: Sequence[Shape], job: Job, rates: Rates) -> str:
    """Return the plan of several models as text; the first is the one that was measured.

    >>> text = table(TYPICAL[:1], Job(10, 10, 1, 64, 32, 2**32), Rates(1e12, 1e11, 1e12, 1e10))
    >>> text.splitlines()[0].split()[:3]
    ['model', 'fit', 'bases']
    """
    head = (
        "model",
        "fit",
        "bases",
        "queries",
        "scores",
        "total",
        "groups",
        "disk",
        "least",
        "100T",
    )
    rows: list[tuple[str, ...]] = [head]
    for shape in shapes:
        made = plan(shape, job, rates)
        rows.append(
            (
                shape.name,
                *(_time(s) for s in made.seconds.values()),
                _time(made.total),
                f"{made.groups}x{made.query_groups}",
                _size(made.disk),
                _size(made.least + job.bytes_each * shape.parameters),
                _time(made.operations / DEVICE_FLOPS),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    ]
    notes = (
        f"{job.fit} sequences fitted, {job.train} scored, {job.queries} queries, "
        f"{job.length} tokens, rank {job.rank}, {_size(job.memory)}.",
        f"Measured here: {rates.passes / 1e9:.0f} GFLOP/s in forward and backward, "
        f"{rates.float32 / 1e9:.0f} float32, {rates.low / 1e9:.0f} low precision, "
        f"{rates.eigen / 1e9:.1f} eigendecomposition.",
        "Only the first row's model was measured; the others are extrapolated from its rates and",
        "the operations of typical layer shapes, on a machine like this with room for the model.",
        "groups: of layers x of queries. least: memory below which it cannot run. 100T: one",
        "accelerator at an assumed 100 TFLOP/s.",
    )  # fmt: skip
    return "\n".join([*lines, *notes])


def _time(seconds: float) -> str:
    for unit, size in (("y", 31_557_600), ("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
