"""The house rules that a machine can check: sizes, docstrings, names that must not appear."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from heldout.papers import SLUGS

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
CODE = [
    *SOURCES,
    *sorted((ROOT / "tests").rglob("*.py")),
    *sorted((ROOT / "benchmarks").rglob("*.py")),
]
FILE_LIMIT, FUNCTION_LIMIT, RECIPE_LIMIT = 400, 80, 200
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _is_recipe(path: Path) -> bool:
    return path.parent == ROOT / "src/heldout/papers" and path.stem in SLUGS


def too_long_files(paths: list[Path]) -> list[str]:
    limits = {p: RECIPE_LIMIT if _is_recipe(p) else FILE_LIMIT for p in paths}
    lengths = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in paths}
    return [f"{_name(p)}: {n} lines" for p, n in lengths.items() if n > limits[p]]


def too_long_functions(tree: ast.Module) -> list[str]:
    found = [n for n in ast.walk(tree) if isinstance(n, Function)]
    lengths = {n.name: (n.end_lineno or 0) - n.lineno + 1 for n in found}
    return [
        f"{name}: {length} lines" for name, length in lengths.items() if length > FUNCTION_LIMIT
    ]


def without_docstring(tree: ast.Module) -> Iterator[str]:
    """Public functions, classes and methods that say nothing; dunder names speak for themselves."""
    if not ast.get_docstring(tree) and tree.body:
        yield "the module"
    nodes: list[tuple[str, ast.AST]] = [("", n) for n in tree.body]
    while nodes:
        prefix, node = nodes.pop()
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield prefix + node.name
        if isinstance(node, ast.ClassDef):
            nodes += [(f"{node.name}.", n) for n in node.body]


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_sizes_and_docstrings(path: Path) -> None:
    assert too_long_functions(_tree(path)) == []
    assert list(without_docstring(_tree(path))) == []


def test_files_are_not_too_long() -> None:
    assert too_long_files(CODE) == []


def loose_seeds(tree: ast.Module) -> list[str]:
    """Calls that seed a global state outside a `with` that puts it back."""
    restored: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.With):
            managers = " ".join(ast.unparse(item.context_expr) for item in node.items)
            if "fork_rng(" in managers or "borrowed(" in managers:
                restored |= set(ast.walk(node))
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and n not in restored]
    seeding = {"torch.manual_seed", "np.random.seed", "random.seed"}
    return [ast.unparse(n) for n in calls if ast.unparse(n.func) in seeding]


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_library_code_neither_prints_nor_seeds(path: Path) -> None:
    calls = [ast.unparse(n.func) for n in ast.walk(_tree(path)) if isinstance(n, ast.Call)]
    speaks_to_a_terminal = {"cli.py", "command.py", "__main__.py", "moderate.py", "zoo.py"}
    assert "print" not in calls or path.name in speaks_to_a_terminal
    assert loose_seeds(_tree(path)) == []


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    names = listed.stdout.decode().split("\0") if listed.returncode == 0 else []
    return [ROOT / n for n in names if n and (ROOT / n).is_file()]


_PATHS = re.compile(r"(?<![\w.:/])/(?:work|root|home|opt|Users)/\w")
_HOSTS = re.compile(r"pypi\.org/simple|pythonhosted\.org|registry\.npmjs|index-url\s*=?\s*http")


def leaks(text: str) -> list[str]:
    lines = text.splitlines()
    return [line.strip()[:100] for line in lines if _PATHS.search(line) or _HOSTS.search(line)]


def test_nothing_names_a_machine_or_a_registry() -> None:
    files = _tracked()
    if not files:
        pytest.skip("not a git checkout")
    found = {}
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if bad := leaks(text):
            found[_name(path)] = bad
    assert found == {}


def test_records_that_were_set_aside_are_not_kept() -> None:
    assert [_name(p) for p in _tracked() if p.suffix.startswith(".old")] == []


def test_change_notes_are_named_for_the_changelog() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]
    kinds = "|".join(t["directory"] for t in config["type"])
    named = [p.name for p in (ROOT / "changes").iterdir() if p.name != "README.md"]
    assert [n for n in named if not re.fullmatch(rf"\+[a-z0-9-]+\.({kinds})\.md", n)] == []
    assert named


def test_the_package_has_lower_bounds_only() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    assert [
        w for w in wanted if not re.fullmatch(r"[\w.-]+(\[\w+\])?>=[\d.]+|heldout\[[\w,]+\]", w)
    ] == []
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0] for line in pins if "==" in line}
    names = {re.split(r"[>\[]", w)[0].lower() for w in wanted} - {"heldout"}
    assert names - pinned == set() and "torch==2.13.0" in pins


def test_the_citation_is_of_this_version() -> None:
    versions = [
        re.search(pattern, (ROOT / name).read_text(), re.M)
        for pattern, name in (
            (r"^version: (\S+)", "CITATION.cff"),
            (r'^__version__ = "(.+)"', "src/heldout/__init__.py"),
        )
    ]
    assert versions[0] and versions[1] and versions[0][1] == versions[1][1]


def test_the_checks_themselves_find_what_they_look_for() -> None:
    long = "def f():\n" + "    x = 1\n" * FUNCTION_LIMIT
    assert too_long_functions(ast.parse(long)) == [f"f: {FUNCTION_LIMIT + 1} lines"]
    bare = '"""Doc."""\nclass A:\n    """Doc."""\n    def b(self): pass\n    def _c(self): pass\n'
    assert list(without_docstring(ast.parse(bare))) == ["A.b"]
    assert list(without_docstring(ast.parse("x = 1"))) == ["the module"]
    seeded = "with fork_rng():\n    torch.manual_seed(0)\nrandom.seed(1)"
    assert loose_seeds(ast.parse(seeded)) == ["random.seed(1)"]
    assert leaks("see " + "/ho" + "me/someone/x") and not leaks("a/b, https://example.org/home/x")
