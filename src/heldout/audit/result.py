"""The contract of a check: what it is, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from heldout.core.files import plain
from heldout.core.interval import Interval

Status = Literal["passed", "warning", "failed", "not_applicable", "could_not_run"]
STATUSES: tuple[Status, ...] = (
    "failed",
    "warning",
    "passed",
    "not_applicable",
    "could_not_run",
)
Part = Literal["how_well", "why"]


@dataclass(frozen=True)
class Number:
    """A measured number with everything needed to read it."""

    value: float
    """Point estimate, in `unit`."""
    ci_low: float
    """Lower end of the interval; NaN when none can be given, and `guide` says why."""
    ci_high: float
    """Upper end of the interval."""
    n: int
    """Number of independent units behind it."""
    unit: str
    """Such as `accuracy (0-1)`, `share of examples (0-1)`, `nats`, `points`."""
    worse: Literal["higher", "lower"]
    """Which direction is bad news."""
    null: float | None = None
    """What the number would be if nothing were wrong (or by chance); same unit."""
    null_label: str = ""
    """What the null reference is, such as `chance` or `random labels`."""
    level: float = 0.95
    """Nominal coverage of the interval."""
    method: str = ""
    """How value and interval were computed."""
    guide: str = ""
    """One sentence that tells a reader what the number means."""


def number(interval: Interval, unit: str, worse: Literal["higher", "lower"], **more: Any) -> Number:
    """Make a `Number` of an `Interval`.

    >>> number(Interval(0.5, 0.4, 0.6, 10, method="wilson"), "accuracy (0-1)", "lower").n
    10
    """
    made: dict[str, Any] = {"level": interval.level, "method": interval.method, **more}
    return Number(interval.value, interval.low, interval.high, interval.n, unit, worse, **made)


@dataclass(frozen=True)
class Example:
    """One example that a check points at."""

    index: int
    """Position in the user's own data of that split."""
    split: str
    """`train`, `test` or `shifted/<name>`."""
    score: float
    """Larger means more of what the check looks for."""
    why: str
    """One line for a reader; may hold the user's own strings, so it is escaped in HTML."""
    row: int = -1
    """Position among the examples that the audit holds; finds the preview."""


@dataclass(frozen=True)
class Action:
    """Something to do about a finding."""

    id: str
    """Unique in the report, `<check>.<verb>`."""
    title: str
    """Imperative, short: `Drop or relabel 31 training examples`."""
    evidence: str
    """The numbers that speak for it."""
    code: str
    """A command or lines of Python that do it."""
    cost: str
    """Time and effort, in words."""
    paper: str | None = None
    """Slug of the paper it rests on."""
    gain: Number | None = None
    """Accuracy gained, in points, on the data that its unit names; None when not known."""
    gain_kind: Literal["measured", "estimated", "unknown"] = "unknown"
    """Measured by retraining, estimated by the check, or unknown."""
    change: Mapping[str, Any] = field(default_factory=dict)
    """Change to the training set that `fit` can measure, in positions of the training split:
    `{"drop": [rows]}`, `{"relabel": {"rows": [...], "labels": [...]}}`, or `{"shuffle": {"cells":
    [...], "space": "input", "where": [splits]}}` for a region exchanged among examples, whose
    gain is read on the splits where the cue is broken; else empty."""


@dataclass(frozen=True)
class Table:
    """Rows to print under a check."""

    title: str
    columns: list[str]
    rows: list[list[Any]]
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """Data of a figure; the report draws it as SVG.

    `kind` and the shape of `data`:
        `intervals`: rows of `{label, value, low, high, n, mark}`; `mark` (a second value, such
            as the truth) may be None; plus `x_label`, `reference` (number or None),
            `reference_label`, `mark_label`.
        `lines`: series of `{name, x, y, low, high}` (low, high may be None), plus `x_label`,
            `y_label`, `log_x`, `diagonal` (bool: draw y = x).
        `bars`: rows of `{label, value}`, plus `x_label`.
        `grid`: `values` (rows x columns of numbers), plus `label`; drawn over image positions.
        `thumbnails`: items of `{image, caption}`, image a nested list of 0-255, (H, W) or
            (H, W, 3), at most 32 x 32.
    """

    kind: Literal["intervals", "lines", "bars", "grid", "thumbnails"]
    title: str
    data: Mapping[str, Any]
    alt: str
    """What the figure shows, in words, for readers who do not see it."""


@dataclass(frozen=True)
class Finding:
    """What a check says; the return value of its `run`."""

    status: Status
    reason: str
    """One or two sentences: why this status, with the deciding numbers."""
    numbers: Mapping[str, Number] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    """For ranking checks the whole ranking, worst first."""
    actions: list[Action] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    evidence: float = 0.0
    """Strength of the finding for ordering causes: about how many points of accuracy on new
    data it may cost, 0 when nothing is wrong."""


@dataclass(frozen=True)
class Check:
    """What a check is; the constant `CHECK` of its module."""

    id: str
    part: Part
    title: str
    """Noun phrase: `Label noise`."""
    question: str
    """What it answers, as a reader would ask it."""
    rule: str
    """When it warns and when it fails, with the thresholds."""
    needs: tuple[str, ...] = ("predictions",)
    """Ids of the collectors without whose artifacts it cannot run."""
    uses: tuple[str, ...] = ()
    """Ids of further collectors that it draws on where they ran."""
    paper: str | None = None
    """Slug or citation of the method."""
    cost: str = ""
    """Passes over the data, in words."""
    guide: str = ""
    """How to read it: two or three sentences."""


@dataclass(frozen=True)
class CheckResult:
    """A check and what it said of this model; what `report.checks[id]` holds."""

    check: Check
    finding: Finding
    track_record: Mapping[str, Any] | None = None
    """How often this check is right, measured on models with known defects."""
    seconds: float = 0.0
    """Time that its artifacts and the check itself took."""

    @property
    def status(self) -> Status:
        """`passed`, `warning`, `failed`, `not_applicable` or `could_not_run`."""
        return self.finding.status

    @property
    def reason(self) -> str:
        """Why this status."""
        return self.finding.reason

    @property
    def numbers(self) -> Mapping[str, Number]:
        """Measured numbers by name."""
        return self.finding.numbers

    @property
    def examples(self) -> list[Example]:
        """Examples it points at, worst first."""
        return self.finding.examples

    @property
    def actions(self) -> list[Action]:
        """What to do about it."""
        return self.finding.actions

    @property
    def tables(self) -> list[Table]:
        """Tables behind the numbers."""
        return self.finding.tables

    @property
    def figures(self) -> list[Figure]:
        """Data of the figures; the report draws them."""
        return self.finding.figures

    def to_dict(self) -> dict[str, Any]:
        """Return what the JSON holds of it."""
        return dict(
            plain(
                asdict(self.check)
                | asdict(self.finding)
                | {"track_record": self.track_record, "seconds": round(self.seconds, 3)}
            )
        )


class NotApplicableError(Exception):
    """Raised by a collector or check: the question does not arise for this model and data."""


class SkippedError(Exception):
    """Raised by a collector or check: it would not fit the budget, or lacks something."""
