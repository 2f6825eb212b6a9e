"""What the listing verbs print, and what they must not import."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from heldout.core.errors import InputError
from heldout.papers import SLUGS, catalogue, listing
from heldout.papers._bibtex import bibtex
from heldout.papers._where import where
from heldout.papers.card import Claim, Paper

HEAVY = {"torch", "numpy", "scipy", "sklearn", "matplotlib", "rich", "tyro", "jinja2", "joblib"}


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "heldout.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def _loaded(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint('\\n' + ' '.join(sys.modules))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    return {name.split(".")[0] for name in said.stdout.splitlines()[-1].split()}


def test_importing_every_recipe_imports_nothing_heavy() -> None:
    assert not HEAVY & _loaded("from heldout.papers.catalogue import papers; assert papers()")


@pytest.mark.parametrize("verb", ["papers", "papers --json", "where data_diet", "cite data_diet"])
def test_no_listing_verb_imports_anything_heavy(verb: str) -> None:
    assert not HEAVY & _loaded(f"from heldout.cli import main; main({verb.split()!r})")


def test_the_check_sees_what_is_heavy() -> None:
    assert "numpy" in _loaded("from heldout.papers.verdict import over_seeds; over_seeds([1, 2])")


def test_papers_lists_all_48_and_counts_them() -> None:
    done = _run("papers")
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and not done.stderr
    assert [line.split()[0] for line in lines[:-2]] == list(SLUGS)
    built = sum(bool(catalogue.claims(slug)) for slug in SLUGS)
    assert lines[-1] == f"48 papers: {built} built, {48 - built} not built"
    assert sum("  not built  " in line for line in lines) == 48 - built
    assert sum("  built: " in line for line in lines) == built
    for paper, line in zip(catalogue.papers(), lines, strict=False):
        assert paper.date in line and line.endswith(paper.title) and f" {paper.package} " in line


def test_a_query_lists_what_it_finds() -> None:
    lines = listing.say("papers", ["Grokking", "xor"]).splitlines()
    assert lines[0].startswith("benign_xor") and lines[-1].startswith("1 of 48 papers: ")
    assert listing.say("papers", ["grokking xor"]) == listing.say("papers", ["Grokking", "xor"])


def test_titles_are_cut_to_the_terminal() -> None:
    for width in (130, 170):
        rows = listing.say("papers", [], width).splitlines()[:-2]
        assert max(map(len, rows)) <= width and any(row.endswith("...") for row in rows)
    # Where the other columns leave no room, a title keeps enough to be known.
    narrow = listing.say("papers", [], 40).splitlines()[0]
    assert "Benign Overfitting" in narrow and narrow.endswith("...")
    assert "..." not in listing.say("papers", [])


def test_json_holds_every_field_of_the_cards() -> None:
    done = _run("papers", "--json", "symbolic_nets")
    (found,) = json.loads(done.stdout)
    card = catalogue.recipe("symbolic_nets").PAPER
    assert found == vars(card) | {"uses": list(card.uses), "status": "not built", "claims": []}
    assert len(json.loads(listing.say("papers", ["--json"]))) == 48
    assert json.loads(listing.say("papers", ["--json", "nosuchword"])) == []


def test_the_status_counts_the_words_of_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"a": "holds", "b": "holds", "c": "fails", "d": "not measured"}
    monkeypatch.setattr(listing, "verdicts", lambda slug: words)
    assert listing.status("x") == "built: 4 claims (1 fails, 2 hold, 1 not measured)"
    monkeypatch.setattr(listing, "verdicts", lambda slug: {"a": "not measured"})
    assert listing.status("x") == "built: 1 claim (not measured)"
    monkeypatch.setattr(listing, "verdicts", lambda slug: {})
    assert listing.status("x") == "not built"


def test_where_names_what_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # so that paths are absolute
    said = listing.say("where", ["ngame"])
    (recipe,) = re.findall(r"^  recipe +(.+)$", said, re.M)
    assert Path(recipe) == Path(catalogue.recipe("ngame").__file__ or "")
    assert "from heldout.papers import ngame" in said and "none: not built" in said
    assert "docs/papers/ngame.md".replace("/", os.sep) in said


def test_where_finds_the_line_of_a_part() -> None:
    names = ("heldout.core.interval.Interval", "heldout.nosuch.thing", "heldout.papers.SLUGS")
    paper = Paper("wide_cnn", "Title", "2022-08-01", "", "", "measures", "part", uses=names)
    said = where(paper)
    path, line = re.findall(r"part +(.*interval\.py):(\d+)$", said, re.M)[0]
    assert Path(path).read_text().splitlines()[int(line) - 1] == "class Interval:"
    assert "from heldout.core.interval import Interval" in said
    assert "heldout.nosuch (missing)" in said
    assert re.search(r"papers.__init__\.py:\d+$", said, re.M)
    assert "tests/core/test_interval.py" not in said  # there is no such test


def test_where_shows_the_verdict_beside_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    claim = Claim("gain", "", "m", "above", 0, "", "", "small", "")
    monkeypatch.setattr(catalogue, "claims", lambda slug: (claim,))
    assert re.search(
        r"record +.*gain\.json \(not measured\)$", listing.say("where", ["wide_cnn"]), re.M
    )


def _fields(entry: str) -> dict[str, str]:
    """A reader of entries: fields between balanced braces, or a bare word."""
    body = entry[entry.index("@") :]
    assert body.count("{") == body.count("}") and body.endswith("\n}\n")
    key = re.match(r"@misc\{(\w+),\n", body)
    assert key
    rows = body[key.end() : -3].split(",\n")
    split = [re.fullmatch(r" +(\w+) += (\{.*\}|[a-z]{3})", row) for row in rows]
    assert all(split)
    return {"key": key[1]} | {m[1]: m[2] for m in split if m}


@pytest.mark.parametrize("slug", SLUGS)
def test_bibtex_reads_back(slug: str) -> None:
    card = catalogue.recipe(slug).PAPER
    entry = listing.say("cite", [slug])
    found = _fields(entry)
    assert found["key"] == slug and found["year"] == f"{{{card.date[:4]}}}"
    assert found["eprint"] == f"{{{card.arxiv}}}" and found["archivePrefix"] == "{arXiv}"
    assert found["url"] == f"{{https://arxiv.org/abs/{card.arxiv}}}"
    assert "author" not in found and entry.startswith("% No author field")
    assert "@" not in entry.splitlines()[0]  # BibTeX would read it as an entry
    words = re.findall(r"\w+", card.title)
    assert re.findall(r"\w+", found["title"]) == words


def test_bibtex_escapes_what_latex_would_read() -> None:
    paper = Paper("x", 'A_b & 100% of $5 #1 {c} ~d^e\\f "g h" "i"', "2020-12-25", "", "", "", "")
    found = _fields(bibtex(paper))
    assert found["title"] == (
        r"{{A\_b \& 100\% of \$5 \#1 \{c\} \textasciitilde{}d\textasciicircum{}e"
        r"\textbackslash{}f ``g h'' ``i''}}"
    )
    assert found["month"] == "dec" and not {"eprint", "url"} & set(found)
    odd = Paper("x", 'the 5" disk', "2020-01-25", "", "", "", "")
    assert _fields(bibtex(odd))["title"] == '{{the 5" disk}}'


@pytest.mark.parametrize("verb", ["where", "cite"])
def test_several_papers_at_once(verb: str) -> None:
    both = listing.say(verb, ["wide_cnn", "ngame"])
    assert both == listing.say(verb, ["wide_cnn"]) + "\n" + listing.say(verb, ["ngame"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["where", "wide_cn"], "did you mean wide_cnn"),
        (["cite", "wide-cnn"], "did you mean wide_cnn"),
        (["cite"], "a slug"),
        (["where", "--json", "wide_cnn"], "--json"),
        (["papers", "--jsn"], "--jsn"),
        (["papers", "inflence"], "did you mean"),
        (["paper"], "did you mean papers"),
    ],
)
def test_bad_input_leaves_with_2_and_says_what_to_try(arguments: list[str], said: str) -> None:
    done = _run(*arguments)
    assert done.returncode == 2 and said in done.stderr
    assert not done.stdout and "Traceback" not in done.stderr


def test_help_and_a_reader_that_leaves() -> None:
    for verb in ("papers", "where", "cite"):
        assert listing.say(verb, ["--help"]).startswith(f"usage: heldout {verb}")
        assert f"heldout {verb} " in _run("--help").stdout
    code = f"{sys.executable} -m heldout.cli papers | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr


def test_a_query_that_matches_nothing_is_an_input_error() -> None:
    with pytest.raises(InputError, match="did you mean"):
        listing.table("inflence")
