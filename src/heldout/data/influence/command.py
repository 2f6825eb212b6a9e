"""`python -m heldout.data.influence`: which training texts move a language model's predictions."""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from torch import nn

from heldout.core.errors import HeldoutError, InputError
from heldout.core.files import read_json, write_json
from heldout.lm.installed_texts import Sequences, token_sequences, versions
from heldout.lm.smollm import load_causal_lm, load_smollm

from .agreement import agreement
from .blocks import (
    Source,
    load_directions,
    query_directions,
    read_scores,
    save_directions,
    score_all,
)
from .layers import Layer, find_layers
from .losses import CausalLanguageModel
from .page import write_page
from .passes import run_gradients
from .planning import TYPICAL, Job, measure_rates, shape_of, table
from .results import Found, results
from .sharding import Group, fit_factors, processes
from .store import VERSION, model_hash, refuse_other
from .taps import tapping
from .texts import (
    Fact,
    encoded_queries,
    null_queries,
    query_batches,
    read_documents,
    read_facts,
    read_queries,
    text_hash,
    train_batches,
    with_facts,
)

TASK = CausalLanguageModel()


@dataclass(frozen=True)
class Options:
    """Influence of training texts on log p(completion | prompt) of a causal language model.

    A run that was stopped goes on where it was when the same command is given again. Under
    torchrun, data are shared between processes; --out must be on a disk that all of them see.
    """

    model: Annotated[str, tyro.conf.Positional] = "smollm2"
    """Folder of a transformers model, or smollm2."""
    train: str = "installed"
    """JSONL file with "text", folder of .txt files, or installed: texts of installed packages."""
    queries: str = "default"
    """JSONL file with "prompt" and "completion", or default."""
    facts: str = "default"
    """JSONL file of facts for the word-order test, default or none."""
    out: Path = Path("runs/influence")
    """Folder for factors, scores and the page."""
    memory: str = "4GB"
    """Memory that a process may use."""
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
    """Of sampled labels and null queries."""
    save_every: float = 120.0
    """Seconds between saves of unfinished sums."""
    threads: int = 0
    """CPU threads; 0: as torch chooses."""
    plan: bool = False
    """Print time and memory, for this model and larger ones, and stop."""


@dataclass
class Setup:
    """What a run works on."""

    model: nn.Module
    tokenizer: Any
    layers: dict[str, Layer]
    rows: Sequences
    queries: list[tuple[list[int], list[int]]]
    kinds: list[str]
    facts: tuple[list[list[int]], list[list[int]]]
    about: dict[str, Any]
    dtype: torch.dtype


def read_memory(text: str) -> int:
    """Read a size such as 4GB or 500MB.

    >>> read_memory("4GB"), read_memory("1.5 MB")
    (4000000000, 1500000)
    """
    units = {"TB": 1e12, "GB": 1e9, "MB": 1e6}
    for unit, size in units.items():
        number = text.strip().upper().removesuffix(unit)
        if number != text.strip().upper():
            try:
                return int(float(number) * size)
            except ValueError:
                break
    raise InputError(f"memory {text!r}", "a number with MB, GB or TB", "--memory 4GB")


def peak_bytes() -> int:
    """Return the most memory this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main(arguments: list[str] | None = None) -> None:
    """Run the command; errors that say what to try end it without a traceback."""
    options = tyro.cli(Options, args=arguments, prog="python -m heldout.data.influence")
    try:
        with processes() as group:
            run(options, group)
    except HeldoutError as error:
        sys.exit(str(error))


def run(options: Options, group: Group) -> None:
    """Fit, score and write the page; each stage keeps what an earlier run has finished.

    Raises:
        InputError: unusable options or texts, or a folder of another run.
    """
    memory, started = read_memory(options.memory), time.monotonic()
    if options.threads:
        torch.set_num_threads(options.threads)

    def say(text: str) -> None:
        if group.rank == 0:
            spent = (time.monotonic() - started) / 60
            print(f"{spent:6.1f} min  {peak_bytes() / 1e9:4.1f} GB  {text}", flush=True)

    setup = prepare(options, group.device)
    say(f"{len(setup.rows)} sequences, {len(setup.queries)} queries, {len(setup.layers)} layers")
    every = train_batches(setup.rows, range(len(setup.rows)), options.batch, group.device)
    _planned(options, setup, every, memory, say)
    if options.plan:
        return
    _keep_about(options.out, setup.about, group)
    folder = options.out / "factors"
    spread = np.linspace(0, len(setup.rows) - 1, min(options.fit_sequences, len(setup.rows)))
    chosen = spread.astype(int).tolist()
    if len(chosen) < group.size:
        raise InputError(f"{len(chosen)} sequences", f"at least {group.size}", "--fit-sequences")
    part = group.share(len(chosen))
    data = train_batches(setup.rows, chosen[part.start : part.stop], options.batch, group.device)
    data = [type(b)(b.inputs, b.targets, b.mask, b.start + part.start, b.size) for b in data]
    about = {k: v for k, v in setup.about.items() if k in ("model", "layers", "fit", "version")}
    free = int(0.9 * (memory - peak_bytes()))
    fit_factors(
        setup.model, TASK, setup.layers, data, folder, about,
        budget=free, save_every=options.save_every, group=group, say=say,
    )  # fmt: skip
    source = Source(folder, about)
    files = _directions(options, setup, source, group, say)
    groups = _query_groups(files, memory - peak_bytes() // 2)
    for number, names in enumerate(groups):
        held = load_directions(names, group.device)
        target = options.out / "scores" / f"queries_{number}"
        say(f"scoring with queries {number + 1} of {len(groups)} groups")
        score_all(setup.model, TASK, setup.layers, every, held, target, group=group, say=say)
        del held
    if group.rank == 0:
        _report(options, setup, source, files, len(groups), every, say)


def prepare(options: Options, device: torch.device) -> Setup:
    """Load the model and the texts.

    Raises:
        InputError: unusable model, texts or queries.
    """
    dtype = getattr(torch, options.dtype)
    if options.model == "smollm2":
        model, tokenizer = load_smollm(dtype)
    else:
        model, tokenizer = load_causal_lm(Path(options.model), dtype)
    model.to(device)

    def encode(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    pad = tokenizer.pad_token_id or 0
    rows = token_sequences(
        read_documents(options.train), encode,
        length=options.length, limit=options.sequences,
        shortest=options.length // 2, pad=pad,
    )  # fmt: skip
    facts: list[Fact] = read_facts(options.facts)
    asked = read_queries(options.queries)
    if options.tfidf:
        rows = _filtered(rows, [*asked, *(f.query for f in facts)], tokenizer, options.tfidf)
    rows, same, flipped = with_facts(rows, facts, encode, pad)
    own = encoded_queries(asked, encode)
    of_facts = encoded_queries([f.query for f in facts], encode)
    nulls = null_queries(own, options.nulls, options.seed)
    queries = [*own, *of_facts, *nulls]
    kinds = ["query"] * len(own) + ["fact"] * len(of_facts) + ["null"] * len(nulls)
    named = {"mlp": ["*.mlp.*", "*.feed_forward.*"], "all-linear": ["*"]}
    layers = _layers(model, named.get(options.layers, [options.layers]))
    about = {
        "model": model_hash(model),
        "layers": text_hash({k: [v.n_in, v.n_out] for k, v in layers.items()}),
        "fit": [text_hash(rows.tokens, rows.lengths), options.fit_sequences, options.seed],
        "version": VERSION,
        "queries": text_hash(queries),
        "scoring": [options.rank, options.dtype, options.batch],
        "train": options.train,
        "versions": versions(),
    }
    return Setup(model, tokenizer, layers, rows, queries, kinds, (same, flipped), about, dtype)


def _layers(model: nn.Module, patterns: list[str]) -> dict[str, Layer]:
    # The output layer is left out: its weights are often the embedding's, and n_out is the
    # vocabulary, whose covariance would not fit.
    get: Any = getattr(model, "get_output_embeddings", None)
    head = None if get is None else get()
    every = find_layers(model, shared=True)
    names = [
        name
        for name, layer in every.items()
        if layer.module is not head and any(fnmatchcase(name, p) for p in patterns)
    ]
    if not names:
        raise InputError(
            f"layers {patterns}", f"some of {list(every)[:8]}", "--layers all-linear, or a pattern"
        )
    return find_layers(model, names)


def _filtered(rows: Sequences, queries: list[Any], tokenizer: Any, k: int) -> Sequences:
    from heldout.data.tfidf import tfidf_top

    texts = [tokenizer.decode(t[:n]) for t, n in zip(rows.tokens, rows.lengths, strict=True)]
    keep = np.unique(tfidf_top([q.prompt + q.completion for q in queries], texts, k))
    return Sequences(rows.tokens[keep], rows.lengths[keep], tuple(rows.sources[i] for i in keep))


def _planned(options: Options, setup: Setup, every: list[Any], memory: int, say: Any) -> None:
    def a_pass() -> int:
        with tapping(setup.model, setup.layers) as taps:
            run_gradients(taps, TASK.per_example, every[:1], options.batch, lambda _: _drop)
        return every[0].size * options.length

    count = sum(p.numel() for p in setup.model.parameters())
    rates = measure_rates(a_pass, count, setup.dtype)
    job = Job(
        options.fit_sequences, len(setup.rows), len(setup.queries), options.length, options.rank,
        memory, peak_bytes(), setup.dtype.itemsize,
    )  # fmt: skip
    say(
        "plan\n"
        + table([shape_of(Path(options.model).name, setup.layers, count), *TYPICAL], job, rates)
    )


def _drop(name: str, a: torch.Tensor, d: torch.Tensor) -> None:
    return None


def _keep_about(out: Path, about: dict[str, Any], group: Group) -> None:
    path = out / "run.json"
    if path.exists():
        refuse_other(read_json(path), about, out)
    elif group.rank == 0:
        write_json(path, about)


def _directions(
    options: Options, setup: Setup, source: Source, group: Group, say: Any
) -> list[Path]:
    pad = setup.tokenizer.pad_token_id or 0
    files = []
    for number, batch in enumerate(query_batches(setup.queries, 8, pad, group.device)):
        files.append(options.out / "queries" / f"queries_{number:04d}.safetensors")
        if number % group.size == group.rank and not files[-1].exists():
            say(f"queries {batch.start} to {batch.start + batch.size - 1}")
            found = query_directions(
                setup.model, TASK, setup.layers, batch, source, options.rank, setup.dtype
            )
            save_directions(found, files[-1])
    group.sum_(torch.zeros(1, device=group.device))
    return files


def _query_groups(files: list[Path], budget: int) -> list[list[Path]]:
    # Joining copies a layer at a time; the copy's share is small beside the whole.
    groups: list[list[Path]] = []
    used = 0
    for file in files:
        size = file.stat().st_size
        if not groups or used + size > budget // 2:
            groups.append([])
            used = 0
        groups[-1].append(file)
        used += size
    return groups


def _report(
    options: Options, setup: Setup, source: Source, files: list[Path], groups: int,
    every: list[Any], say: Any,
) -> None:  # fmt: skip
    scores = read_scores([options.out / "scores" / f"queries_{i}" for i in range(groups)])
    about = load_directions(files, torch.device("cpu"))
    checked = None
    if options.check:
        say("scoring a few sequences again in float32 with whole gradients")
        again = query_batches(
            setup.queries[:4], 4, setup.tokenizer.pad_token_id or 0, every[0].targets.device
        )
        step = max(1, len(every) // max(1, options.check // options.batch))
        checked = agreement(setup.model, TASK, setup.layers, again, every[::step], source, about)
    found = Found(
        scores, about.size, about.kept, about.measure, setup.rows, setup.queries, setup.kinds,
        *setup.facts,
    )  # fmt: skip
    made = results(found, setup.tokenizer, options.top, options.seed)
    made["agreement"] = checked
    made["peak_gb"] = peak_bytes() / 1e9
    made["settings"] = json.loads(json.dumps(asdict(options), default=str))
    made["versions"] = setup.about["versions"]
    made["layer_names"] = list(setup.layers)
    write_json(options.out / "results.json", made)
    write_page(made, options.out / "influence.html")
    say(f"written: {options.out / 'influence.html'} and results.json")
