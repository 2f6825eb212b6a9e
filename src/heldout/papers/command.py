"""`heldout reproduce`: options, cost, progress, and what came out."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from heldout.core.errors import HeldoutError, InputError
from heldout.papers.backends import BackendError, check
from heldout.papers.catalogue import RECORDS
from heldout.papers.explain import STYLES, explain
from heldout.papers.log import append_log, duration, number, seeds_said
from heldout.papers.planning import Plan, plan
from heldout.papers.records import failed_seeds
from heldout.papers.runner import Log, run_plan
from heldout.papers.stale import stale
from heldout.papers.units import PACKAGE
from heldout.papers.worker import Outcome

EXIT_CODES = """Exit codes: 0 everything asked for was measured, whatever the verdicts
(with --stale: nothing is stale); 1 a seed raised or is missing (--stale: something is stale);
2 bad input; 3 the workers or the cluster went away; 130 stopped by hand. After 3 and 130 the same
command goes on from there."""


OpenLog = Callable[[str, Path], AbstractContextManager[Any]]
"""From the word after --log and the records' folder to a logger; see `heldout.integrations`."""


@dataclass(frozen=True)
class Options:
    """Measure a paper's claims here, over seeds, with a verdict by rule."""

    slugs: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Papers, such as data_diet; `heldout papers` lists them."""
    all: bool = False
    """Every paper that is built."""
    claim: tuple[str, ...] = ()
    """Only these claims."""
    scale: str = "small"
    """tiny (does it run), small (minutes on two cores) or full (as published)."""
    seeds: int = 5
    """Seeds per claim; a verdict needs 3."""
    jobs: int = 1
    """Seeds measured at once, each on one core."""
    backend: str = "loky"
    """Where: loky (processes), threading, ray or dask. ray and dask use the cluster at RAY_ADDRESS
    or DASK_SCHEDULER_ADDRESS, or start one here."""
    out: Path = Path("reproduced")
    """Folder of the records, <out>/<slug>/<claim>.json; what is finished there is not run again."""
    data: Path | None = None
    """Folder of data that is not shipped, for papers that need one at full scale."""
    log: Literal["file", "mlflow", "tensorboard", "wandb", "none"] = "file"
    """Where each finished seed's numbers are logged, in --out."""
    again: bool = False
    """Set aside (*.old) what is there, and measure anew."""
    stale: bool = False
    """List the shipped and --out records whose code has changed since; runs nothing."""
    explain: bool = False
    """Show card, claims, thresholds, rule, cost and last record; runs nothing."""


def run(arguments: Sequence[str], package: str = PACKAGE, open_log: OpenLog | None = None) -> int:
    """Run `heldout reproduce` and return the exit code; see `EXIT_CODES`.

    The caller hands in `open_log`, since papers know nothing of logging libraries.
    """
    options = tyro.cli(
        Options,
        args=list(arguments),
        prog="heldout reproduce",
        description=f"{Options.__doc__}\n\n{EXIT_CODES}",
    )
    console = Console(stderr=True)
    try:
        command = shlex.join(["heldout", "reproduce", *arguments])
        return _run(options, console, command, package, open_log)
    except HeldoutError as error:
        console.print(f"[bold red]heldout reproduce[/]: {type(error).__name__}", highlight=False)
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 3 if isinstance(error, BackendError) else 2
    except KeyboardInterrupt:
        console.print("Stopped. Finished seeds are kept; the same command goes on from there.")
        return 130


def _run(
    options: Options, console: Console, command: str, package: str, open_log: OpenLog | None
) -> int:
    shipped = [Path(RECORDS)] if package == PACKAGE else []
    if options.stale:
        return _show_stale([*shipped, options.out], options.slugs, package)
    if not options.slugs and not options.all:
        raise InputError(
            "no paper", "one or more papers, or --all", "`heldout papers` lists them all"
        )
    if options.slugs and options.all:
        raise InputError(
            f"--all and {' '.join(options.slugs)}", "one or the other", "leave out --all"
        )
    if options.explain:
        folders = [options.out, *shipped]
        shown = explain(options.slugs, options.claim, options.scale, folders, package)
        Console().print(shown)
        return 0
    check(options.backend, options.jobs)  # before --again moves anything
    found = plan(
        options.slugs,
        claims=options.claim,
        scale=options.scale,
        seeds=options.seeds,
        out=options.out,
        again=options.again,
        package=package,
        data=options.data,
    )
    _show_plan(console, found, options)
    start_log = None if options.log == "none" else open_log
    with start_log(options.log, options.out) if start_log else nullcontext() as logger:
        return _measure(found, options, console, command, logger.log if logger else None)


def _measure(found: Plan, options: Options, console: Console, command: str, log: Log | None) -> int:
    start = time.monotonic()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    total = sum(len(w.units) for w in found.works if not w.blocked)
    try:
        with bar:
            task = bar.add_task("measuring", total=total)

            def progress(outcome: Outcome) -> None:
                unit = outcome.unit
                content = outcome.content or {}
                said = content.get("error") or duration(content.get("wall_s", 0.0))
                line = f"{unit.slug} {unit.group} seed {unit.seed}: {said}"
                bar.console.print(line, markup=False, highlight=False)
                bar.update(task, advance=1)

            made = run_plan(
                found, jobs=options.jobs, backend=options.backend, log=log, progress=progress
            )
    except (BackendError, KeyboardInterrupt) as error:
        stopped = "Stopped before the end." if isinstance(error, KeyboardInterrupt) else str(error)
        append_log(options.out, command, [], time.monotonic() - start, " ".join(stopped.split()))
        raise
    path = append_log(options.out, command, made, time.monotonic() - start)
    _show_result(made, options, path)
    blocked = any(w.blocked for w in found.works)
    return 1 if blocked or any(failed_seeds(record) for record in made) else 0


def _show_plan(console: Console, found: Plan, options: Options) -> None:
    for note in (*found.notes, *(w.blocked for w in found.works if w.blocked)):
        console.print(Text(note, style="yellow"), soft_wrap=True)
    table = Table(title="Plan", title_justify="left", box=None, pad_edge=False)
    for name in ("paper", "claims", "seeds left", "minutes per seed", "minutes"):
        side: Literal["left", "right"] = "left" if name in ("paper", "claims") else "right"
        table.add_column(name, justify=side, overflow="fold")
    total, unknown = 0.0, False
    for work in found.works:
        n = 0 if work.blocked else len(work.units)
        minutes = work.minutes
        total += n * (minutes or 0.0)
        unknown = unknown or (n > 0 and minutes is None)
        table.add_row(
            Text(work.group.slug),
            Text(", ".join(c.id for c in work.group.claims)),
            f"{n} of {work.group.seeds}",
            "not known" if minutes is None else f"{minutes:.2g}",
            "not known" if n and minutes is None else f"{n * (minutes or 0.0):.2g}",
        )
    console.print(table)
    if found.skipped:
        console.print(f"Skipped, not built: {', '.join(found.skipped)}", highlight=False)
    time_said = f"{'at least ' if unknown else 'about '}{duration(60 * total / options.jobs)}"
    cost = time_said if total else "time not known" if unknown else "nothing left to measure"
    said = f"Scale {options.scale}, {options.jobs} at once: {cost}. Records go to {options.out}/"
    console.print(said, highlight=False)


def _show_result(made: Sequence[dict[str, Any]], options: Options, path: Path) -> None:
    console = Console()
    for record in made:
        effect, word = record["effect"], record["verdict"]
        ends = f"[{number(effect['ci_low'])}, {number(effect['ci_high'])}]"
        head = f"  {record['slug']} {record['claim']}  {number(effect['value'])} {ends}"
        unit = f" {effect['unit']}" if effect["unit"] else ""
        tail = f"{unit}, seeds {seeds_said(record)}, scale {record['scale']}"
        console.print(
            Text.assemble((word, STYLES.get(word, "bold")), head, (tail, "dim")), soft_wrap=True
        )
        console.print(Padding(Text(record["reason"], style="dim"), (0, 0, 0, 2)))
    console.print(f"Records: {options.out}/   Log: {path}", highlight=False)


def _show_stale(folders: Sequence[Path], slugs: Sequence[str], package: str) -> int:
    found, looked = stale(folders, slugs, package)
    console = Console()
    for item in found:
        console.print(f"{item.path}: {item.why}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{len(found)} of {looked} records are stale.", highlight=False)
    return 1 if found else 0
