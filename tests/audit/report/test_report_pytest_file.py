"""The generated test file: valid, clean, and red exactly when it should be."""

import copy
import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from heldout.audit.report.pytest_file import pytest_file


def load(report):
    """Run the generated file as a module."""
    space = {}
    exec(compile(pytest_file(report), "test_generated.py", "exec"), space)  # noqa: S102
    return space


def broken(space, checks):
    """Names of the generated assertions that a newer report breaks."""
    found = set()
    for check in space["STATUS"]:
        try:
            space["test_status_is_not_worse"](checks, check)
        except AssertionError:
            found.add(("status", check))
    for check, name, worse, bound in space["BOUNDS"]:
        try:
            space["test_number_is_not_worse"](checks, check, name, worse, bound)
        except AssertionError:
            found.add(("number", check, name))
    return found


def test_the_report_it_came_from_breaks_nothing(report, hostile):
    assert broken(load(report), report["checks"]) == set()
    assert broken(load(hostile), hostile["checks"]) == set()


def test_bounds_are_the_bad_ends_of_the_intervals(report):
    bounds = {(c, n): (w, b) for c, n, w, b in load(report)["BOUNDS"]}
    for name, check in report["checks"].items():
        for label, number in check["numbers"].items():
            end = number["ci_high" if number["worse"] == "higher" else "ci_low"]
            assert bounds.get((name, label), (None, None))[1] == end


def test_worse_status_and_numbers_break_it(report):
    space = load(report)
    new = copy.deepcopy(report["checks"])
    new["gap"]["status"] = "warning"
    rate = new["label_noise"]["numbers"]["rate"]
    rate |= {"value": 0.3, "ci_low": 0.25, "ci_high": 0.35}
    del new["leakage"]["numbers"]["test"]
    assert broken(space, new) == {
        ("status", "gap"), ("number", "label_noise", "rate"), ("number", "leakage", "test"),
    }  # fmt: skip


def test_a_number_within_chance_breaks_nothing(report):
    new = copy.deepcopy(report["checks"])
    rate = new["label_noise"]["numbers"]["rate"]
    rate |= {"value": 0.07, "ci_low": 0.058, "ci_high": 0.08}
    assert broken(load(report), new) == set()


@pytest.mark.parametrize("status", ["could_not_run", "not_applicable", None])
def test_a_check_that_is_gone_has_not_passed(report, status):
    space, new = load(report), copy.deepcopy(report["checks"])
    if status is None:
        del new["numerics"]
    else:
        new["numerics"]["status"] = status
    assert broken(space, new) == {("status", "numerics")}


def run(folder, report, text):
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "test_generated.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_generated.py"],
        cwd=folder,
        env={
            **os.environ,
            "HELDOUT_REPORT": "report.json",
            "PYTEST_ADDOPTS": "",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_an_open_finding_turns_red_once_it_is_mended(tmp_path, report):
    text = pytest_file(report)
    report["checks"]["label_noise"]["status"] = "passed"
    code, out = run(tmp_path, report, text)
    assert code == 1 and "XPASS(strict)" in out and "4 xfailed" in out and "1 failed" in out
    before, after = text.split("OPEN = [")
    code, out = run(
        tmp_path, report, before + "OPEN = [" + after.replace('    "label_noise",\n', "", 1)
    )
    assert code == 0 and "4 xfailed" in out


@pytest.mark.skipif(find_spec("ruff") is None, reason="ruff is not installed")
@pytest.mark.parametrize("kind", ["plain", "hostile", "nothing"])
def test_ruff_finds_nothing_to_say(tmp_path, report, hostile, kind):
    nothing = {"checks": {"gap": {"status": "not_applicable", "reason": "", "numbers": {}}}}
    text = pytest_file({"plain": report, "hostile": hostile, "nothing": nothing}[kind])
    path = tmp_path / "test_generated.py"
    path.write_text(text)
    ruff = [sys.executable, "-m", "ruff"]
    check = [*ruff, "check", "--isolated", "--no-cache", "--select", "E,F,W,I,UP,B,SIM,RUF100"]
    for command in (check, [*ruff, "format", "--isolated", "--no-cache", "--check"]):
        done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_strings_stay_strings(hostile):
    space = load(hostile)
    names = {name for _, name, _, _ in space["BOUNDS"]}
    assert any("<script>" in n for n in names) and "alert" not in space
    assert pytest_file(hostile).isascii()
