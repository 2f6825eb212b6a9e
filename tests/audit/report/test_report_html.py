"""The page: complete, escaped, self-contained, accessible, small."""

import copy
import json
import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from heldout.audit.report.budget import BUDGETS
from heldout.audit.report.html import MAX_BYTES, environment, render
from heldout.audit.report.table_view import numbers_view
from heldout.audit.report.text import number_words
from heldout.audit.report.view import view

VOID = {"meta", "img", "br", "input", "link", "rect", "circle", "line", "path"}
VOID |= {"polyline", "polygon"}


class Page(HTMLParser):
    """What a browser would make of the page: elements with attributes, and text by section."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.stack, self.text, self.where = [], [], [], []
        self.unbalanced = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append((tag, dict(attrs).get("id")))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.stack or self.stack[-1][0] != tag:
            self.unbalanced.append(tag)
        else:
            self.stack.pop()

    def handle_data(self, data):
        self.text.append(data)
        self.where.append([i for _, i in self.stack if i])

    def within(self, place):
        found = [t for t, ids in zip(self.text, self.where, strict=True) if place in ids]
        return " ".join(" ".join(found).replace("\xa0", " ").split())

    def all(self, *tags):
        return [(t, a) for t, a in self.elements if t in tags]


@pytest.fixture(scope="module")
def page(built):
    return Page(render(built))


@pytest.fixture(scope="module")
def evil(hostile):
    return Page(render(hostile))


def test_every_check_is_on_the_page_with_its_status(page, built):
    words = {"not_applicable": "not applicable", "could_not_run": "could not run"}
    for name, check in built["checks"].items():
        text = page.within(f"check-{name.replace('_', '-')}")
        assert words.get(check["status"], check["status"]) in text
        assert check["reason"] in text and name in text


def test_every_number_is_shown_with_all_that_reading_it_needs(page, built):
    for name, check in built["checks"].items():
        text = page.within(f"check-{name.replace('_', '-')}").lower()
        for label, number in check["numbers"].items():
            words = number_words(number)
            for field in ("value", "interval", "n", "unit", "worse", "null"):
                assert words[field].lower() in text, (name, label, field)
            guide = words["guide"].lower()
            assert guide in text or guide.replace(label, "[name]") in text
            if number["ci_low"] is not None:
                assert words["level"] in text


def _numbers(*rows):
    base = {"value": 0.5, "ci_low": 0.4, "ci_high": 0.6, "n": 9, "unit": "accuracy (0-1)",
            "worse": "lower", "null": 0.1, "null_label": "by chance",
            "guide": "Share right."}  # fmt: skip
    return {f"number-{i}": base | row for i, row in enumerate(rows)}


def test_what_rows_share_is_said_once_and_exceptions_by_their_row():
    same = numbers_view(_numbers({}, {}, {}), 40)
    assert same["shared"]["guide"] == "Share right." and not same["unless"]
    assert same["columns"] == [] and not any(v for r in same["rows"] for v in r["own"].values())
    odd = numbers_view(_numbers({}, {}, {"guide": "Other.", "n": 5}), 40)
    assert odd["unless"] and odd["columns"] == ["n"] and odd["shared"]["n"] == ""
    assert [r["own"]["guide"] for r in odd["rows"]] == ["", "", "Other."]
    silent = numbers_view(_numbers({}, {}, {"guide": ""}), 40)
    assert silent["shared"]["guide"] == "" and silent["rows"][0]["own"]["guide"] == "Share right."
    one = numbers_view(_numbers({}), 40)
    assert one["shared"] is None and one["columns"] == ["n", "null"]


def test_guides_that_name_their_row_are_said_once():
    named = numbers_view(_numbers(*({"guide": f"Share of number-{i}."} for i in range(4))), 40)
    assert named["shared"]["guide"] == "Share of [name]."


@pytest.mark.parametrize(("count", "at_once", "folded"), [(10, 10, 0), (11, 8, 3), (60, 8, 32)])
def test_many_numbers_are_folded_and_counted(count, at_once, folded):
    shown = numbers_view(_numbers(*[{}] * count), 40)
    assert (len(shown["rows"]), len(shown["folded"])) == (at_once, folded)
    assert shown["more"] == max(0, count - 40)


def test_long_tables_are_folded_and_counted(report):
    rows = [[f"set {i}", 0.5, i] for i in range(60)]
    report["checks"]["gap"]["tables"] = [{"title": "T", "columns": ["a", "b", "c"], "rows": rows}]
    text = Page(render(report)).within("check-gap")
    assert "32 more rows" in text and "And 20 more rows in the JSON" in text
    assert all(f"set {i} " in text for i in range(40)) and "set 40 " not in text


def test_papers_are_linked_by_arxiv_id_only(report):
    report["actions"][0]["paper"] = "Guo et al., arXiv:1706.04599"
    report["actions"][1]["paper"] = "javascript:alert(1)"
    found = Page(render(report))
    outward = [a["href"] for _, a in found.all("a") if not a["href"].startswith("#")]
    assert outward == ["https://arxiv.org/abs/1706.04599"]


def test_parts_hold_the_right_checks_in_the_right_order(built):
    shown = view(built, BUDGETS[0])
    assert [c["id"] for c in shown["why"]] == ["shortcuts", "label_noise", "leakage"]
    assert [c["id"] for c in shown["how_well"]] == [
        "accuracy", "gap", "calibration", "shift_forecast",
    ]  # fmt: skip
    assert [c["id"] for c in shown["passed"]] == ["memorization", "numerics"]
    assert [c["id"] for c in shown["not_applicable"]] == ["groups"]
    assert [c["id"] for c in shown["could_not_run"]] == ["data_size"]
    shown_ids = [
        c["id"]
        for part in ("how_well", "why", "passed", "not_applicable", "could_not_run")
        for c in shown[part]
    ]
    assert sorted(shown_ids) == sorted(built["checks"])


def test_causes_follow_their_evidence(report):
    report["checks"]["leakage"]["evidence"] = 99.0
    assert [c["id"] for c in view(report, BUDGETS[0])["why"]][0] == "leakage"


def test_top_line_has_word_numbers_sentence_and_rule(page, built):
    text = " ".join(" ".join(page.text).replace("\xa0", " ").split())
    head = built["headline"]
    assert head["sentence"] in text and head["rule"] in text
    for part in ("Not ready", "76.4%", "63.4% to 86.1% (90% interval)", "n = 4", "6.3 points"):
        assert part in text


def test_actions_show_gain_kind_code_cost_and_paper(page, built):
    for action in built["actions"]:
        text = page.within("action-" + re.sub("[^a-z]", "-", action["id"]))
        for part in (action["title"], action["evidence"], action["cost"], action["gain_kind"]):
            assert part in text
        assert " ".join(action["code"].split()) in text
        assert action["gain"] is not None or "Gain unknown" in text


def test_long_ranking_is_cut_and_counted(page, built):
    assert len(built["checks"]["label_noise"]["examples"]) == 1257
    text = page.within("check-label-noise")
    assert "the first 12 of 1257" in text and "1245 more in the JSON" in text
    assert text.count("predicted 8 with") == 12


def test_page_is_made_of_the_json_and_nothing_else(built):
    again = json.loads(json.dumps(built))
    assert render(again) == render(built)


def test_rendering_leaves_the_report_as_it_was(report):
    before = copy.deepcopy(report)
    render(report)
    assert report == before


def test_page_needs_no_script_and_no_other_file(page):
    assert not page.all("script", "link", "iframe", "object", "embed", "base", "form")
    for tag, attrs in page.elements:
        assert not any(k.startswith("on") for k in attrs), tag
        for key in ("src", "href", "xlink:href", "action", "style"):
            value = attrs.get(key, "#")
            fine = value.startswith(("#", "data:image/png;base64,"))
            paper = tag == "a" and re.fullmatch(r"https://arxiv\.org/abs/[\d.]+", value)
            assert fine or paper, (tag, key, value)
    style = files("heldout.audit.report").joinpath("template/style.css").read_text()
    assert "url(" not in style and "@import" not in style


def _kinds(page):
    return {(t, *sorted(a)) for t, a in page.elements}


def test_hostile_strings_make_no_element(page, evil):
    assert _kinds(evil) == _kinds(page)
    for tag in ("svg", "img", "style", "meta", "article", "details"):
        assert len(evil.all(tag)) == len(page.all(tag))
    assert not evil.unbalanced and not evil.stack


def test_hostile_strings_are_shown_as_text(evil):
    text = "".join(evil.text)
    assert text.count("<script>alert(1)</script>") > 50
    assert "{{7*7}}" in text and "49" not in re.findall(r"evil\W*(\d\d)", text)
    assert not set("\x1b\u202e\ud800") & set(text)
    alts = [a["alt"] for t, a in evil.all("img")]
    assert alts and all("\x1b" not in a for a in alts)
    assert any("onerror=alert(2)" in a for a in alts)


def test_template_without_escaping_would_fail_these_tests(hostile, page):
    open_wide = environment().overlay(autoescape=False)
    torn = Page(open_wide.get_template("report.html").render(view(hostile, BUDGETS[0])))
    assert _kinds(torn) - _kinds(page) and torn.all("script")


def test_elements_nest(page):
    assert not page.unbalanced and not page.stack


def test_headings_and_landmarks(page):
    levels = [int(t[1]) for t, _ in page.elements if re.fullmatch("h[1-6]", t)]
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    for landmark in ("header", "main", "nav", "footer"):
        assert len(page.all(landmark)) == 1
    assert page.all("html")[0][1]["lang"] == "en"


def test_text_alternatives_and_table_scopes(page):
    assert all(a.get("alt") for _, a in page.all("img"))
    assert all(a.get("scope") in ("col", "row") for _, a in page.all("th"))
    charts = page.all("svg")
    assert len(charts) >= 6
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attrs in charts:
        assert attrs["role"] == "img"
        assert set(attrs["aria-labelledby"].split()) <= set(ids)
    links = [a["href"][1:] for _, a in page.all("a") if a["href"].startswith("#")]
    assert links and set(links) <= set(ids)


def _rooms():
    style = files("heldout.audit.report").joinpath("template/style.css").read_text()
    light, dark = (
        dict(re.findall(r"--(\w+): (#\w+)", block))
        for block in re.findall(r":root \{([^}]*#[^}]*)\}", style)[:2]
    )
    return {"light": light, "dark": dark}


def _luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("ink", ["ink", "soft", "failed", "warning", "passed", "link"])
@pytest.mark.parametrize("ground", ["paper", "wash"])
def test_contrast_is_at_least_wcag_aa(mode, ink, ground):
    room = _rooms()[mode]
    high, low = sorted((_luminance(room[ink]), _luminance(room[ground])), reverse=True)
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_contrast_formula_at_its_ends():
    assert (_luminance("#fff") + 0.05) / (_luminance("#000000") + 0.05) == pytest.approx(21)


def _swollen(report):
    """A report far over the budget in images, points, rows and strings."""
    noise = [[(7 * i * j) % 251 for j in range(32)] for i in range(32)]
    image = [[[v, (v * 3) % 256, (v * 5) % 256] for v in row] for row in noise]
    for k in range(14):
        check = copy.deepcopy(report["checks"]["label_noise"])
        for i, e in enumerate(check["examples"][:12]):
            e["preview"] = {"image": [[[(c + i * k) % 256 for c in p] for p in r] for r in image]}
            e["why"] = "w" * 5000
        items = [{"image": image, "caption": "c" * 999}] * 40
        check["figures"] = [
            {"kind": "thumbnails", "title": "t", "data": {"items": items}, "alt": "a"}
        ]
        report["checks"][f"plugin_{k}"] = check
    return report


def test_page_stays_under_its_budget(report):
    big = _swollen(report)
    first = environment().get_template("report.html").render(view(big, BUDGETS[0]))
    assert len(first.encode()) > MAX_BYTES, "the case must need the budget"
    text = render(big)
    assert len(text.encode()) < MAX_BYTES
    assert all(f"plugin_{k}<" in text for k in range(14))


def test_smallest_budget_still_names_every_check(built):
    text = render(built, max_bytes=1)
    assert all(name in text for name in built["checks"])
    assert "<svg" not in text and "<img" not in text
    assert len(text) < len(render(built)) / 1.5


def test_nothing_measured(report):
    for check in report["checks"].values():
        check |= {"status": "could_not_run", "reason": "No time.", "numbers": {}, "examples": []}
        check |= {"figures": [], "tables": [], "actions": []}
    report["actions"] = []
    report["headline"] |= {"shifted_accuracy": None, "test_accuracy": None, "gap": None}
    text = Page(render(report))
    assert text.within("check-accuracy").endswith("No time.")
    assert "No finding calls for an action." in " ".join(text.text)
