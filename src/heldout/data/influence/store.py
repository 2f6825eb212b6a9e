"""Factors on disk: one safetensors file per layer and a JSON header, written last.

A folder without the header is an unfinished fit; `partial.safetensors` in it holds the sums so
far, and a fit on the same model, data and settings goes on from there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from heldout.core.errors import ArtifactError, InputError, MissingExtraError
from heldout.core.files import read_json, write_bytes, write_json

from .batches import batches
from .covariance import Covariance
from .factors import Factors, LayerFactors, Progress

VERSION = 1
"""Of the files' form; others are refused."""


def model_hash(model: nn.Module) -> str:
    """Return a SHA-256 of the model's parameters and buffers, with their names.

    >>> len(model_hash(nn.Linear(2, 1)))
    64
    """
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        if isinstance(value, Tensor):
            digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
            digest.update(_bytes(value))
    return digest.hexdigest()


def data_hash(data: Any, batch_size: int = 64) -> tuple[str, list[int]]:
    """Return a SHA-256 of all inputs, targets and masks, and how many rows each batch has.

    The hash is the same however the rows are cut, as long as they are padded alike. One pass.

    >>> x, y = torch.zeros(5, 2), torch.zeros(5)
    >>> (one, cut), (two, whole) = data_hash((x, y), 2), data_hash([(x, y)])
    >>> one == two, cut, whole
    (True, [2, 2, 1], [5])
    """
    parts: dict[str, Any] = {}
    kinds: dict[str, str] = {}
    sizes = []
    for batch in batches(data, batch_size):
        sizes.append(batch.size)
        for place, leaf in _leaves((batch.inputs, batch.targets, batch.mask), ""):
            digest = parts.setdefault(place, hashlib.sha256())
            tensor = isinstance(leaf, Tensor)
            kind = f"{leaf.dtype}{tuple(leaf.shape[1:])}" if tensor else f"{leaf!r}"
            if kinds.get(place) != kind:  # a change of width stands where it happens
                digest.update(kind.encode())
                kinds[place] = kind
            if tensor:
                digest.update(_bytes(leaf))
    whole = hashlib.sha256(f"{sum(sizes)}".encode())
    for place, digest in sorted(parts.items()):
        whole.update(f"{place} {digest.hexdigest()}".encode())
    return whole.hexdigest(), sizes


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping | tuple | list):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, part in items:
            yield from _leaves(part, f"{place}/{key}")
    elif isinstance(value, Tensor | str | int | float | bool | None):
        yield place, value


def save_factors(factors: Factors, path: Path) -> None:
    """Write factors to a folder; a reader sees all of them or none."""
    names = {}
    for number, (name, layer) in enumerate(factors.layers.items()):
        names[name] = f"layer_{number:04d}.safetensors"
        tensors = {"eigenvalues": layer.eigenvalues, "q_a": layer.q_a, "q_s": layer.q_s}
        write_bytes(path / names[name], _packed(tensors, {}))
    header = {"version": VERSION, "kind": factors.kind, "about": factors.about, "files": names}
    write_json(path / "factors.json", header)
    (path / "partial.safetensors").unlink(missing_ok=True)


def load_factors(path: Path, about: dict[str, Any] | None = None) -> Factors:
    """Read factors from a folder.

    Args:
        path: the folder.
        about: what they must have been fitted on; entries that differ are an error.

    Raises:
        InputError: factors of another model, other settings, or another version.
        ArtifactError: missing or damaged files.
    """
    header = read_json(path / "factors.json")
    if header.get("version") != VERSION:
        raise InputError(
            f"factors of version {header.get('version')} in {path.name}",
            f"version {VERSION}",
            "fit again with this version",
        )
    refuse_other(header["about"], about or {}, path)
    layers = {}
    for name, file in header["files"].items():
        tensors, _ = _unpacked(path / file)
        layers[name] = LayerFactors(tensors["eigenvalues"], tensors.get("q_a"), tensors.get("q_s"))
    return Factors(header["kind"], layers, header["about"])


def refuse_other(given: dict[str, Any], wanted: dict[str, Any], path: Path) -> None:
    """Refuse factors that were fitted on something else.

    Raises:
        InputError: an entry of `wanted` is different in `given`.

    >>> refuse_other({"model": "a", "seed": 0}, {"model": "a"}, Path("f"))
    """
    wanted = json.loads(json.dumps(wanted))
    different = [key for key in wanted if given.get(key) != wanted[key]]
    if different:
        key = different[0]
        raise InputError(
            f"factors in {path.name} fitted with another {key}: {str(given.get(key))[:60]}",
            f"{key} {str(wanted[key])[:60]}",
            "fit again into another folder, or pass the model they were fitted on",
        )


def save_partial(
    path: Path, stage: str, done: int, sums: dict[str, Any], about: dict[str, Any]
) -> None:
    """Write the sums of an unfinished pass."""
    tensors: dict[str, Tensor | None] = {}
    counts = {}
    for name, value in sums.items():
        if isinstance(value, Covariance):
            tensors[f"a/{name}"], tensors[f"s/{name}"] = value.a, value.s
            counts[name] = [value.positions, value.examples]
        else:
            tensors[f"lambda/{name}"] = value
    meta = {"version": VERSION, "stage": stage, "done": done, "about": about, "counts": counts}
    write_bytes(path / f"{stage}.safetensors", _packed(tensors, meta))


def load_partial(path: Path, stage: str, about: dict[str, Any]) -> Progress:
    """Read the sums of an unfinished pass; an empty progress when there are none to use."""
    file = path / f"{stage}.safetensors"
    if not file.exists():
        return Progress()
    tensors, meta = _unpacked(file)
    if meta.get("version") != VERSION or meta["about"] != json.loads(json.dumps(about)):
        return Progress()
    sums: dict[str, Any] = {}
    for name, (positions, examples) in meta["counts"].items():
        sums[name] = Covariance(tensors[f"a/{name}"], tensors[f"s/{name}"], positions, examples)
    for key, value in tensors.items():
        if key.startswith("lambda/"):
            sums[key.removeprefix("lambda/")] = value
    return Progress(meta["done"], sums)


def _packed(tensors: dict[str, Tensor | None], meta: dict[str, Any]) -> bytes:
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise MissingExtraError("safetensors", "weights") from error
    kept = {k: t.detach().cpu().contiguous() for k, t in tensors.items() if t is not None}
    return save(kept, {"heldout": json.dumps(meta)})


def _unpacked(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingExtraError("safetensors", "weights") from error
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            meta = json.loads((file.metadata() or {}).get("heldout", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise ArtifactError(f"{path} is missing or damaged ({error}); fit again") from error
    return tensors, meta


def _bytes(t: Tensor) -> Any:  # a buffer, not a copy
    flat = t.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy() if flat.numel() else b""
