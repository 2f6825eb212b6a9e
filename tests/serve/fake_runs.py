"""Commands that stand in for `heldout reproduce` in tests, and servers that can be killed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from heldout.serve.jobs.queue import Limits, claims_of
from heldout.serve.site import Site
from heldout.serve.storage import jobs as stored
from heldout.serve.storage.jobs import Job, Wanted

QUICK = Limits(tick=0.05, grace=1.0)
PLAN = "xor_paper  claims, of, it    {left} of {all}      0.01     0.01"


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code, *arguments]


def says(*lines: str) -> Callable[[Wanted, Path], Sequence[str]]:
    """Return a command that says some lines and ends well."""
    return lambda _, __: python("import sys; print(*sys.argv[1:], sep='\\n')", *lines)


def measures(wanted: Wanted, folder: Path) -> Sequence[str]:
    """Speak and write as `heldout reproduce` does, without measuring anything."""
    code = """
import json, pathlib, sys
slug, scale, seeds, folder, *claims = sys.argv[1:]
print("Plan")
print(f"{slug}  a, b, c      {seeds} of {seeds}      0.01     0.01")
for seed in range(int(seeds)):
    print(f"{slug} group seed {seed}: 0.1 s", flush=True)
for claim in claims:
    path = pathlib.Path(folder, slug, claim + ".json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({
        "slug": slug, "claim": claim, "scale": scale, "verdict": "toy",
        "reason": "As the rule says.",
        "effect": {"value": 0.5, "ci_low": 0.25, "ci_high": 0.75, "n": int(seeds),
            "unit": "points"},
        "seeds": [{"seed": 0, "wall_s": 0.1}]}))
"""
    claims = [c.id for c in claims_of(wanted)]
    return python(code, wanted.slug, wanted.scale, str(wanted.seeds), str(folder), *claims)


SLEEPS = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"])
pathlib.Path(sys.argv[1], "pids").write_text(f"{__import__('os').getpid()} {child.pid}")
print("asleep", flush=True)
time.sleep(600)
"""


def sleeps(_: Wanted, folder: Path) -> Sequence[str]:
    """Start a child and sleep with it, for longer than any test."""
    return python(SLEEPS, str(folder))


def wanted(number: int = 0) -> Wanted:
    """Return one of many different runs."""
    claims = ("later_steps_are_benign", "one_step_is_harmful", "linear_after_one_step")
    return Wanted("benign_xor", claims[number % 3], "tiny", 1 + number // 3)


def put(site: Site, what: Wanted, now: float | None = None, most: int = 99) -> int:
    with site.database.write() as connection:
        return stored.enqueue(connection, what, time.time() if now is None else now, most)[0]


def look(site: Site, number: int) -> Job:
    with site.database.read() as connection:
        found = stored.one(connection, number)
    assert found is not None
    return found


def texts(site: Site, number: int) -> list[str]:
    with site.database.read() as connection:
        found = stored.lines(connection, number, -1, 9999)
    assert [n for n, _ in found] == list(range(len(found)))
    return [text for _, text in found]


def until(what: Callable[[], Any], seconds: float = 300.0) -> Any:
    """Wait for something to be true, on a machine that may be busy."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
    return found


def gone(pid: int) -> bool:
    """Whether a process is no more; one that waits to be reaped by the system is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return text.rpartition(")")[2].split()[0] in "ZX"


def pids(folder: Path) -> list[int]:
    """Return the two processes of `sleeps`, once they are there."""
    path = folder / "pids"
    text = until(lambda: path.exists() and len(path.read_text().split()) == 2 and path.read_text())
    return [int(part) for part in text.split()]


def free_of(pid_list: Sequence[int]) -> bool:
    return all(gone(pid) for pid in pid_list if pid != os.getpid())
