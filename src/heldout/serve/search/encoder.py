"""The process that turns texts into vectors: the only place where torch is imported.

    python -m heldout.serve.search.encoder MODEL

reads a JSON list of texts from each line of its input, and answers each with a line of JSON
({"rows": n, "columns": d}) and n x d float32 numbers, every row of length 1. The first answer
comes unasked, with no rows, once the model is loaded.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, BinaryIO


def main(model: str) -> None:
    """Answer until the input ends."""
    answers, requests = os.fdopen(os.dup(1), "wb"), sys.stdin.buffer
    os.dup2(2, 1)  # what libraries print must not get between the answers
    encoder = _loaded(model)
    _answer(answers, 0, encoder.encode(["a"], show_progress_bar=False).shape[-1], b"")
    for line in requests:
        texts = json.loads(line)
        made = encoder.encode(
            texts, batch_size=16, normalize_embeddings=True, show_progress_bar=False
        ).astype("<f4")
        _answer(answers, len(texts), made.shape[-1], made.tobytes())


def _loaded(model: str) -> Any:
    # One thread: the pages are served by the same cores.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch

    torch.set_num_threads(1)
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(model, device="cpu")


def _answer(out: BinaryIO, rows: int, columns: int, data: bytes) -> None:
    out.write(json.dumps({"rows": rows, "columns": columns}).encode() + b"\n" + data)
    out.flush()


if __name__ == "__main__":
    main(sys.argv[1])
