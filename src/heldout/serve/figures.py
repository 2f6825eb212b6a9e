"""A paper's plot as SVG, drawn by a process of its own and kept until records or recipe change.

`python -m heldout.serve.figures SLUG FILE` draws one: the page itself never imports matplotlib,
nor what a recipe's plot may need.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from heldout.core.errors import HeldoutError
from heldout.serve.site import Site

_LOG = logging.getLogger(__name__)
_LONGEST_S = 300
_STOP = ("", "")

WIDTH, HEIGHT = 640, 420
"""In CSS pixels: the shape in which every recipe draws."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""For the figure opened by itself: styles are within it, and nothing else is let in."""


class Figures:
    """Draws figures one after another in the background.

    Args:
        folder: where they are kept, as <slug>-<digest>.svg with the words in .json.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._asked: queue.Queue[tuple[str, str]] = queue.Queue()
        self._known: set[tuple[str, str]] = set()
        self._failed: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = threading.Event()

    def path(self, slug: str, digest: str) -> Path:
        """Return where a figure is, or will be."""
        return self.folder / f"{slug}-{digest}.svg"

    def alt(self, slug: str, digest: str) -> str:
        """Return what a figure shows in words; empty while it is not drawn."""
        try:
            found = json.loads(self.path(slug, digest).with_suffix(".json").read_text("utf-8"))
        except (OSError, ValueError):
            return ""
        return found if isinstance(found, str) else ""

    def ask(self, slug: str, digest: str) -> bool:
        """Have a figure drawn unless it is there; return whether it is, or still may come."""
        if self.path(slug, digest).is_file():
            return True
        with self._lock:
            if self._stopped.is_set():
                return False
            if (slug, digest) in self._known:
                return (slug, digest) not in self._failed
            self._known.add((slug, digest))
            if self._thread is None:
                self._thread = threading.Thread(target=self._draw_all, name="figures", daemon=True)
                self._thread.start()
        self._asked.put((slug, digest))
        return True

    def ask_to_stop(self) -> None:
        """Begin to stop, also in the middle of a figure."""
        with self._lock:
            self._stopped.set()
            if self._process is not None:
                self._process.kill()
        self._asked.put(_STOP)

    def stop(self) -> None:
        """Stop."""
        self.ask_to_stop()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _draw_all(self) -> None:
        while (job := self._asked.get()) != _STOP:
            try:
                self._draw(*job)
            except (OSError, subprocess.SubprocessError):
                _LOG.exception("the figure of %s", job[0])
            if not self.path(*job).is_file():
                self._failed.add(job)  # not again before the page is started anew

    def _draw(self, slug: str, digest: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.path(slug, digest)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "svg",
                       "MPLCONFIGDIR": str(self.folder / "matplotlib")}  # fmt: skip
        with self._lock:
            if self._stopped.is_set():
                return
            self._process = subprocess.Popen(
                [sys.executable, "-m", "heldout.serve.figures", slug, str(path)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                env=environment,
            )  # fmt: skip
        try:
            _, said = self._process.communicate(timeout=_LONGEST_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            _, said = self._process.communicate()
        if self._process.returncode or not path.is_file():
            if not self._stopped.is_set():
                _LOG.error("the figure of %s: %s", slug, said.decode(errors="replace")[-2000:])
            return
        for old in self.folder.glob(f"{slug}-*"):
            if old.stem != path.stem:
                old.unlink(missing_ok=True)


def figures(site: Site) -> Figures:
    """Return the site's figures."""
    found: Figures | None = site.parts.get("figures")
    if found is None:
        found = site.parts.setdefault("figures", Figures(site.settings.data / "figures"))
    return found


def draw(slug: str, path: Path) -> None:
    """Draw a paper's figure, with its words beside it; a reader sees a whole file or none.

    Raises:
        HeldoutError: the recipe's plot raised.
        InputError: no such paper.
    """
    from heldout.papers._figure import figure
    from heldout.papers.catalogue import recipe
    from heldout.serve.items import records

    svg, alt = figure(recipe(slug), records(slug))
    for name, data in ((".json", json.dumps(alt).encode()), (".svg", svg)):
        # The words first: who sees the figure finds them.
        unfinished = path.with_suffix(f"{name}.{os.getpid()}")
        unfinished.write_bytes(data)
        os.replace(unfinished, path.with_suffix(name))


def _main(arguments: Any) -> int:
    with_nice = getattr(os, "nice", None)
    if with_nice:
        with_nice(10)  # a page that someone waits for goes first
    try:
        draw(arguments[0], Path(arguments[1]))
    except HeldoutError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
