"""Run one unit: in this process, in a worker, or on a cluster."""

from __future__ import annotations

import importlib
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from heldout.core.files import plain, write_json
from heldout.papers.code_hash import code_hash
from heldout.papers.records import SCHEMA_VERSION, read_unit
from heldout.papers.units import Unit, make_known

# The hash of each recipe when this process first ran it: an edit is not seen by a process that has
# imported the old code, as a notebook or a worker that is used again.
_LOADED: dict[str, str] = {}


@dataclass(frozen=True)
class Outcome:
    """What became of a unit."""

    unit: Unit
    """The one that was asked for."""
    state: Literal["finished", "held", "other code", "edited"]
    """Finished (also when it raised); held by another process; refused, since the code is not that
    of the plan, or was edited after this process had imported it."""
    content: dict[str, Any] | None = None
    """Of the unit's file, when finished."""
    other: str = ""
    """The code hash that differs, when refused."""


def measure(unit: Unit) -> Outcome:
    """Run a unit under its lock and write its file, unless another process has done so.

    Never raises for what the recipe does: its error is the result. The lock is the operating
    system's, so it goes with a process that is killed.
    """
    make_known(unit)
    unit.lock.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(unit.lock, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        return Outcome(unit, "held")
    try:
        done = _done_meanwhile(unit)
        if done is not None:
            other = str(done["code_hash"])
            if other != unit.code_hash:
                return Outcome(unit, "other code", None, other)
            return Outcome(unit, "finished", done)
        now = code_hash(unit.module)
        if now != unit.code_hash:
            return Outcome(unit, "other code", None, now)
        if _LOADED.setdefault(unit.module, now) != now:
            return Outcome(unit, "edited")
        content = _run(unit)
        write_json(unit.path, content)
        return Outcome(unit, "finished", content)
    finally:
        lock.release()


def _done_meanwhile(unit: Unit) -> dict[str, Any] | None:
    try:
        stamp = unit.path.stat().st_mtime_ns
    except OSError:
        return None
    content = read_unit(unit.path, unit)
    # A failed try is made again, but not one that another process has just made.
    return content if content and ("metrics" in content or stamp != unit.seen) else None


def _run(unit: Unit) -> dict[str, Any]:
    from heldout.core.environment import environment

    result: dict[str, Any]
    with steady(), _data(unit.data):
        start = time.perf_counter()
        try:
            recipe = importlib.import_module(unit.module)
            start = time.perf_counter()
            result = {"metrics": _numbers(recipe.run(unit.claim, unit.scale, unit.seed))}
        except (Exception, SystemExit) as error:
            result = {"error": _said(error)}
        wall = round(time.perf_counter() - start, 3)
        found = environment()
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "slug": unit.slug,
        "group": unit.group,
        "scale": unit.scale,
        "seed": unit.seed,
        "code_hash": unit.code_hash,
        **result,
        "wall_s": wall,
        "environment": found,
    }
    return dict(plain(content))  # as it will be read: NaN is null on disk


@contextmanager
def _data(folder: str) -> Iterator[None]:
    # A variable, since `run` takes a claim, a scale and a seed; empty: as the caller has it.
    before = os.environ.get("HELDOUT_DATA")
    if folder:
        os.environ["HELDOUT_DATA"] = folder
    try:
        yield
    finally:
        if folder:
            os.environ.pop("HELDOUT_DATA")
            if before is not None:
                os.environ["HELDOUT_DATA"] = before


def _numbers(found: object) -> dict[str, float]:
    if not isinstance(found, Mapping) or not found:
        raise TypeError(f"run() returned {type(found).__name__}, not a dict of numbers")
    for name, value in found.items():
        if type(value) is bool or not isinstance(value, Real):
            raise TypeError(f"run() returned {type(value).__name__} for {name!r}, not a number")
    return {str(name): float(value) for name, value in found.items()}


def _said(error: BaseException) -> str:
    # File names without folders: a record says nothing of the machine it was made on.
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name})"
    words = " ".join(str(error).split())[:500]
    return f"{type(error).__name__}: {words}{where}"


@contextmanager
def steady() -> Iterator[None]:
    """Make a unit's numbers independent of what runs beside it, and put everything back.

    One thread (sums are then added in one order), denormal numbers flushed to zero, random states
    forked.

    >>> import torch
    >>> before = torch.get_num_threads()
    >>> with steady():
    ...     torch.get_num_threads()
    1
    >>> torch.get_num_threads() == before
    True
    """
    import torch
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    from heldout.core.borrow import borrowed

    threads, dtype, flushed = torch.get_num_threads(), torch.get_default_dtype(), _flushes()
    with borrowed(), threadpool_limits(limits=1):
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        try:
            yield
        finally:
            torch.set_flush_denormal(flushed)
            torch.set_num_threads(threads)
            torch.set_default_dtype(dtype)


def _flushes() -> bool:
    # torch has no getter; the processor's flag also rules Python's own division.
    half = 2.0
    return sys.float_info.min / half == 0.0
