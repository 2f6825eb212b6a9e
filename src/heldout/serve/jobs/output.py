"""What a process says, read by a thread: lines of a bounded length, and a bounded number."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable
from typing import IO

LONGEST = 400
"""Characters of a line that are kept."""
_CHUNK = 4096
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")
_CUT = "Further lines are not kept."


class Output:
    """Reads a process's output to its end, so that it never waits for a reader.

    Args:
        stream: where it writes, binary.
        most: lines that are kept; one more says that there were others.
        seen: called with every line, kept or not.
    """

    def __init__(self, stream: IO[bytes], most: int, seen: Callable[[str], None]) -> None:
        self._left, self._seen, self._stream = most, seen, stream
        self._waiting: deque[str] = deque()
        self._thread = threading.Thread(target=self._read, name="run output", daemon=True)
        self._thread.start()

    def taken(self) -> list[str]:
        """Return the lines that have come since the last call."""
        found = []
        while self._waiting:
            found.append(self._waiting.popleft())
        return found

    def join(self, seconds: float) -> None:
        """Wait for the end, but not for somebody who holds the stream open without end."""
        self._thread.join(seconds)

    def _read(self) -> None:
        inside = False  # a line that is longer than a chunk: its rest is dropped
        with self._stream:
            while chunk := self._stream.readline(_CHUNK):
                if not inside:
                    self._take(clean(chunk.decode("utf-8", "replace")))
                inside = not chunk.endswith(b"\n")

    def _take(self, line: str) -> None:
        self._seen(line)
        if not line or self._left < 0:
            return
        self._waiting.append(line if self._left else _CUT)
        self._left -= 1


def clean(text: str) -> str:
    r"""Return one line as it would stand on a terminal in the end, without control characters.

    >>> clean("10 %\r20 %\r\n"), clean("\x1b[1mbold\x1b[0m\tx\x00\n"), len(clean("a" * 999))
    ('20 %', 'bold x', 400)
    """
    text = _ESCAPE.sub("", text.rstrip("\r\n")).rpartition("\r")[2].replace("\t", " ")
    plain = "".join(c for c in text if c.isprintable()).rstrip()
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 1] + "…"
