"""Collecting: resumes, never mixes tasks, survives failing collectors and a full disk."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from heldout.audit import collect as module
from heldout.audit.artifacts import VERSION, Artifacts, fresh
from heldout.audit.collect import collect, fingerprint, measure_speed, plan
from heldout.audit.context import Collector, Cost, Settings
from heldout.audit.result import NotApplicableError, SkippedError
from heldout.core.errors import ArtifactError
from heldout.core.preparing import prepare


def _task(seed=0, scale=1.0, shifted=None, fit=None):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, 60)
    x = np.eye(3)[y] + 0.1 * rng.normal(size=(60, 3))
    return prepare(lambda a: scale * a * 5 + 0.5, (x, y), (x[:20], y[:20]), shifted, fit=fit)


def test_keep_computes_once_and_replaces_a_damaged_file(tmp_path):
    artifacts = fresh(tmp_path, {"version": VERSION, "fingerprint": "a"})
    calls = []
    compute = lambda: calls.append(1) or {"x": np.arange(3)}  # noqa: E731
    for _ in range(3):
        assert artifacts.keep("stage/part", compute)["x"].tolist() == [0, 1, 2]
    assert len(calls) == 1
    file = next(tmp_path.rglob("*.npz"))
    file.write_bytes(file.read_bytes()[:20])
    assert artifacts.keep("stage/part", compute)["x"].tolist() == [0, 1, 2]
    assert len(calls) == 2


def test_objects_are_never_stored_since_reading_them_would_unpickle(tmp_path):
    artifacts = fresh(tmp_path, {"version": VERSION, "fingerprint": "a"})
    with pytest.raises(ArtifactError, match="object"):
        artifacts.keep("x", lambda: {"x": np.array([{}])})


@pytest.mark.parametrize(
    "name", ["../../etc", "a/b", "with space", "dot.dot", "é", "<b>", "shifted"]
)
def test_hostile_names_of_shifted_sets_stay_inside_the_folder(tmp_path, name):
    task = _task(shifted={name: np.eye(3)})
    context = collect(task, tmp_path / "a", Settings())
    assert context.artifacts.logits(f"shifted/{name}").shape == (3, 3)
    inside = {p for p in tmp_path.rglob("*") if p.is_file()}
    assert all((tmp_path / "a") in p.parents for p in inside)


def test_the_same_task_goes_on_and_another_one_starts_anew(tmp_path):
    first = collect(_task(), tmp_path, Settings()).artifacts
    stamp = (tmp_path / "predictions" / "train.npz").stat().st_mtime_ns
    collect(_task(), tmp_path, Settings())
    assert (tmp_path / "predictions" / "train.npz").stat().st_mtime_ns == stamp
    before = first.logits("test")
    second = collect(_task(scale=2.0), tmp_path, Settings()).artifacts
    assert not np.allclose(second.logits("test"), before)  # not what the folder held earlier
    assert second.manifest["fingerprint"] != first.manifest["fingerprint"]
    assert (tmp_path / "predictions" / "train.npz").stat().st_mtime_ns != stamp


def test_fingerprint_sees_labels_data_model_and_seed():
    base = fingerprint(_task(), Settings())
    assert base == fingerprint(_task(), Settings(budget_minutes=3))
    others = [_task(1), _task(scale=2.0), _task(shifted={"a": np.eye(3)})]
    prints = {fingerprint(t, Settings()) for t in others} | {fingerprint(_task(), Settings(seed=1))}
    assert len(prints | {base}) == 5


def test_artifacts_of_another_version_or_none_say_so(tmp_path):
    with pytest.raises(ArtifactError, match="does not exist"):
        Artifacts.open(tmp_path)
    fresh(tmp_path, {"version": 999, "fingerprint": "a"})
    with pytest.raises(ArtifactError, match="version 999"):
        Artifacts.open(tmp_path)
    (tmp_path / "manifest.json").write_text('{"versi')
    with pytest.raises(ArtifactError, match="cannot be read"):
        Artifacts.open(tmp_path)


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (NotApplicableError("no images"), "not_applicable"),
        (SkippedError("no time"), "skipped"),
        (ZeroDivisionError("oops"), "failed"),
        (OSError(errno.ENOSPC, "No space left on device"), "failed"),
    ],
)
def test_a_collector_that_raises_is_marked_and_the_others_go_on(
    tmp_path, monkeypatch, error, state
):
    def raises(context):
        raise error

    broken = SimpleNamespace(
        COLLECTOR=Collector("broken", "Broken", -1), plan=lambda *a: Cost(0), collect=raises
    )
    good = module.ordered()[0]
    monkeypatch.setattr(module, "ordered", lambda: [broken, good])
    names = {"broken": broken, "predictions": good}
    monkeypatch.setattr("heldout.audit.collectors.COLLECTORS", names)
    context = collect(_task(), tmp_path, Settings())
    assert context.artifacts.state("broken")["state"] == state
    assert str(error.args[-1]) in context.artifacts.state("broken")["reason"]
    assert context.artifacts.state("predictions")["state"] == "done"


def test_a_fit_that_raises_is_named_with_its_line(tmp_path):
    def fit(data, seed):
        return json.loads("{")  # raises in the standard library: the line is that of the call

    context = collect(_task(fit=fit), tmp_path, Settings())
    state = context.artifacts.state("refits")
    assert state["state"] == "failed"
    line = fit.__code__.co_firstlineno + 1
    assert state["reason"].startswith("the fit that was passed raised JSONDecodeError: Expecting")
    assert state["reason"].endswith(f"(test_collect.py, line {line})")


def test_what_does_not_fit_memory_is_skipped_with_the_reason():
    task = _task()
    planned = plan(task, measure_speed(task), Settings(memory_gb=1e-9))
    assert any("GB" in p.cost.skip for p in planned)


def test_a_full_disk_is_one_clear_error(tmp_path, monkeypatch):
    def full(fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtifactError, match="No space left"):
        fresh(tmp_path / "new", {"version": VERSION, "fingerprint": "a"})
    assert not list((tmp_path / "new").glob("*"))


_KILLED = """
import time, numpy as np
from pathlib import Path
from heldout.audit.artifacts import VERSION, fresh
a = fresh(Path({folder!r}), {{"version": VERSION, "fingerprint": "a"}})
for i in range(10_000):
    a.keep(f"part/{{i}}", lambda: {{"x": np.full(20_000, i)}})
"""


def test_kill_nine_leaves_only_whole_files(tmp_path):
    folder = tmp_path / "a"
    process = subprocess.Popen([sys.executable, "-c", _KILLED.format(folder=str(folder))])
    deadline = time.monotonic() + 60
    while len(list(folder.glob("part/*.npz"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    artifacts = Artifacts.open(folder)
    keys = artifacts.keys("part")
    assert len(keys) >= 5
    for key in keys:
        value = int(key.split("/")[1])
        assert (artifacts.read(key)["x"] == value).all()
