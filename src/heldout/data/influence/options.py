"""What `python -m heldout.data.influence` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from heldout.core.errors import InputError

SHORTEST = 8
"""Tokens: fewer say too little to be a training sequence."""


@dataclass(frozen=True)
class Options:
    """Influence of training texts on log p(completion | prompt) of a causal language model.

    A run that was stopped goes on where it was when the same command is given again. Under
    torchrun, data are shared between processes; --out must be on a disk that all of them see.
    """

    model: Annotated[str, tyro.conf.Positional] = "smollm2"
    """Folder of a transformers model, or smollm2."""
    untrained: bool = False
    """Draw the model's weights anew by its own rule, seeded by --seed: the control of the
    word-order test. Give the other options as for the trained model, and another --out."""
    control: Path | None = None
    """Folder of a finished run of an untrained model, shown beside this one."""
    train: str = "installed"
    """JSONL file with "text", folder of .txt files, installed: texts of installed packages, or
    folder of another run: its very rows."""
    queries: str = "default"
    """JSONL file with "prompt" and "completion", default, or none: facts alone."""
    facts: str = "default"
    """JSONL file of facts for the word-order test, default or none."""
    out: Path = Path("runs/influence")
    """Folder for factors, scores and the page."""
    memory: str = "4GB"
    """Memory that a process may use, libraries and model included."""
    layers: str = "mlp"
    """mlp: feed-forward layers, as in the paper; all-linear: attention's as well; or a pattern
    such as "*.15.mlp.*"."""
    rank: int = 32
    """Directions kept of each query's gradient of a layer."""
    sequences: int = 5000
    """Most training sequences."""
    fit_sequences: int = 1000
    """Sequences that the curvature is fitted on, spread evenly."""
    length: int = 64
    """Tokens of a training sequence."""
    tfidf: int = 0
    """Score only this many nearest texts of each query by TF-IDF; 0: all."""
    nulls: int = 8
    """Null queries, completions of tokens drawn from the others'."""
    check: int = 16
    """Sequences scored again in float32 with whole gradients of a few layers; 0: none."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Of the model and the products; factors are summed in float32."""
    batch: int = 8
    """Sequences at a time."""
    top: int = 10
    """Sequences shown per query and sign."""
    seed: int = 0
    """Of sampled labels, null queries, shuffled words and untrained weights."""
    save_every: float = 120.0
    """Seconds between saves of unfinished sums."""
    threads: int = 0
    """CPU threads; 0: as torch chooses."""
    plan: bool = False
    """Print time and memory, for this model and larger ones, and stop."""


def checked(options: Options) -> Options:
    """Return the options, numbers that make no sense refused.

    Raises:
        InputError: one of them; says which and what is expected.

    >>> checked(Options()).rank
    32
    """
    least = {
        "rank": 1, "sequences": 1, "fit_sequences": 1, "length": SHORTEST, "batch": 1, "top": 1,
        "tfidf": 0, "nulls": 0, "check": 0, "threads": 0, "seed": 0, "save_every": 0,
    }  # fmt: skip
    for name, smallest in least.items():
        value = getattr(options, name)
        if not value >= smallest:
            flag = f"--{name.replace('_', '-')}"
            raise InputError(f"{flag} {value}", f"{smallest} or more", f"{flag} {smallest}")
    return options


def read_memory(text: str) -> int:
    """Read a size such as 4GB or 500MB.

    Raises:
        InputError: anything else.

    >>> read_memory("4GB"), read_memory("1.5 MB")
    (4000000000, 1500000)
    """
    units = {"TB": 1e12, "GB": 1e9, "MB": 1e6}
    given = text.strip().upper()
    for unit, size in units.items():
        if given.endswith(unit):
            try:
                count = int(float(given.removesuffix(unit)) * size)
            except (ValueError, OverflowError):
                break
            if count > 0:
                return count
    raise InputError(f"memory {text!r}", "a number with MB, GB or TB", "--memory 4GB")
