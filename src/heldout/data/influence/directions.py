"""Queries' preconditioned gradients at a low rank, and their files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heldout.core.errors import ArtifactError, MissingExtraError
from heldout.core.files import write_bytes


@dataclass
class Directions:
    """Queries' preconditioned gradients by layer, q queries at rank r."""

    u: dict[str, Tensor]
    """(n_out, q, r)."""
    v: dict[str, Tensor]
    """(n_in, q, r)."""
    size: np.ndarray
    """(q,) sqrt(g^T (G + lambda)^-1 g) of each query's gradient: its scores' natural unit."""
    kept: np.ndarray
    """(q,) share of the squared preconditioned gradient that the rank keeps."""
    measure: np.ndarray
    """(q,) log p(completion | prompt) of each query."""


def save_directions(found: Directions, path: Path) -> None:
    """Write directions to a safetensors file, whole or not at all."""
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise MissingExtraError("safetensors", "weights") from error
    tensors = {f"u/{k}": t.cpu() for k, t in found.u.items()}
    tensors |= {f"v/{k}": t.cpu() for k, t in found.v.items()}
    for name in ("size", "kept", "measure"):
        tensors[name] = torch.from_numpy(getattr(found, name))
    write_bytes(path, save(tensors))


def load_directions(paths: Sequence[Path], device: torch.device) -> Directions:
    """Read files of directions, queries one after the other, one tensor at a time.

    Raises:
        ArtifactError: a file is missing or damaged; it is made anew where it is removed.
    """
    found: dict[str, dict[str, Tensor]] = {"u": {}, "v": {}}
    for key in _keys(paths[0]):
        kind, _, name = key.partition("/")
        if name:
            found[kind][name] = torch.cat([_read(path, key) for path in paths], 1).to(device)
    return Directions(found["u"], found["v"], *load_measures(paths))


def load_measures(paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read `size`, `kept` and `measure` of the queries in files of directions.

    Raises:
        ArtifactError: as in `load_directions`.
    """
    size, kept, measure = (
        torch.cat([_read(path, key) for path in paths]).numpy()
        for key in ("size", "kept", "measure")
    )
    return size, kept, measure


def _keys(path: Path) -> list[str]:
    with _opened(path) as file:
        return list(file.keys())


def _read(path: Path, key: str) -> Tensor:
    # Opened for each tensor: what was read of a mapped file counts as held until it is closed.
    with _opened(path) as file:
        return file.get_tensor(key).clone()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ArtifactError(
            f"{path} is missing or damaged ({error}); remove it and give the command again"
        ) from error
