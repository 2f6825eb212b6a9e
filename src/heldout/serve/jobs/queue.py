"""What may be asked for, how much of it, and the command that a run is."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from heldout.core.errors import InputError
from heldout.papers.card import SCALES, Claim
from heldout.papers.catalogue import recipe
from heldout.serve.site import Site
from heldout.serve.storage import jobs as stored
from heldout.serve.storage.jobs import Wanted

RUN_SCALES = ("tiny", "small")
"""Scales that a page offers."""
MOST_SEEDS = 5
"""Of one run; a verdict needs three."""
GROUP = "group:"
"""Before the name of an experiment, where all of its claims are wanted."""


@dataclass(frozen=True)
class Limits:
    """How much runs may take."""

    waiting: int = 20
    """Runs in the queue."""
    at_once: int = 1
    """HELDOUT_RUNS_AT_ONCE: runs that go on, over all servers of one database."""
    seconds: Mapping[str, float] = field(default_factory=lambda: {"tiny": 900.0, "small": 7200.0})
    """Longest time of one run, by scale."""
    kept_days: float = 30.0
    """How long a finished run can be seen."""
    run_bytes: int = 500 * 2**20
    """Files of one run."""
    all_bytes: int = 2 * 2**30
    """Files of all runs; of finished ones the oldest go first, and their pages stay."""
    lines: int = 2000
    """Lines of one run."""
    streams: int = 40
    """Pages that are told of progress as it comes; others ask again now and then."""
    streams_each: int = 8
    """Of one network."""
    tick: float = 0.5
    """Seconds between two writes of what a run has said."""
    grace: float = 3.0
    """Seconds in which a run that is asked to end may do so by itself."""


@dataclass(frozen=True)
class Choice:
    """Claims that a form offers together, since the same runs answer them."""

    value: str
    """For all of them."""
    claims: tuple[Claim, ...]
    """One by one."""
    scales: tuple[str, ...]
    """Of `RUN_SCALES`, those at which they can be run."""
    minutes: Mapping[str, float]
    """Of one seed on one core, where that is known."""


def limits_of(site: Site) -> Limits:
    """Return the limits of a site, from the environment unless a program has set them."""
    found: Limits | None = site.parts.get("run limits")
    if found is None:
        told = os.environ.get("HELDOUT_RUNS_AT_ONCE", "1")
        if not told.isascii() or not told.isdigit() or not 1 <= int(told) <= 64:
            raise InputError(f"HELDOUT_RUNS_AT_ONCE={told}", "1 to 64", "HELDOUT_RUNS_AT_ONCE=1")
        found = site.parts["run limits"] = Limits(at_once=int(told))
    return found


def choices(slug: str) -> list[Choice]:
    """Return what can be run of a paper; nothing when it is not built.

    >>> [(c.value, len(c.claims), c.scales) for c in choices("benign_xor")]
    [('group:xor', 6, ('tiny', 'small'))]
    >>> choices("symbolic_nets")
    []
    """
    made = recipe(slug)
    groups: dict[str, list[Claim]] = {}
    for claim in made.CLAIMS:
        groups.setdefault(claim.group, []).append(claim)
    found = []
    for name, members in groups.items():
        allowed = getattr(made, "SCALES", {}).get(name, SCALES)
        scales = tuple(s for s in RUN_SCALES if s in allowed)
        if scales:
            minutes = next((c.minutes for c in members if c.minutes), {})
            found.append(Choice(GROUP + name, tuple(members), scales, minutes))
    return found


def wanted_of(slug: str, fields: Mapping[str, str]) -> Wanted:
    """Return what a form asks for: only what the catalogue has.

    Args:
        slug: a paper that the library has.
        fields: claim (all of the first experiment when missing), scale and seeds.

    Raises:
        InputError: no such claim, scale or number of seeds.

    >>> wanted_of("benign_xor", {"claim": "group:xor", "scale": "tiny", "seeds": "3"}).claim
    'group:xor'
    """
    offered = choices(slug)
    if not offered:
        raise InputError(f"paper {slug}", "one of which claims are measured", "another paper")
    claim = fields.get("claim") or offered[0].value
    choice = next(
        (c for c in offered if claim == c.value or claim in {one.id for one in c.claims}), None
    )
    if choice is None:
        raise InputError(f"claim {claim[:80]!r}", "one of this paper's", offered[0].claims[0].id)
    scale = fields.get("scale") or choice.scales[0]
    if scale not in choice.scales:
        raise InputError(f"scale {scale[:20]!r}", " or ".join(choice.scales), choice.scales[0])
    seeds = fields.get("seeds") or "3"
    if not (seeds.isascii() and seeds.isdigit() and len(seeds) < 4):
        raise InputError(f"seeds {seeds[:20]!r}", f"a number from 1 to {MOST_SEEDS}", "3")
    if not 1 <= int(seeds) <= MOST_SEEDS:
        raise InputError(f"{int(seeds)} seeds", f"1 to {MOST_SEEDS}", "3, the fewest for a verdict")
    return Wanted(slug, claim, scale, int(seeds))


def claims_of(wanted: Wanted) -> tuple[Claim, ...]:
    """Return the claims that a run measures; none when the library no longer has them."""
    try:
        made: tuple[Claim, ...] = recipe(wanted.slug).CLAIMS
    except InputError:
        return ()
    if wanted.claim.startswith(GROUP):
        return tuple(c for c in made if GROUP + c.group == wanted.claim)
    return tuple(c for c in made if c.id == wanted.claim)


def words_of(wanted: Wanted) -> list[str]:
    """Return the arguments after `heldout` that measure the same.

    >>> " ".join(words_of(Wanted("wide_cnn", "order_of_scales", "tiny", 3)))
    'reproduce wide_cnn --claim order_of_scales --scale tiny --seeds 3'
    """
    names = [c.id for c in claims_of(wanted)]
    tail = ["--scale", wanted.scale, "--seeds", str(wanted.seeds)]
    return ["reproduce", wanted.slug, "--claim", *names, *tail]


def command(wanted: Wanted, folder: Path) -> list[str]:
    """Return the argument list of a run; no shell reads it.

    Raises:
        InputError: the library no longer has what was wanted.
    """
    if not claims_of(wanted):
        raise InputError(f"claim {wanted.claim}", "one that this version has", "another claim")
    own = ["--out", str(folder), "--jobs", "1", "--log", "none"]
    return [sys.executable, "-m", "heldout.cli", *words_of(wanted), *own]


def folder_of(site: Site, number: int) -> Path:
    """Return where the files of a run are."""
    return (site.settings.data / "runs" / str(number)).absolute()


def ask(site: Site, wanted: Wanted) -> int:
    """Put a run in the queue and return its number, once that is kept.

    Raises:
        QueueFull: too many wait.
        StorageError: nothing was kept.
    """
    most = limits_of(site).waiting
    with site.database.write(visible=False) as connection:
        number, new = stored.enqueue(connection, wanted, time.time(), most)
    if new:
        wake(site)
    return number


def wake(site: Site) -> None:
    """Let this server's workers look at once."""
    for worker in site.parts.get("workers", ()):
        worker.wake.set()
