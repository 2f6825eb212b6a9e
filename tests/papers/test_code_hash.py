"""The hash of a recipe's code: what changes it, and what does not."""

import json
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heldout.core.errors import InputError
from heldout.papers import SLUGS
from heldout.papers.code_hash import code_hash, reached

RECIPE = '''
"""Doc."""
from __future__ import annotations
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from heldout.core.task import Task
PAPER = dict(summary="old words")
SAID = "old, too"
FACTOR = 1.5
CLAIMS = (dict(id="a", threshold=0.5, says="old", differs="old" + SAID, minutes={"small": 1.0}),)
def run(claim, scale, seed):
    """Run."""
    from .helper import twice
    return {"m": twice(seed) * FACTOR}  # numbers
def plot(records, ax):
    from .drawing import draw
    return draw(ax)
'''
FILES = {
    "recipe": RECIPE,
    "helper": "from heldout.core.seeds import stream\ndef twice(x):\n    return 2 * x\n",
    "drawing": "def draw(ax):\n    return ax\n",
    "unused": "X = 1\n",
}


@pytest.fixture
def hashed(tmp_path, monkeypatch):
    """A function that writes a package with some changes, and hashes its recipe."""
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "hashed_package"
    folder.mkdir()
    count = 0

    def write(**changed):
        nonlocal count
        count += 1
        (folder / "__init__.py").write_text(f"# {count}\nSLUGS = ({count},)\n")
        for name, text in {**FILES, **changed}.items():
            path = folder / f"{name}.py"
            if not path.exists() or path.read_text() != text:
                path.unlink(missing_ok=True)
                path.write_text(text)
        return code_hash("hashed_package.recipe")

    return write


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Doc."""', '"""Other words,\nand more."""'),
        ('    """Run."""\n', ""),
        ("  # numbers", ""),
        (
            '{"m": twice(seed) * FACTOR}',
            "{\n        'm': twice(\n            seed,\n        )\n * FACTOR,\n    }",
        ),
        ("old words", "new words"),
        ('says="old", differs="old"', 'says="new", differs="new"'),
        ("old, too", "new, too"),
        ("1.0}", "2.0}"),
        ("return draw(ax)", "return draw(ax.twinx())"),
        ("heldout.core.task import Task", "heldout.core.card import Card"),
    ],
)
def test_words_and_form_do_not_matter(hashed, old, new):
    assert old in RECIPE
    assert hashed(recipe=RECIPE.replace(old, new)) == hashed()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("recipe", "twice(seed)", "twice(seed + 1)"),
        ("recipe", '"m":', '"n":'),
        ("recipe", "FACTOR = 1.5", "FACTOR = 1.6"),
        ("recipe", "FACTOR = 1.5", "FACTOR: float = 1.5\nFACTOR += 1"),
        ("recipe", "FACTOR = 1.5", "FACTOR = 1.5\nprint(1)"),
        ("recipe", "threshold=0.5", "threshold=0.4"),
        ("helper", "2 * x", "x * 2"),
        ("helper", "core.seeds", "core.files"),
    ],
)
def test_what_can_change_a_number_matters(hashed, name, old, new):
    assert old in FILES[name]
    assert hashed(**{name: FILES[name].replace(old, new)}) != hashed()


@pytest.mark.parametrize("name", ["unused", "drawing"])
def test_modules_that_a_run_does_not_reach_do_not_matter(hashed, name):
    assert hashed(**{name: "Y = 2\n"}) == hashed()


def test_late_and_relative_imports_are_followed(hashed):
    hashed()
    assert reached("hashed_package.recipe") == [
        "hashed_package.helper",
        "hashed_package.recipe",
        "heldout.core.seeds",
    ]


def test_numbers_of_another_kind_differ(hashed):
    texts = ("1", "1.0", "True", "'1'", "b'1'", "-1", "None")
    assert len({hashed(helper=f"def twice(x):\n    return {t}\n") for t in texts}) == len(texts)


# Text that comes back from `unparse` is the same program in another form.
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from("+-*/"), min_size=1, max_size=4), st.integers(0, 99))
def test_formatting_by_a_machine_does_not_matter(hashed, operators, n):
    import ast

    text = (
        "def twice(x):\n    # why\n    return ("
        + "".join(f"x {o} {n} + " for o in operators)
        + "0)\n"
    )
    assert hashed(helper=text) == hashed(helper=ast.unparse(ast.parse(text)))


def test_imports_agree_with_what_python_imports():
    module = "heldout.core.reading"
    code = f"import {module}, sys, json; print(json.dumps(sorted(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {m for m in json.loads(said.stdout) if m.startswith("heldout.")}
    packages = {"heldout.core"}  # implied parents
    assert loaded - packages <= set(reached(module))


def test_it_imports_nothing_of_the_recipe(hashed):
    value = hashed(recipe=RECIPE + "raise SystemExit\n")
    assert len(value) == 16 and set(value) <= set("0123456789abcdef")


def test_a_recipe_that_cannot_be_parsed_has_a_hash(hashed):
    assert hashed(recipe="def (") != hashed(recipe="def )")


def test_an_unknown_module_is_bad_input():
    with pytest.raises(InputError, match="no_such"):
        code_hash("heldout.papers.no_such")


@pytest.mark.parametrize("slug", SLUGS[:3])
def test_every_paper_has_a_hash(slug):
    assert f"heldout.papers.{slug}" in reached(f"heldout.papers.{slug}")


@pytest.mark.parametrize("slug", SLUGS)
def test_no_figure_and_no_card_text_makes_a_record_stale(slug):
    silent = ("_figure", "_plot", "_words")
    covered = reached(f"heldout.papers.{slug}")
    assert not [m for m in covered if m.startswith("heldout.papers.") and m.endswith(silent)]
