"""Where units are run: processes or threads of this machine, or a Ray or Dask cluster."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from heldout.core.errors import HeldoutError, InputError, MissingExtraError

BACKENDS = ("loky", "threading", "ray", "dask")
"""joblib's names."""

T = TypeVar("T")
R = TypeVar("R")
Runner = Callable[[Callable[[T], R], Sequence[T]], Iterator[R]]


class BackendError(HeldoutError):
    """The processes or the cluster that run the units went away."""


@contextmanager
def workers(backend: str, jobs: int) -> Iterator[Runner[Any, Any]]:
    """Open a backend; yield a function that maps items to results, as they are finished.

    With one job and loky or threading everything runs in this process. Ray connects to the
    cluster at `RAY_ADDRESS` and Dask to `DASK_SCHEDULER_ADDRESS`, or to the one that this process
    has open; else each starts a small one here, which is stopped on leaving. A cluster's machines
    need the same Heldout; a shared folder is not needed, though without one only this process's
    folder is complete.

    `threading` is for recipes that never touch torch's global random state.

    Args:
        backend: one of `BACKENDS`.
        jobs: how many items run at once.

    Raises:
        InputError: an unknown backend, or fewer than one job.
        MissingExtraError: Ray or Dask is not installed.
        BackendError: a worker or the cluster went away; from the iterator.
        HeldoutError: what the function raised, the same in a process as here; from the iterator.

    >>> with workers("loky", 1) as run:
    ...     list(run(abs, [-1, 2]))
    [1, 2]
    """
    check(backend, jobs)
    with ExitStack() as stack:
        try:
            if backend == "ray":
                stack.enter_context(_ray(jobs))
            elif backend == "dask":
                stack.enter_context(_dask(jobs))
            elif backend == "threading":
                from heldout.papers.worker import steady

                stack.enter_context(steady())  # threads share what they would put back
        except HeldoutError:
            raise
        except Exception as error:
            raise _gone(backend, error) from error
        yield lambda function, items: _map(backend, jobs, function, items)


def check(backend: str, jobs: int) -> None:
    """Raise for a backend that cannot be opened, before anything is done.

    Raises:
        InputError: an unknown backend, or fewer than one job.
        MissingExtraError: Ray or Dask is not installed.

    >>> check("loky", 2)
    """
    if jobs < 1:
        raise InputError(f"--jobs {jobs}", "at least 1", "--jobs 2")
    if backend not in BACKENDS:
        raise InputError(f"--backend {backend}", f"one of {', '.join(BACKENDS)}", "--backend loky")
    needed = {"ray": "ray", "dask": "distributed"}.get(backend)
    if needed and importlib.util.find_spec(needed) is None:
        raise MissingExtraError(needed, backend)


def _map(backend: str, jobs: int, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    import joblib

    if backend in ("loky", "threading") and min(jobs, len(items)) == 1:
        # Lazily, one by one: joblib's own sequential backend is the same less the progress.
        yield from map(function, items)
        return
    # Ray's joblib backend hands back a list only when all of it is done, so it is fed in parts.
    streams = backend != "ray"
    size = len(items) if streams else 2 * jobs
    options: dict[str, Any] = {"n_jobs": jobs, "batch_size": 1, "pre_dispatch": "all"}
    if streams:
        options["return_as"] = "generator_unordered"
    try:
        with joblib.parallel_config(backend=backend), joblib.Parallel(**options) as parallel:
            for start in range(0, len(items), size):
                part = items[start : start + size]
                for found in parallel(joblib.delayed(_guarded)(function, i) for i in part):
                    if isinstance(found, _Refused):
                        raise found.error()
                    yield found
    except GeneratorExit:
        raise
    except HeldoutError:
        raise
    except Exception as error:
        raise _gone(backend, error) from error


@dataclass(frozen=True)
class _Refused:
    # An error whose arguments are not its text, such as InputError, can be pickled but not read
    # back: sent as it is, it breaks the pool, and nobody learns what it said.
    kind: type[HeldoutError]
    args: tuple[Any, ...]
    fields: dict[str, Any]

    def error(self) -> HeldoutError:
        made = self.kind.__new__(self.kind, *self.args)
        vars(made).update(self.fields)
        return made


def _guarded(function: Callable[[T], R], item: T) -> R | _Refused:
    try:
        return function(item)
    except HeldoutError as error:
        return _Refused(type(error), error.args, dict(vars(error)))


def _gone(backend: str, error: Exception) -> BackendError:
    words = " ".join(str(error).split())[:300]
    return BackendError(f"the {backend} backend stopped: {type(error).__name__}: {words}")


@contextmanager
def _ray(jobs: int) -> Iterator[None]:
    # By name: an extra has no types where it is not installed.
    ray = importlib.import_module("ray")
    importlib.import_module("ray.util.joblib").register_ray()
    own = not ray.is_initialized()
    if own:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if os.environ.get("RAY_ADDRESS"):
            ray.init(**quiet)
        else:
            small = 100 * 2**20  # bytes; units hand back a few numbers
            ray.init(num_cpus=jobs, include_dashboard=False, object_store_memory=small, **quiet)
    try:
        yield
    finally:
        if own:
            ray.shutdown()


@contextmanager
def _dask(jobs: int) -> Iterator[None]:
    distributed = importlib.import_module("distributed")
    with ExitStack() as stack:
        try:
            distributed.default_client()
        except ValueError:
            if os.environ.get("DASK_SCHEDULER_ADDRESS"):
                stack.enter_context(distributed.Client())
            else:
                # One thread each: a unit sets what its process shares.
                cluster = stack.enter_context(
                    distributed.LocalCluster(
                        n_workers=jobs, threads_per_worker=1, dashboard_address=None
                    )
                )
                stack.enter_context(distributed.Client(cluster))
        yield
