"""What is imported when: a verb costs nothing until it is used."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import time

import pytest

import heldout

HEAVY = ("torch", "numpy", "scipy", "sklearn", "matplotlib", "jinja2", "rich", "tyro", "pandas")


def _loaded(code: str) -> list[str]:
    program = f"{code}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    return json.loads(said.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "code", ["import heldout; heldout.__version__; dir(heldout)", "import heldout; heldout.audit"]
)
def test_importing_the_package_loads_nothing_heavy(code: str) -> None:
    assert not set(HEAVY) & set(_loaded(code))


def test_the_check_sees_what_is_heavy() -> None:
    assert {"torch", "numpy"} <= set(_loaded("import heldout.core.seeds"))


def test_optional_packages_stay_unloaded() -> None:
    loaded = set(_loaded("from heldout.audit.api import audit"))
    extras = {"pandas", "polars", "safetensors", "cleanlab", "opacus", "hypothesis", "jsonschema"}
    assert not extras & loaded


def test_help_is_fast_and_needs_no_torch() -> None:
    start = time.monotonic()
    code = (
        "import sys; sys.argv = ['heldout', '--help']\n"
        "from heldout.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
    )
    assert "torch" not in _loaded(code)
    assert time.monotonic() - start < 5  # a fraction of a second on an idle machine


def test_a_verb_is_a_function_and_a_package() -> None:
    from heldout.audit import checks
    from heldout.audit.api import audit

    assert callable(heldout.audit) and heldout.audit.checks is checks
    assert inspect.signature(heldout.audit) == inspect.signature(audit)
    assert {"audit", "__version__"} <= set(dir(heldout))


def test_calling_the_verb_calls_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    from heldout.audit import api

    monkeypatch.setattr(api, "audit", lambda *args, **named: (args, named))
    assert heldout.audit("model", test=3) == (("model",), {"test": 3})


def test_an_unknown_verb_is_an_ordinary_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'audti'"):
        heldout.audti  # noqa: B018
