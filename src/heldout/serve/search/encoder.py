"""The process that turns texts into vectors: the only place where torch may be imported.

    python -m heldout.serve.search.encoder MODEL

reads a JSON list of texts from each line of its input, and answers each with a line of JSON
({"rows": n, "columns": d}) and n x d float32 numbers, every row of length 1. The first answer
comes unasked, with no rows, once the model is loaded. Models of MiniLM's kind are computed with
NumPy (see `bert`): in a fifth of the memory and a hundredth of the time to start. Others are
loaded by sentence-transformers.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from heldout.serve.search.bert import Bert, readable

Encode = Callable[[list[str]], Any]


def main(model: str) -> None:
    """Answer until the input ends."""
    answers, requests = os.fdopen(os.dup(1), "wb"), sys.stdin.buffer
    os.dup2(2, 1)  # what libraries print must not get between the answers
    encode = _small(model) or _any(model)
    _answer(answers, 0, encode(["a"]).shape[-1], b"")
    for line in requests:
        texts = json.loads(line)
        made = encode(texts).astype("<f4")
        _answer(answers, len(texts), made.shape[-1], made.tobytes())


def _small(model: str) -> Encode | None:
    folder = Path(model)
    return Bert(folder).encode if readable(folder) else None


def _any(model: str) -> Encode:
    import torch

    torch.set_num_threads(1)
    from sentence_transformers import SentenceTransformer

    made = SentenceTransformer(model, device="cpu")
    return partial(
        made.encode, batch_size=16, normalize_embeddings=True, show_progress_bar=False
    )  # fmt: skip


def _answer(out: BinaryIO, rows: int, columns: int, data: bytes) -> None:
    out.write(json.dumps({"rows": rows, "columns": columns}).encode() + b"\n" + data)
    out.flush()


if __name__ == "__main__":
    main(sys.argv[1])
