"""Search by meaning: vectors on disk and in memory, one ranking from two, the encoder's process."""

from __future__ import annotations

import importlib.util
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.serve.search import meaning
from heldout.serve.search.fuse import reciprocal_ranks, weighted_sum
from heldout.serve.search.meaning import EncoderError, ProcessEncoder, model_name, model_of
from heldout.serve.search.vectors import VectorStore

SIZE = 8


def unit(n: int, seed: int = 0, size: int = SIZE) -> np.ndarray:
    made = np.random.default_rng(seed).standard_normal((n, size)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def test_the_nearest_are_those_of_the_largest_products() -> None:
    store, vectors = VectorStore(SIZE), unit(500)
    store.add([(n // 5, n % 5) for n in range(500)], [1] * 500, vectors)
    query = unit(1, seed=1)[0]
    near, cosines = store.nearest(query, 10)
    exact = vectors.astype(np.float16).astype(np.float32) @ query
    best = exact.reshape(100, 5).max(1)
    assert [row for row, _ in near] == list(np.argsort(-best)[:10])
    assert [c for _, c in near] == pytest.approx(sorted(best, reverse=True)[:10], abs=1e-6)
    assert cosines.of(7, 5) == pytest.approx(exact.reshape(100, 5)[7], abs=1e-6)
    assert cosines.of(999, 2) == [0.0, 0.0]


def test_a_text_that_changes_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    store, vectors = VectorStore(SIZE, tmp_path), unit(3)
    store.add([(1, -1), (2, -1)], [5, 6], vectors[:2])
    assert store.has((1, -1), 5) and not store.has((1, -1), 7) and not store.has((3, -1), 5)
    store.add([(1, -1)], [7], vectors[2:])
    for made in (store, VectorStore(SIZE, tmp_path)):
        assert made.has((1, -1), 7) and len(made) == 2
        assert made.nearest(vectors[2], 1)[0][0][1] == pytest.approx(1.0, abs=1e-3)
        assert dict(made.nearest(vectors[0], 2)[0])[1] == pytest.approx(
            float(vectors[2] @ vectors[0]), abs=1e-3
        )


@given(st.integers(0, 2 * 16 * SIZE))
def test_a_file_cut_anywhere_gives_the_records_before_the_cut(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    vectors = unit(6)
    VectorStore(SIZE, folder).add([(n, -1) for n in range(4)], [n for n in range(4)], vectors[:4])
    path = folder / "vectors.bin"
    record = path.stat().st_size // 4
    cut = min(cut, 4 * record)
    path.write_bytes(path.read_bytes()[:cut])
    found = VectorStore(SIZE, folder)
    assert len(found) == cut // record
    found.add([(9, -1)], [9], vectors[4:5])  # the torn record is written over
    again = VectorStore(SIZE, folder)
    assert len(again) == cut // record + 1 and again.has((9, -1), 9)


def test_what_a_disk_has_garbled_is_left_out(tmp_path: Path) -> None:
    VectorStore(SIZE, tmp_path).add([(1, -1), (2, -1)], [1, 2], unit(2))
    path = tmp_path / "vectors.bin"
    data = bytearray(path.read_bytes())
    data[16 : 16 + 2 * SIZE] = bytes(2 * SIZE)
    path.write_bytes(data)
    assert not VectorStore(SIZE, tmp_path).has((1, -1), 1)
    assert VectorStore(SIZE, tmp_path).has((2, -1), 2)


def test_records_without_use_are_dropped_from_the_file(tmp_path: Path) -> None:
    store = VectorStore(SIZE, tmp_path)
    for stamp in range(10):
        store.add([(1, -1)], [stamp], unit(1, seed=stamp))
    full = (tmp_path / "vectors.bin").stat().st_size
    assert VectorStore(SIZE, tmp_path).has((1, -1), 9)
    assert (tmp_path / "vectors.bin").stat().st_size == full // 10


def test_papers_that_are_gone_or_changed_are_forgotten() -> None:
    store, vectors = VectorStore(SIZE), unit(3)
    store.add([(1, -1), (2, -1), (3, 0)], [1, 2, 3], vectors)
    store.keep({(1, -1): 1, (2, -1): 99})
    assert store.has((1, -1), 1) and not store.has((2, -1), 2) and store.has((3, 0), 3)
    assert dict(store.nearest(vectors[1], 3)[0])[2] == 0.0


def test_reciprocal_ranks_are_the_formula_s() -> None:
    found = reciprocal_ranks([[5, 6, 7], [7, 5]], [1.0, 2.0], k=60)
    assert found == pytest.approx({5: 1 / 61 + 2 / 62, 6: 1 / 62, 7: 1 / 63 + 2 / 61})


@given(st.permutations(range(8)))
def test_the_same_ranking_twice_is_that_ranking(order: list[int]) -> None:
    found = reciprocal_ranks([order, order])
    assert sorted(found, key=lambda r: -found[r]) == order


def test_a_weighted_sum_of_what_only_one_has() -> None:
    assert weighted_sum({1: 1.0}, {2: 1.0}, 0.25) == {1: 0.75, 2: 0.25}


def test_without_the_extra_there_is_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    real, missing = importlib.util.find_spec, {"sentence_transformers"}
    monkeypatch.setattr(
        importlib.util, "find_spec",
        lambda name, *a: None if name in missing else real(name, *a),
    )  # fmt: skip
    assert model_of({"HELDOUT_EMBEDDING_MODEL": "any"}) is None
    missing.add("tokenizers")  # which is all that the usual model needs
    assert model_of({}) is None


def test_a_model_can_be_named_or_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: object())
    assert model_of({"HELDOUT_EMBEDDING_MODEL": "a/b"}) == "a/b"
    assert model_of({"HELDOUT_EMBEDDING_MODEL": " none "}) is None


def test_the_name_changes_with_the_weights_and_is_a_plain_file_name(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"a")
    first = model_name(str(tmp_path))
    (tmp_path / "weights").write_bytes(b"b")
    assert first != model_name(str(tmp_path)) and "/" not in model_name("../a/.. /b")


def test_an_encoder_that_cannot_start_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meaning.sys, "executable", "/bin/false")
    with pytest.raises(EncoderError):
        ProcessEncoder(str(tmp_path))


def test_an_encoder_that_is_not_wanted_any_more_ends_while_it_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(meaning.sys, "executable", str(slow))
    end = threading.Event()
    threading.Timer(0.2, end.set).start()
    start = time.monotonic()
    with pytest.raises(EncoderError):
        ProcessEncoder(str(tmp_path), end)
    assert time.monotonic() - start < 30
    with pytest.raises(EncoderError):
        ProcessEncoder(str(tmp_path), patience_s=0.2)


def test_the_installed_model_knows_meaning_without_shared_words() -> None:
    model = model_of({})
    if model is None:
        pytest.skip("no sentence-transformers, or no model installed as a package")
    made = ProcessEncoder(model)
    try:
        texts = ["The network learned every example by heart.", "Ocean currents from satellites."]
        question, *others = made.encode(["is my model memorizing?", *texts])
        assert np.allclose(np.linalg.norm(question), 1.0, atol=1e-4)
        assert question @ others[0] > question @ others[1] + 0.15
        again = made.encode(["is my model memorizing?"], urgent=True)[0]
        assert np.allclose(again, question, atol=1e-3)
        assert made.encode(["\ud800 <b>", ""]).shape == (2, made.size)
        made._process.kill()
        with pytest.raises(EncoderError):
            made.encode(["anything"])
    finally:
        made.close()
