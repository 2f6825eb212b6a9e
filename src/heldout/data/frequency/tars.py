"""Captions of a webdataset archive, read in one pass by compiled code.

Python's `tarfile` makes an object of every member, which takes longer than counting all that its
caption has. What is read here is what writers of webdataset archives write: regular members and
folders, names in the header, as GNU long names or in pax records. All else (links, sparse members,
headers that are damaged, samples whose members are apart, an end that is missing) is left to
`tarfile`, so that nothing is taken for whole that is not.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from heldout.core.errors import MissingExtraError

_WINDOW = 1 << 18


@dataclass(frozen=True)
class Texts:
    """The text members of an archive's samples, in order."""

    data: np.ndarray
    """UTF-8 bytes of all, one after another."""
    spans: np.ndarray
    """Where each sample's member starts and ends in them; -1 for none."""
    kind: str
    """`txt`, or `json` where there is no .txt member."""


def read_texts(path: Path) -> Texts | None:
    """Read the .txt members of an archive, or the .json members where there are none.

    Returns None for what `tarfile` has to look at: an archive that is damaged, not whole or out of
    the ordinary, or one without such members.

    Args:
        path: .tar, .tar.gz or .tgz.

    Cost: one pass over the archive; of pictures longer than 256 kB the rest is passed over.

    Raises:
        OSError: it cannot be read.
        EOFError: it is packed, and cut.
        MissingExtraError: numba is not installed.
    """
    try:
        from heldout.data.frequency import tar_kernel as loops
    except ImportError as error:
        raise MissingExtraError("numba", "count") from error
    packed = path.name.lower().endswith("gz")
    with gzip.open(path) if packed else path.open("rb", buffering=0) as file:
        found = _scanned(loops, file)
        while found is not None and packed and file.read(_WINDOW):
            pass  # to the end, where the check sum is
    if found is None:
        return None
    samples, texts = found
    # Members of one sample stand together, or its name comes twice.
    if len(np.unique(samples[:, 0])) < len(samples):
        return None
    for kind, spans in (("txt", samples[:, 1:3]), ("json", samples[:, 3:5])):
        if (spans[:, 0] >= 0).any():
            return Texts(texts, spans, kind)
    return None


def _scanned(loops: Any, file: BinaryIO | gzip.GzipFile) -> tuple[np.ndarray, np.ndarray] | None:
    window, have, last = np.empty(_WINDOW, np.uint8), 0, False
    state, name = np.zeros(4, np.int64), np.empty(loops.LONGEST, np.uint8)
    samples, texts = np.empty((1 << 10, 5), np.int64), np.empty(1 << 16, np.uint8)
    while True:
        why, at = loops.scan(window, have, state, name, samples, texts)
        if why == loops.WHOLE:
            return samples[: state[0]], texts[: state[1]]
        if why == loops.ODD or (why == loops.MORE and last):
            return None
        if why == loops.ROOM:
            samples = np.concatenate([samples, np.empty_like(samples)])
            texts = np.concatenate([texts, np.empty(len(texts) + have, np.uint8)])
        left = max(0, have - at)
        window[:left] = window[at : at + left].copy()
        if at > have:
            file.seek(at - have, 1)
        if left > len(window) // 2:  # one member fills it
            window = np.concatenate([window, np.empty_like(window)])
        got = _filled(file, window.data[left:])
        have, last = left + got, why == loops.MORE and got == 0


def _filled(file: Any, room: memoryview) -> int:
    # As much as there is: a raw file may hand over less than asked for.
    total = 0
    while total < len(room) and (got := file.readinto(room[total:])):
        total += got
    return total
