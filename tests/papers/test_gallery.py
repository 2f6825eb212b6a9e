"""The gallery tells every claim, takes each number from a record, and follows when one changes."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt
from scipy import stats

import heldout.papers.gallery as module
from heldout.core.errors import HeldoutError
from heldout.papers import SLUGS
from heldout.papers._entry import Entry, entries, shipped
from heldout.papers._gallery_card import Bridge, Chapter, Figure, Name, Part
from heldout.papers._gallery_figures import tidy
from heldout.papers.catalogue import recipe
from heldout.papers.gallery import CHAPTERS, FIGURES, PAGE, gallery, placed, told
from heldout.papers.verdict import judge

ROOT = Path(__file__).resolve().parents[2]
PARTS = [p for c in CHAPTERS for p in c.parts]
BRIDGES = [*(c.short for c in CHAPTERS), *(b for p in PARTS for b in p.bridges)]
DRAWN = [f for p in PARTS for f in p.figures]
NUMBER = re.compile(r"\{(\w+)/(\w+)(?::([^{}]+))?\}")
PLAIN = tuple(
    replace(c, parts=tuple(replace(p, figures=()) for p in c.parts)) for c in CHAPTERS
)  # the words alone: nothing is drawn

Change = Callable[[dict[str, Any]], None]


@cache
def _every() -> tuple[Entry, ...]:
    return tuple(entries([recipe(s) for s in SLUGS], shipped()))


@cache
def _whole() -> str:
    """The page with its figures, which other tests draw."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "figure", lambda recipe, records: (b"", "y against x"))
        return gallery(_every())[PAGE].decode()


@cache
def _library() -> dict[str, Entry]:
    return {e.paper.slug: e for e in _every() if e.claims}


def _page(every: Sequence[Entry], chapters: Sequence[Chapter] = PLAIN) -> str:
    return gallery(every, chapters)[PAGE].decode()


@cache
def _words() -> str:
    return _page(_every())


def _with(entry: Entry, claim: str, change: Change) -> Entry:
    """A paper with the record of one claim changed."""
    record = copy.deepcopy(dict(entry.records[claim]))
    change(record)
    return replace(entry, records={**entry.records, claim: record})


def _tables(markdown: str) -> list[list[str]]:
    """The cells of every row, as a reader of the rendered page sees them."""
    rows: list[list[str]] = []
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    for at, token in enumerate(tokens):
        if token.type == "tr_open":
            rows.append([])
        elif token.type in ("td_open", "th_open"):
            rows[-1].append("".join(t.content for t in tokens[at + 1].children or []))
    return rows


def _named() -> Iterator[Name]:
    for part in PARTS:
        yield from told(part)
        for drawn in part.figures:
            yield from drawn.claims
    for bridge in BRIDGES:
        yield from (Name(*key.split("/")) for key, _ in bridge.rests_on)
        yield from (Name(m[1], m[2]) for m in NUMBER.finditer(bridge.says))


def _is_told(entry: Entry) -> bool:
    named = entry.paper.slug in {n.slug for n in _named()}
    return named or entry.paper.package in ("dynamics", "measures")


def test_no_chapter_names_an_unknown_claim() -> None:
    known = {Name(e.paper.slug, c.id) for e in _every() for c in e.claims}
    assert {str(n) for n in _named()} - {str(n) for n in known} == set()
    assert {s for p in PARTS for s in p.rest_of} <= set(SLUGS)


def test_every_built_claim_is_in_the_table_once() -> None:
    wanted = [(c.id, e.paper.slug) for e in _every() for c in e.claims if _is_told(e)]
    rows = _tables(_words())
    found = [(r[0].split(":")[0], r[5]) for r in rows if r[0] != "claim"]
    assert sorted(found) == sorted(wanted) and len(wanted) > 60
    assert {len(r) for r in rows} == {6}


def test_no_claim_is_told_in_two_parts_of_a_chapter() -> None:
    for chapter in CHAPTERS:
        every = [n for p in chapter.parts for n in told(p)]
        assert len(every) == len(set(every))


def test_typed_words_hold_no_number_and_no_verdict() -> None:
    typed = [NUMBER.sub("", b.says) for b in BRIDGES]
    typed += [w for p in PARTS for w in (p.title, p.says)]
    typed += [w for c in CHAPTERS for w in (c.title, c.question)] + [f.caption for f in DRAWN]
    assert [t for t in typed if re.search(r"(?<![A-Za-z])\d", t)] == []
    assert [t for t in typed if re.search(r"\b(holds|fails|inconclusive|toy)\b", t)] == []


def test_figures_are_of_one_paper_and_use_what_is_on_its_card() -> None:
    for drawn in DRAWN:
        (slug,) = {n.slug for n in drawn.claims}
        assert drawn.use in recipe(slug).PAPER.uses, drawn.name
    assert len({f.name for f in DRAWN}) == len(DRAWN)


@pytest.mark.parametrize("bridge", BRIDGES, ids=lambda b: b.says[:40])
def test_numbers_of_bridges_equal_the_records(bridge: Bridge) -> None:
    """Mean, interval and n by scipy, straight from the record's file, in the order of the text."""
    wanted = []
    for slug, claim, metric in NUMBER.findall(bridge.says):
        record = json.loads((shipped() / slug / f"{claim}.json").read_text())
        values = [s["metrics"][metric or record["metric"]] for s in record["seeds"]]
        mean, half = np.mean(values), stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
        wanted.append((mean, mean - half, mean + half, len(values)))
    page = _words()
    assert "no longer rests" not in page
    number = r"(-?[\d.e-]+) \\\[(-?[\d.e-]+), (-?[\d.e-]+); n = (\d+)\\\]"
    start = page.index(re.split(r"\{", bridge.says)[0])
    found = re.findall(number, page[start : page.index("\n", start)])
    assert len(found) == len(wanted)
    for shown, (value, low, high, n) in zip(found, wanted, strict=True):
        assert [float(x) for x in shown[:3]] == pytest.approx([value, low, high], 6e-3, 1e-9)
        assert int(shown[3]) == n


def _unlike(record: dict[str, Any], value: int) -> None:
    """Other numbers in every seed, and in what was made from them."""
    for seed in record["seeds"]:
        seed["metrics"] = dict.fromkeys(seed["metrics"], float(value))
    record["effect"] |= {"value": float(value), "ci_low": value - 3.0, "ci_high": value + 3.0}


def test_other_records_change_every_place_that_tells_them() -> None:
    """Each claim gets a value of its own, from 101 on, and every place must show that one."""
    every = list(_every())
    before = _page(every)
    values = {
        Name(e.paper.slug, c): 101 + 2 * i + 40 * j
        for j, e in enumerate(_library().values())
        if f"/{e.paper.slug}.md" in before  # papers on data have a story of their own
        for i, c in enumerate(e.records)
    }
    for name, value in values.items():
        (at,) = [i for i, e in enumerate(every) if e.paper.slug == name.slug]
        every[at] = _with(every[at], name.claim, lambda r, v=value: _unlike(r, v))
    after = _page(every)
    for slug, claim in ((n.slug, n.claim) for n in values):
        value = values[Name(slug, claim)]
        shown = f"{value:.3g} \\[{value - 3:.3g}, {value + 3:.3g}\\]"
        bullets = [x for x in after.splitlines() if x.startswith("- **") and f"(`{claim}`)" in x]
        (row,) = [x for x in after.splitlines() if f"| `{claim}`:" in x and f"/{slug}.md" in x]
        assert all(shown in line for line in [row, *bullets])
    for bridge in BRIDGES:
        start = after.index(NUMBER.split(bridge.says)[0])
        said = after[start : after.index("\n", start)]
        for slug, claim, metric in NUMBER.findall(bridge.says):
            value = values[Name(slug, claim)]
            low, high = (value, value) if metric else (value - 3, value + 3)
            assert f"{value:.3g} \\[{low:.3g}, {high:.3g}; n = " in said


def test_another_verdict_is_told_and_silences_what_rested_on_it() -> None:
    name = Name("grokking_stability", "stablemax")

    def fails(record: dict[str, Any]) -> None:
        record["verdict"] = "fails"

    changed = [_with(e, name.claim, fails) if e.paper.slug == name.slug else e for e in _every()]
    before, after = _words(), _page(changed)
    assert "- **holds**: With StableMax" in before and "- **fails**: With StableMax" in after
    assert "They are not the same" in before and "They are not the same" not in after
    assert "no longer rests on the records: `stablemax` is fails, not holds." in after
    # What does not rest on it is still said.
    assert "Weight decay and perpendicular gradients act on one and the same" in after
    assert re.findall(r"So far (\d+) claims", before) == re.findall(r"So far (\d+) claims", after)


def test_the_counts_are_the_records_words() -> None:
    told_of = [e for e in _every() if _is_told(e)]
    words = [
        e.records[c.id]["verdict"] if c.id in e.records else "not measured"
        for e in told_of
        for c in e.claims
    ]
    (said,) = re.findall(r"So far (\d+) claims: (.+?);", _words())
    assert int(said[0]) == len(words)
    for word in set(words):
        assert f"{word} {words.count(word)}" in said[1]


def test_a_control_that_was_not_met_is_told_with_its_number() -> None:
    found = [
        (c.id, k)
        for e in _every()
        for c in e.claims
        if _is_told(e) and c.id in e.records and e.records[c.id]["verdict"] == "inconclusive"
        for k in e.records[c.id]["controls"]
        if not k["met"]
    ]
    page = _words()
    for claim, control in found:
        (line,) = [x for x in page.splitlines() if x.startswith("- **") and f"`{claim}`" in x]
        assert "control not met" in line and f"({control['value']:.3g}" in line


def test_a_claim_that_fails_is_never_told_by_its_verdict_alone() -> None:
    name = Name("universality_lens", "larger_class_is_free")

    def fails(record: dict[str, Any]) -> None:
        record["verdict"] = "fails"

    assert "`larger_class_is_free` **holds**" in _words()
    changed = [_with(e, name.claim, fails) if e.paper.slug == name.slug else e for e in _every()]
    part = _page(changed)
    part = part[part.index("### How rare it is") : part.index("### Which examples matter")]
    assert re.search(r"- \*\*fails\*\*: .+ claimed: below 1.25 \(`larger_class_is_free`\)", part)


def test_without_records_it_says_so_and_draws_nothing() -> None:
    made = gallery([replace(e, records={}) for e in _every()])
    page = made[PAGE].decode()
    assert set(made) == {PAGE} and "![" not in page
    assert "**holds**:" not in page and "**not measured**:" in page
    assert "is not measured" in page and page.count("n = 5") == 0


def test_a_paper_without_claims_is_left_out_and_none_gives_nothing() -> None:
    kept = [e for e in _every() if e.paper.slug != "universality_lens"]
    page = _page(kept)
    assert "universality_lens" not in page.replace("\\", "").split("no longer rests")[0]
    assert "`bound`" not in page and "`width_costs_nothing` is not built" in page
    assert gallery([e for e in _every() if not e.claims]) == {}


def test_new_claims_and_papers_are_picked_up() -> None:
    """A claim that no part names is told where the rest of its paper is, a paper at the end."""
    old = _library()["grokking_stability"]
    new = replace(old.claims[0], id="brand_new", says="It is new.")
    more = SimpleNamespace(PAPER=old.paper, CLAIMS=(*old.claims, new), plot=old.recipe.plot)
    other = SimpleNamespace(
        PAPER=replace(old.paper, slug="other", title="On others"), CLAIMS=(new,), plot=None
    )
    every = [Entry(more, old.records), Entry(other, {})]
    every += [e for e in _every() if e.paper.slug != "grokking_stability"]
    page = _page(every)
    cures = page[page.index("### Its cures") : page.index("### Weight decay against")]
    assert "`brand_new` **not measured**" in cures
    last = page[page.index("### Measured too: the claims") :]
    assert "[other](papers/other.md)" in last
    assert placed({"other": every[1]})["Measured too", ""] == [Name("other", "brand_new")]


def _images(page: str) -> dict[str, str]:
    tokens = MarkdownIt("commonmark").parse(page)
    found = [c for t in tokens for c in t.children or [] if c.type == "image"]
    return {str(c.attrs["src"]): "".join(k.content for k in c.children or []) for c in found}


def test_images_and_links_of_the_page_in_the_repository_exist() -> None:
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    images = _images(page)
    there = {p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / FIGURES).glob("*.svg")}
    assert set(images) == there == {f"gallery/{f.name}.svg" for f in DRAWN}
    links = re.findall(r"\]\(([^)#]+\.md)\)", page)
    assert links and all((ROOT / "docs" / link).is_file() for link in links)
    titles = re.findall(r"^#+ (.+)$", page, re.M)
    anchors = {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles}
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= anchors


def test_each_figure_has_its_alt_text_command_and_import() -> None:
    page = _whole()
    images = _images(page)
    for drawn in DRAWN:
        entry = _library()[drawn.claims[0].slug]
        alt = images[f"gallery/{drawn.name}.svg"]
        for name in drawn.claims:
            record = entry.records[name.claim]
            assert f"{record['verdict']}, {record['effect']['value']:.3g} [" in alt
        block = page[page.index(f"gallery/{drawn.name}.svg") :]
        line = block[block.index("Measure it again") :].split("\n")[0]
        names = " ".join(n.claim for n in drawn.claims)
        assert f"`heldout reproduce {entry.paper.slug} --claim {names}" in line
        assert f"from {drawn.use.rpartition('.')[0]} import {drawn.use.rpartition('.')[2]}" in line
        seeds = len(record["seeds"])
        assert (f"--seeds {seeds}" in line) == (seeds != 5)


def test_the_time_is_of_every_group_of_runs_once() -> None:
    """Two claims of one group took its runs once, by hand from the records' seconds."""
    page, library = _whole(), _library()["grokking_corrupted"]
    seconds = sum(s["wall_s"] for s in library.records["coexistence"]["seeds"])
    minutes, rest = divmod(round(seconds), 60)
    assert f"--claim coexistence unlearning` ({minutes} min {rest} s on one core)" in page


def test_figures_are_the_same_bytes_each_time() -> None:
    first = (replace(CHAPTERS[0], parts=CHAPTERS[0].parts[:1]),)
    name = f"{FIGURES}/{DRAWN[0].name}.svg"
    svg = gallery(_every(), first)[name]
    assert svg == gallery(_every(), first)[name] and b"<svg" in svg


@pytest.mark.parametrize("drawn", DRAWN, ids=lambda f: f.name)
def test_nothing_lies_on_the_data_and_no_letter_is_tiny(drawn: Figure) -> None:
    entry = _library()[drawn.claims[0].slug]
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    made = Canvas(figsize=(6.4, 4.2), layout="constrained")
    ax = made.subplots()
    (drawn.draw or entry.recipe.plot)(dict(entry.records), ax)
    tidy(ax)
    FigureCanvasAgg(made).draw()
    whole, axes = made.bbox, ax.get_window_extent()
    assert ax.get_legend() is None and axes.height > 2.2 * made.dpi
    for legend in made.legends:
        box = legend.get_window_extent()
        assert not box.overlaps(axes) and whole.x0 <= box.x0 and box.x1 <= whole.x1
        assert all(t.get_fontsize() >= 9 for t in legend.get_texts())
    ticks = [t for t in ax.get_xticklabels() + ax.get_yticklabels() if t.get_text()]
    assert ticks and all(t.get_fontsize() >= 9 for t in ticks)
    boxes = sorted((t.get_window_extent() for t in ax.get_xticklabels() if t.get_text()),
                   key=lambda b: b.x0)  # fmt: skip
    assert all(a.x1 <= b.x0 for a, b in zip(boxes, boxes[1:], strict=False))


def test_a_plot_that_raises_is_named() -> None:
    def broken(records: Any, ax: Any) -> Any:
        raise ZeroDivisionError

    part = replace(PARTS[0], figures=(replace(PARTS[0].figures[0], draw=broken),))
    with pytest.raises(HeldoutError, match="plot of grokking_stability raised ZeroDivisionError"):
        gallery(_every(), (replace(CHAPTERS[0], parts=(part,)),))


def test_hostile_words_of_a_card_break_no_table() -> None:
    old = _library()["wide_cnn"]
    says = "a|b `c` *d* [f](g) <b>h</b> $i$"
    claims = tuple(replace(c, says=says, paper_value=says, unit="x|y") for c in old.claims)
    hostile = SimpleNamespace(PAPER=old.paper, CLAIMS=claims, plot=old.recipe.plot)
    rows = _tables(_page([Entry(hostile, old.records)]))
    assert {len(r) for r in rows} == {6} and rows[1][0].endswith(says)


def test_the_rule_of_verdicts_is_the_one_that_is_printed() -> None:
    """Every printed verdict is what the rule says of the record's seeds now."""
    for entry in _library().values():
        for claim in entry.claims:
            if record := entry.records.get(claim.id):
                assert judge(claim, record["scale"], record["seeds"]).word == record["verdict"]


def test_a_part_without_any_claim_is_no_error() -> None:
    part = Part("Empty", "Nothing yet.", ())
    page = _page(_every(), (replace(PLAIN[0], parts=(part, *PLAIN[0].parts)),))
    assert "### Empty\n\nNothing yet.\n" in page
