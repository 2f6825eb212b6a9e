"""Who may hold how much: a run is cut into groups so that a process keeps to its memory.

base      what is held before anything is fitted: libraries, model, a batch's activations; the
          most the process has held when the plan was made
factors   4 (n_in^2 + n_out^2 + n_in n_out) bytes a layer: A and S or their bases, and Lambda
work      beside the factors of a group, for one layer at a time: the float64
          eigendecomposition with LAPACK's own arrays, 36 n^2 with n the larger of n_in and
          n_out; or the copies made when a layer is written to disk; about 2 more factors
"""

from __future__ import annotations

import ctypes
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from heldout.core.errors import InputError

Shapes = Sequence[tuple[int, int]]
KEPT = 16_000_000
"""Bytes that the allocator keeps beside what is in use, and code that is loaded late."""


def peak_bytes() -> int:
    """Return the most memory this process has held, bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def release() -> None:
    """Give freed memory back to the system, where the allocator can be told to.

    glibc keeps freed pieces of some megabytes that lie between pieces in use; what is allocated
    next seldom fits there, and the process grows though it holds no more.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def factor_size(n_in: int, n_out: int) -> int:
    """Return the bytes of a layer's factors, float32.

    >>> factor_size(3, 2)
    76
    """
    return 4 * (n_in**2 + n_out**2 + n_in * n_out)


def work_size(shapes: Shapes) -> int:
    """Return the bytes needed beside factors, for the layer that needs most.

    >>> work_size([(3, 2), (1, 1)])
    16000476
    """
    return KEPT + max((36 * max(s) ** 2 + 2 * factor_size(*s) for s in shapes), default=0)


def least_size(shapes: Shapes) -> int:
    """Return the bytes beside the base without which no layer can be fitted.

    >>> least_size([(3, 2), (1, 1)])
    16000552
    """
    return work_size(shapes) + max((factor_size(*s) for s in shapes), default=0)


def consecutive(sizes: Sequence[int], budget: int) -> list[range]:
    """Cut items into consecutive groups whose sizes fit in a budget, at least one item each.

    >>> consecutive([2, 2, 2, 5, 1], 4)
    [range(0, 2), range(2, 3), range(3, 4), range(4, 5)]
    """
    groups: list[range] = []
    used = 0
    for i, size in enumerate(sizes):
        if not groups or used + size > budget:
            groups.append(range(i, i + 1))
            used = size
        else:
            groups[-1] = range(groups[-1].start, i + 1)
            used += size
    return groups


def free_for_factors(memory: int, base: int, shapes: Shapes) -> int:
    """Return the bytes that a group's factors may take.

    Raises:
        InputError: not even one layer fits; says how much would do.
    """
    least = base + least_size(shapes)
    if least > memory:
        raise InputError(
            f"--memory {memory / 1e6:.0f}MB",
            f"{least / 1e6:.0f} MB or more: {base / 1e6:.0f} are held by libraries, model and a "
            "batch, and the largest layer needs the rest",
            f"--memory {-(-least // 10**7) * 10}MB, a smaller --batch, or fewer --layers",
        )
    return memory - base - work_size(shapes)


def score_size(queries: int, batch: int, length: int, rank: int, per_block: int = 16) -> int:
    """Return the bytes that scoring needs beside the directions of some queries.

    Two products of (batch length) x (queries rank) in both types, and a block of scores twice.

    >>> score_size(1, 1, 1, 1, 1)
    24
    """
    return batch * length * queries * 12 * (rank + per_block)


def query_groups(files: Sequence[Path], budget: int, beside: int) -> list[list[Path]]:
    """Cut files of directions into groups that fit in a budget, each file with `beside` bytes.

    >>> query_groups([], 10, 1)
    []
    """
    sizes = [file.stat().st_size + beside for file in files]
    return [[files[i] for i in group] for group in consecutive(sizes, budget)]
