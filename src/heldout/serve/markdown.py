"""Comments: text that strangers wrote, made fit to store and to show.

Markdown becomes HTML without raw HTML, images or headings, and what comes out passes through a
list of the few elements that may stay. A reader's browser asks no other site for anything.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from typing import Any

import nh3
from markupsafe import Markup

LONGEST_TEXT = 5000
"""Characters of a comment."""
LONGEST_NAME = 60
"""Characters of a name."""

_TAGS = {"a", "blockquote", "br", "code", "em", "hr", "li", "ol", "p", "pre", "strong", "ul"}
# Under "*" stands what every element may have; left out, that would be `title` and `lang`.
_ATTRIBUTES: dict[str, set[str]] = {"*": set(), "a": {"href"}, "ol": {"start"}}
_SCHEMES = {"http", "https", "mailto"}

# Letters to Unicode, nothing to a reader: names and comments made of them would look empty.
_BLANK = "\u115f\u1160\u2800\u3164\uffa0\u034f\u17b4\u17b5"
_JOINERS = re.compile(
    "(?<!\\S)[\u200c\u200d]+|[\u200c\u200d]+(?!\\S)|(?<=[\u200c\u200d])[\u200c\u200d]+"
)
_MARK = "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f]"
_STACKED = re.compile(f"({_MARK}{{4}}){_MARK}+")


def cleaned(text: str) -> str:
    """Return a text without what a reader cannot see or what turns the page's letters around.

    Taken out are control characters, marks that turn the direction of writing, characters of no
    width (a single joiner within a word stays, since scripts and emoji need it), halves of
    surrogate pairs, private characters, and all but four of marks that are stacked on a letter.
    Lines end in "\\n"; more than one empty line in a row becomes one.

    >>> cleaned("a\\u202eb\\r\\n\\x00\\u200b c\\ufeff ")
    'ab\\n c'
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = re.sub("[\x0b\x0c\x85\u2028\u2029]", "\n", text)
    text = unicodedata.normalize("NFC", "".join(c for c in text if _stays(c)))
    text = _STACKED.sub(r"\1", _JOINERS.sub("", text))
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n\t ")


def cleaned_line(text: str) -> str:
    """Return a text on one line, cleaned, with single spaces.

    >>> cleaned_line(" Ada\\n\\tLovelace ")
    'Ada Lovelace'
    """
    return " ".join(cleaned(text).split())


def is_blank(text: str) -> bool:
    """Whether a reader would see nothing.

    >>> is_blank(" \\u3164\\u200b"), is_blank("1")
    (True, False)
    """
    return not any(unicodedata.category(c)[0] in "LNPS" for c in cleaned(text))


@lru_cache(maxsize=512)
def html(text: str) -> Markup:
    """Return a comment's Markdown (CommonMark) as HTML that can stand in a page.

    Links lead to http, https and mail addresses only, and say that they are a visitor's.

    >>> print(html("**a** <b>b</b> [c](javascript:d) ![e](https://f)"))
    <p><strong>a</strong> &lt;b&gt;b&lt;/b&gt; [c](javascript:d) !<a href="https://f" \
rel="nofollow ugc noopener">e</a></p>
    """
    made = nh3.clean(
        _markdown().render(text), tags=_TAGS, attributes=_ATTRIBUTES, url_schemes=_SCHEMES,
        link_rel="nofollow ugc noopener", strip_comments=True,
    )  # fmt: skip
    return Markup(made.strip())


def _stays(char: str) -> bool:
    if char in "\n\t\u200c\u200d":
        return True
    return char not in _BLANK and unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co")


@cache
def _markdown() -> Any:
    from markdown_it import MarkdownIt  # late: a page without comments needs none of it

    made = MarkdownIt("commonmark", {"html": False, "maxNesting": 12})
    # Headings would stand among those of the page; an image would be fetched from elsewhere.
    return made.disable(["image", "heading", "lheading", "html_block", "html_inline"])
