"""Files are whole or absent, and reading one never runs what it holds."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from heldout.core.errors import ArtifactError
from heldout.core.files import (
    plain,
    read_arrays,
    read_json,
    write_arrays,
    write_bytes,
    write_json,
    write_text,
)

_names = st.text(min_size=0, max_size=12)
_arrays = hnp.arrays(
    st.sampled_from([np.float32, np.int64, np.bool_, "<U5", np.uint8]),
    hnp.array_shapes(min_dims=0, max_dims=3, max_side=4),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(_names, _arrays, max_size=4))
def test_arrays_come_back_equal_under_any_names(tmp_path: Path, arrays) -> None:
    path = tmp_path / "a.npz"
    write_arrays(path, arrays)
    found = read_arrays(path)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    "name", ["file", "../../up", "a\0b", "\udc80", "group/<script>", "a.npy", ""]
)
def test_hostile_names_stay_names(tmp_path: Path, name: str) -> None:
    write_arrays(tmp_path / "a.npz", {name: np.arange(3)})
    assert read_arrays(tmp_path / "a.npz")[name].tolist() == [0, 1, 2]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz"]


def test_numpy_reads_the_same_file(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.npz", {"x": np.eye(3), "group/place": np.array(["a", "b"])})
    with np.load(tmp_path / "a.npz") as peer:
        np.testing.assert_array_equal(peer["x"], np.eye(3))
        assert peer["group/place"].tolist() == ["a", "b"]


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_arrays(path, {"x": np.arange(20.0), "y": np.ones(5, np.int8)})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ArtifactError, match="cannot be read"):
            read_arrays(path)


def test_a_flipped_bit_is_refused_or_harmless(tmp_path: Path) -> None:
    path, truth = tmp_path / "a.npz", np.arange(40.0)
    write_arrays(path, {"x": truth})
    whole = path.read_bytes()
    refused = 0
    for at in range(0, len(whole), 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        try:
            found = read_arrays(path)
        except ArtifactError:
            refused += 1
        else:  # dates, permissions, even a name: but never other numbers
            assert all(np.array_equal(v, truth) for v in found.values())
    assert refused > len(whole) // 6


def test_pickles_are_refused_and_never_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "boom"),))

    (tmp_path / "plain.npz").write_bytes(pickle.dumps(Bomb()))
    np.savez(tmp_path / "inside.npz", x=np.array([Bomb()], dtype=object))
    np.save(tmp_path / "single.npy", np.arange(3))
    for name in ("plain.npz", "inside.npz", "single.npy"):
        with pytest.raises(ArtifactError, match="cannot be read"):
            read_arrays(tmp_path / name)
    assert not (tmp_path / "boom").exists()
    with pytest.raises(ArtifactError, match="dtype object"):
        write_arrays(tmp_path / "new.npz", {"x": np.array([{}], dtype=object)})
    assert not (tmp_path / "new.npz").exists()


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    for read in (read_arrays, read_json):
        with pytest.raises(ArtifactError, match=r"gone.*does not exist"):
            read(tmp_path / "gone")


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff\xfe", b"[" * 100_000])
def test_damaged_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(ArtifactError, match=r"No space left.*free space or choose another"):
        write_json(path, {"new": 2})
    monkeypatch.undo()
    assert read_json(path) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_write_that_really_runs_out_of_room(tmp_path: Path) -> None:
    program = (
        "import resource; from pathlib import Path\n"
        "from heldout.core.errors import ArtifactError\n"
        "from heldout.core.files import write_bytes\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "write_bytes(folder / 'small', b'x' * 1000)\n"
        "try: write_bytes(folder / 'large', b'x' * 5000)\n"
        "except ArtifactError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "large cannot be written" in said.stdout, said.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["small"]


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="cannot be written"):
        write_bytes(tmp_path / "file" / "a.json", b"x")


def test_interrupt_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "a.txt", "half")
    assert list(tmp_path.iterdir()) == []


def test_kill_in_the_middle_never_shows_half_a_file(tmp_path: Path) -> None:
    program = (
        "import sys, itertools; from pathlib import Path\n"
        "from heldout.core.files import write_json\n"
        "for i in itertools.count():\n"
        f"    write_json(Path({str(tmp_path / 'a.json')!r}), [i] * 20000)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program])
    try:
        start = time.monotonic()
        seen = 0
        while seen < 20 and time.monotonic() - start < 20:
            if (tmp_path / "a.json").exists():
                found = read_json(tmp_path / "a.json")
                assert len(found) == 20000 and len(set(found)) == 1
                seen += 1
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert seen == 20
    assert len(set(json.loads((tmp_path / "a.json").read_text()))) == 1


def test_files_get_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write_text(tmp_path / "ours", "x")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "ours")]
    assert modes[0] == modes[1]


def test_long_and_undecodable_names_are_written(tmp_path: Path) -> None:
    write_text(tmp_path / ("n" * 250), "caf\xe9 \udc80")
    assert (tmp_path / ("n" * 250)).read_text(encoding="utf-8") == "caf\xe9 \\udc80"


def test_json_has_null_where_a_number_is_not_finite(tmp_path: Path) -> None:
    given = {"a": np.float32("nan"), "b": [np.inf, -np.inf, np.int8(3)], 5: np.eye(2), "s": {1}}
    write_json(tmp_path / "a.json", given)
    wanted = {"a": None, "b": [None, None, 3], "5": [[1.0, 0.0], [0.0, 1.0]], "s": [1]}
    assert read_json(tmp_path / "a.json") == wanted == plain(given)
