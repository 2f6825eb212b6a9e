"""Texts of installed packages: kinds, copies, damaged files, rows without near copies."""

import importlib.util
from itertools import islice

import numpy as np
import pytest

from heldout.core.errors import ArtifactError, InputError
from heldout.data.influence.corpus import load_rows, save_rows, training_rows
from heldout.data.influence.options import Options
from heldout.data.influence.texts import read_documents
from heldout.lm import installed_texts
from heldout.lm.installed_texts import (
    SHORTEST,
    Document,
    Sequences,
    installed_documents,
    token_sequences,
    versions,
)


def letters(text):
    return [ord(c) for c in text]


@pytest.mark.parametrize("kind", ["topics", "licences", "docstrings:numpy", "readmes"])
def test_every_kind_has_documents_that_say_what_they_are(kind):
    found = list(islice(installed_documents([kind]), 5))
    assert len(found) == 5
    word = {"topics": "python topic: ", "licences": " licence: ", "readmes": " readme"}.get(
        kind, "numpy docstring: "
    )
    assert all(word in d.source for d in found)
    if kind != "topics":
        assert all(len(d.text) >= SHORTEST for d in found)


def test_no_document_twice_and_kinds_in_turn():
    found = list(islice(installed_documents(["topics", "licences", "readmes"]), 120))
    texts = [" ".join(d.text.split()) for d in found]
    assert len(set(texts)) == len(texts)
    kinds = [d.source.split(":")[0].rsplit(" ", 1)[-1] for d in found[:9]]
    assert {kinds[i] for i in range(3)} == {"topic", "licence", "readme"}


def test_licences_are_licences():
    found = list(islice(installed_documents(["licences"]), 20))
    words = ("copyright", "license", "licence", "permission", "warrant")
    assert all(any(w in d.text.lower() for w in words) for d in found)


def test_the_same_list_twice():
    one, two = (list(islice(installed_documents(["licences", "readmes"]), 10)) for _ in range(2))
    assert one == two


def test_unknown_kinds_are_refused():
    for kinds in (["novels"], []):
        with pytest.raises(InputError, match="kinds"):
            next(installed_documents(kinds))


def test_broken_source_files_are_passed_over(tmp_path, monkeypatch):
    package = tmp_path / "numpy"
    (package / "tests").mkdir(parents=True)
    long = "word " * 100
    (package / "good.py").write_text(f'"""{long}good"""\n')
    (package / "cut.py").write_text(f'"""{long}cut')  # ends in the middle of a string
    (package / "binary.py").write_bytes(b"\xff\xfe\x00" * 200)
    (package / "null.py").write_bytes(b'"""' + b"\x00" * 500 + b'"""')
    (package / "short.py").write_text('"""Short."""\n')
    (package / "_own.py").write_text(f'def _private():\n    """{long}private"""\n')
    (package / "tests" / "some.py").write_text(f'"""{long}test"""\n')
    monkeypatch.setattr(installed_texts, "_root", lambda name: package)
    found = list(installed_documents(["docstrings:numpy"]))
    assert [d.source for d in found] == ["numpy docstring: good.py"]


def test_a_package_that_is_not_installed_has_no_documents(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert list(installed_documents(["docstrings:torch"])) == []


def test_rows_are_cut_padded_and_named():
    text = "".join(chr(200 + i) for i in range(25))
    rows = token_sequences([Document("d", text)], letters, length=10, shortest=5, pad=7)
    assert rows.lengths.tolist() == [10, 10, 5]
    assert (rows.tokens[2, 5:] == 7).all()
    assert rows.sources == ("d, token 0", "d, token 10", "d, token 20")
    joined = [t for row, n in zip(rows.tokens, rows.lengths, strict=True) for t in row[:n]]
    assert joined == letters(text)
    short = token_sequences([Document("d", text)], letters, length=10, shortest=6)
    assert len(short) == 2


def test_near_copies_are_left_out_whatever_their_number():
    rng = np.random.default_rng(0)
    own = ["".join(chr(c) for c in rng.integers(100, 999, 64)) for _ in range(6)]
    near = own[0][:40] + own[1][:24]  # nearly all runs of eight are known
    fresh = [Document(str(i), t) for i, t in enumerate(own)]
    many = [*fresh[:2], *[Document(f"copy {i}", near) for i in range(5)], *fresh[2:]]
    rows = token_sequences(many, letters, length=64, shortest=32)
    assert rows.sources == token_sequences(fresh, letters, length=64, shortest=32).sources
    # negative: with the limit at 1 copies stay
    assert len(token_sequences(many, letters, length=64, shortest=32, overlap=1.0)) == 11


def test_limits_on_rows_and_on_a_document():
    rng = np.random.default_rng(0)
    long = "".join(chr(c) for c in rng.integers(100, 50_000, 2000))
    other = "".join(chr(c) for c in rng.integers(100, 50_000, 2000))
    documents = [Document("a", long), Document("b", other)]
    assert len(token_sequences(documents, letters, length=10, shortest=5, most=3)) == 6
    assert len(token_sequences(documents, letters, length=10, shortest=5, limit=7)) == 7
    with pytest.raises(InputError, match="long enough"):
        token_sequences([Document("a", "abc")], letters)


def test_rows_survive_the_disk_and_name_what_does_not_fit(tmp_path):
    rows = Sequences(np.arange(8).reshape(2, 4), np.array([4, 3]), ("a: b, token 0", "ü"))
    save_rows(rows, tmp_path / "rows.npz", letters)
    given = Options(train=str(tmp_path), length=4, sequences=2)
    found = training_rows(given, letters, 0)
    np.testing.assert_array_equal(found.tokens, rows.tokens)
    assert found.sources == rows.sources and found.lengths.tolist() == [4, 3]
    with pytest.raises(InputError, match="another tokenizer"):
        load_rows(tmp_path / "rows.npz", lambda t: [1, 2], given)
    for changed in (Options(length=5, sequences=2), Options(length=4, sequences=1)):
        with pytest.raises(InputError, match="--length 4 --sequences 2"):
            load_rows(tmp_path / "rows.npz", letters, changed)
    content = (tmp_path / "rows.npz").read_bytes()
    (tmp_path / "rows.npz").write_bytes(content[:-40])
    with pytest.raises(ArtifactError):
        training_rows(given, letters, 0)


def test_folders_of_text_files(tmp_path):
    with pytest.raises(InputError, match=r"without \.txt files"):
        list(read_documents(str(tmp_path)))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.txt").write_bytes(b"caf\xe9")  # not UTF-8: shown, not fatal
    (tmp_path / "one.txt").write_text("one")
    found = {d.source: d.text for d in read_documents(str(tmp_path))}
    assert found == {"b/two.txt": "caf\N{REPLACEMENT CHARACTER}", "one.txt": "one"}


def test_versions_are_those_that_are_imported():
    assert versions()["numpy"] == np.__version__
