"""The plan of several models as text, with what it assumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .planning import Job, Plan, Rates, Shape, plan

DEVICE_FLOPS = 1e14
"""Assumed of an accelerator, for the last column: 100 TFLOP/s reached, in every stage."""


def table(shapes: Sequence[Shape], job: Job, rates: Rates) -> str:
    """Return the plan of several models as text; the first is the one that was measured.

    >>> from heldout.data.influence.planning import TYPICAL
    >>> text = table(TYPICAL[:1], Job(10, 10, 1, 64, 32, 2**32), Rates(1e12, 1e11, 1e12, 1e10))
    >>> text.splitlines()[0].split()[:3]
    ['model', 'fit', 'bases']
    """
    head = (
        "model", "fit", "bases", "queries", "scores", "total", "groups", "memory", "disk", "100T",
    )  # fmt: skip
    rows: list[tuple[str, ...]] = [head]
    for number, shape in enumerate(shapes):
        weights = job.bytes_each * shape.parameters
        # Only the first model is in what is held already; the others' weights come on top.
        base = job.base + (0 if number == 0 else weights)
        first = plan(shape, replace(job, base=base), rates)
        memory = max(job.memory, base + first.least)
        rows.append(
            _row(shape.name, plan(shape, replace(job, base=base, memory=memory), rates), memory)
        )
        if first.groups * first.query_groups > 1:
            most = base + first.whole
            whole = plan(shape, replace(job, base=base, memory=most), rates)
            rows.append(_row("  all layers at once", whole, most))
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
    return "\n".join([*lines, *_notes(job, rates)])


def _row(name: str, made: Plan, memory: int) -> tuple[str, ...]:
    return (
        name,
        *(_time(s) for s in made.seconds.values()),
        _time(made.total),
        f"{made.groups}x{made.query_groups}",
        _size(memory),
        _size(made.disk),
        _time(made.operations / DEVICE_FLOPS),
    )


def _notes(job: Job, rates: Rates) -> tuple[str, ...]:
    return (
        f"{job.fit} sequences fitted, {job.train} scored, {job.queries} queries, "
        f"{job.length} tokens, rank {job.rank}, {_size(job.memory)}.",
        f"Measured here, in a few seconds: {rates.passes / 1e9:.0f} GFLOP/s forward and backward "
        f"(4 operations a weight and token), {rates.float32 / 1e9:.0f} float32, "
        f"{rates.low / 1e9:.0f} low precision, {rates.eigen / 1e9:.0f} eigendecomposition.",
        "Only the first row's model was here. The others are its rates times the operations of",
        "typical layer shapes, on a machine like this one but with the memory in the row: the one",
        "given where that is enough, else the least that does. Loading, reading texts, the check",
        "in float32 and the page are not counted. groups: of layers x of queries. 100T: one",
        "accelerator at an assumed 100 TFLOP/s in every stage.",
    )  # fmt: skip


def _time(seconds: float) -> str:
    for unit, size in (("y", 31_557_600), ("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
