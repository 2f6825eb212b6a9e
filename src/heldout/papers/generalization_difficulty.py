"""Model-agnostic Measure of Generalization Difficulty, arXiv:2305.01034."""

from __future__ import annotations

from typing import Any

from heldout.papers._generalization_difficulty_settings import SETTINGS as SETTINGS
from heldout.papers.card import Claim, Control, Paper

PAPER = Paper(
    slug="generalization_difficulty",
    title="Model-agnostic Measure of Generalization Difficulty",
    date="2023-05-01",
    arxiv="2305.01034",
    summary=(
        "How hard a task is to generalize on can be stated without naming a model: the bits "
        "needed to single out good hypotheses among those that fit the training data. A closed "
        "form bounds those bits from the intrinsic dimension, the class separation and the sample "
        "size. Dimension dominates, so image classification at scale comes out far harder than "
        "digits."
    ),
    package="measures",
    part="task difficulty in bits from intrinsic dimension and data",
    authors=6,
    code="FieteLab/inductive-bias-complexity",
    licence="none stated",
    uses=(
        "heldout.measures.difficulty.bound_bits",
        "heldout.measures.difficulty.control_bits",
        "heldout.measures.difficulty.estimate",
        "heldout.measures.intrinsic_dimension.intrinsic_dimension",
        "heldout.measures.resolution.closest_pairs",
        "heldout.measures.resolution.resolution",
    ),
)

_ORDERS = "orders of magnitude (log10 of a ratio of bits)"
_DIMENSION = "orders of magnitude for each dimension"
_FORMULA = "Nothing: the authors' formula at their constants; every seed gives the same."
_DIGITS = (
    "scikit-learn's 1,797 digits of 8 x 8 pixels, scaled to 0..1, in place of MNIST; dimension "
    "not rounded, all pairs of at most 2,000 examples instead of 4 million drawn ones, eps 0.01."
)
_SPHERES = "2,000 points of S^d in R^50, two classes by the side of a plane, eps 0.01."


def _claim(*controls: Control, minutes: float, **given: Any) -> Claim:
    return Claim(
        smallest="small", controls=controls, minutes={"tiny": 0.05, "small": minutes}, **given
    )


CLAIMS = (
    _claim(
        id="benchmarks_ordered",
        says="By the bound MNIST, SVHN, CIFAR-10 and ImageNet each need over ten times the bits "
        "of the one before.",
        metric="log10/least_step", direction="above", threshold=1.0, unit=_ORDERS,
        paper_value="1.5e16, 1.2e31, 3.4e32 and 3.6e41 bits, as their code evaluates",
        differs=_FORMULA, experiment="constants", minutes=0.01,
    ),
    _claim(
        id="dimension_outweighs_resolution",
        says="At the constants of ImageNet one more intrinsic dimension multiplies the bits by "
        "more than a fifth finer resolution does.",
        metric="log10/dimension_minus_finer", direction="above", threshold=0.0, unit=_ORDERS,
        paper_value="exponential in dimension, only polynomial in resolution; the degree of that "
        "polynomial is the dimension",
        differs=_FORMULA, experiment="constants", minutes=0.01,
    ),
    _claim(
        Control("m/worst", "below", 0.1, "the estimated dimension is within 10 % of the sphere's"),
        id="grows_with_dimension",
        says="With classes a fixed gap apart, measured bits at least double with each dimension.",
        metric="gap/per_dimension", direction="above", threshold=0.3, unit=_DIMENSION,
        paper_value="exponential in the intrinsic dimension",
        differs=_SPHERES + " No point within 0.15 of the plane; S^3 to S^6.",
        experiment="spheres", minutes=0.8,
    ),
    _claim(
        Control(
            "m/worst_touching", "below", 0.1,
            "the estimated dimension is within 10 % of the sphere's",
        ),
        id="grows_where_classes_touch",
        says="Measured bits grow with dimension also where classes touch and resolution is "
        "estimated from the sample.",
        metric="touching/per_dimension", direction="above", threshold=0.0, unit=_DIMENSION,
        paper_value="exponential in the intrinsic dimension, resolution being fixed by the task",
        differs=_SPHERES + " No gap; S^5 to S^8. The sample's resolution gets coarser with "
        "dimension. Means of 40 samples: the closest pair, and with it the bits, varies widely.",
        experiment="spheres", minutes=0.8,
    ),
    _claim(
        id="more_data_fewer_bits",
        says="More training examples of one task lower the bits that are measured.",
        metric="bits/more_data", direction="below", threshold=0.0, unit=_ORDERS,
        paper_value="falls, slowly, with the number of training points at fixed resolution",
        differs=_DIGITS + " 400 examples against 1,797, dimension and resolution measured anew. "
        "With both fixed the formula does fall, by little. But a larger sample shows a higher "
        "dimension, which counts for most, and a closer pair.",
        experiment="digits", minutes=0.4,
    ),
    _claim(
        id="little_noise_raises_bits",
        says="A little noise on the inputs raises the bits.",
        metric="bits/little_noise", direction="above", threshold=0.0, unit=_ORDERS,
        paper_value="adding noise is named as a simple way to raise dimension, and so difficulty",
        differs=_DIGITS + " Gaussian noise of 0.1 on pixels in 0..1.",
        experiment="digits", minutes=0.4,
    ),
    _claim(
        Control("m/more_noise", "above", 5.0, "the noise does raise the intrinsic dimension"),
        id="more_noise_raises_bits",
        says="More noise raises them further.",
        metric="bits/more_noise", direction="above", threshold=0.0, unit=_ORDERS,
        paper_value="adding noise is named as a simple way to raise dimension, and so difficulty",
        differs=_DIGITS + " Noise of 0.4 against 0.1. Dimension does rise, as the control "
        "says; but noise also drives the closest pair apart, and the coarser resolution wins.",
        experiment="digits", minutes=0.4,
    ),
    _claim(
        id="halves_agree",
        says="Two halves of one data set give bits within a factor of two.",
        metric="bits/halves", direction="below", threshold=0.3, unit=_ORDERS,
        paper_value="not stated; a check of ours on how far an estimate can be trusted",
        differs=_DIGITS + " Mean over five random halvings.",
        experiment="digits", minutes=0.4,
    ),
    _claim(
        Control("pairs/error", "above", 0.002, "the learner errs at all"),
        id="bits_rank_tasks",
        says="Among the 45 tasks of telling two digits apart, those with more bits are learned "
        "worse.",
        metric="pairs/tau", direction="above", threshold=0.2,
        unit="Kendall's tau of bits and error, -1 to 1",
        paper_value="not stated; difficulty is compared between benchmarks, not tested on tasks",
        differs=_DIGITS + " Error of the nearest neighbour learned from 20 examples a class.",
        experiment="pairs", minutes=0.2,
    ),
)  # fmt: skip

ALT = (
    "Three panels. Bars of log10 bits of MNIST, SVHN, CIFAR-10, ImageNet and three control tasks. "
    "Log10 bits by dimension of a sphere, with a gap between classes and without. Log10 bits of "
    "digits by noise on their pixels: up at first, then down."
)

EXAMPLE = """
import numpy as np

rng = np.random.default_rng(0)
x, y = rng.normal(size=(600, 8)), np.arange(600) % 3  # yours
x[:, 0] += 8 * y

found = estimate(x, y, eps=0.01)
print(f"10^{found.log10_bits:.1f} bits, 10^{found.log10_range.low:.1f} to "
      f"10^{found.log10_range.high:.1f}; one more dimension: x {10 ** found.per_dimension:.1f}")
"""


def run(claim: str, scale: str, seed: int) -> dict[str, float]:
    """Return the numbers of the experiment that the claim belongs to."""
    from heldout.papers._generalization_difficulty import MEASURES

    group = next(c.group for c in CLAIMS if c.id == claim)
    return MEASURES[group](SETTINGS[scale][group], seed)


def plot(records: dict[str, dict[str, Any]], ax: Any) -> Any:
    """Draw the benchmarks' bits, bits by dimension of a sphere, and bits by noise on digits."""
    from heldout.papers._generalization_difficulty_figure import draw

    return draw(records, ax)
