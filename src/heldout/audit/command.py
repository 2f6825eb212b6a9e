"""`heldout audit`: options, plan, progress, and what is written."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from heldout.audit.api import audit_task, recheck
from heldout.audit.checks import CHECKS
from heldout.audit.collect import Planned
from heldout.audit.context import Settings
from heldout.audit.outcome import Report
from heldout.core.errors import HeldoutError, InputError
from heldout.core.files import read_json, write_text
from heldout.core.preparing import prepare
from heldout.core.task import Task
from heldout.core.weights import load_weights


@dataclass(frozen=True)
class Options:
    """How well will this model generalize, why, and what to do next."""

    file: Annotated[str, tyro.conf.Positional] = ""
    """Python file that defines model() and data() -> dict(train=, test=, shifted=, groups=), and
    optionally fit(dataset, seed); the built-in example when left out."""
    out: Path | None = None
    """Folder for report.html, report.json and the artifacts; audit/, or that of --from."""
    weights: Path | None = None
    """Weights for model(): .safetensors, or .pt saved from state_dict()."""
    from_: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Folder of an earlier audit: check again what it collected, without the model."""
    compare: Path | None = None
    """report.json of an earlier audit: print what changed, and write compare.html."""
    fail_on: str = "never"
    """Exit with 1 when a check is at least this bad: never, warning, failed, or a list such as
    "leakage,label_noise>=warning" (with the quotes: > is the shell's)."""
    junit: Path | None = None
    """Write a JUnit XML file here."""
    pytest: Path | None = None
    """Write a pytest file of regression tests here."""
    card: Path | None = None
    """Write a Hugging Face model-card fragment here."""
    title: str = ""
    """Title of the report."""
    plan_only: bool = False
    """Print what the audit would cost, and stop."""
    quiet: bool = False
    """Print the result only."""
    settings: Annotated[Settings, tyro.conf.OmitArgPrefixes] = field(default_factory=Settings)


def run(arguments: Sequence[str]) -> int:
    """Run `heldout audit` and return the exit code."""
    options = tyro.cli(Options, args=list(arguments), prog="heldout audit")
    console = Console(stderr=True)
    try:
        return _run(options, console, shlex.join(["heldout", "audit", *arguments]))
    except HeldoutError as error:
        console.print(f"[bold red]heldout audit[/]: {type(error).__name__}", highlight=False)
        console.print(str(error), markup=False, highlight=False)
        return 2
    except KeyboardInterrupt:
        console.print("Stopped. What was finished is kept; the same command goes on from there.")
        return 130


def _run(options: Options, console: Console, command: str) -> int:
    from heldout.audit.report.gate import exceeds

    # A typo in --fail-on should not cost the whole audit.
    exceeds({"checks": {name: {"status": "passed"} for name in CHECKS}}, options.fail_on)
    old = read_json(options.compare) if options.compare else None
    if options.from_ is not None:
        report = recheck(options.from_)
        report.save(_folder(options))
    else:
        task, title = _task(options, console)
        if options.plan_only:
            from heldout.audit.collect import measure_speed, plan

            _show_plan(console, plan(task, measure_speed(task), options.settings))
            return 0
        with console.status("reading") as status:
            report = audit_task(
                task,
                options.settings,
                _folder(options),
                title,
                command,
                (lambda planned: None) if options.quiet else partial(_show_plan, console),
                (lambda text: None) if options.quiet else status.update,
            )
    return _finish(options, console, report, old)


def _folder(options: Options) -> Path:
    return options.out or options.from_ or Path("audit")


def _finish(options: Options, console: Console, report: Report, old: Any) -> int:
    from heldout.audit.report import card, compare, gate, junit, pytest_file, terminal

    content = report.to_dict()
    folder = _folder(options)
    if options.junit is not None:
        write_text(options.junit, junit.junit(content, options.fail_on))
    if options.pytest is not None:
        path = str(folder / "report.json")
        write_text(options.pytest, pytest_file.pytest_file(content, path))
    if options.card is not None:
        write_text(options.card, card.card(content))
    out = Console()
    out.print(terminal.summary(content))
    if old is not None:
        changes = compare.compare(old, content)
        write_text(folder / "compare.html", compare.render_html(changes))
        out.print(compare.render_text(changes), markup=False, highlight=False)
    out.print(f"Report: {folder / 'report.html'}", highlight=False)
    over = gate.exceeds(content, options.fail_on)
    if over:
        console.print(f"--fail-on {options.fail_on}: {', '.join(over)}")
    return 1 if over else 0


def _show_plan(console: Console, planned: list[Planned]) -> None:
    table = Table(title="Plan", title_justify="left", box=None, pad_edge=False)
    for name in ("stage", "time", "memory", "for", "note"):
        table.add_column(name, justify="right" if name in ("time", "memory") else "left")
    for item in planned:
        cost = item.cost
        time = "-" if cost.skip else f"{cost.seconds:.1f} s"
        memory = "-" if cost.skip else f"{cost.megabytes:.0f} MB"
        note = f"skipped: {cost.skip}" if cost.skip else cost.note
        table.add_row(item.collector.title, time, memory, _served(item.collector.id), note)
    console.print(table)


def _served(collector: str) -> str:
    """The checks that draw on a collector, or what else it is for."""
    if collector in ("predictions", "previews", "refits"):
        return {"predictions": "every check", "previews": "the report"}.get(collector, "gains")
    checks = [m.CHECK for m in CHECKS.modules()]
    return ", ".join(c.id for c in checks if collector in (*c.needs, *c.uses))


def _task(options: Options, console: Console) -> tuple[Task, str]:
    if options.file:
        arguments, title = _from_file(Path(options.file), options.weights), options.title
    else:
        from heldout.bench.example import arguments as built_in

        if not options.quiet:
            console.print("Training the built-in example: digits, a small CNN, planted defects.")
        arguments = built_in(options.settings.seed)
        title = options.title or "Built-in example: digits with three planted defects"
    settings = options.settings
    task = prepare(
        **arguments,
        seed=settings.seed,
        batch_size=settings.batch_size,
        max_examples=settings.max_examples,
    )
    return task, title


def _from_file(path: Path, weights: Path | None) -> dict[str, Any]:
    module = _load(path)
    for name in ("model", "data"):
        if not callable(getattr(module, name, None)):
            raise InputError(f"{path} without {name}()", "model() and data()", f"define {name}()")
    model, data = module.model(), module.data()
    known = {"train", "test", "shifted", "groups", "class_names"}
    if not isinstance(data, dict) or not {"train", "test"} <= set(data) or set(data) - known:
        keys = sorted(map(str, data)) if isinstance(data, dict) else type(data).__name__
        raise InputError(
            f"data() of {path} returned {keys}",
            f"a dict with train and test, and optionally {sorted(known - {'train', 'test'})}",
            'return {"train": (X, y), "test": (X, y), "shifted": {"name": (X, y)}}',
        )
    if weights is not None:
        load_weights(model, weights)
    return {"model": model, "fit": getattr(module, "fit", None), **data}


def _load(path: Path) -> ModuleType:
    if path.suffix != ".py" or not path.is_file():
        raise InputError(
            f"{path}",
            "a Python file that defines model() and data()",
            "check the path; weights go to --weights",
        )
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))  # so that it can import its neighbours
    try:
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module
