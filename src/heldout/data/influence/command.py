"""`python -m heldout.data.influence`: which training texts move a language model's predictions."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from heldout.core.errors import HeldoutError, InputError
from heldout.core.files import read_json, write_json

from .agreement import agreement, agreement_size
from .batches import Batch
from .blocks import Source, query_directions, read_scores, score_all
from .corpus import FILE, save_rows
from .directions import load_directions, load_measures, save_directions
from .found import Found
from .losses import CausalLanguageModel
from .memory import free_for_factors, peak_bytes, query_groups, release, score_size
from .options import Options, checked, read_memory
from .page import write_page
from .passes import run_gradients
from .plan_table import table
from .planning import TYPICAL, Job, measure_rates, shape_of
from .processes import Group, Say, processes
from .results import results
from .setup import Setup, prepare
from .sharding import fit_factors
from .store import refuse_other
from .taps import tapping
from .texts import query_batches, text_hash, train_batches

TASK = CausalLanguageModel()
QUERIES_PER_FILE = 8


@dataclass(frozen=True)
class _Run:
    # one run's stages share these
    options: Options
    setup: Setup
    group: Group
    say: Say
    memory: int
    base: int  # bytes held before anything is fitted

    @property
    def shapes(self) -> list[tuple[int, int]]:
        return [(layer.n_in, layer.n_out) for layer in self.setup.layers.values()]


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
        InputError: unusable options or texts, too little memory, or a folder of another run.
    """
    memory, started = read_memory(checked(options).memory), time.monotonic()
    if options.threads:
        torch.set_num_threads(options.threads)
    control = None if options.control is None else _control(options.control)

    def say(text: str) -> None:
        if group.rank == 0:
            spent = (time.monotonic() - started) / 60
            print(f"{spent:6.1f} min  {peak_bytes() / 1e9:4.1f} GB  {text}", flush=True)
            if (options.out / "run.json").exists():
                _peak(options.out)

    setup = prepare(options, group.device)
    say(f"{len(setup.rows)} sequences, {len(setup.queries)} queries, {len(setup.layers)} layers")
    every = train_batches(setup.rows, range(len(setup.rows)), options.batch, group.device)
    _planned(options, setup, every, memory, say)
    if options.plan:
        return
    # the same on all processes, so that they cut the same groups
    here = _Run(options, setup, group, say, memory, group.largest(peak_bytes()))
    free_for_factors(memory, here.base, here.shapes)  # refused before anything is written
    _keep_about(options.out, setup, group)
    source = _fitted(here)
    files = _directions(here, source)
    groups = _scored(here, files, every)
    if group.rank == 0:
        _report(here, source, files, groups, every, control)


def _control(folder: Path) -> dict[str, Any]:
    path = folder / "results.json"
    if not path.exists():
        raise InputError(f"--control without '{path}'", "a finished run", "run the control first")
    found: dict[str, Any] = read_json(path)
    if not (found.get("word_order") or {}).get("each"):
        raise InputError(
            f"'{path}' without scores by fact",
            "results of this version, with facts",
            "give the control's own command again: it only writes its report anew",
        )
    return found


def _planned(options: Options, setup: Setup, every: list[Batch], memory: int, say: Say) -> None:
    def a_pass() -> int:
        with tapping(setup.model, setup.layers) as taps:
            run_gradients(taps, TASK.per_example, every[:1], options.batch, lambda _: _drop)
        return every[0].size * options.length

    rates = measure_rates(a_pass, setup.parameters, setup.dtype)
    job = Job(
        min(options.fit_sequences, len(setup.rows)), len(setup.rows), len(setup.queries),
        options.length, options.rank, memory, peak_bytes(), setup.dtype.itemsize, options.batch,
    )  # fmt: skip
    shape = shape_of(Path(options.model).name, setup.layers, setup.parameters)
    say("plan\n" + table([shape, *TYPICAL], job, rates))


def _drop(name: str, a: torch.Tensor, d: torch.Tensor) -> None:
    return None


def _keep_about(out: Path, setup: Setup, group: Group) -> None:
    path = out / "run.json"
    if path.exists():
        refuse_other(read_json(path), setup.about, out)
    if group.rank == 0:
        if not (out / FILE).exists():
            save_rows(setup.texts, out / FILE, setup.encode)
        if not path.exists():
            write_json(path, setup.about)


def _fitted(here: _Run) -> Source:
    options, setup, group = here.options, here.setup, here.group
    folder = options.out / "factors"
    spread = np.linspace(0, len(setup.rows) - 1, min(options.fit_sequences, len(setup.rows)))
    chosen = spread.astype(int).tolist()
    if len(chosen) < group.size:
        raise InputError(f"{len(chosen)} sequences", f"at least {group.size}", "--fit-sequences")
    part = group.share(len(chosen))
    data = train_batches(setup.rows, chosen[part.start : part.stop], options.batch, group.device)
    data = [type(b)(b.inputs, b.targets, b.mask, b.start + part.start, b.size) for b in data]
    about = {k: v for k, v in setup.about.items() if k in ("model", "layers", "fit", "version")}
    fit_factors(
        setup.model, TASK, setup.layers, data, folder, about,
        budget=free_for_factors(here.memory, here.base, here.shapes),
        save_every=options.save_every, group=group, say=here.say,
    )  # fmt: skip
    return Source(folder, about)


def _directions(here: _Run, source: Source) -> list[Path]:
    options, setup, group = here.options, here.setup, here.group
    files = []
    batches = query_batches(setup.queries, QUERIES_PER_FILE, setup.pad, group.device)
    for number, batch in enumerate(batches):
        files.append(options.out / "queries" / f"queries_{number:04d}.safetensors")
        if number % group.size == group.rank and not files[-1].exists():
            here.say(f"queries {batch.start} to {batch.start + batch.size - 1}")
            found = query_directions(
                setup.model, TASK, setup.layers, batch, source, options.rank, setup.dtype
            )
            save_directions(found, files[-1])
            del found
            release()
    group.sum_(torch.zeros(1, device=group.device))
    return files


def _scored(here: _Run, files: list[Path], every: list[Batch]) -> tuple[list[Path], list[Path]]:
    # Scores of the rows, and of shuffled facts, for each group of queries that fits in memory.
    options, setup, group = here.options, here.setup, here.group
    beside = score_size(QUERIES_PER_FILE, options.batch, options.length, options.rank)
    groups = query_groups(files, here.memory - here.base, beside)
    extra = setup.shuffled.rows
    others = train_batches(extra, range(len(extra)), options.batch, group.device)
    shuffled = f"shuffled_{text_hash(extra.tokens, extra.lengths)}"
    found: tuple[list[Path], list[Path]] = ([], [])
    for number, names in enumerate(groups):
        held = load_directions(names, group.device)
        here.say(f"scoring with queries {number + 1} of {len(groups)} groups")
        # Blocks of another number of groups hold other queries.
        name = f"queries_{number}" + (f"of{len(groups)}" if len(groups) > 1 else "")
        targets = [options.out / kind / name for kind in ("scores", shuffled)]
        for target, rows, into in zip(targets, (every, others), found, strict=True):
            score_all(
                setup.model, TASK, setup.layers, rows, held, target, group=group, say=here.say
            )
            into.append(target)
        del held
    return found


def _report(
    here: _Run, source: Source, files: list[Path], groups: tuple[list[Path], list[Path]],
    every: list[Batch], control: dict[str, Any] | None,
) -> None:  # fmt: skip
    options, setup, out = here.options, here.setup, here.options.out
    shuffled = read_scores(groups[1]) if len(setup.shuffled.rows) else None
    found = Found(
        read_scores(groups[0]), *load_measures(files), setup.queries, setup.kinds,
        setup.facts, setup.shuffled, shuffled,
    )  # fmt: skip
    made = results(found, setup.tokenizer, options.top, options.seed, control)
    made["agreement"] = _agreement(here, source, files[0], every)
    made["peak_gb"] = _peak(out)
    made["settings"] = json.loads(json.dumps(asdict(options), default=str))
    made["versions"] = setup.about["versions"]
    made["layer_names"] = list(setup.layers)
    write_json(out / "results.json", made)
    write_page(made, out / "influence.html")
    here.say(f"written: {out / 'influence.html'} and results.json")


def _peak(out: Path) -> float:
    # In the folder, since a run may take several processes, of which the last only reports.
    path = out / "peak_memory.json"
    before = read_json(path)["peak_gb"] if path.exists() else 0.0
    peak = max(float(before), peak_bytes() / 1e9)
    write_json(path, {"peak_gb": peak})
    return peak


def _agreement(
    here: _Run, source: Source, file: Path, every: list[Batch]
) -> dict[str, float] | None:
    options, setup = here.options, here.setup
    if not options.check:
        return None
    needed = here.base + agreement_size(here.shapes, setup.parameters, file.stat().st_size)
    if needed > here.memory:
        here.say(f"no check in float32: it needs {needed / 1e9:.1f} GB")
        return None
    here.say("scoring a few sequences again in float32 with whole gradients")
    few = setup.queries[: min(4, QUERIES_PER_FILE)]
    again = query_batches(few, len(few), setup.pad, here.group.device)
    step = max(1, len(every) // max(1, options.check // options.batch))
    about = load_directions([file], here.group.device)
    return agreement(setup.model, TASK, setup.layers, again, every[::step], source, about)
