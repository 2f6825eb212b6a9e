"""The site as plain files: every link leads to a file, and nothing gets out of the folder."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from defusedxml import ElementTree
from sqlalchemy import insert

from heldout.core.errors import InputError
from heldout.serve import history, static_site
from heldout.serve.figures import Figures
from heldout.serve.items import Library
from heldout.serve.site import Site
from heldout.serve.static.folder import MARK, replaced
from heldout.serve.static.plan import Plan, checked
from heldout.serve.static.rewrite import rewritten
from heldout.serve.static_site import export
from heldout.serve.storage import comments
from heldout.serve.storage.tables import fetched

OWN = ("data_diet", "wide_cnn", "symbolic_nets")
HOSTILE = "</script><img src=x onerror=alert(1)> ../../up \"quoted\" & 'so'"


@pytest.fixture
def small(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    history.remember(site)  # before the library is cut, so that exporting has nothing to keep
    items = {k: v for k, v in site.library.items.items() if k in OWN}
    site.library = Library(items, {i.arxiv: k for k, i in items.items()})

    def drawn(self: Figures, slug: str, digest: str) -> bool:
        if slug == "wide_cnn":
            return False  # as if drawing it had failed
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path(slug, digest).write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
        return True

    monkeypatch.setattr(Figures, "ask", drawn)
    whole = {"version": 1, "abstract": HOSTILE, "authors": 1, "names": HOSTILE, "categories": "",
             "organization": HOSTILE, "source": "arxiv", "fetched_at": 0.0,
             "published": "2025-11-03", "title": HOSTILE}  # fmt: skip
    numbers = ["2511.00001", "math.GT/0309136", "../../../up", "/etc/up", "..", "a/../../b"]
    numbers += [f"2510.{n:05d}" for n in range(30)]
    with site.database.write() as connection:
        connection.execute(insert(fetched), [whole | {"arxiv": n} for n in numbers])
    return site


class Links(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        self.links += [given[n] for n in ("href", "src", "action") if given.get(n)]
        self.ids.add(given.get("id", ""))


def pages_of(folder: Path) -> dict[Path, Links]:
    return {p: Links(p.read_text("utf-8")) for p in folder.rglob("*.html")}


def test_every_link_leads_to_a_file(small: Site, tmp_path: Path) -> None:
    with small.database.write() as connection:
        comments.add(connection, "data_diet", "A", "See **[here](https://a.org/x)** <b>", "v", 0.0)
    folder = tmp_path / "site"
    report = export(small, folder)
    assert report.papers == len(OWN) + 32 and report.left_out == ("the figure of wide_cnn",)
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != MARK]
    assert len(files) == report.files and sum(p.stat().st_size for p in files) == report.bytes
    pages = pages_of(folder)
    assert len(pages) > 40
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https"):
                assert parts.hostname != "127.0.0.1", (path, link)
                continue
            assert not parts.scheme and not parts.netloc and not link.startswith("/"), (path, link)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file() and target.is_relative_to(folder), (path, link)
            if parts.fragment and target.suffix == ".html":
                assert unquote(parts.fragment) in pages[target].ids, (path, link)
        for tag, given in page.tags:
            assert given.get("method") != "post" and given.get("type") != "module", (path, tag)
            assert not any(name.startswith("on") for name in given), (path, given)
    text = (folder / "papers" / "data_diet.html").read_text("utf-8")
    assert 'src="data_diet/figure.svg"' in text and "heldout serve" in text
    by = text.split('class="by"')[1].split("</p>")[0]
    assert "UTC</time> · <a" in by and "address of this comment" in by and " ago" not in by
    assert "<figure" not in (folder / "papers" / "wide_cnn.html").read_text("utf-8")


def test_what_programs_read(small: Site, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    export(small, folder)
    papers = json.loads((folder / "api" / "papers.json").read_text("utf-8"))
    assert papers["total"] == len(papers["items"]) == len(OWN) + 32 and papers["next"] is None
    assert all((folder / i["url"]).is_file() for i in papers["items"])
    paper = json.loads((folder / "api" / "papers" / "data_diet.json").read_text("utf-8"))
    for name in ("url", "records", "figure", "bibtex", "badge"):
        assert (folder / paper[name]).is_file(), name
    for claim in paper["claims"]:
        found = json.loads((folder / claim["record"]).read_text("utf-8"))
        assert found["verdict"] == claim["verdict"]
    atom = ElementTree.fromstring((folder / "atom.xml").read_bytes())
    links = [n.get("href").partition("#")[0] for n in atom.iter() if n.tag.endswith("}link")]
    assert links and all((folder / link).is_file() for link in links)
    script = (folder / "assets" / "search-index.js").read_text("utf-8")
    rows = json.loads(script.removeprefix("const HELDOUT_PAPERS = ").removesuffix(";\n"))
    assert len(rows) == papers["total"] and all((folder / row[0]).is_file() for row in rows)


def test_the_same_bytes_again_and_links_to_a_public_address(small: Site, tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    export(small, first)
    export(small, second)
    told = [
        {p.relative_to(f).as_posix(): p.read_bytes() for p in f.rglob("*") if p.is_file()}
        for f in (first, second)
    ]
    assert told[0] == told[1]
    small.settings = replace(small.settings, url="https://a.org/p")
    export(small, second)
    assert (second / "index.html").read_bytes() == told[0]["index.html"]
    atom = (second / "atom.xml").read_text("utf-8")
    assert 'rel="self" type="application/atom+xml" href="https://a.org/p/atom.xml"' in atom
    papers = json.loads((second / "api" / "papers.json").read_text("utf-8"))["items"]
    assert "https://a.org/p/papers/data_diet.html" in {i["url"] for i in papers}


def test_only_its_own_folder_is_replaced(
    small: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def quick(copy: Site, site: Site, writer: Any) -> tuple[list[str], int]:
        writer.write("index.html", b"new")
        return [], 1

    monkeypatch.setattr(static_site, "_write", quick)
    folder = tmp_path / "site"
    folder.mkdir()
    export(small, folder)  # empty
    (folder / "index.html").write_text("old")
    export(small, folder)  # made earlier
    assert (folder / "index.html").read_text() == "new"
    (folder / "CNAME").write_text("mine")
    with pytest.raises(InputError, match="CNAME"):
        export(small, folder)
    other = tmp_path / "other"
    other.mkdir()
    os.symlink(tmp_path, other / "link")
    with pytest.raises(InputError, match="link"):
        export(small, other)
    with pytest.raises(InputError):
        export(small, folder / "CNAME")
    with pytest.raises(InputError):
        export(small, Path("/"))
    (other / "link").unlink()
    # An error on the way leaves everything as it was.
    (folder / "CNAME").unlink()
    with pytest.raises(ZeroDivisionError), replaced(folder) as writer:
        writer.write("half.html", b"")
        raise ZeroDivisionError
    assert sorted(p.name for p in folder.iterdir()) == [MARK, "index.html"]
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/../b", "a//b", "", ".", "a/", ".x", "a\\b", "a\0", "ü", "c:x", "a."]
)
def test_names_that_lead_out_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        checked(name)
    with pytest.raises(InputError):
        Plan().add("/x", name)


def test_rewriting_keeps_text_as_it_is() -> None:
    html = '<p title="a &quot;b&quot; &amp;">1 &lt; 2 &#39; <a href="/x?q=1#y">x</a><br></p>'
    assert rewritten(html, {"/x?q=1#y": "x.html#y"}.get) == html.replace("/x?q=1#y", "x.html#y")
    gone = rewritten('<nav>a<a href="/x">x</a></nav><form method="post"><p>f</p></form>b',
                     lambda _: None)  # fmt: skip
    assert gone == "<nav>a</nav>b"
