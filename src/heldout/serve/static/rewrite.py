"""A served page as a page that works from disk: relative links, and no form that needs a server."""

from __future__ import annotations

from collections.abc import Callable, Collection
from html import escape
from html.parser import HTMLParser

_VOID = frozenset({"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source"})
_SERVED = "Votes, comments and runs need a server: heldout serve shows this page with them."

Linked = Callable[[str], str | None]
Attributes = list[tuple[str, str | None]]


def rewritten(html: str, linked: Linked, filters: str = "", without: Collection[str] = ()) -> str:
    """Return a page of ours as it is written to disk.

    Links to pages that are not written lose their link, and those in lists of links vanish; forms
    vanish but for the search. Our own pages are well-formed, and only such are given.

    Args:
        html: the page, with links that begin with "/".
        linked: relative link for such an address, or None.
        filters: HTML that stands in place of the feed's filters.
        without: elements with one of these classes are left out.

    >>> rewritten('<p><a href="/a">A</a>, <a href="/b">B</a></p>', {"/a": "a.html"}.get)
    '<p><a href="a.html">A</a>, B</p>'
    """
    made = _Rewriter(linked, filters, without)
    made.feed(html)
    made.close()
    return "".join(made.out)


class _Rewriter(HTMLParser):
    def __init__(self, linked: Linked, filters: str, without: Collection[str]) -> None:
        super().__init__(convert_charrefs=False)
        self.linked, self.filters, self.without = linked, filters, frozenset(without)
        self.out: list[str] = []
        self.open: list[tuple[str, str]] = []  # (tag, what is written at its end)
        self.skipped = 0  # depth within an element that is left out
        self.by = False  # within the line that says who wrote a comment, and when

    def handle_decl(self, decl: str) -> None:
        self.out.append(f"<!{decl}>")

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        void = tag in _VOID
        if self.skipped:
            self.skipped += not void
            return
        given = dict(attrs)
        if self._left_out(tag, given):
            self.skipped = 0 if void else 1
            return
        closes = f"</{tag}>"
        if tag == "a" and (given.get("href") or "").startswith("/"):
            link = self.linked(given["href"] or "")
            if link is None:
                self.open.append((tag, ""))  # its words stay
                return
            given["href"] = link
        elif not self._linked(tag, given):
            self.skipped = 0 if void else 1
            return
        if not void:
            self.open.append((tag, closes))
        self.by = self.by or given.get("class") == "by"
        self.out.append(_start(tag, given))

    def handle_startendtag(self, tag: str, attrs: Attributes) -> None:
        if not self.skipped:
            self.out.append(_start(tag, dict(attrs))[:-1] + "/>")

    def handle_endtag(self, tag: str) -> None:
        if self.skipped:
            self.skipped -= 1
            return
        if self.open:
            name, closes = self.open.pop()
            assert name == tag, f"</{tag}> closes <{name}>"
            self.out.append(closes)
        if tag == "p":
            self.by = False

    def handle_data(self, data: str) -> None:
        if self.skipped:
            return
        if self.by and data.startswith(", ") and "·" in data:
            data = f" ·{data.partition('·')[2]}"  # "3 days ago" is not true for long
        self.out.append(data)

    def handle_entityref(self, name: str) -> None:
        if not self.skipped:
            self.out.append(f"&{name};")

    def handle_charref(self, name: str) -> None:
        if not self.skipped:
            self.out.append(f"&#{name};")

    def _left_out(self, tag: str, given: dict[str, str | None]) -> bool:
        # Whether an element goes with all that is in it; something may come in its place.
        css = (given.get("class") or "").split()
        if tag == "form":
            if given.get("method") != "post" and (given.get("action") or "").endswith("/search"):
                return False
            if "filters" in css:
                self.out.append(self.filters)
            elif "write" in css:
                self.out.append(f'<p class="soft small">{_SERVED}</p>')
            return True
        if tag == "a":
            href = given.get("href") or ""
            listed = any(name in ("nav", "aside") for name, _ in self.open)
            away = "/runs" in href or "/comments" in href or listed
            return href.startswith("/") and away and self.linked(href) is None
        if tag == "link" and given.get("rel") in ("canonical", "prev", "next"):
            return True
        # Such pages have no address of their own yet.
        named = (given.get("property") or "").startswith(("og:url", "og:image"))
        return named or not self.without.isdisjoint(css)

    def _linked(self, tag: str, given: dict[str, str | None]) -> bool:
        for name in ("href", "src", "action"):
            address = given.get(name)
            if tag == "a" or address is None or not address.startswith("/"):
                continue
            link = self.linked(address)
            if link is None:
                return False
            given[name] = link
        if tag == "script" and given.pop("type", None) == "module":
            given["defer"] = None  # a browser reads no module from disk
        return True


def _start(tag: str, given: dict[str, str | None]) -> str:
    told = "".join(
        f" {name}" if value is None else f' {name}="{escape(value)}"'
        for name, value in given.items()
    )
    return f"<{tag}{told}>"
