"""A folder that is replaced as a whole, and only when what is in it was made here."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from heldout.core.errors import ArtifactError, InputError
from heldout.serve.static.plan import checked

MARK = ".heldout-site"
"""Names the files that were made here, one in each line."""
LOCK = ".heldout-writing"
"""Locked by the process that writes a folder, for as long as it lives."""
_HEAD = "Made by `heldout serve --static`, which replaces these files:\n"


class Writer:
    """Writes files into a folder that nobody sees yet.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: set[str] = set()
        self.bytes = 0

    def write(self, file: str, content: bytes) -> None:
        """Write a file.

        Raises:
            InputError: a name that could lead out of the folder.
            ArtifactError: the disk is full.
        """
        path = self.root / checked(file)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            raise ArtifactError(f"{path} cannot be written ({error.strerror})") from error
        self.files.add(file)
        self.bytes += len(content)


@contextmanager
def replaced(folder: Path) -> Iterator[Writer]:
    """Give a writer whose files take the folder's place at the end; after an error nothing has.

    Args:
        folder: absent, empty, or with nothing but what was written here before.

    Raises:
        InputError: there are other files in it, or it cannot be replaced.
        ArtifactError: the disk is full.
    """
    folder = folder.resolve()
    check_replaceable(folder)
    clear_leftovers(folder)
    # Beside it, so that both lie on one disk and renaming is all that is left to do.
    made = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.new")
    lock: FileLock | None = None
    try:
        try:
            lock = _locked(made)
        except OSError as error:
            raise _unwritable(folder, error) from error
        writer = Writer(made)
        yield writer
        (made / MARK).write_text(_HEAD + "".join(f"{f}\n" for f in sorted(writer.files)), "utf-8")
        check_replaceable(folder)  # others may have put something there meanwhile
        _swap(made, folder)
        (folder / LOCK).unlink(missing_ok=True)
    finally:
        if lock:
            lock.release()
        shutil.rmtree(made, ignore_errors=True)


def clear_leftovers(folder: Path) -> None:
    """Take away what exports that were killed have left beside a folder, and nothing else.

    One that was killed between taking the old files away and putting the new ones there has left
    no folder at all; then the old ones come back.
    """
    own = re.compile(rf"\.{re.escape(folder.name)}\.[0-9a-f]{{12}}\.(new|old)")
    with suppress(OSError):
        for path in sorted(folder.parent.iterdir()):
            kind = own.fullmatch(path.name)
            if kind is None or path.is_symlink() or not path.is_dir():
                continue
            if kind[1] == "old" and (path / MARK).is_file():
                if folder.exists():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.rename(folder)
            elif kind[1] == "new" and (path / LOCK).is_file():
                with suppress(Timeout), FileLock(path / LOCK, timeout=0):
                    shutil.rmtree(path, ignore_errors=True)


def check_replaceable(folder: Path) -> None:
    """Raise unless a folder is absent, empty, or holds only files that were made here.

    Raises:
        InputError: it holds something else.
    """
    if not folder.name:
        raise InputError(f"folder {folder}", "one within another", "--static site")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder}, which is a file", "a folder", "--static site")
    known = {MARK, LOCK}
    with suppress(OSError, UnicodeDecodeError):
        told = (folder / MARK).read_text("utf-8")
        if told.startswith(_HEAD):
            known.update(told.removeprefix(_HEAD).splitlines())
    for base, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(base) / name).is_symlink()]
        for name in (*files, *links):
            file = (Path(base) / name).relative_to(folder).as_posix()
            if file not in known:
                raise InputError(
                    f"{folder}, in which {file} was not written by this command",
                    "an empty folder, or one that an earlier --static has made",
                    "choose another folder",
                )


def _locked(made: Path) -> FileLock:
    # Its name is taken only when it is locked: before that, another export could take it away.
    fresh = made.with_suffix("")
    fresh.mkdir(parents=True)
    lock = FileLock(fresh / LOCK)
    try:
        lock.acquire(timeout=0)
        fresh.rename(made)
    except BaseException:
        lock.release()
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    return lock


def _swap(made: Path, folder: Path) -> None:
    old = made.with_suffix(".old")
    try:
        if folder.exists():
            folder.rename(old)
        try:
            made.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
    except OSError as error:
        raise _unwritable(folder, error) from error
    shutil.rmtree(old, ignore_errors=True)


def _unwritable(folder: Path, error: OSError) -> InputError:
    return InputError(
        f"{folder}, which cannot be written ({error.strerror})", "a folder that can be replaced",
        "--static site",
    )  # fmt: skip
