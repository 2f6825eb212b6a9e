"""Pages are made from card and records alone, are the same every time, and say what is missing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from heldout.core.errors import ArtifactError, HeldoutError, InputError
from heldout.papers import SLUGS
from heldout.papers import pages as made
from heldout.papers._markdown import code, text
from heldout.papers._page import snippet
from heldout.papers.card import Claim, Control, Paper
from heldout.papers.catalogue import recipe
from heldout.papers.pages import BEGIN, END, contents, differing, entries, table, write
from heldout.papers.verdict import judge

ROOT = Path(__file__).resolve().parents[2]
README = f"# Title\n\nbefore\n\n{BEGIN}\nformerly\n{END}\n\nafter\n"
HEADINGS = [
    "What it says",
    "What we measured",
    "How ours differs",
    "Plot",
    "Use it on your model",
    "Command and expected number",
]
GAIN = Claim(
    "gain", "It gains.", "gain", "above", 0.1, "points", "0.3 at scale", "small",
    "Smaller data. Fewer steps.", (Control("null", "below", 0.5, "shuffled gains nothing"),),
    experiment="both",
)  # fmt: skip
LOSS = replace(GAIN, id="loss", direction="below", differs="Smaller data. Another rate.")
LATER = replace(GAIN, id="later", experiment="other", differs="Smaller data. Fewer steps.")
ENVIRONMENT = {"system": "Linux", "machine": "x86_64", "cpus": 2, "versions": {"torch": "2.13.0"}}


def _plot(records: dict[str, Any], ax: Any) -> Any:
    for name, record in records.items():
        ax.plot([s["metrics"]["gain"] for s in record["seeds"]], label=name)
    ax.set_xlabel("seed")
    ax.set_ylabel("gain")
    return ax


def _recipe(slug: str, claims: Sequence[Claim] = (), **more: Any) -> SimpleNamespace:
    paper = Paper(
        slug, f"On {slug}", "2021-07-14", "2107.07075", "It says so.", "data", "a score",
        authors=2, code="who/what", licence="MIT", uses=("heldout.core.seeds.stream",),
    )  # fmt: skip
    return SimpleNamespace(PAPER=paper, CLAIMS=tuple(claims), plot=_plot, **more)


def _record(claim: Claim, gains: Sequence[float] = (0.2, 0.3, 0.25, 0.22, 0.28)) -> dict[str, Any]:
    seeds = [
        {"seed": i, "metrics": {"gain": g, "null": g - 0.2}, "wall_s": 60.0}
        for i, g in enumerate(gains)
    ]
    judged = judge(claim, "small", seeds)
    effect = {"value": judged.effect.value, "ci_low": judged.effect.low}
    return {
        "slug": "one", "claim": claim.id, "scale": "small", "verdict": judged.word,
        "reason": judged.reason, "direction": claim.direction, "threshold": claim.threshold,
        "effect": {**effect, "ci_high": judged.effect.high, "n": 5, "unit": claim.unit},
        "seeds": seeds, "controls": judged.controls, "environment": ENVIRONMENT,
        "settings": {"scale": "small", "seeds": 5, "recipe": {"steps": 8, "a|b": [1]}},
    }  # fmt: skip


def _store(folder: Path, slug: str, *records: dict[str, Any]) -> Path:
    for record in records:
        path = folder / slug / f"{record['claim']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
    return folder


def _made(folder: Path, *recipes: SimpleNamespace) -> dict[str, str]:
    return {k: v.decode() for k, v in contents(entries(recipes, folder), README).items()}


@pytest.fixture
def measured(tmp_path: Path) -> dict[str, str]:
    folder = _store(tmp_path / "records", "one", _record(GAIN), _record(LOSS))
    return _made(folder, _recipe("two"), _recipe("one", [GAIN, LOSS, LATER]))


def _cells(markdown: str) -> list[list[str]]:
    """The cells of every table row, as a reader of the rendered page sees them."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    rows: list[list[str]] = []
    for at, token in enumerate(tokens):
        if token.type == "tr_open":
            rows.append([])
        elif token.type in ("td_open", "th_open"):
            inline = tokens[at + 1].children or []
            rows[-1].append("".join(" " if t.type == "softbreak" else t.content for t in inline))
    return rows


def test_a_page_has_the_fixed_headings_in_order(measured: dict[str, str]) -> None:
    page = measured["docs/papers/one.md"]
    assert re.findall(r"^## (.+)$", page, re.M) == HEADINGS
    assert page.count("# On one") == 1 and "https://arxiv.org/abs/2107.07075" in page


def test_the_measured_numbers_are_on_the_page(measured: dict[str, str]) -> None:
    rows = {r[0].split(":")[0]: r for r in _cells(measured["docs/papers/one.md"])}
    # Student t by hand: mean 0.25, s = 0.0412, t(0.975, 4) = 2.776, half width 0.0512.
    assert rows["gain"][2] == "0.25 [0.199, 0.301] points, n = 5 seeds"
    assert rows["gain"][1] == "0.3 at scale" and rows["gain"][3] == "above 0.1 points"
    assert rows["gain"][4].startswith("holds: 0.25 [0.199, 0.301] points lies above")
    assert rows["gain"][5] == "met: shuffled gains nothing (0.05 [-0.0012, 0.101], below 0.5)"
    assert rows["loss"][4].startswith("fails") and rows["later"][4] == "not measured"


def test_differences_settings_and_command(measured: dict[str, str]) -> None:
    page = measured["docs/papers/one.md"]
    assert "- Smaller data.\n- `gain`, `later`: Fewer steps.\n- `loss`: Another rate.\n" in page
    assert "- Settings at scale small:\n  - steps: `8`\n  - a\\|b: `[1]`\n" in page
    assert "```\nheldout reproduce one --scale small --seeds 5\n```" in page
    # Both claims are answered by the same five runs of a minute.
    assert "after 5 min on one core (Linux x86\\_64, 2 CPUs; torch 2.13.0)" in page
    assert "- `gain`: 0.25 \\[0.199, 0.301\\] points, holds" in page
    assert "```python\nfrom heldout.core.seeds import stream\n```" in page


def test_a_command_measures_what_is_listed_below_it(tmp_path: Path) -> None:
    few = _record(LOSS, (0.2, 0.3, 0.25))
    page = _made(_store(tmp_path, "one", _record(GAIN), few), _recipe("one", (GAIN, LOSS)))
    commands = re.findall(r"^heldout reproduce .*$", page["docs/papers/one.md"], re.M)
    start = "heldout reproduce one --claim"
    assert commands == [
        f"{start} loss --scale small --seeds 3",
        f"{start} gain --scale small --seeds 5",
    ]


def test_a_command_names_the_data_that_its_run_needs() -> None:
    pages = Path(__file__).resolve().parents[2] / "docs/papers"
    found = [
        c
        for p in pages.glob("*.md")
        for c in re.findall(r"^heldout reproduce .*$", p.read_text(), re.M)
    ]
    full = [c for c in found if "--scale full" in c]
    assert "heldout reproduce clip_concepts --scale full --seeds 5 --data FOLDER" in full
    assert not any("--data" in c for c in found if c not in full) and len(found) > 15


def test_the_table_and_the_index_name_every_paper(measured: dict[str, str]) -> None:
    readme, index = measured["README.md"], measured["docs/papers/README.md"]
    assert readme.startswith("# Title\n\nbefore\n\n") and readme.endswith("\n\nafter\n")
    assert "formerly" not in readme
    verdicts = "holds: `gain`; fails: `loss`; not measured: `later`"
    assert f"| [On one](docs/papers/one.md) | `data` | a score | {verdicts} |" in readme
    assert "[On two](https://arxiv.org/abs/2107.07075) | `data` | a score | not built |" in readme
    assert "[On one](one.md)" in index and "not built" in index
    assert "1 of 2 papers built; their claims: 1 holds, 1 fails, 1 not measured." in readme
    assert "docs/papers/two.md" not in measured


def test_a_built_paper_without_records_says_so(tmp_path: Path) -> None:
    page = _made(tmp_path, _recipe("one", [GAIN]))["docs/papers/one.md"]
    assert "no record is shipped" in page and ".svg" not in page
    assert re.findall(r"^## (.+)$", page, re.M) == HEADINGS
    assert not re.search(r"\b(holds|fails|inconclusive|toy)\b", page)


def test_the_figure_is_the_same_bytes_each_time_and_holds_no_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib

    folder = _store(tmp_path, "one", _record(GAIN))
    first = _made(folder, _recipe("one", [GAIN]))
    with matplotlib.rc_context({"lines.linewidth": 9, "svg.hashsalt": "x", "font.size": 30}):
        second = _made(folder, _recipe("one", [GAIN]))
        assert matplotlib.rcParams["lines.linewidth"] == 9
    svg = first["docs/papers/one.svg"]
    assert first == second and "<svg" in svg
    assert "dc:date" not in svg and "Matplotlib" not in svg
    assert "![gain against seed: gain](one.svg)" in first["docs/papers/one.md"]
    other = _made(_store(tmp_path, "one", _record(GAIN, [0.1, 0.3, 0.2])), _recipe("one", [GAIN]))
    assert other["docs/papers/one.svg"] != svg


def test_check_sees_what_changed_and_write_mends_it(
    tmp_path: Path, measured: dict[str, str]
) -> None:
    files = {k: v.encode() for k, v in measured.items()}
    (tmp_path / "docs/papers").mkdir(parents=True)
    assert differing(tmp_path, files) == sorted(files)
    write(tmp_path, files)
    assert differing(tmp_path, files) == []
    (tmp_path / "docs/papers/one.md").write_text("edited by hand")
    (tmp_path / "docs/papers/gone.svg").write_text("of a paper that is no more")
    (tmp_path / "docs/papers/notes.txt").write_text("not ours")
    assert differing(tmp_path, files) == ["docs/papers/gone.svg", "docs/papers/one.md"]
    write(tmp_path, files)
    assert differing(tmp_path, files) == [] and (tmp_path / "docs/papers/notes.txt").is_file()


def test_a_moved_threshold_shows(tmp_path: Path) -> None:
    folder = _store(tmp_path, "one", _record(GAIN))
    page = _made(folder, _recipe("one", [replace(GAIN, threshold=0.05)]))["docs/papers/one.md"]
    assert "above 0.05 points (when recorded: above 0.1; to be judged anew)" in page


def test_a_record_without_numbers_is_shown_as_such(tmp_path: Path) -> None:
    seeds = [{"seed": i, "error": "ValueError: no", "wall_s": 1.0} for i in range(3)]
    record = _record(GAIN) | {"seeds": seeds, "verdict": "inconclusive", "controls": []}
    record |= {"effect": {"value": None, "ci_low": None, "ci_high": None, "n": 0}}
    made = _recipe("one", [GAIN])
    made.plot = lambda records, ax: ax
    page = _made(_store(tmp_path, "one", record), made)["docs/papers/one.md"]
    assert "| not measured points, n = 0 seeds |" not in page
    assert "| not measured |" in page and "**inconclusive**" in page


@pytest.mark.parametrize("content", ["{", "[]", '{"verdict": "holds"}'])
def test_a_damaged_record_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "gain.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"gain\.json"):
        entries([_recipe("one", [GAIN])], tmp_path)


def test_a_record_of_no_claim_is_named(tmp_path: Path) -> None:
    _store(tmp_path, "one", _record(GAIN))
    with pytest.raises(ArtifactError, match=r"gain\.json is of no claim"):
        entries([_recipe("one")], tmp_path)


def test_a_plot_that_raises_is_named(tmp_path: Path) -> None:
    broken = _recipe("one", [GAIN])
    broken.plot = lambda records, ax: 1 / 0
    with pytest.raises(HeldoutError, match="plot of one raised ZeroDivisionError"):
        _made(_store(tmp_path, "one", _record(GAIN)), broken)


def test_a_recipes_own_table_is_on_its_page_below_the_figure(tmp_path: Path) -> None:
    def gains(records: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
        seeds = [s for r in records.values() for s in r["seeds"]]
        return ["seed", "a|b"], [[str(s["seed"]), f"{s['metrics']['gain']:.2f}"] for s in seeds]

    folder = _store(tmp_path, "one", _record(GAIN))
    plain = _made(folder, _recipe("one", [GAIN]))["docs/papers/one.md"]
    page = _made(folder, _recipe("one", [GAIN], table=gains))["docs/papers/one.md"]
    assert _cells(page)[2:] == [["seed", "a|b"], ["0", "0.20"], ["1", "0.30"], ["2", "0.25"],
                                ["3", "0.22"], ["4", "0.28"]]  # fmt: skip
    assert page.index("(one.svg)") < page.index("| seed |") < page.index("## Use it")
    assert [line for line in page.splitlines() if line not in plain.splitlines()] == [
        "| seed | a\\|b |", "| --- | --- |", "| 0 | 0.20 |", "| 1 | 0.30 |", "| 2 | 0.25 |",
        "| 3 | 0.22 |", "| 4 | 0.28 |",
    ]  # fmt: skip
    for empty in (_recipe("one", [GAIN], table=lambda records: (["seed"], [])), None):
        made = _made(
            folder if empty else tmp_path / "no", empty or _recipe("one", [GAIN], table=gains)
        )
        assert "| seed |" not in made["docs/papers/one.md"]


@pytest.mark.parametrize(
    "table, said",
    [
        (lambda records: 1 / 0, "table of one raised ZeroDivisionError"),
        (lambda records: (["a", "b"], [["1"]]), "table of one has 2 columns"),
    ],
)
def test_a_table_that_raises_or_is_ragged_is_named(table: Any, said: str, tmp_path: Path) -> None:
    folder = _store(tmp_path, "one", _record(GAIN))
    with pytest.raises(HeldoutError, match=said):
        _made(folder, _recipe("one", [GAIN], table=table))


@pytest.mark.parametrize("readme", ["no markers", f"{END}\n{BEGIN}", f"{README}{BEGIN}", BEGIN])
def test_a_readme_without_its_markers_is_refused(readme: str) -> None:
    with pytest.raises(InputError, match="both markers"):
        contents([], readme)


HOSTILE = "a|b `c` *d* _e_ [f](g) <!-- papers:end --> <b>h</b> $i$ ~~j~~ \\k\n# l & &amp; m"


def _plain(markdown: str) -> str:
    (inline,) = [t for t in MarkdownIt("commonmark").parse(markdown) if t.type == "inline"]
    return "".join(t.content for t in inline.children or [])


@given(st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), min_size=1))
def test_text_is_read_back_as_it_was(said: str) -> None:
    line = " ".join(said.split())
    if line:
        assert _plain(text(said)) == line
        assert _cells(f"| a |\n|---|\n| x {text(said)} |")[1] == [f"x {line}"]


@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1).filter(str.strip))
def test_code_is_read_back_as_it_was(said: str) -> None:
    row = _cells(f"| a |\n|---|\n| {code(said)} |")[1]
    # A backslash before a bar cannot be said in the code of a table cell.
    if "\\|" not in said:
        assert row == [said]


def test_hostile_cards_break_nothing(tmp_path: Path) -> None:
    claim = replace(GAIN, says=HOSTILE, paper_value=HOSTILE, unit="a|b", differs=HOSTILE)
    hostile = _recipe("one", [claim], EXAMPLE="x = '```'", ALT=HOSTILE)
    hostile.PAPER = replace(
        hostile.PAPER, title=HOSTILE, summary=HOSTILE, part=HOSTILE, organization=HOSTILE
    )
    files = _made(_store(tmp_path, "one", _record(claim)), hostile)
    shown = " ".join(HOSTILE.split())
    rows = _cells(files["docs/papers/one.md"])
    assert len(rows) == 2 and [len(r) for r in rows] == [6, 6]
    assert rows[1][0] == f"gain: {shown}" and rows[1][1] == shown
    readme = files["README.md"]
    assert readme.count(BEGIN) == readme.count(END) == 1
    assert _cells(readme)[1][0] == shown and [len(r) for r in _cells(readme)] == [4, 4]
    assert "````python\n" in files["docs/papers/one.md"]


def test_the_example_brings_its_own_imports(tmp_path: Path) -> None:
    example = "from heldout.core.seeds import stream\n\nstream(0, 'a').random()"
    page = _made(tmp_path, _recipe("one", [GAIN], EXAMPLE=example))["docs/papers/one.md"]
    assert page.count("from heldout.core.seeds import stream") == 1
    assert f"```python\n{example}\n```" in page


def test_the_command_writes_and_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    every = entries([_recipe("one", [GAIN])], _store(tmp_path / "r", "one", _record(GAIN)))
    monkeypatch.setattr(made, "entries", lambda recipes, records: every)
    with pytest.raises(SystemExit, match="does not exist"):
        made.main(["--root", str(tmp_path)])
    (tmp_path / "README.md").write_text(README)
    with pytest.raises(SystemExit, match=r"run `make pages`.*README\.md.*one\.md"):
        made.main(["--root", str(tmp_path), "--check"])
    assert not (tmp_path / "docs").exists()
    made.main(["--root", str(tmp_path)])
    made.main(["--root", str(tmp_path), "--check"])
    (tmp_path / "README.md").write_text(README)
    with pytest.raises(SystemExit, match=r"differ: README\.md$"):
        made.main(["--root", str(tmp_path), "--check"])


def test_what_is_in_the_repository_is_what_the_records_say() -> None:
    """The check that CI runs; a failure names the files, and `make pages` mends them."""
    program = [sys.executable, "-m", "heldout.papers.pages", "--check"]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_cards_say_to_import_is_there() -> None:
    for use in (use for slug in SLUGS for use in recipe(slug).PAPER.uses):
        module, _, name = use.rpartition(".")
        assert callable(getattr(import_module(module), name)), use


def test_examples_run_as_the_page_shows_them() -> None:
    for entry in entries([recipe(s) for s in SLUGS], made.shipped()):
        if entry.claims:
            shown = snippet(entry).removeprefix("```python").removesuffix("```")
            exec(compile(shown, f"{entry.paper.slug}.EXAMPLE", "exec"), {})


def test_all_48_are_listed() -> None:
    listed = table(entries([recipe(s) for s in SLUGS], made.shipped()))
    assert len(re.findall(r"^\| \[", listed, re.M)) == len(SLUGS) == 48
