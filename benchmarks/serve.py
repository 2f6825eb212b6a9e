"""The page of papers with 100,000 fetched ones: times, memory, weights, start.

    python benchmarks/serve.py                    # all parts; some seven minutes
    python benchmarks/serve.py start load         # some of them; the world is made each time
    python benchmarks/serve.py --world DIR        # ... or kept in a folder, and used again

A real `heldout serve` in a process of its own, asked by 50 clients in another one. Each client
holds a connection and sends its next request after a pause of 1 s on average, drawn exponentially,
as readers do; the goals are judged on that. Beside it, the same clients without any pause: there
the time of an answer is 50 divided by the answers in a second, whatever the server does, so it
says how many answers it gives, not how fast it is. Pages are asked for in three ways:

    kept     as visitors do; a page that was made before and has not changed is sent again
    votes    the same, with a vote every second, after which every page is made anew
    fresh    every address is new, so no page was ever made before: the goals are judged on this

Times are those at the clients, from the request's first byte to the answer's last; `within` is
from the request's arrival at the application to its answer.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "serve")]
from _serve_process import Peak, Served, served  # noqa: E402
from _serve_requests import mix, queries  # noqa: E402

RESULTS = HERE / "results" / "serve.json"
PACKAGES = ("numpy", "fastapi", "starlette", "uvicorn", "sqlalchemy", "jinja2", "tantivy",
            "tokenizers", "scikit-learn")  # fmt: skip
CLIENTS, PAUSE_S, WARM_S = 50, 1.0, 2.0
PARTS = ("start", "weights", "load", "search", "svm", "postgresql")
Given = argparse.Namespace


def start(given: Given) -> dict[str, Any]:
    """Seconds from the command to the first whole page, and what was loaded by then."""
    found: dict[str, Any] = {}
    for name, folder in (("with_papers", given.world), ("empty_folder", None)):
        times = []
        for _ in range(5 if folder else 3):
            with tempfile.TemporaryDirectory() as empty:
                page = Served(folder or Path(empty))
                try:
                    times.append(page.first_page())
                    if folder and "torch_mapped" not in found:
                        page.ready()
                        page.get("/search?q=wrong+labels")
                        found["torch_mapped"] = "libtorch" in page.maps()
                finally:
                    found["stop_s"] = max(found.get("stop_s", 0.0), page.stop())
        found[name] = {"median_s": statistics.median(times), "each_s": times}
    return found


def weights(given: Given) -> dict[str, Any]:
    """Bytes of pages with their styles and scripts, as sent (gzip) and unpacked; no plots."""
    found = {}
    with served(given.world) as page:
        page.ready()
        largest = max(given.slugs, key=lambda s: len(page.get(f"/papers/{s}")[1]))
        for path in ("/", f"/papers/{largest}", f"/papers/{given.fetched[0]}", "/?sort=trending",
                     "/search?q=is+my+model+memorizing%3F"):  # fmt: skip
            html = page.get(path)[1].decode()
            parts = {path, *re.findall(r'(?:href|src)="(/assets/[^"]+\.(?:css|js))"', html)}
            sent = sum(len(page.get(p, **{"Accept-Encoding": "gzip"})[1]) for p in parts)
            whole = sum(len(page.get(p)[1]) for p in parts)
            found[path] = {"sent_kb": sent / 1000, "whole_kb": whole / 1000, "files": len(parts)}
    return found


def load(given: Given, database: str = "", short: bool = False) -> dict[str, Any]:
    """All ways of asking, with and without pauses, from one server; and its memory."""
    ways = [("kept", PAUSE_S), ("votes", PAUSE_S), ("fresh", PAUSE_S)]
    ways += [] if short else [("kept", 0.0), ("fresh", 0.0)]
    found: dict[str, Any] = {}
    with served(given.world, database=database, timed=True) as page:
        found["memory_at_start_mb"] = page.memory()
        page.ready()
        page.get("/search?q=wrong+labels")
        # Records are read when a paper is first looked at, which is told apart.
        cold = [_timed(lambda s=s: page.get(f"/papers/{s}"))[0] for s in given.slugs]
        found["first_visit_of_library_papers"] = {**_spread(cold), "max_ms": 1000 * max(cold)}
        with Peak(page) as peak:
            for seed, (way, pause) in enumerate(ways):
                name = f"{way}, {'a pause of 1 s' if pause else 'no pause'}"
                with _votes(given, database, way == "votes"):
                    found[name] = _driven(page, given, way, pause, seed)
        found["memory_peak_mb"] = peak.most
        found["memory_after_mb"] = page.memory()
    return found


def _driven(page: Served, given: Given, way: str, pause: float, seed: int) -> dict[str, Any]:
    asked = mix(given.fetched, given.slugs, given.days, seed, 30_000, way == "fresh")
    plan = {"port": page.port, "clients": CLIENTS, "pause_s": pause, "seconds": given.seconds,
            "warm_s": WARM_S, "seed": seed, "requests": asked}  # fmt: skip
    cpu = page.cpu()
    done = subprocess.run(
        [sys.executable, str(HERE / "_serve_load.py")], input=json.dumps(plan) + "\n",
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    cpu = page.cpu() - cpu
    told = json.loads(done.stdout)
    answers = told["answers"]
    made: dict[str, Any] = {
        "answers_per_s": len(answers) / given.seconds,
        "not_200": sum(a[3] != 200 for a in answers),
        "server_cores": cpu / (given.seconds + WARM_S),
        "clients_cores": told["busy"],
    }
    made["feed and paper"] = _spread([a[1] for a in answers if a[0] != "search"])
    for kind in ("feed", "paper", "search"):
        made[kind] = _spread([a[1] for a in answers if a[0] == kind])
        made[kind]["within"] = _spread([a[2] for a in answers if a[0] == kind])
    return made


class _votes:  # noqa: N801 - reads as a function where it is used
    # A vote every second, by another process of the operator's as far as the server can tell.
    def __init__(self, given: Given, database: str, wanted: bool) -> None:
        self.given, self.url, self.wanted = given, database, wanted
        self.end = threading.Event()
        self.thread = threading.Thread(target=self._cast)

    def __enter__(self) -> None:
        if self.wanted:
            self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.end.set()
        if self.wanted:
            self.thread.join()

    def _cast(self) -> None:
        from heldout.serve.storage import votes
        from heldout.serve.storage.database import Database

        base = Database(self.url or f"sqlite:///{self.given.world / 'heldout.db'}")
        while not self.end.wait(1.0):
            now = time.time()
            paper = self.given.fetched[int(now) % len(self.given.fetched)]
            with base.write() as connection:
                votes.cast(connection, paper, f"benchmark {now}", now)
        base.close()


def search(given: Given) -> dict[str, Any]:
    """One visitor who searches, with pages that were never made before: by words, and by both."""
    found: dict[str, Any] = {}
    for name, model in (("words", "none"), ("words and meaning", "")):
        with served(given.world, model=model) as page:
            page.ready()
            asked = queries()
            first, _ = _timed(lambda page=page, asked=asked: page.get(f"/search?q={asked[0]}"))
            times = [_timed(lambda q=q, page=page: page.get(f"/search?q={q}"))[0] for q in asked]
            found[name] = {"first_ms": 1000 * first, **_spread(times)}
    return found


def svm(given: Given) -> dict[str, Any]:
    """arxiv-sanity-lite's approach on the same papers: TF-IDF, and a linear SVM for each query."""
    from _serve_world import texts
    from serve_search import svm_ranker

    from heldout.serve.search.evaluate import judged

    names, papers = texts(given.world)
    fit, rank = _timed(lambda: svm_ranker(papers, names))
    asked = [q.query for q in judged("report")][:6]
    return {"index_s": fit, **_spread([_timed(lambda q=q: rank(q))[0] for q in asked])}


def postgresql(given: Given) -> dict[str, Any] | str:
    """The same clients, with PostgreSQL below."""
    from _serve_world import build, postgres

    if not os.environ.get("HELDOUT_TEST_POSTGRES"):
        return "not measured: HELDOUT_TEST_POSTGRES names no server"
    with tempfile.TemporaryDirectory() as folder, postgres() as url:
        shutil.copytree(given.world / "figures", Path(folder) / "figures")
        build(Path(folder), given.papers, url, encoded=20)
        there = argparse.Namespace(**{**vars(given), "world": Path(folder)})
        return load(there, url, short=True)


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    made = run()
    return time.perf_counter() - begin, made


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(1000 * s for s in seconds) or [float("nan")]
    return {
        "p50_ms": statistics.median(ordered),
        "p99_ms": ordered[int(0.99 * (len(ordered) - 1))],
        "n": len(seconds),
    }


def main() -> None:
    """Measure the parts that are asked for; each is written as soon as it is done."""
    from _common import environment
    from _serve_table import rounded, table, written
    from _serve_world import build, contents

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--papers", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each load")
    parser.add_argument("--world", type=Path, help="folder of the papers; made if it is not there")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    record = json.loads(given.results.read_text()) if given.results.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        given.world = given.world or Path(folder)
        if not (given.world / "heldout.db").exists():
            record["world"] = rounded({"papers": given.papers, **build(given.world, given.papers)})
        given.fetched, given.slugs, given.days = contents(given.world)
        for part in given.parts:
            before = round(os.getloadavg()[0], 1)
            seconds, made = _timed(lambda part=part: globals()[part](given))
            if isinstance(made, dict):
                made |= {"load_before": before, "took_s": seconds}
            record[part] = rounded(made)
            record["environment"] = environment(PACKAGES)
            written(given.results, record)
    sys.stdout.write(table(record) + "\n")


if __name__ == "__main__":
    main()
