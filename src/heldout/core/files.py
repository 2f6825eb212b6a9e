"""Files that are whole or absent: atomic writes, and reads that never unpickle."""

from __future__ import annotations

import io
import json
import math
import os
import uuid
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from heldout.core.errors import ArtifactError


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a kill, sees all of it or none of it.

    Raises:
        ArtifactError: the disk is full or the folder cannot be written.
    """
    # A random name, so that two writers never share one; cut, since names end at 255 bytes.
    temporary = path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise ArtifactError(_unwritable(path, error)) from error
    finally:
        # Gone already after a successful replace; left over after anything else, Ctrl-C included.
        with suppress(OSError):
            temporary.unlink()


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text atomically; see `write_bytes`.

    File names that are not UTF-8 reach Python as lone surrogates; they are written as `\\udc80`.
    """
    write_bytes(path, content.encode("utf-8", "backslashreplace"))


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically; NaN and infinities become null, since JSON has no word for them."""
    write_text(path, json.dumps(plain(content), indent=1, allow_nan=False) + "\n")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as a compressed npz, atomically; any string is a valid name.

    Raises:
        ArtifactError: an array has dtype object, which only pickling could store; or as
            `write_bytes`.
    """
    buffer = io.BytesIO()
    # Not `np.savez`, which takes names as keyword arguments and so has no room for "file".
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in arrays.items():
            array = np.asanyarray(value)
            if array.dtype.hasobject:
                raise ArtifactError(f"array {name!r} has dtype object; convert it to a plain dtype")
            member = quote(name, safe="/ ", errors="surrogatepass") + ".npy"
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read what `write_arrays` wrote.

    Raises:
        ArtifactError: the file is missing, truncated, or would need unpickling.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                name = unquote(member.removesuffix(".npy"), errors="surrogatepass")
                with archive.open(member) as file:
                    arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
                    file.read()  # to the end, where the checksum is compared
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} does not exist; run the audit again to collect it") from error
    # A damaged archive can raise nearly anything: what matters is that it is not believed.
    except Exception as error:
        raise ArtifactError(_unreadable(path, error)) from error
    return arrays


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        ArtifactError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} does not exist") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(_unreadable(path, error)) from error


def plain(value: Any) -> Any:
    """Turn numpy scalars, arrays, tuples and non-finite floats into what JSON can hold.

    >>> plain({"a": np.float32(0.5), "b": (1, float("nan")), "c": np.arange(2)})
    {'a': 0.5, 'b': [1, None], 'c': [0, 1]}
    """
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def _unreadable(path: Path, error: Exception) -> str:
    return f"{path} cannot be read ({error}); delete it and run the audit again"


def _unwritable(path: Path, error: OSError) -> str:
    return (
        f"{path} cannot be written ({error.strerror or error}); free space or choose another --out"
    )
