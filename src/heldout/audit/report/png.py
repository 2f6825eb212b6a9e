"""Small images as PNG data URIs, with the standard library only."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np


def png(image: Any, side: int = 32) -> bytes | None:
    """Encode an image as PNG.

    Args:
        image: nested lists or an array of 0-255, (H, W), (H, W, 1) or (H, W, 3).
        side: larger images are thinned to at most this many pixels a side.

    Returns:
        The file's bytes, or None when the value is no such image.

    >>> png([[0, 255], [255, 0]])[:4]
    b'\\x89PNG'
    >>> png([[0, 1], [2]]) is None
    True
    """
    try:
        array = np.nan_to_num(np.asarray(image, dtype=np.float64))
    except (ValueError, TypeError):
        return None
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        return None
    step = max(1, -(-max(array.shape[:2]) // max(1, side)))
    pixels = np.clip(np.rint(array[::step, ::step]), 0, 255).astype(np.uint8)
    height, width = pixels.shape[:2]
    colour = 0 if pixels.ndim == 2 else 2
    # Each line of pixels starts with its filter type; 0 is none.
    rows = np.hstack([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)])
    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    body = zlib.compress(rows.tobytes(), 9)
    chunks = (_chunk(b"IHDR", head), _chunk(b"IDAT", body), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def data_uri(image: Any, side: int = 32) -> str:
    """Return `data:image/png;base64,...` of an image, or an empty string; see `png`.

    >>> data_uri([[0]])[:22]
    'data:image/png;base64,'
    """
    encoded = png(image, side)
    if encoded is None:
        return ""
    return "data:image/png;base64," + base64.b64encode(encoded).decode("ascii")


def _chunk(kind: bytes, body: bytes) -> bytes:
    check = zlib.crc32(kind + body) & 0xFFFFFFFF
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)
