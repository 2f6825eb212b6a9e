"""Load weights, and only weights: nothing a file holds is ever executed."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import nn

from heldout.core.errors import ArtifactError, InputError, MissingExtraError


def load_weights(model: nn.Module, path: str | Path) -> nn.Module:
    """Load a state dict into a model, in place, and return the model.

    Args:
        model: with the same parameter names and shapes as the file.
        path: `.safetensors`, or a file that `torch.load(weights_only=True)` accepts.

    Raises:
        InputError: the file needs unpickling of code, or its names or shapes do not fit.
        ArtifactError: it is missing or damaged.
        MissingExtraError: safetensors is not installed.

    >>> load_weights(nn.Linear(1, 1), "model.pkl")
    Traceback (most recent call last):
    ...
    heldout.core.errors.InputError: given: model.pkl, a pickle
    expected: weights as .safetensors, or as .pt saved from model.state_dict()
    try: safetensors.torch.save_file(model.state_dict(), "model.safetensors")
    """
    path = Path(path)
    if path.suffix in {".pkl", ".pickle", ".joblib", ".dill"}:
        raise _pickled(path)
    if not path.is_file():
        raise ArtifactError(f"{path} does not exist")
    state = _safetensors(path) if path.suffix == ".safetensors" else _torch_file(path)
    try:
        model.load_state_dict(state)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise InputError(
            f"weights in {path.name} that do not fit the model: {error}",
            "the state dict of this architecture",
            "check the constructor's arguments, and strip prefixes such as 'module.'",
        ) from error
    return model


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingExtraError("safetensors", "weights") from error
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path} is damaged ({error}); copy or export it again") from error


def _torch_file(path: Path) -> dict[str, torch.Tensor]:
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError as error:
        raise _pickled(path) from error
    except (RuntimeError, EOFError, ValueError, TypeError) as error:
        raise ArtifactError(f"{path} is damaged ({error}); copy or export it again") from error


def _pickled(path: Path) -> InputError:
    return InputError(
        f"{path.name}, a pickle",
        "weights as .safetensors, or as .pt saved from model.state_dict()",
        'safetensors.torch.save_file(model.state_dict(), "model.safetensors")',
    )
