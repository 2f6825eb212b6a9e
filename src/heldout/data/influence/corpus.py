"""The training rows of a run, kept beside its results.

Texts of installed packages change when a package is installed: a run that goes on, or a control
on the same texts, reads the rows that the first one kept and not the packages of today.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from heldout.core.errors import ArtifactError, InputError
from heldout.core.files import read_arrays, write_arrays
from heldout.lm.installed_texts import Sequences, token_sequences

from .options import Options
from .texts import Encode, read_documents, text_hash

FILE = "rows.npz"
PROBE = "Which tokenizer: 3.14159, naïve, tab\there, supercalifragilistic (x_i != y_j)?\n"


def training_rows(options: Options, encode: Encode, pad: int) -> Sequences:
    """Return the rows of `--train`: those kept by a run, or texts read and cut now.

    Raises:
        InputError: unusable texts; rows kept with another tokenizer or length.
    """
    given, own = Path(options.train) / FILE, options.out / FILE
    if given.is_file():
        return load_rows(given, encode, options)
    if options.train == "installed" and own.is_file():
        return load_rows(own, encode, options)
    return token_sequences(
        read_documents(options.train), encode,
        length=options.length, limit=options.sequences,
        shortest=options.length // 2, pad=pad,
    )  # fmt: skip


def save_rows(rows: Sequences, path: Path, encode: Encode) -> None:
    """Write rows, their sources, and which tokenizer made them."""
    text = json.dumps({"sources": rows.sources, "tokenizer": text_hash(encode(PROBE))})
    arrays = {
        "tokens": rows.tokens,
        "lengths": rows.lengths,
        "about": np.frombuffer(text.encode(), dtype=np.uint8),
    }
    write_arrays(path, arrays)


def load_rows(path: Path, encode: Encode, options: Options) -> Sequences:
    """Read rows.

    Raises:
        InputError: rows of another tokenizer or length, or more than `--sequences`.
        ArtifactError: the file is damaged.
    """
    found = read_arrays(path)
    try:
        about = json.loads(found["about"].tobytes())
        rows = Sequences(found["tokens"], found["lengths"], tuple(about["sources"]))
        same = about["tokenizer"] == text_hash(encode(PROBE))
    except (KeyError, ValueError) as error:
        raise ArtifactError(f"{path} is damaged ({error}); remove it") from error
    if not same:
        raise InputError(f"'{path}' of another tokenizer", "the model's own", "--train installed")
    if rows.tokens.shape[1] != options.length or len(rows) > options.sequences:
        raise InputError(
            f"--length {options.length} --sequences {options.sequences}",
            f"the {len(rows)} rows of {rows.tokens.shape[1]} tokens in '{path}'",
            f"--length {rows.tokens.shape[1]} --sequences {len(rows)}, or another --out",
        )
    return rows
