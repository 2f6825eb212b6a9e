"""What a number was computed with."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

import torch

_NAMED = ("heldout", "torch", "numpy", "scipy", "scikit-learn")


def environment() -> dict[str, Any]:
    """Return versions and hardware, without host names, users or paths.

    >>> sorted(environment())[:2]
    ['cpus', 'device']
    """
    cuda = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(0) if cuda else "cpu",
        "versions": {name: _version(name) for name in _NAMED},
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
