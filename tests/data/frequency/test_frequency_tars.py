"""Archives read by compiled code against `tarfile`: every way to write one, and damaged ones."""

from __future__ import annotations

import io
import json
import random
import tarfile
from pathlib import Path
from typing import Any

import pytest

from heldout.data.frequency import shards, tars
from heldout.data.frequency.shards import ShardError, captions_in
from heldout.data.frequency.tars import read_texts

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
Member = tuple[str, bytes]


def archive(path: Path, members: list[Member], kind: str = "gnu", **more: Any) -> Path:
    mode = "w:gz" if path.suffix == ".gz" else "w"
    with tarfile.open(path, mode, format=FORMATS[kind]) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in more.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content))
    return path


def samples(n: int, seed: int, names: str = "data/{:06d}") -> list[Member]:
    rng, found = random.Random(seed), list[Member]()
    for i in range(n):
        text = " ".join(rng.choices(["dog", "CAFÉ", "東京", "a", "hot", "🐶", ""], k=5))
        parts = {
            "jpg": rng.randbytes(rng.choice([0, 1, 511, 512, 513, 1500])),
            "json": json.dumps({"caption": text + "!"}).encode(),
            rng.choice(["txt", "TXT", "txt", "seg.png"]): text.encode(),
        }
        order = list(parts.items())
        rng.shuffle(order)
        found += [(f"{names.format(i)}.{ending}", content) for ending, content in order]
    return found


def both(path: Path) -> list[str | None]:
    """What is read, which must be what `tarfile` reads."""
    found = [
        c for part in captions_in(path)
        for c in (part if isinstance(part, list) else part.to_pylist())
    ]  # fmt: skip
    assert found == shards._by_tarfile(path, "caption")
    return found


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("window", [1 << 20, 4096])
@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_equal_to_tarfile(
    tmp_path: Path, kind: str, window: int, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tars, "_WINDOW", window)
    for seed in range(3):
        path = archive(tmp_path / f"a{ending}", samples(40, seed), kind)
        found = both(path)
        assert len(found) == 40 and None in found and read_texts(path) is not None


@pytest.mark.parametrize(
    ("kind", "names", "more"),
    [
        ("gnu", "d" * 120 + "/{:06d}", {}),
        ("gnu", "é" * 60 + "/{:06d}", {"mtime": 3}),
        ("pax", "d" * 120 + "/{:06d}", {"mtime": 1.5}),
        ("pax", "é/{:06d}", {"mtime": 1.5, "uname": "ü", "gname": "ß", "uid": 1 << 22}),
        ("pax", "v1.5/{:06d}", {"uid": 1 << 22, "gid": 1 << 22}),
        ("gnu", "{:06d}", {"mode": 0o777, "uname": "root"}),
    ],
)
def test_long_names_and_records_of_the_next_member(
    tmp_path: Path, kind: str, names: str, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(tmp_path / "a.tar", samples(30, 1, names), kind, **more)
    assert len(both(path)) == 30 and read_texts(path) is not None
    monkeypatch.setattr(tars, "_WINDOW", 2048)
    assert len(both(path)) == 30 and read_texts(path) is not None


def test_members_larger_than_the_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "_WINDOW", 2048)
    big = [("a.mp4", bytes(50_000)), ("a.txt", b"dog " * 5000), ("b.txt", b""), ("b.mp4", bytes(9))]
    path = archive(tmp_path / "a.tar", big)
    assert both(path) == ["dog " * 5000, ""] and read_texts(path) is not None


@pytest.mark.parametrize(
    ("members", "texts"),
    [
        ([("b.txt", b"1"), ("a.txt", b"2"), ("b.jpg", b"")], ["1", "2"]),  # apart
        ([("a.txt", b"1"), ("a.txt", b"2")], ["2"]),  # twice
        ([("a.json", b'{"caption": "1"}'), ("b.json", b'{"caption": null}'), ("c.jpg", b"")],
         ["1", None, None]),
        ([("a.json", b"{"), ("a.txt", b"x")], None),  # damaged, and not asked for
        ([("x/a.txt", b"1"), ("y/a.txt", b"2")], ["1", "2"]),
        ([("d" * 90 + "/" + "e" * 60 + f"/{i}.txt", b"1") for i in range(3)], ["1"] * 3),
    ],
)  # fmt: skip
def test_unusual_archives(
    tmp_path: Path, members: list[Member], texts: list[str | None] | None
) -> None:
    path = archive(tmp_path / "a.tar", members, "ustar")
    if texts is None:
        assert [p.to_pylist() for p in captions_in(path)] == [["x"]]
    else:
        assert both(path) == texts


def test_folders_and_links_are_no_samples(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for kind, name in ((tarfile.DIRTYPE, "d"), (tarfile.SYMTYPE, "d/l.txt")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "a.txt"
            tar.addfile(info)
        info = tarfile.TarInfo("d/a.txt")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"dog"))
    assert both(path) == ["dog"]


@pytest.mark.parametrize("kind", ["gnu", "pax"])
def test_cut_anywhere_it_is_refused(tmp_path: Path, kind: str) -> None:
    path = archive(tmp_path / "a.tar", samples(4, 2), kind, mtime=1.5 if kind == "pax" else 1)
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512  # of the last member; then the end mark
    for size in [*range(0, end + 1024, 256), end + 1023]:
        path.write_bytes(whole[:size])
        assert read_texts(path) is None
        with pytest.raises(ShardError, match=r"a\.tar"):
            list(captions_in(path))
    path.write_bytes(whole[: end + 1024])
    assert len(both(path)) == 4


def test_damage_is_seen_as_tarfile_sees_it(tmp_path: Path) -> None:
    path, rng = tmp_path / "a.tar", random.Random(0)
    whole = archive(path, samples(5, 3), "pax", mtime=1.5).read_bytes()
    read = refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(rng.choice([1, 3])):
            damaged[rng.randrange(len(whole.rstrip(b"\0")))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            found = read_texts(path)
            texts = None if found is None or found.kind != "txt" else shards._column(found)
        except ValueError:
            texts = None
        if texts is not None:
            assert texts.to_pylist() == shards._by_tarfile(path, "caption")
        read, refused = read + (texts is not None), refused + (texts is None)
    assert read > 40 and refused > 40


def test_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", [("a.txt", b"dog"), ("b.txt", b"caf\xe9")])
    with pytest.raises(ShardError, match=r"a\.tar"):
        list(captions_in(path))
