"""Where units run: the same numbers everywhere, and what a lost cluster leaves behind."""

import importlib.util
import os

import pytest

from heldout.core.errors import InputError, MissingExtraError
from heldout.papers import backends, runner
from heldout.papers.backends import BackendError, workers
from heldout.papers.runner import reproduce


@pytest.fixture(scope="module")
def alone():
    """Metrics of one process, by package source; measured once."""
    return {}


def _metrics(fakes, out, alone, **options):
    # The same recipe in a package of another name: seeds do not depend on where it lives.
    def found(folder, **more):
        made = reproduce(["measured"], seeds=3, out=folder, package=fakes(), **more)
        return {r["claim"]: [(s["seed"], s["metrics"]) for s in r["seeds"]] for r in made}

    if not alone:
        alone.update(found(out / "alone"))
    return found(out / "here", **options), alone


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_two_jobs_give_the_numbers_of_one(fakes, tmp_path, alone, backend):
    here, there = _metrics(fakes, tmp_path, alone, jobs=2, backend=backend)
    assert here == there and len(here) == 3


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["ray", "dask"])
def test_a_cluster_gives_the_numbers_of_one_process(fakes, tmp_path, alone, backend, monkeypatch):
    pytest.importorskip({"dask": "distributed"}.get(backend, backend))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    here, there = _metrics(fakes, tmp_path, alone, jobs=2, backend=backend)
    assert here == there and len(here) == 3


def test_threads_are_put_back(fakes, tmp_path):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        package = fakes()
        reproduce(["measured"], seeds=3, out=tmp_path, package=package, jobs=2, backend="threading")
        assert torch.get_num_threads() == 2 and float(torch.tensor(1e-42) * 1.0) > 0
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("given", [("spark", 1), ("", 1), ("loky", 0), ("ray", -1)])
def test_bad_input(given):
    with pytest.raises(InputError), workers(*given):
        pass


@pytest.mark.parametrize(("backend", "extra"), [("ray", "ray"), ("dask", "dask")])
def test_a_missing_extra_is_named_with_its_install_line(monkeypatch, backend, extra):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'heldout\[{extra}\]'"):
        backends.check(backend, 2)


def test_nothing_is_set_aside_for_a_backend_that_is_not_there(fakes, tmp_path):
    package = fakes()
    reproduce(["raising"], seeds=1, out=tmp_path, package=package)
    with pytest.raises(InputError):
        reproduce(["raising"], out=tmp_path, package=package, again=True, backend="spark")
    assert not list(tmp_path.rglob("*.old"))


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_what_is_refused_in_a_worker_is_said_here(backend):
    def refuse(item):
        if item == 3:
            raise InputError(f"item {item}", "another item", "leave it out")
        return item

    said = "given: item 3\nexpected: another item\ntry: leave it out"
    with workers(backend, 2) as run, pytest.raises(InputError, match=said) as error:
        list(run(refuse, [1, 2, 3]))
    assert (error.value.given, error.value.hint) == ("item 3", "leave it out")
    with workers(backend, 2) as run:  # the pool is whole
        assert sorted(run(refuse, [1, 2])) == [1, 2]


def test_a_missing_extra_in_a_worker_keeps_its_install_line():
    def lack(item):
        raise MissingExtraError("polars", "frames")

    with workers("loky", 2) as run, pytest.raises(MissingExtraError, match=r"heldout\[frames\]"):
        list(run(lack, [1, 2]))


def test_other_errors_in_a_worker_are_as_before():
    def divide(item):
        return 1 / item

    with workers("loky", 2) as run, pytest.raises(BackendError, match="ZeroDivisionError"):
        list(run(divide, [1, 0]))


def test_reproduce_says_what_a_worker_refused(fakes, tmp_path, monkeypatch):
    def refuse(unit):
        raise InputError(f"seed {unit.seed}", "a number", "another folder")

    with monkeypatch.context() as patch:
        patch.setattr(runner, "measure", refuse)
        with pytest.raises(InputError, match="try: another folder"):
            reproduce(["p"], seeds=2, jobs=2, out=tmp_path, package=fakes(p=REFUSING))
    (record,) = reproduce(["p"], seeds=2, jobs=2, out=tmp_path, package=fakes(p=REFUSING))
    said = [s["error"] for s in record["seeds"]]
    assert all("given: seed" in s and "expected: none" in s and "try: --seeds 0" in s for s in said)


REFUSING = """
CLAIMS = (Claim("c", "", "m", "above", 0.0, "", "", "tiny", ""),)

def run(claim, scale, seed):
    from heldout.core.errors import InputError

    raise InputError(f"seed {seed}", "none", "--seeds 0")
"""


DYING = """
CLAIMS = (Claim("c", "", "m", "above", 0.0, "", "", "tiny", ""),)

def run(claim, scale, seed):
    import os, time
    if seed == 2 and os.path.exists(os.path.join(os.path.dirname(__file__), "death")):
        time.sleep(0.5)
        os._exit(9)
    return {"m": 1.0 + seed}
"""


def test_a_worker_that_dies_leaves_what_is_finished(fakes, tmp_path):
    package = fakes(p=DYING)
    death = tmp_path / "packages" / package / "death"
    death.touch()
    options = {"seeds": 4, "out": tmp_path / "o", "package": package}
    with pytest.raises(BackendError, match="the same command goes on") as error:
        reproduce(["p"], jobs=2, **options)
    assert "of 4 units are finished" in str(error.value)
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "o").rglob("*.json")}
    assert kept and not (tmp_path / "o/p/c.json").exists()
    os.unlink(death)
    (record,) = reproduce(["p"], **options)
    assert [s["metrics"]["m"] for s in record["seeds"]] == [1.0, 2.0, 3.0, 4.0]
    assert {p: p.stat().st_mtime_ns for p in kept} == kept


def test_a_unit_that_left_no_file_here_is_written_from_its_result(fakes, tmp_path, monkeypatch):
    # As on a cluster without a shared folder: the file is on the worker's own disk.
    measure = runner.measure

    def elsewhere(unit):
        outcome = measure(unit)
        unit.path.unlink()
        return outcome

    monkeypatch.setattr(runner, "measure", elsewhere)
    (record,) = reproduce(["raising"], seeds=1, out=tmp_path, package=fakes())
    assert record["seeds"][0]["metrics"] == {"m": 1.0}
    assert (tmp_path / "raising/seeds/odd-small-0.json").exists()
