"""Captions of one shard: Parquet, webdataset tar, JSON lines or plain lines; whole or refused."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from heldout.core.errors import InputError, MissingExtraError
from heldout.data.frequency.tars import Texts, read_texts

KINDS = (".parquet", ".tar", ".tar.gz", ".tgz", ".jsonl", ".jsonl.gz", ".txt", ".txt.gz")
"""Endings that are read."""
_BATCH = 1 << 16


class ShardError(InputError):
    """A shard that is truncated, damaged or of another schema; none of it is counted."""


def captions_in(path: Path, column: str = "caption") -> Iterator[Any]:
    """Yield the captions of a shard in batches: Arrow columns, or lists of strings and None.

    - Parquet: the text column `column`.
    - tar (webdataset): the `.txt` member of each sample, or, in shards without any, `column` of its
      `.json` member; a sample without either is missing (None).
    - JSON lines: the field `column`; null or absent is missing. Lines: each is a caption.

    Raises:
        ShardError: the file is truncated, damaged, not UTF-8, or has no such column. It may come
            after some batches: nothing that was yielded before may be kept.
        InputError: an ending that is not read.
        MissingExtraError: pyarrow is not installed.
    """
    name = path.name.lower()
    if name.endswith(".parquet"):
        found = _parquet(path, column)
    elif name.endswith((".tar", ".tar.gz", ".tgz")):
        found = _tar(path, column)
    elif name.endswith((".jsonl", ".jsonl.gz")):
        found = _json_lines(path, column)
    elif name.endswith((".txt", ".txt.gz")):
        found = _lines(path)
    else:
        raise InputError(f"shard {path.name}", f"one of {', '.join(KINDS)}", "convert to Parquet")
    try:
        yield from found
    except (OSError, EOFError, UnicodeDecodeError, tarfile.TarError, ValueError) as error:
        if isinstance(error, ShardError):
            raise
        said = " ".join(str(error).split())[:120]
        raise _bad(path, f"{type(error).__name__}: {said}", "a whole file of its kind") from error


def _bad(path: Path, what: str, expected: str) -> ShardError:
    return ShardError(
        f"shard {path.name}: {what}", expected,
        "fetch it again, or leave it out by name with skip_bad (--skip-bad)",
    )  # fmt: skip


def _parquet(path: Path, column: str) -> Iterator[Any]:
    try:
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("pyarrow", "count") from error
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        if column not in schema.names:
            has = ", ".join(map(str, schema.names[:8]))
            raise _bad(path, f"columns {has}", f"a column {column!r}")
        kind = schema.field(column).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
        if not any(test(kind) for test in text):
            raise _bad(path, f"column {column!r} of type {kind}", "a column of text")
        rows = 0
        for batch in file.iter_batches(_BATCH, columns=[column], use_threads=False):
            rows += batch.num_rows
            batch.column(0).validate(full=True)  # whether it is UTF-8, which no reader checks
            yield batch.column(0)
        if rows != file.metadata.num_rows:
            raise _bad(path, f"{rows} of {file.metadata.num_rows} rows", "all rows")


def _tar(path: Path, column: str) -> Iterator[Any]:
    found = read_texts(path)
    if found is None:
        yield _by_tarfile(path, column)
    elif found.kind == "txt":
        yield _column(found)
    else:
        said = [
            None if a < 0 else json.loads(found.data[a:b].tobytes())
            for a, b in found.spans.tolist()
        ]
        if not any(isinstance(value, dict) and column in value for value in said):
            raise _no_captions(path, column)
        yield [_text(path, v.get(column)) if isinstance(v, dict) else None for v in said]


def _column(found: Texts) -> Any:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingExtraError("pyarrow", "count") from error
    sizes = found.spans[:, 1] - found.spans[:, 0]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    valid = pa.array(found.spans[:, 0] >= 0)
    buffers = [valid.buffers()[1], pa.py_buffer(offsets), pa.py_buffer(found.data)]
    column = pa.Array.from_buffers(pa.large_string(), len(sizes), buffers)
    column.validate(full=True)  # whether it is UTF-8
    return column


def _no_captions(path: Path, column: str) -> ShardError:
    return _bad(
        path, f"no .txt member, and no .json member with {column!r}", "captions in the archive"
    )


def _by_tarfile(path: Path, column: str) -> list[str | None]:
    texts: dict[str, str | None] = {}
    from_json: dict[str, str | None] = {}
    has_text = has_json = False
    with tarfile.open(path) as tar:
        for member in tar:
            if not member.isfile():
                continue
            folder, _, name = member.name.rpartition("/")
            stem, _, ending = name.partition(".")
            key = f"{folder}/{stem}"
            texts.setdefault(key, None)
            if ending.lower() not in ("txt", "json"):
                continue
            file = tar.extractfile(member)
            content = b"" if file is None else file.read()
            if len(content) != member.size:
                raise _bad(path, f"member {member.name} is cut", "a whole archive")
            if ending.lower() == "txt":
                texts[key], has_text = content.decode(), True
            elif not has_text:
                value = json.loads(content)
                if isinstance(value, dict) and column in value:
                    from_json[key], has_json = _text(path, value[column]), True
        at = tar.offset
    _check_end(path, at)
    if not has_text and not has_json and texts:
        raise _no_captions(path, column)
    return list(texts.values()) if has_text else [from_json.get(key) for key in texts]


def _check_end(path: Path, at: int) -> None:
    # `tarfile` takes an archive that was cut between two members for a whole one: only the two
    # empty blocks at the end say that nothing is missing.
    packed = path.name.lower().endswith("gz")
    with gzip.open(path) if packed else path.open("rb") as file:
        file.seek(at)
        if file.read(1024) != b"\0" * 1024:
            raise _bad(path, "it ends without the archive's end mark", "a whole archive")


def _text(path: Path, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise _bad(path, f"a caption of type {type(value).__name__}", "text")
    return value


def _opened(path: Path) -> io.TextIOWrapper:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8", newline="\n")  # noqa: SIM115
    return path.open(encoding="utf-8", newline="\n")


def _json_lines(path: Path, column: str) -> Iterator[Any]:
    batch: list[str | None] = []
    rows = named = 0
    with _opened(path) as file:
        for rows, line in enumerate(file, 1):  # noqa: B007
            value = json.loads(line)
            if not isinstance(value, dict):
                raise _bad(path, f"line {rows} is no object", "an object a line")
            named += column in value
            batch.append(_text(path, value.get(column)))
            if len(batch) == _BATCH:
                yield batch
                batch = []
    if rows and not named:
        raise _bad(path, f"no line has {column!r}", f"a field {column!r}")
    yield batch


def _lines(path: Path) -> Iterator[Any]:
    batch: list[str | None] = []
    with _opened(path) as file:
        for line in file:
            batch.append(line.rstrip("\r\n"))
            if len(batch) == _BATCH:
                yield batch
                batch = []
    yield batch
