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
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .layers import Layer
from .memory import consecutive, factor_size, least_size, score_size, work_size

FILE = 8
"""Queries whose directions are made together and lie in one file."""


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
    batch: int = 8
    """Sequences at a time."""


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
    """Bytes beside the base that the largest layer needs: with less the command refuses."""
    whole: int
    """Bytes beside the base with which one group of each will do."""
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

    Groups are those that the command makes of this memory; where it is less than `least`, those
    of `least`.

    >>> small = Shape("", ((4, 4),), 100)
    >>> made = plan(small, Job(10, 10, 1, 8, 2, 10**6), Rates(1e6, 1e6, 1e6, 1e6))
    >>> made.groups, made.disk, round(made.seconds["scores"], 4)
    (1, 192, 0.0346)
    """
    squares = shape.total(lambda i, o: i * i + o * o)
    cells = shape.total(lambda i, o: i * o)
    widths = shape.total(lambda i, o: i + o)
    sizes = [factor_size(i, o) for i, o in shape.layers]
    held, work, least = sum(sizes), work_size(shape.layers), least_size(shape.layers)
    free = max(job.memory - job.base, least)
    groups = len(consecutive(sizes, free - work))
    a_pass = 4.0 * shape.parameters * job.length
    file = int(job.bytes_each * job.rank * widths * FILE) + score_size(
        FILE, job.batch, job.length, job.rank
    )
    files = [file] * math.ceil(job.queries / FILE)
    query_groups = len(consecutive(files, free))
    whole = max(held + work, sum(files))
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
    return Plan(seconds, operations, groups, query_groups, least, whole, held)


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
    # Eigenvalues that all differ, as covariances have them: equal ones would be found at once.
    rows = torch.randn(
        width, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    matrix = rows @ rows.t()
    spent, done = _timed(lambda: (torch.linalg.eigh(matrix), 9 * width**3)[1], 0.3)
    return Rates(4.0 * parameters * tokens / seconds, found[0], found[1], done / spent)


def _multiplied(x: Tensor, y: Tensor) -> int:
    return 2 * (x @ y).numel() * len(y)


def _timed(run: Callable[[], int], least: float) -> tuple[float, int]:
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < least:
        done += run()
    return time.perf_counter() - start, done
