"""A run as a page and as JSON show it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from heldout.core.errors import InputError
from heldout.papers.catalogue import claims
from heldout.serve.items import record
from heldout.serve.jobs.outcome import numbers
from heldout.serve.jobs.queue import GROUP, claims_of, words_of
from heldout.serve.measured import shown, time_of
from heldout.serve.site import Site
from heldout.serve.storage import jobs as stored
from heldout.serve.storage.jobs import Job, Wanted

STATES = {
    "queued": "waiting",
    "interrupted": "waiting, to go on where it was",
    "running": "running",
    "done": "finished",
    "failed": "failed",
    "cancelled": "cancelled",
}
"""What a reader is told of each state."""


@dataclass(frozen=True)
class Row:
    """One claim of a run that has ended, beside the record that is shipped."""

    says: str
    """The claim."""
    claim: str
    """Its id."""
    here: Mapping[str, Any]
    """Of this run; see `outcome.numbers`."""
    shipped: Mapping[str, Any]
    """Of the record; empty without one."""


@dataclass(frozen=True)
class View:
    """What is shown of a run."""

    job: Job
    """As it is stored."""
    title: str
    """Of the paper, or its slug when the library has it no longer."""
    what: str
    """Which claims, in words."""
    command: str
    """The same on a command line; empty when the library has it no longer."""
    ahead: int
    """Runs before it, while it waits."""

    @property
    def words(self) -> Counter[str]:
        """How many claims came to each verdict."""
        return Counter(str(found["verdict"]) for found in self.job.kept.get("results", ()))

    @property
    def state(self) -> str:
        """In words."""
        return STATES.get(self.job.state, self.job.state)

    @property
    def css(self) -> str:
        """Of the badge."""
        return {"done": "holds", "failed": "fails", "running": "toy"}.get(self.job.state, "")

    @property
    def done(self) -> int:
        """Seeds that are finished."""
        return int(self.job.kept.get("done", 0))

    @property
    def total(self) -> int:
        """Seeds in all; 0: not known yet."""
        return int(self.job.kept.get("total", 0))

    @property
    def why(self) -> str:
        """Why it failed, or an empty string."""
        return str(self.job.kept.get("why", ""))

    @property
    def took(self) -> str:
        """Wall time of its last start, for a reader; empty while it is not over."""
        if not self.job.finished_at or not self.job.started_at:
            return ""
        return time_of(max(1.0, self.job.finished_at - self.job.started_at) / 60)


def view(site: Site, job: Job, ahead: int = 0) -> View:
    """Return what is shown of a run."""
    item = site.library.items.get(job.wanted.slug)
    command = " ".join(["heldout", *words_of(job.wanted)]) if claims_of(job.wanted) else ""
    return View(job, item.title if item else job.wanted.slug, what(job.wanted), command, ahead)


def what(wanted: Wanted) -> str:
    """Return which claims are wanted, in words.

    >>> what(Wanted("benign_xor", "group:xor", "tiny", 3))
    'all 6 claims of the paper'
    >>> what(Wanted("no_tight_bounds", "group:exact", "tiny", 3))
    'the 3 claims of its experiment “exact”'
    """
    if not wanted.claim.startswith(GROUP):
        return f"claim {wanted.claim}"
    many, name = len(claims_of(wanted)), wanted.claim.removeprefix(GROUP)
    if not many:  # of another version
        return f"experiment “{name}”"
    if many == len(claims(wanted.slug)):
        return f"all {many} claims of the paper" if many > 1 else "the claim of the paper"
    return f"the {f'{many} claims' if many > 1 else 'claim'} of its experiment “{name}”"


def rows(job: Job) -> list[Row]:
    """Return the results of a run, each beside the shipped record's."""
    try:
        says = {c.id: c.says for c in claims(job.wanted.slug)}
    except InputError:
        says = {}
    found = []
    for here in job.kept.get("results", ()):
        name = str(here["claim"])
        kept = record(job.wanted.slug, name) if name in says else None
        found.append(Row(says.get(name, ""), name, here, numbers(kept) if kept else {}))
    return found


def effect(found: Mapping[str, Any]) -> str:
    """Return an effect with its interval.

    >>> effect({"value": 0.5, "low": 0.25, "high": None, "unit": "points"})
    '0.5 [0.25, ?] points'
    """
    if found.get("value") is None:
        return "no number"
    ends = f"[{shown(found.get('low'))}, {shown(found.get('high'))}]"
    return f"{shown(found['value'])} {ends} {found.get('unit', '')}".rstrip()


def as_json(seen: View) -> dict[str, Any]:
    """Return a run for programs, and for the script of its page."""
    job = seen.job
    return {
        "id": job.id,
        "slug": job.wanted.slug,
        "claims": [c.id for c in claims_of(job.wanted)],
        "scale": job.wanted.scale,
        "seeds": job.wanted.seeds,
        "state": job.state,
        "says": seen.state,
        "ahead": seen.ahead,
        "done": seen.done,
        "total": seen.total,
        "over": job.over,
        "why": seen.why,
        "created": iso(job.created_at),
        "started": iso(job.started_at),
        "finished": iso(job.finished_at),
        "results": list(job.kept.get("results", ())),
    }


def iso(at: float | None) -> str | None:
    """Return a time for programs.

    >>> iso(0.0), iso(None)
    ('1970-01-01T00:00:00Z', None)
    """
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def when(at: float) -> str:
    """Return a time for readers.

    >>> when(0.0)
    '1 January 1970, 00:00 UTC'
    """
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def looked_up(site: Site, number: int) -> View | None:
    """Return a run as it is now; None when there is none."""
    with site.database.read() as connection:
        job = stored.one(connection, number)
        if job is None:
            return None
        ahead = stored.ahead(connection, job) if job.state in stored.WAITING else 0
    return view(site, job, ahead)
