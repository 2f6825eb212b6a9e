"""A paper's page against the records themselves; its files; and paths that lead nowhere."""

from __future__ import annotations

import asyncio
import json
import math
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from defusedxml import ElementTree
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert
from starlette.testclient import TestClient

from heldout.papers.card import Claim
from heldout.papers.catalogue import claims, record_path
from heldout.serve import paper_page as module
from heldout.serve.figures import Figures, draw
from heldout.serve.interval_plot import WIDTH, interval_plot
from heldout.serve.items import Item, Library
from heldout.serve.measured import measured
from heldout.serve.paper_page import fetched_bibtex
from heldout.serve.related import Nearness
from heldout.serve.site import Site
from heldout.serve.storage.tables import fetched

SLUG = "wide_cnn"


def add(site: Site, **values: Any) -> str:
    row = {
        "arxiv": "2511.00001", "version": 2, "title": "On <b>bold</b> & plain",
        "abstract": "An abstract. " * 60, "authors": 2, "names": "A. Ünal, C. D}", "categories":
        "cs.LG", "published": "2025-11-03", "source": "arxiv", "fetched_at": 0.0,
    } | values  # fmt: skip
    with site.database.write() as connection:
        connection.execute(insert(fetched), [row])
    return str(row["arxiv"])


def test_every_claim_has_its_record_on_the_page(client: TestClient) -> None:
    text = client.get(f"/papers/{SLUG}").text
    for claim in claims(SLUG):
        found = json.loads(Path(record_path(SLUG, claim.id)).read_text("utf-8"))
        block = text.split(f'id="claim-{claim.id}"')[1].split("</section>")[0]
        effect = found["effect"]
        assert f"<strong>{effect['value']:.3g}</strong>" in block
        assert f"[{effect['ci_low']:.3g}, {effect['ci_high']:.3g}]" in block
        assert f"n = {effect['n']} seeds" in block
        assert f'class="badge {found["verdict"]}"' in block
        met = sum(c["met"] for c in found["controls"])
        if found["controls"]:
            assert f"{met} of {len(found['controls'])} control" in block
    assert "heldout reproduce wide_cnn --scale small --seeds" in text
    assert "from heldout.measures" in text and "@misc{wide_cnn," in text


def test_every_paper_has_a_page_of_bounded_weight(
    client: TestClient, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Figures, "ask", lambda *_: True)  # one is drawn further below
    for slug, item in site.library.items.items():
        made = client.get(f"/papers/{slug}")
        assert made.status_code == 200, slug
        assert len(made.content) < 150_000, (slug, len(made.content))
        assert made.text.count('<section class="claim ') == sum(
            n for word, n in item.counts.items() if word != "not built"
        )
        assert ("Not built yet" in made.text) is not item.built
        # One heading of the first order, and no order left out on the way down.
        orders = [int(n) for n in re.findall(r"<h([1-6])", made.text)]
        assert orders.count(1) == 1 and orders[0] == 1
        assert all(after - before <= 1 for before, after in zip(orders, orders[1:], strict=False))
        ids = re.findall(r'\bid="([^"]+)"', made.text)
        assert len(ids) == len(set(ids)), slug
        assert " style=" not in made.text and "<style" not in made.text


def test_numbers_of_the_library_lead_to_the_slug(client: TestClient) -> None:
    for key in ("2208.01003", "2208.01003v1", "2208.01003v12", "arXiv:2208.01003v1"):
        made = client.get(f"/papers/{key}", follow_redirects=False)
        assert (made.status_code, made.headers["location"]) == (308, "/papers/wide_cnn")


def test_fetched_papers_have_their_own_page(client: TestClient, site: Site) -> None:
    key = add(site)
    old = add(site, arxiv="math.GT/0309136", title="Old", published="2003-09-08", names="")
    text = client.get(f"/papers/{key}").text
    assert "Authors&#39; abstract" in text or "Authors' abstract" in text
    assert "https://arxiv.org/abs/2511.00001v2" in text and "not built" in text
    assert "On &lt;b&gt;bold&lt;/b&gt; &amp; plain" in text and "<b>bold" not in text
    made = client.get(f"/papers/{key}v1", follow_redirects=False)
    assert (made.status_code, made.headers["location"]) == (308, f"/papers/{key}")
    assert client.get(f"/papers/{old}").status_code == 200
    cite = client.get(f"/papers/{key}.bib")
    assert "author = {A. Ünal and C. D}," in cite.text and cite.text.count("{") == cite.text.count(
        "}"
    )
    assert 'filename="2511.00001.bib"' in cite.headers["content-disposition"]
    assert client.get(f"/papers/{old}.bib").text.startswith("% No author field")
    assert client.get(f"/papers/{key}/figure.svg").status_code == 404
    assert client.get(f"/papers/{key}/records.json").status_code == 404


NOWHERE = [
    "%2e%2e", "%2e%2e/%2e%2e/etc/passwd", "..%2f..%2fetc%2fpasswd", "%00", "wide_cnn%00",
    "a" * 5000, "wide_cnn%0d%0aset-cookie:x", "2208.01003%00", "WIDE_CNN", "2511.99998", "9.9v9",
    "%F0%9F%98%80", "%FF", "wide_cnn/figure.svg%00", "wide_cnn/records/..%2f..%2fx.json",
    "wide_cnn/records/nope.json", "nope/figure.svg", "nope.bib", "..bib", "a/b/c/d",
    "wide_cnn/records/seeds.json", "symbolic_nets/records.json", "symbolic_nets/figure.svg",
]  # fmt: skip


async def status(app: Any, path: str) -> int:
    """Of a path that a client would have tidied up before sending it."""
    told: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        told.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(),
             "query_string": b"", "headers": [(b"host", b"127.0.0.1")], "http_version": "1.1",
             "scheme": "http", "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 1),
             "root_path": ""}  # fmt: skip
    await app(scope, receive, send)
    return int(told[0]["status"])


def test_paths_that_lead_nowhere_say_so(client: TestClient) -> None:
    for path in ("..", "../../etc/passwd", "wide_cnn/../../x", "wide_cnn/records/../x.json", "\0"):
        assert asyncio.run(status(client.app, f"/papers/{path}")) == 404, path
    for path in NOWHERE:
        made = client.get(f"/papers/{path}", follow_redirects=False)
        assert made.status_code == 404, (path, made.status_code)
        assert "No such page" in made.text and "set-cookie:x" not in str(made.headers)


def test_records_are_the_shipped_files(client: TestClient) -> None:
    first = claims(SLUG)[0].id
    made = client.get(f"/papers/{SLUG}/records/{first}.json")
    assert made.content == Path(record_path(SLUG, first)).read_bytes()
    assert made.headers["content-type"] == "application/json"
    every = client.get(f"/papers/{SLUG}/records.json").json()
    assert list(every) == [c.id for c in claims(SLUG)] and every[first] == made.json()
    assert client.get(f"/papers/{SLUG}.bib").text.count("@misc{") == 1


def claim(direction: str = "above", threshold: float = 0.5) -> Claim:
    return Claim("a", "", "m", direction, threshold, "points", "", "small", "")  # type: ignore[arg-type]


def test_a_record_of_another_threshold_says_so() -> None:
    record = {
        "verdict": "holds", "reason": "0.6 lies above 0.4.", "direction": "above", "threshold": 0.4,
        "effect": {"value": 0.6, "ci_low": 0.45, "ci_high": 0.75, "n": 5}, "controls": [],
        "scale": "small",
    }  # fmt: skip
    found = measured(claim(), record)
    assert "above 0.4" in found.moved and found.why == "holds: 0.6 lies above 0.4."
    same = measured(claim(threshold=0.4), record)
    assert not same.moved and same.why == "holds: the whole interval lies above 0.4."
    lost = measured(claim(), record | {"effect": {"value": None, "n": 0}, "threshold": None})
    assert lost.plot is None and lost.number == ""


@given(
    st.lists(st.floats(-1e300, 1e300), min_size=3, max_size=3).map(sorted),
    st.floats(-1e300, 1e300),
    st.sampled_from(["above", "below"]),
)
def test_a_plot_keeps_order_and_stays_inside(
    ends: list[float], threshold: float, direction: str
) -> None:
    low, value, high = ends
    found = interval_plot(value, low, high, threshold, direction)
    if found is None:  # too far apart for floats
        assert max(*ends, threshold) - min(*ends, threshold) > 1e299
        return
    assert -2 <= found.low <= found.point + 1.6 and found.point - 1.6 <= found.high <= WIDTH + 2
    assert 0 <= found.line <= WIDTH and found.high - found.low >= 2.9
    start, wide = found.side
    assert start >= 0 and start + wide <= WIDTH + 0.11
    # The threshold's side is told by the picture as by the numbers, where both can be told apart.
    if low > threshold and found.low - found.line > 3:
        assert (direction == "above") == (start <= found.low <= start + wide)


def test_plots_of_what_is_not_finite_are_left_out() -> None:
    for bad in (math.nan, math.inf, None):
        assert interval_plot(0.5, bad, 0.6, 0.1, "above") is None  # type: ignore[arg-type]


def test_related_papers_are_those_that_share_package_and_words() -> None:
    library = Library.load()
    nearness = Nearness.of(library.items.values())
    found = [i.key for i in nearness.near(library.items["grokking_corrupted"])]
    assert {"grokking_stability", "benign_xor"} <= set(found) and len(found) == 4
    stranger = Item("2511.00002", "Grokking of modular arithmetic", "2025-11-01", "2511.00002",
                    "Networks that grok modular arithmetic memorize labels first.")  # fmt: skip
    assert nearness.near(stranger)[0].key == "grokking_corrupted"
    assert nearness.near(Item("x", "Zzz", "", "", "qqq")) == []


def test_names_cannot_leave_their_bibtex_field() -> None:
    item = Item("2511.00001", "T", "2025-11-01", "2511.00001", "", 1, "A}, url = {https://x\n% B")
    text = fetched_bibtex(item)
    entry = text[text.index("@") :]
    assert entry.count("{") == entry.count("}") and "% B" not in entry
    assert re.search(r"author = \{[^{}]*\},\n", entry)


@pytest.mark.draws
@pytest.mark.sqlite_only
def test_a_figure_is_drawn_once_by_another_process(client: TestClient, site: Site) -> None:
    digest = module.paper_page(site, SLUG).digest
    for _ in range(9):  # on a busy machine drawing takes longer than a visitor is let wait
        first = client.get(f"/papers/{SLUG}/figure.svg?v={digest}")
        if first.status_code != 503:
            break
    assert first.status_code == 200 and first.headers["content-type"] == "image/svg+xml"
    assert "immutable" in first.headers["cache-control"]
    assert first.headers["content-security-policy"].startswith("default-src 'none'")
    root = ElementTree.fromstring(first.content)
    assert root.tag.endswith("svg") and not [e for e in root.iter() if e.tag.endswith("script")]
    path = site.settings.data / "figures" / f"{SLUG}-{digest}.svg"
    stamp = path.stat().st_mtime_ns
    assert client.get(f"/papers/{SLUG}/figure.svg").content == first.content
    assert path.stat().st_mtime_ns == stamp
    assert json.loads(path.with_suffix(".json").read_text("utf-8"))


@pytest.mark.draws
def test_a_figure_that_cannot_be_drawn_is_not_asked_for_again(tmp_path: Path) -> None:
    drawn = Figures(tmp_path)
    assert drawn.ask("no_such_paper", "0")
    until = time.monotonic() + 60
    while drawn.ask("no_such_paper", "0") and time.monotonic() < until:
        time.sleep(0.05)
    assert not drawn.ask("no_such_paper", "0") and drawn.alt("no_such_paper", "0") == ""
    drawn.stop()
    assert not drawn.ask("wide_cnn", "0")


@pytest.mark.draws
def test_an_older_figure_goes_when_a_newer_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / f"{SLUG}-old.svg"
    old.write_text("old")
    (tmp_path / "wide_cnn_other-old.svg").write_text("of another paper")
    # A stand-in for matplotlib, which has its own test above.
    code = "import sys,pathlib; pathlib.Path(sys.argv[-1]).write_text('new')"
    real = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda a, **k: real([sys.executable, "-c", code, *a[3:]], **k)
    )
    drawn = Figures(tmp_path)
    drawn.ask(SLUG, "new")
    until = time.monotonic() + 60
    while old.exists() and time.monotonic() < until:
        time.sleep(0.02)
    drawn.stop()
    left = {p.name for p in tmp_path.glob("*.svg")}
    assert left == {f"{SLUG}-new.svg", "wide_cnn_other-old.svg"}


def test_a_table_that_raises_leaves_the_rest_of_the_page() -> None:
    def table(_: Any) -> Any:
        raise KeyError("a record of another version")

    made = SimpleNamespace(PAPER=SimpleNamespace(slug="x"), table=table)
    assert module._table(made, {"a": {}}) == ()
    made.table = lambda _: (["name", "tau"], [["a", 0.5], ["b", 1]])
    assert module._table(made, {"a": {}}) == (("name", "tau"), ("a", "0.5"), ("b", "1"))


def test_about_has_the_rule_and_the_formula(client: TestClient) -> None:
    text = client.get("/about").text
    assert "reaches both sides" in text and "/ 7 days" in text and "no telemetry" in text


def test_pages_need_neither_torch_nor_matplotlib(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from starlette.testclient import TestClient;"
        "from heldout.serve.app import create_app, make_site;"
        "from heldout.serve.settings import Settings;"
        f"app = create_app(make_site(Settings(Path({str(tmp_path)!r}))));"
        "client = TestClient(app, base_url='http://127.0.0.1:8000');"
        "assert client.get('/').status_code == 200;"
        "assert client.get('/papers/data_diet').status_code == 200;"
        "print({'torch', 'matplotlib', 'sklearn', 'sentence_transformers'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


def test_draw_refuses_an_unknown_paper(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no_such"):
        draw("no_such", tmp_path / "x.svg")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.draws
def test_a_folder_that_cannot_be_written_does_not_keep_visitors_waiting(tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("a file where the folder should be")
    drawn = Figures(tmp_path / "figures")
    assert drawn.ask(SLUG, "0")
    until = time.monotonic() + 60
    while drawn.ask(SLUG, "0") and time.monotonic() < until:
        time.sleep(0.02)
    assert not drawn.ask(SLUG, "0")
    drawn.stop()
