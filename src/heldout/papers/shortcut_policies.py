"""Shortcut Learning in Generalist Robot Policies, arXiv:2508.06426."""

from __future__ import annotations

from typing import Any

from heldout.papers._shortcut_policies_settings import settings
from heldout.papers._shortcut_policies_words import WORDS
from heldout.papers.card import Claim, Control, Paper

PAPER = Paper(
    slug="shortcut_policies",
    title=(
        "Shortcut Learning in Generalist Robot Policies: The Role of Dataset Diversity and "
        "Fragmentation"
    ),
    date="2025-08-08",
    arxiv="2508.06426",
    summary=(
        "A robot data set pooled from many small collections invites shortcuts: each part is "
        "uniform inside and far from the others, so the camera view gives the task away. Policies "
        "then follow the view rather than the instruction. More variety within parts, overlap "
        "between them, or targeted augmentation removes the shortcut."
    ),
    package="data",
    part="diversity and fragmentation scores of a pooled data set",
    authors=6,
    code="JiyunJang-24/shortcut-learning-in-grps",
    licence="MIT",
    uses=(
        "heldout.data.diversity.report.dataset_report",
        "heldout.data.diversity.swap.swap_test",
        "heldout.data.diversity.filling.fill_gap",
        "heldout.data.diversity.dependence.normalized_information",
        "heldout.data.diversity.within_class.islands_within_class",
        "heldout.bench.islands.island_world",
    ),
)

_GAIN = "difference of success (0-1) at the other island's view"
_NARROW = (
    Control("id/diversity@0", "above", 0.7, "the policy does its tasks at its own views"),
    Control("shortcut/diversity@0", "above", 0.5, "without variety it follows the view"),
    Control("unseen/diversity@0", "above", 0.3, "it does not just fail at any unseen view"),
)
_ORACLE = Control("oracle", "above", 0.8, "the task can be told without the view")


def _claim(*controls: Control, **given: Any) -> Claim:
    name = given["id"]
    return Claim(
        smallest="small", controls=(*controls, _ORACLE), minutes={"tiny": 0.1, "small": 0.5},
        paper_value=WORDS[name][0], differs=WORDS[name][1], experiment="sweeps", **given,
    )  # fmt: skip


CLAIMS = (
    _claim(
        *_NARROW,
        id="diversity_helps",
        says="Variety of views within islands lifts success where island and view are crossed.",
        metric="gain/diversity", direction="above", threshold=0.2, unit=_GAIN,
    ),
    _claim(
        *_NARROW,
        id="diversity_helps_apart",
        says="It does so even while the islands share no view.",
        metric="gain/diversity_disjoint", direction="above", threshold=0.05, unit=_GAIN,
    ),
    _claim(
        Control("id/inward@0", "above", 0.7, "the policy does its tasks at its own views"),
        id="published_ranges",
        says="So it does in the ranges of views that the authors' commands use.",
        metric="gain/inward", direction="above", threshold=0.2, unit=_GAIN,
    ),
    _claim(
        Control("id/disparity@0.8", "above", 0.7, "the policy does its tasks at its own views"),
        Control("ood/disparity@0", "above", 0.6, "islands seen from one place are no problem"),
        id="disparity_hurts",
        says="The farther islands lie apart, the lower success is where they are crossed.",
        metric="gain/disparity", direction="below", threshold=-0.2, unit=_GAIN,
    ),
    _claim(
        Control("id/augmentation@0.4", "above", 0.7, "augmented policies still do their tasks"),
        id="augmentation_mends",
        says="Moving the views of training rows mends it.",
        metric="gain/augmentation", direction="above", threshold=0.2, unit=_GAIN,
    ),
    _claim(
        Control("id/bridge@0.3", "above", 0.7, "bridged policies still do their tasks"),
        id="bridge_mends",
        says="Rows that bridge the islands mend it, as many rows as before.",
        metric="gain/bridge", direction="above", threshold=0.2, unit=_GAIN,
    ),
    _claim(
        Control("gain/diversity", "above", 0.15, "what it should show is there"),
        id="hidden_in_distribution",
        says="Success at the islands' own views is no higher where the shortcut is gone.",
        metric="id_gain/diversity", direction="below", threshold=0.03,
        unit="difference of success (0-1) at own views",
    ),
    _claim(
        id="information_closed_form",
        says="Normalized information of task and view follows its closed form on islands.",
        metric="nmi_off", direction="below", threshold=0.03, unit="largest deviation (0-1)",
    ),
    _claim(
        Control("gain/disparity", "below", -0.15, "success falls meanwhile"),
        Control("islands_change/disparity", "above", 0.05, "the island score sees it"),
        id="information_blind_to_distance",
        says="Normalized information cannot see how far apart disjoint islands lie.",
        metric="nmi_change/disparity", direction="below", threshold=0.02,
        unit="change of normalized information (0-1)",
    ),
    _claim(
        id="island_score_ranks",
        says="The island score ranks data sets by success where islands are crossed.",
        metric="rank/islands", direction="below", threshold=-0.7,
        unit="Spearman correlation with success, -1 to 1",
    ),
)  # fmt: skip


SETTINGS = settings()

ALT = (
    "Success at own views, at the other island's view, and normalized information, in four panels: "
    "by variety within islands, by distance between them, by reach of augmentation, by share of "
    "bridging rows."
)

EXAMPLE = """
import numpy as np

from heldout.data.diversity.factors import Binning
from heldout.data.diversity.report import dataset_report
from heldout.data.diversity.swap import column_swap, swap_test

# yours: a camera angle, the task, and the site of each row; and a model with its held-out data
rng = np.random.default_rng(0)
site = np.repeat(["lab", "home"], 300)
task = 2 * (site == "lab") + rng.integers(0, 2, 600)
angle = 40.0 * (site == "lab") + rng.uniform(0, 10, 600)

report = dataset_report(angle, task, site, binning=Binning("width", 5.0))
x = np.stack([task, angle], axis=1)
model = lambda x: -np.abs(np.arange(4) - 1 - 2 * (np.asarray(x)[:, 1:] > 20))  # looks at the angle
result = swap_test(model, (x, task, site), column_swap(x, site, [1]))
answer = f"islands {report.island_score.value:.2f}, follows {result.shortcut_rate.value:.0%}"
"""


def run(claim: str, scale: str, seed: int) -> dict[str, float]:
    """Return the numbers of all sweeps: every claim is answered by the same runs."""
    from heldout.papers._shortcut_policies import measure

    group = next(c.group for c in CLAIMS if c.id == claim)
    return measure(SETTINGS[scale][group], seed)


def plot(records: dict[str, dict[str, Any]], ax: Any) -> Any:
    """Draw success and information by diversity, disparity, augmentation and bridging rows."""
    from heldout.papers._shortcut_policies_figure import draw

    return draw(records, ax)
