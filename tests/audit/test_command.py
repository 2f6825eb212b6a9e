"""The command line: a user's file, wrong input, gates and the files it writes."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

from heldout.cli import main

_GOOD = """
import numpy as np
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
x, y = load_wine(return_X_y=True)
x = (x - x.mean(0)) / x.std(0)
order = np.random.default_rng(0).permutation(len(y))
x, y = x[order], y[order]
def model():
    return LogisticRegression(max_iter=300).fit(x[:110], y[:110])
def data():
    return {"train": (x[:110], y[:110]), "test": (x[110:], y[110:]),
            "shifted": {"<script>": x[110:] * 1.5},
            "groups": {"test": {"site": ["<b>a</b>", "b"] * 34}}}
"""


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user")
    (folder / "my_model.py").write_text(_GOOD)
    out = folder / "audit"
    code = main(
        ["audit", str(folder / "my_model.py"), "--out", str(out), "--quiet"]
        + ["--junit", str(out / "j.xml"), "--card", str(out / "card.md")]
        + ["--pytest", str(out / "test_model.py")]
    )
    assert code == 0
    return folder, out


def test_it_writes_report_junit_card_and_tests(audited):
    _, out = audited
    page = (out / "report.html").read_text()
    assert "<script>" not in page and "<b>a</b>" not in page
    assert ElementTree.parse(out / "j.xml").getroot().tag in ("testsuite", "testsuites")
    compile((out / "test_model.py").read_text(), "test_model.py", "exec")
    assert (out / "card.md").read_text().startswith("---")


def test_from_checks_again_and_compares(audited, capsys):
    folder, out = audited
    (folder / "my_model.py").rename(folder / "gone.py")
    try:
        old = str(out / "report.json")
        assert main(["audit", "--from", str(out), "--compare", old, "--quiet"]) == 0
    finally:
        (folder / "gone.py").rename(folder / "my_model.py")
    assert "Report:" in capsys.readouterr().out


def test_the_gate_exits_with_one_only_when_exceeded(audited):
    _, out = audited
    report = json.loads((out / "report.json").read_text())
    status = report["checks"]["calibration"]["status"]
    expected = 1 if status in ("failed", "warning") else 0
    assert main(["audit", "--from", str(out), "--fail-on", "calibration>=warning"]) == expected
    assert main(["audit", "--from", str(out), "--fail-on", "never"]) == 0


_BAD = {
    "x = 1": "model",
    "def model(): return 1": "data",
    "def model(): return 1\ndef data(): return 3": "dict",
    "def model(): return 1\ndef data(): return {'train': 1}": "train and test",
    "def model(): return 1\ndef data(): return {'train': 1, 'test': 1, 'tset': 1}": "tset",
}


@pytest.mark.parametrize(("content", "word"), list(_BAD.items()))
def test_a_file_that_lacks_something_says_what(tmp_path, capsys, content, word):
    (tmp_path / "m.py").write_text(content)
    assert main(["audit", str(tmp_path / "m.py")]) == 2
    assert word in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["audit", "missing.py"], "missing.py"),
        (["audit", "--from", "missing"], "missing"),
        (["audit", "--fail-on", "leakge"], "leakage"),
        (["audti"], "audti"),
    ],
)
def test_wrong_input_exits_with_two_and_names_it(capsys, arguments, word):
    assert main(arguments) == 2
    assert word in capsys.readouterr().err


def test_weights_that_are_a_pickle_are_refused(tmp_path, capsys):
    (tmp_path / "m.py").write_text(
        "import torch\ndef model(): return torch.nn.Linear(2, 2)\n"
        "def data(): return {'train': 1, 'test': 1}\n"
    )
    (tmp_path / "w.pkl").write_bytes(b"\x80\x04.")
    code = main(["audit", str(tmp_path / "m.py"), "--weights", str(tmp_path / "w.pkl")])
    assert code == 2
    assert "pickle" in capsys.readouterr().err


def test_help_and_version(capsys):
    assert main([]) == 0 and main(["--help"]) == 0
    assert "my_model.py" in capsys.readouterr().out
    assert main(["--version"]) == 0
