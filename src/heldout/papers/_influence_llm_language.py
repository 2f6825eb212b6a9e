"""Sparsity at full scale, read from what `python -m heldout.data.influence` wrote."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from heldout.core.errors import InputError
from heldout.core.files import read_json
from heldout.core.seeds import stream
from heldout.data.influence_stats import top_share

VARIABLE = "HELDOUT_DATA"


def spread(settings: dict[str, Any], seed: int) -> dict[str, float]:
    """Return medians over queries of the share of the first 1 % and of the tail's exponent.

    Raises:
        InputError: no finished run of this seed in the folder given by `--data`.
    """
    path = Path(os.environ.get(VARIABLE, "runs/influence")) / str(seed) / "results.json"
    if not path.exists():
        raise InputError(
            f"no '{path}'",
            "a finished run on a language model for each seed",
            f"python -m heldout.data.influence --seed {seed} --out {path.parent}",
        )
    found = read_json(path)
    rows = [r for r in found["sparsity"]["rows"] if r["kind"] == "query"]
    if len(rows) < settings["queries"]:
        raise InputError(f"{len(rows)} queries", f"{settings['queries']} or more", "--queries")
    n = int(found["corpus"]["sequences"])
    rng = stream(seed, "normal")
    normal = [top_share(rng.normal(size=n), rng, draws=1).value for _ in rows]
    exponent = float(np.median([r["alpha"] for r in rows]))
    low, high = settings["exponents"]
    return {
        "top_share": float(np.median([r["share"] for r in rows])),
        "top_share/normal": float(np.median(normal)),
        "tail_exponent": exponent,
        "tail_outside": max(low - exponent, exponent - high),
        "tail_distance": float(np.median([r["distance"] for r in rows])),
    }
