"""`heldout serve` in a process of its own, on a free port."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PATIENCE_S = 300.0
"""How long is waited for what must come, on a machine on which much else goes on."""


@dataclass(frozen=True)
class Running:
    """A page that answers."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def own_environment(**more: str) -> dict[str, str]:
    """This process's, without what is set for a page, and with what every test wants."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HELDOUT_")}
    kept |= {"HELDOUT_EMBEDDING_MODEL": "none", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return kept | more


@contextmanager
def running(
    program: Sequence[str], data: Path, *words: str, **environment: str
) -> Iterator[Running]:
    """Start a page, and make it end at the latest with the block.

    Args:
        program: what Python runs, such as ["-m", "heldout.cli", "serve"].
        data: its folder, which also gets its log.
        words: for it.
        environment: for it.
    """
    data.mkdir(parents=True, exist_ok=True)
    log = data / "log.txt"
    with log.open("wb") as errors:
        made = subprocess.Popen(
            [sys.executable, *program, "--port", "0", "--data", str(data), *words],
            env=own_environment(**environment), stdout=subprocess.PIPE, stderr=errors,
            # Where tests run in the background, Ctrl-C would be passed over.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )  # fmt: skip
    pipe: IO[bytes] = made.stdout  # type: ignore[assignment]
    try:
        come, _, _ = select.select([pipe], [], [], PATIENCE_S)
        said = pipe.readline() if come else b""
        found = re.search(rb"http://127\.0\.0\.1:(\d+)", said)
        assert found, f"it did not start: {said!r} {log.read_text()}"
        yield Running(made, int(found[1]), log)
    finally:
        made.kill()
        made.wait()
        pipe.close()
