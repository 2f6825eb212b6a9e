"""Text of strangers: what comes out of any Markdown is harmless, and quick to make."""

from __future__ import annotations

import time
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.serve import markdown


class Elements(HTMLParser):
    """Everything in a piece of HTML, told by another parser than the one that cleans it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.other: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_comment(self, data: str) -> None:
        self.other.append(data)

    def handle_decl(self, decl: str) -> None:
        self.other.append(decl)


def harmless(html: str) -> bool:
    found = Elements(html)
    for tag, attributes in found.found:
        allowed = {"a": {"href", "rel"}, "ol": {"start"}}.get(tag, set())
        if tag not in markdown._TAGS or not set(attributes) <= allowed:
            return False
        target = urlsplit(attributes.get("href") or "")
        if target.scheme.lower() not in ("", "http", "https", "mailto"):
            return False
        if tag == "a" and attributes.get("rel") != "nofollow ugc noopener":
            return False
    return not found.other


ATTACKS = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "![x](https://evil.org/a.png)",
    "![x][y]\n\n[y]: https://evil.org/a.png", "[x](javascript:alert(1))", "<javascript:alert(1)>",
    "[x](JaVaScRiPt:alert(1))", "[x](java\nscript:alert(1))", "[x](&#106;avascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)", "[x](vbscript:x)", "[x](file:///etc/passwd)",
    '[x](https://a "onmouseover=alert(1)")', "[x](https://a'onclick='alert(1))", "# heading",
    "heading\n===", "<a href=x onclick=y>z</a>", "<!-- a --> <!doctype html>", "<style>*{}</style>",
    "``` onclick=x\ncode\n```", "<svg/onload=alert(1)>", "<math><mtext></p><img src=x onerror=y>",
    "<iframe srcdoc='<script>'>", "</div></li></ol><form action=//evil.org><input name=a>",
    "<textarea></textarea><b>", "[a]: javascript:x\n\n[a]", "<https://a.b/\"onclick=x>",
    "&lt;b&gt;",
    "[x](\x01javascript:alert(1))", "<noscript><p title='</noscript><img src=x onerror=y>'>",
)  # fmt: skip


@pytest.mark.parametrize("text", ATTACKS)
def test_nothing_but_a_few_elements_comes_out(text: str) -> None:
    assert harmless(markdown.html(text)), markdown.html(text)


@given(st.text("<>[]()!\"'`*_#&;:/\\=- \n\tajsrcvipt:<x0", max_size=120) | st.text(max_size=60))
def test_nothing_else_comes_out_of_any_text(text: str) -> None:
    assert harmless(markdown.html(text))


def test_the_judge_of_these_tests_finds_harm() -> None:
    for html in (
        "<script>", '<a href="javascript:x" rel="nofollow ugc noopener">', "<p onclick=x>",
        '<a href="https://a">', "<img src=x>", "<!-- x -->",
    ):  # fmt: skip
        assert not harmless(html)


def test_what_markdown_is_for_stays() -> None:
    text = (
        "*a* **b** `c<d`\n\n> e\n\n1. f\n2. g\n\n- h\n\n```\ni\n```\n\n[j](https://k.org/?l=1&m=2)"
    )
    html = markdown.html(text)
    assert "<em>a</em> <strong>b</strong> <code>c&lt;d</code>" in html
    tags = [tag for tag, _ in Elements(html).found]
    assert {"blockquote", "ol", "ul", "li", "pre", "a", "p"} <= set(tags)
    assert 'href="https://k.org/?l=1&amp;m=2" rel="nofollow ugc noopener"' in html


@pytest.mark.parametrize(
    "text",
    ["[" * 5000, "> " * 2500, "*a_" * 1600, "`" * 5000, "![" * 2500, "- " * 2500, "<" * 5000,
     "[a](" * 1250, "\\" * 5000, "&#x41;" * 800, "a\n" * 2500, "[x]: y\n" * 700, "1. " * 1600],
)  # fmt: skip
def test_no_comment_takes_long_to_show(text: str) -> None:
    markdown._markdown()
    begun = time.process_time()
    assert harmless(markdown.html(text[:5000]))
    assert time.process_time() - begun < 2.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"), ("a\x00\x07\x1b[31mb", "a[31mb"),
        ("user\u202egpj.exe", "usergpj.exe"), ("\u2066a\u2069\u200e\u200f\u061c", "a"),
        ("f\u200br\u2060e\ufeffe", "free"), ("a\n\n\n\n\nb", "a\n\nb"), ("a\ud800b", "ab"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",) * 2,  # a joiner that Persian needs
        ("\U0001f468\u200d\U0001f469",) * 2,  # and one that an emoji needs
        ("a\u200d\u200d\u200db \u200cc\u200c", "a\u200db c"),
        ("a" + "\u0301" * 50, "á" + "\u0301" * 4),
        ("\U000e0041\ue000\u3164\u115f", ""), ("  a  \n  b ", "a\n  b"), ("e\u0301", "é"),
    ],
)  # fmt: skip
def test_text_is_cleaned_of_what_nobody_sees(text: str, expected: str) -> None:
    assert markdown.cleaned(text) == expected


@given(st.text("ab\u0301\u200c\u200d\u200b\u202e \n\t\r\x00\u3164é#", max_size=40) | st.text())
def test_cleaning_twice_changes_nothing(text: str) -> None:
    once = markdown.cleaned(text)
    assert markdown.cleaned(once) == once
    once.encode()
    line = markdown.cleaned_line(text)
    assert "\n" not in line and line == line.strip()
