"""Vectors of passages: kept on disk as they come, compared with a query by one matrix product.

The file is a row of records of one size (paper, passage, stamp, float16 vector) to which records
are only ever added; a record that was cut short when a process was killed is dropped on reading.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

MOST = 300_000
"""Vectors that are held: 460 MB at 384 numbers each."""
_STALE = 0.25  # from this share of records without use, the file is written anew

Place: TypeAlias = tuple[int, int]
"""(row of the paper, number of the passage; -1 for the whole paper)."""
Floats: TypeAlias = NDArray[np.float32]


class VectorStore:
    """Vectors of one model.

    Args:
        size: numbers in a vector.
        folder: where they are kept; None: in memory.
    """

    def __init__(self, size: int, folder: Path | None = None) -> None:
        self.size = size
        self.path = folder / "vectors.bin" if folder else None
        self.kind = np.dtype(
            [("row", "<i8"), ("passage", "<i4"), ("stamp", "<u4"), ("vector", "<f2", (size,))]
        )
        self._lock = threading.Lock()
        self._places: dict[Place, int] = {}
        self._stamps: list[int] = []
        self._rows: NDArray[np.int64] = np.zeros(0, np.int64)
        self._matrix: Floats = np.zeros((0, size), np.float32)
        self._used = 0
        self._load()

    def __len__(self) -> int:
        return len(self._places)

    def has(self, place: Place, stamp: int) -> bool:
        """Whether the vector of a passage is here and of its present text."""
        at = self._places.get(place)
        return at is not None and self._stamps[at] == stamp

    def add(self, places: Sequence[Place], stamps: Sequence[int], vectors: Floats) -> None:
        """Keep vectors of length 1, each in place of the passage's old one; on disk first.

        Raises:
            OSError: the disk is full or read-only; nothing is kept then.
        """
        made = np.zeros(len(places), self.kind)
        made["row"], made["passage"] = [p[0] for p in places], [p[1] for p in places]
        made["stamp"], made["vector"] = stamps, vectors
        with self._lock:
            if self.path:
                _append(self.path, made.tobytes(), self.kind.itemsize)
            self._hold(made)

    def keep(self, wanted: Mapping[Place, int]) -> None:
        """Forget vectors of whole papers that are gone or have another text than is wanted.

        On disk they stay until the file is written anew.
        """
        with self._lock:
            stale = [
                place
                for place, at in self._places.items()
                if place[1] == -1 and wanted.get(place) != self._stamps[at]
            ]
            if stale:
                places = dict(self._places)
                for place in stale:
                    self._matrix[places.pop(place)] = 0.0
                self._places = places

    def nearest(self, query: Floats, most: int) -> tuple[list[tuple[int, float]], Cosines]:
        """Return the papers nearest to a query, and the cosines of all.

        A paper is as near as its nearest vector. Cost: one pass over the matrix.

        Args:
            query: vector of length 1.
            most: papers at most.

        Returns:
            (row, cosine) pairs, nearest first; and what gives any paper's cosine.
        """
        with self._lock:
            used, rows, places = self._used, self._rows, self._places
            matrix = self._matrix[:used]
        found = Cosines(matrix @ query if used else np.zeros(0, np.float32), places)
        if not used:
            return [], found
        # Papers of the library have some thirty vectors each, so more than `most` are looked at.
        take = min(used, 8 * most)
        top = np.argpartition(found.values, used - take)[used - take :]
        best: dict[int, float] = {}
        for at in top[np.argsort(-found.values[top], kind="stable")]:
            best.setdefault(int(rows[at]), float(found.values[at]))
            if len(best) >= most:
                break
        return sorted(best.items(), key=lambda b: (-b[1], b[0])), found

    def _hold(self, made: NDArray[Any]) -> None:
        need = self._used + len(made)
        if need > len(self._matrix):
            room = max(need, min(int(len(self._matrix) * 1.25) + 1024, MOST))
            matrix, rows = np.zeros((room, self.size), np.float32), np.zeros(room, np.int64)
            matrix[: self._used], rows[: self._used] = (
                self._matrix[: self._used],
                self._rows[: self._used],
            )
            # A search that runs meanwhile keeps the old one.
            self._matrix, self._rows = matrix, rows
        places = dict(self._places)
        start = self._used
        for at in range(0, len(made), 4096):
            part = made[at : at + 4096]
            self._matrix[start + at : start + at + len(part)] = part["vector"]
        self._rows[start : start + len(made)] = made["row"]
        self._stamps.extend(int(s) for s in made["stamp"])
        for n, (row, passage) in enumerate(zip(made["row"], made["passage"], strict=True)):
            old = places.get((int(row), int(passage)))
            if old is not None:
                self._matrix[old] = 0.0
            places[int(row), int(passage)] = start + n
        self._places, self._used = places, need

    def _load(self) -> None:
        if not self.path or not self.path.exists():
            return
        whole = self.path.stat().st_size // self.kind.itemsize
        made = np.fromfile(self.path, self.kind, whole)
        lengths = np.concatenate(
            [np.zeros(0), *(
                np.linalg.norm(made["vector"][at : at + 8192].astype(np.float32), axis=1)
                for at in range(0, whole, 8192)
            )]
        )  # fmt: skip
        keys = {(int(r), int(p)): n for n, (r, p) in enumerate(zip(made["row"], made["passage"],
                                                                   strict=True))}  # fmt: skip
        # The last record of a passage counts; what a disk has garbled has another length than 1.
        kept = [n for n in sorted(keys.values()) if abs(lengths[n] - 1.0) < 0.05][-MOST:]
        if len(kept) < (1 - _STALE) * whole:
            made = made[kept]
            _replace(self.path, made.tobytes())
            kept = list(range(len(made)))
        self._hold(made[kept] if len(kept) < len(made) else made)


class Cosines:
    """Cosines of a query with every vector."""

    def __init__(self, values: Floats, places: Mapping[Place, int]) -> None:
        self.values, self.places = values, places

    def of(self, row: int, passages: int) -> list[float]:
        """Return the cosine of each passage of a paper; 0 where it is not known."""
        return [self._at(row, n) for n in range(passages)]

    def best(self, row: int, passages: int = 0) -> float:
        """Return the cosine of a paper: the largest of its vectors', the whole's included."""
        return max([self._at(row, -1), *self.of(row, passages)])

    def _at(self, row: int, passage: int) -> float:
        at = self.places.get((row, passage))
        return float(self.values[at]) if at is not None and at < len(self.values) else 0.0


def _append(path: Path, data: bytes, record: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        size = file.tell()
        whole = size - size % record
        try:
            if size != whole:  # what a killed process left
                file.truncate(whole)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            file.truncate(whole)
            raise


def _replace(path: Path, data: bytes) -> None:
    beside = path.with_suffix(f".{os.getpid()}.new")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
