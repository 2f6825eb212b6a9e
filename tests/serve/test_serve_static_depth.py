"""The site as files: badges and their addresses, and what a killed export has left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from heldout.core.errors import InputError
from heldout.serve.figures import Figures
from heldout.serve.items import Library
from heldout.serve.site import Site
from heldout.serve.static.folder import LOCK, MARK, clear_leftovers, replaced
from heldout.serve.static_site import export

KILLED = """
import os, signal, sys
from pathlib import Path
from heldout.serve.static import folder as module
target, where = Path(sys.argv[1]), sys.argv[2]
if where == "swap":
    rename = Path.rename
    def once(self, to):
        if self.suffix == ".new":
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, to)
    Path.rename = once
with module.replaced(target) as writer:
    writer.write("index.html", b"new")
    if where == "write":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def hidden(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name.startswith("."))


def write(folder: Path, text: str) -> None:
    with replaced(folder) as writer:
        writer.write("index.html", text.encode())


def killed(folder: Path, where: str) -> None:
    made = subprocess.run([sys.executable, "-c", KILLED, str(folder), where], timeout=300)
    assert made.returncode == -signal.SIGKILL


def test_a_killed_export_leaves_the_site_and_the_next_one_clears_up(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    write(folder, "old")
    killed(folder, "write")
    assert (folder / "index.html").read_text() == "old" and len(hidden(tmp_path)) == 1
    write(folder, "newer")
    assert (folder / "index.html").read_text() == "newer" and hidden(tmp_path) == []
    assert sorted(p.name for p in folder.iterdir()) == [MARK, "index.html"]


def test_a_site_whose_export_was_killed_while_changing_places_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    write(folder, "old")
    killed(folder, "swap")
    assert not folder.exists() and len(hidden(tmp_path)) == 2
    with pytest.raises(ZeroDivisionError), replaced(folder):
        raise ZeroDivisionError
    assert (folder / "index.html").read_text() == "old" and hidden(tmp_path) == []


def test_only_its_own_leftovers_are_cleared(tmp_path: Path) -> None:
    folder, away = tmp_path / "site", tmp_path / "away"
    away.mkdir()
    (away / LOCK).touch()
    (away / MARK).touch()
    name = ".site.0123456789ab"
    (tmp_path / f"{name}.new").mkdir()  # nothing says that this is ours
    (tmp_path / f"{name}.old").mkdir()
    (tmp_path / ".other.0123456789ab.new").mkdir()
    (tmp_path / ".other.0123456789ab.new" / LOCK).touch()
    (tmp_path / ".site.0123456789ac.old").write_text("a file")
    os.symlink(away, tmp_path / ".site.0123456789ad.new")
    os.symlink(away, tmp_path / ".site.0123456789ae.old")
    before = hidden(tmp_path)
    write(folder, "x")
    assert hidden(tmp_path) == before and sorted(os.listdir(away)) == sorted([LOCK, MARK])
    with replaced(folder) as writer:  # one that is being written is no leftover
        clear_leftovers(folder)
        assert writer.root.is_dir()
        writer.write("index.html", b"y")
    assert (folder / "index.html").read_text() == "y" and hidden(tmp_path) == before


def test_a_folder_whose_place_cannot_be_taken(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write(tmp_path / "file" / "site", "x")


def test_a_badge_names_the_public_address_or_none(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Figures, "ask", lambda *_: False)
    items = {"data_diet": site.library.items["data_diet"]}
    site.library = Library(items, {})
    export(site, tmp_path / "a")
    page = (tmp_path / "a" / "papers" / "data_diet.html").read_text("utf-8")
    assert 'src="data_diet/badge.svg"' in page and (
        tmp_path / "a" / "papers" / "data_diet" / "badge.svg"
    ).read_text("utf-8").startswith("<svg")
    assert "badge-markdown" not in page and "127.0.0.1" not in page
    assert "og:title" in page and "og:url" not in page and "og:image" not in page
    public = replace(site.settings, url="https://a.org/p")
    export(Site(public, site.database, site.library, site.secret), tmp_path / "b")
    page = (tmp_path / "b" / "papers" / "data_diet.html").read_text("utf-8")
    line = "](https://a.org/p/papers/data_diet/badge.svg)](https://a.org/p/papers/data_diet.html)"
    assert line in page and "127.0.0.1" not in page
