"""What README and docs tell: numbers are those of the records, commands and links are whole."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from heldout.audit.checks import CHECKS
from heldout.audit.zoo.table import with_table

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_VERBS = ("heldout", "python -m heldout")
_WORD = re.compile(r"(?<![\w-])--[a-z][\w-]*")


def commands(text: str) -> list[str]:
    """Return the lines of shell that a page shows: indented, or in a block that is not Python."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.M | re.S)
    lines = [x for kind, body in blocks if kind != "python" for x in body.splitlines()]
    lines += re.findall(r"^    (\S.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    bare = [re.sub(r"^(?:[A-Z_]+=\S+ )+", "", line.strip()) for line in lines]
    return [line for line in bare if line.startswith(_VERBS)]


def redirected(command: str) -> bool:
    """Whether a shell would send the output of a command into a file, for want of quotes."""
    found = shlex.shlex(command, posix=True, punctuation_chars="<>")
    return any(set(word) <= {"<", ">"} for word in found)


def unknown_options(command: str) -> list[str]:
    """Return the options of a command that its --help does not list."""
    words = shlex.split(command, comments=True)
    whole = " ".join(words)
    verb = words[:3] if whole.startswith("python -m") else words[:2]
    rest = words[len(verb) :]
    if rest and rest[0] in ("digest", "moderate", "fetch", "count", "law"):
        verb.append(rest[0])
    listed = set(_WORD.findall(helped(tuple(verb))))
    return [word for word in _WORD.findall(whole) if word not in listed]


@cache
def helped(verb: tuple[str, ...]) -> str:
    """Return what `VERB --help` prints."""
    module = verb[2:] if verb[0] == "python" else ("heldout.cli", *verb[1:])
    made = [sys.executable, "-m", *module, "--help"]
    return subprocess.run(made, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_need_no_more_quotes_and_know_their_options(page: Path) -> None:
    shown = commands(page.read_text(encoding="utf-8"))
    assert [c for c in shown if redirected(c)] == []
    assert {c: bad for c in shown if (bad := unknown_options(c))} == {}


def test_what_would_be_wrong_with_a_command_is_seen() -> None:
    lines = "x\n\n    heldout audit a.py --fail-on leakage>=warning\n\n```python\nheldout\n```\n"
    (found,) = commands(lines)
    assert redirected(found) and not redirected(found.replace("leakage>=warning", '"a>=b"'))
    assert unknown_options("heldout audit a.py --fail-of never --out x/") == ["--fail-of"]
    assert len(commands((ROOT / "README.md").read_text(encoding="utf-8"))) > 8


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere_and_python_is_whole(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for body in re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S):
        ast.parse(body)
    plain = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.M | re.S)
    told = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", plain)]
    near = [link for link in told if link and "://" not in link]
    assert [link for link in near if not (page.parent / link).exists()] == []


def test_readme_has_every_check_and_the_shipped_track_record() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    part = readme.partition("## What it looks at")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", part, re.M)) == sorted(CHECKS)
    record = json.loads((ROOT / "src/heldout/records/audit/track_record.json").read_text())
    assert with_table(readme, record) == readme
    record["checks"]["gap"]["hit_rate"]["n"] += 1
    assert with_table(readme, record) != readme


def test_the_page_on_influence_is_its_record() -> None:
    spec = importlib.util.spec_from_file_location("told", ROOT / "benchmarks/influence_smollm2.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    record = json.loads(made.RESULTS.read_text())
    assert made.page(record) == made.PAGE.read_text(encoding="utf-8")
    record["word_order"]["flipped"] += 1
    assert made.page(record) != made.PAGE.read_text(encoding="utf-8")
