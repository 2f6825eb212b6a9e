"""A page that is being served: started as an operator does, asked once, measured, and stopped."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _serve_world import SECRET

HERE = Path(__file__).resolve().parent
_TICKS = os.sysconf("SC_CLK_TCK")


class Served:
    """A process of `heldout serve`, with those that it has started.

    Args:
        data: folder of the page.
        database: its database, when it is not in the folder.
        timed: with the time in each answer's headers.
        model: the embedding model; "none" for search by words only; empty: the one installed.
    """

    def __init__(
        self, data: Path, database: str = "", timed: bool = False, model: str = ""
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        program = [str(HERE / "_serve_timed.py")] if timed else ["-m", "heldout.cli", "serve"]
        options = ["--port", str(self.port), "--data", str(data)]
        options += ["--database", database] if database else []
        environment = {**os.environ, "HELDOUT_SECRET": SECRET}
        environment |= {"HELDOUT_EMBEDDING_MODEL": model} if model else {}
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, *program, *options], env=environment, stdout=subprocess.DEVNULL
        )

    def get(self, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
        """Ask for one page on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        found = answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
        connection.close()
        return found

    def first_page(self, path: str = "/") -> float:
        """Return the seconds from the start of the process to the first whole page."""
        while True:
            with contextlib.suppress(OSError):
                status, body, _ = self.get(path)
                assert status == 200 and b"</html>" in body, status
                return time.perf_counter() - self.started
            assert self.process.poll() is None, "heldout serve has ended"
            time.sleep(0.005)

    def ready(self, most_s: float = 120.0) -> None:
        """Wait until search by meaning answers, if there is a model."""
        until = time.monotonic() + most_s
        while b"is being prepared" in self.get("/search?q=label+noise")[1]:
            assert time.monotonic() < until, "the model was not loaded in time"
            time.sleep(0.2)

    def processes(self) -> list[int]:
        """The server, and below it those that it has started."""
        parents = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        found = [self.process.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def memory(self) -> dict[str, float]:
        """MB: resident and proportional (shared pages divided) of all, resident of the encoder."""
        found = {"rss": 0.0, "pss": 0.0, "encoder_rss": 0.0}
        for pid in self.processes():
            with contextlib.suppress(OSError):
                rolled = Path(f"/proc/{pid}/smaps_rollup").read_text()
                sizes = dict(re.findall(r"^(Rss|Pss):\s+(\d+) kB", rolled, re.M))
                found["rss"] += int(sizes["Rss"]) / 1024
                found["pss"] += int(sizes["Pss"]) / 1024
                if pid != self.process.pid:
                    found["encoder_rss"] += int(sizes["Rss"]) / 1024
        return found

    def cpu(self) -> float:
        """Seconds of CPU time of the server itself, without the encoder."""
        told = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(told[11]) + int(told[12])) / _TICKS

    def maps(self) -> str:
        """What is mapped into the processes: shows which libraries were loaded."""
        return "".join(Path(f"/proc/{pid}/maps").read_text() for pid in self.processes())

    def stop(self) -> float:
        """End it as Ctrl-C does; return the seconds that it took."""
        start = time.perf_counter()
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return time.perf_counter() - start


@contextlib.contextmanager
def served(data: Path, **how: Any) -> Iterator[Served]:
    """Give a page that answers; it ends with the block."""
    made = Served(data, **how)
    try:
        made.first_page()
        yield made
    finally:
        made.stop()


class Peak:
    """The largest memory of all processes together, looked at four times a second."""

    def __init__(self, page: Served) -> None:
        self.page, self.most = page, page.memory()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.25):
            now = self.page.memory()
            self.most = {name: max(value, now[name]) for name, value in self.most.items()}
