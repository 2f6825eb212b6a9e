"""Shards of every kind, bad ones, resuming, and the two engines to the last count."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heldout.core.errors import InputError
from heldout.data.frequency import engines
from heldout.data.frequency.command import run
from heldout.data.frequency.count import count_concepts
from heldout.data.frequency.engines import count_shards
from heldout.data.frequency.matching import compile_concepts
from heldout.data.frequency.shards import ShardError

CONCEPTS = {"dog": ["hound"], "hot dog": [], "café": [], "zebra": []}
MATCHER = compile_concepts(CONCEPTS)


def captions(n: int, seed: int) -> list[str | None]:
    rng = random.Random(seed)
    pieces = ["dogs", "hot", "Dog", "CAFE\u0301", "a", "hounds", "zebras", "of", "ﬁsh"]
    found: list[str | None] = [" ".join(rng.choices(pieces, k=6)) for _ in range(n)]
    found[3] = None
    return found


def tar_of(path: Path, texts: list[str | None], ending: str = "txt") -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for i, text in enumerate(texts):
            parts = {"jpg": b"\0" * 700}
            if text is not None:
                said = text.encode() if ending == "txt" else json.dumps({"caption": text}).encode()
                parts[ending] = said
            for kind, content in parts.items():
                info = tarfile.TarInfo(f"data/{i:06d}.{kind}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def write(folder: Path, n: int = 60) -> dict[str, list[str | None]]:
    """One shard of every kind; returns what is in each."""
    texts = {
        name: captions(n, i)
        for i, name in enumerate(
            ["a.parquet", "b.tar", "c.tar.gz", "d.jsonl", "e.jsonl.gz", "f.txt", "g.tar"]
        )
    }
    table = pa.table({"url": ["u"] * n, "caption": texts["a.parquet"]})
    pq.write_table(table, folder / "a.parquet", row_group_size=17)
    tar_of(folder / "b.tar", texts["b.tar"])
    tar_of(folder / "c.tar.gz", texts["c.tar.gz"])
    tar_of(folder / "g.tar", texts["g.tar"], "json")
    for name in ("d.jsonl", "e.jsonl.gz"):
        lines = "".join(json.dumps({"caption": t}) + "\n" for t in texts[name]).encode()
        (folder / name).write_bytes(gzip.compress(lines) if name.endswith("gz") else lines)
    texts["f.txt"] = [t or "" for t in texts["f.txt"]]
    (folder / "f.txt").write_text("\n".join(map(str, texts["f.txt"])) + "\n", encoding="utf-8")
    return texts


def test_every_kind_is_read_whole(tmp_path: Path) -> None:
    texts = write(tmp_path)
    found = count_shards([tmp_path], MATCHER)
    joined = count_concepts([t for part in texts.values() for t in part], MATCHER)
    assert found.counts.by_name() == joined.by_name()
    assert (found.shards, found.counts.captions, found.counts.missing) == (7, 7 * 60 - 6, 6)
    for name, part in texts.items():
        one = count_shards([tmp_path / name], MATCHER).counts
        assert one.by_name() == count_concepts(part, MATCHER).by_name(), name


@pytest.mark.parametrize("name", ["a.parquet", "b.tar", "c.tar.gz", "d.jsonl", "e.jsonl.gz"])
@pytest.mark.parametrize("kept", [0.999, 0.6, 0.02])
def test_a_truncated_shard_is_named_and_counts_nothing(
    tmp_path: Path, name: str, kept: float
) -> None:
    write(tmp_path)
    path = tmp_path / name
    whole = path.read_bytes()
    size = int(len(whole) * kept) if name != "b.tar" or kept < 0.9 else len(whole.rstrip(b"\0")) + 1
    path.write_bytes(whole[: size - 1 if name == "d.jsonl" else size])
    with pytest.raises(ShardError, match=name):
        count_shards([tmp_path], MATCHER)
    found = count_shards([tmp_path], MATCHER, skip_bad=True)
    assert list(found.skipped) == [str(path)] and found.shards == 6
    others = [p for p in sorted(tmp_path.iterdir()) if p != path]
    assert found.counts.by_name() == count_shards(others, MATCHER).counts.by_name()


def test_a_tar_cut_between_two_members_is_not_taken_for_whole(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar", captions(10, 0))
    with tarfile.open(path) as tar:
        at = tar.getmembers()[8].offset
    path.write_bytes(path.read_bytes()[:at])
    with pytest.raises(ShardError, match="end mark"):
        count_shards([path], MATCHER)


def test_other_schemas_are_named(tmp_path: Path) -> None:
    bad: dict[str, Any] = {
        "no_column.parquet": pa.table({"text": ["dog"]}),
        "numbers.parquet": pa.table({"caption": [1]}),
    }
    for name, table in bad.items():
        pq.write_table(table, tmp_path / name)
    (tmp_path / "other.jsonl").write_text('{"text": "dog"}\n')
    (tmp_path / "list.jsonl").write_text('["dog"]\n')
    (tmp_path / "number.jsonl").write_text('{"caption": 3}\n')
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    tar_of(tmp_path / "images.tar", [None] * 4)
    names = sorted(p.name for p in tmp_path.iterdir())
    for name in names:
        with pytest.raises(ShardError, match=name):
            count_shards([tmp_path / name], MATCHER)
    found = count_shards([tmp_path], MATCHER, skip_bad=True)
    assert len(found.skipped) == len(names) and found.counts.captions == 0
    assert count_shards([tmp_path / "other.jsonl"], MATCHER, column="text").counts.captions == 1


def test_resumes_where_it_stopped_and_counts_changed_shards_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    write(folder)
    wanted = count_shards([folder], MATCHER).counts.by_name()
    asked: list[str] = []
    real = engines.count_shard

    def stops(path: Path, *rest: Any) -> Any:
        if len(asked) == 3:
            raise KeyboardInterrupt
        asked.append(path.name)
        return real(path, *rest)

    monkeypatch.setattr(engines, "count_shard", stops)
    with pytest.raises(KeyboardInterrupt):
        count_shards([folder], MATCHER, out=out)
    monkeypatch.setattr(engines, "count_shard", real)
    again = count_shards([folder], MATCHER, out=out)
    assert again.resumed == 3 and again.counts.by_name() == wanted
    assert count_shards([folder], MATCHER, out=out).resumed == 7
    (folder / "f.txt").write_text("dog\n")
    changed = count_shards([folder], MATCHER, out=out)
    assert changed.resumed == 6
    assert changed.counts.by_name() == count_shards([folder], MATCHER).counts.by_name()
    assert count_shards([folder], ["dog"], out=out).resumed == 0
    next(out.glob("a.parquet*")).write_text("{")  # damaged: counted anew
    assert count_shards([folder], ["dog"], out=out).resumed == 6


def test_processes_give_the_same_counts_and_name_bad_shards(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "z.jsonl").write_text("{")
    found = count_shards([tmp_path], MATCHER, jobs=2, skip_bad=True)
    assert (
        found.counts.by_name() == count_shards([tmp_path], MATCHER, skip_bad=True).counts.by_name()
    )
    assert list(found.skipped) == [str(tmp_path / "z.jsonl")]


def spoil(folder: Path) -> list[str]:
    """Bad shards of every sort beside the good ones; returns their paths, sorted."""
    table = pa.table({"caption": [str(i) for i in range(500)]})
    pq.write_table(table, folder / "u.parquet")
    (folder / "u.parquet").write_bytes((folder / "u.parquet").read_bytes()[:-100])
    pq.write_table(table.rename_columns(["text"]), folder / "v.parquet")
    raw = pa.array([b"dog", b"caf\xe9"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"caption": raw}), folder / "w.parquet")
    path = tar_of(folder / "x.tar", captions(20, 9))
    path.write_bytes(path.read_bytes()[:9000])
    tar_of(folder / "y.tar", [None] * 4)
    (folder / "z.jsonl").write_text("{")
    return [str(folder / f"{n}") for n in ("u.parquet", "v.parquet", "w.parquet", "x.tar", "y.tar",
                                           "z.jsonl")]  # fmt: skip


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_bad_shards_leave_every_engine_with_the_same_counts(tmp_path: Path, engine: Any) -> None:
    if engine == "ray":
        pytest.importorskip("ray")
    write(tmp_path)
    wanted = count_shards([tmp_path], MATCHER).counts
    bad = spoil(tmp_path)
    found = count_shards([tmp_path], MATCHER, engine=engine, skip_bad=True)
    assert sorted(found.skipped) == bad and found.shards == 7
    assert found.counts.by_name() == wanted.by_name()
    assert found.counts.captions == wanted.captions
    assert all(Path(path).name in why for path, why in found.skipped.items())
    if engine == "ray":
        return
    for path in bad:
        with pytest.raises(ShardError, match=Path(path).name):
            count_shards([path], MATCHER)


@pytest.mark.slow
def test_ray_stops_at_a_bad_shard_without_the_flag(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    write(tmp_path)
    path = tmp_path / "a.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ShardError, match=r"a\.parquet"):
        count_shards([tmp_path], MATCHER, engine="ray")


def test_refusals(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("dog\n")
    (tmp_path / "a.csv").write_text("dog\n")
    (tmp_path / "empty").mkdir()
    for given in ([], [tmp_path / "b.txt"], [tmp_path / "empty"], [tmp_path, tmp_path / "a.txt"]):
        with pytest.raises(InputError):
            count_shards(given, MATCHER)
    with pytest.raises(InputError, match="a.csv"):
        count_shards([tmp_path / "a.csv"], MATCHER)
    with pytest.raises(InputError, match="engine"):
        count_shards([tmp_path], MATCHER, engine="dask")  # type: ignore[arg-type]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    write(folder)
    names = tmp_path / "concepts.json"
    names.write_text(json.dumps(CONCEPTS))
    words = ["count", str(folder), "--concepts", str(names), "--out", str(out)]
    assert run(words) == 0
    stored = json.loads((out / "counts.json").read_text())
    assert stored["counts"] == count_shards([folder], MATCHER).counts.by_name()
    (folder / "z.jsonl").write_text("{")
    assert run(words) == 2 and "z.jsonl" in capsys.readouterr().err
    assert run([*words, "--skip-bad"]) == 0
    assert "z.jsonl" in str(json.loads((out / "counts.json").read_text())["skipped"])
    scores = tmp_path / "scores.json"
    counts = {f"c{i}": 2 ** (i / 3) for i in range(40)}
    (tmp_path / "counts.json").write_text(json.dumps(counts))
    scores.write_text(json.dumps({n: i % 7 + i for i, n in enumerate(counts)}))
    capsys.readouterr()
    assert run(["law", str(tmp_path / "counts.json"), str(scores)]) == 0
    assert json.loads(capsys.readouterr().out)["raw_r"]["value"] > 0.9
    assert run(["law", str(out / "counts.json"), str(scores)]) == 2


def test_files_of_the_users_are_not_told_to_be_deleted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("a dog\n")
    names, out = tmp_path / "names.json", tmp_path / "out"
    for text, said in (
        ('["dog"', "as JSON"),
        ('{"dog": 3}', "synonyms"),
        ('{"dog": null}', "syno"),
    ):
        names.write_text(text)
        given = ["count", str(tmp_path / "a.txt"), "--concepts", str(names), "--out", str(out)]
        assert run(given) == 2
        told = capsys.readouterr().err
        assert told.startswith("InputError") and said in told and "delete" not in told
    names.write_text('{"dog": 3')
    assert run(["law", str(names), str(names)]) == 2
    told = capsys.readouterr().err
    assert str(names) in told and "delete" not in told
    names.write_text('["dog"]')
    out.write_text("a file")
    given = ["count", str(tmp_path / "a.txt"), "--concepts", str(names), "--out", str(out)]
    assert run(given) == 2 and "is a file" in capsys.readouterr().err
    assert out.read_text() == "a file"
