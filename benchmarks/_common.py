"""What several benchmarks share: the machine, its speed, the versions of what runs on it."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch


def environment(packages: tuple[str, ...], **more: Any) -> dict[str, Any]:
    """Return the machine and the versions of some packages."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 1),
        **more,
        **{package: _version(package) for package in packages},
    }


def limit() -> float:
    """Return the float32 matrix product's speed here, in GFLOP/s: the best of ten of size 1024."""
    a = torch.randn(1024, 1024)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * 1024**3 / min(times) / 1e9


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
