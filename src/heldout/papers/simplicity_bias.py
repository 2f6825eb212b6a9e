"""The Pitfalls of Simplicity Bias in Neural Networks, arXiv:2006.07710."""

from __future__ import annotations

from typing import Any

from heldout.papers._simplicity_bias_claims import ATTACKED
from heldout.papers._simplicity_bias_settings import settings
from heldout.papers.card import Claim, Control, Paper

PAPER = Paper(
    slug="simplicity_bias",
    title="The Pitfalls of Simplicity Bias in Neural Networks",
    date="2020-06-13",
    arxiv="2006.07710",
    summary=(
        "On data where several features each predict the label, networks lean on the simplest one "
        "alone and ignore the rest. Shuffling that feature drops them to chance, shuffling all "
        "others changes nothing, and a noisy simple feature can even cost test accuracy. "
        "Ensembles and adversarial training did not cure it."
    ),
    package="dynamics",
    part="slab data sets, feature-reliance test",
    authors=5,
    code="harshays/simplicitybiaspitfalls",
    licence="none stated",
    uses=(
        "heldout.bench.slabs.make_lms",
        "heldout.bench.slabs.make_ms",
        "heldout.bench.block_images.digit_textures",
        "heldout.dynamics.feature_reliance.group_reliance",
        "heldout.dynamics.idle_complement.shortcut_report",
        "heldout.dynamics.universal_perturbation.universal_perturbation",
    ),
)

_AUC = "AUC (0-1), simple coordinate permuted over test rows"
_SIZE = (
    "40,000 training points for 100,000; trained until an epoch's mean loss is below a limit, and "
    "the last net is taken, not the best on test data. "
)
_WITHOUT = (
    "The net without it is trained at rate 0.3, momentum 0.9, on the same rows with the simple "
    "coordinate permuted. "
)
_NOISY = (
    "Width 100 for 300, 14,000 steps at most for 40,000. Noisy and clean data get the same two "
    "rates, 0.1 and 0.3 (there 0.1 and 0.3 in turn); each keeps its better by test accuracy."
)


def _controls(name: str, net: str) -> tuple[Control, ...]:
    # of `name`, the nets' data; the last two can fail where the complement is too hard to learn
    return (
        Control(f"auc/{net}/standard", "above", 0.99, "it has learned the task"),
        Control(f"auc/{net}/kept", "above", 0.97, "all other coordinates permuted cost nothing"),
        Control(
            f"auc/{name}_without/randomized",
            "above",
            0.97,
            "the other coordinates would do: a net that must live on them learns the task",
        ),
        Control(
            f"auc/{name}_without/complement_randomized",
            "below",
            0.55,
            "and for that net it is the simple coordinate that is idle",
        ),
    )


CLAIMS = (
    Claim(
        id="linear_over_slabs",
        says="On LMS-5 a net leans on the one linear coordinate alone, of 50 that each suffice.",
        metric="auc/lms5/randomized",
        direction="below",
        threshold=0.55,
        unit=_AUC,
        paper_value="0.507, untouched 1.000, complement permuted 1.000 (authors' notebook)",
        smallest="small",
        differs=_SIZE + _WITHOUT,
        controls=_controls("lms5", "lms5"),
        experiment="lms5",
        minutes={"tiny": 0.02, "small": 0.2},
    ),
    Claim(
        id="ensemble_keeps_bias",
        says="An ensemble of three such nets leans on the linear coordinate alone, too.",
        metric="auc/ensemble/randomized",
        direction="below",
        threshold=0.55,
        unit=_AUC,
        paper_value="0.507 for three nets (authors' notebook)",
        smallest="small",
        differs=_SIZE + _WITHOUT + "Mean of the logits.",
        controls=_controls("lms5", "ensemble"),
        experiment="lms5",
        minutes={"tiny": 0.02, "small": 0.2},
    ),
    Claim(
        id="simpler_slab_over_slabs",
        says="On MS-(5,7) a net leans on the one 5-slab alone, beside 49 7-slabs.",
        metric="auc/ms57/randomized",
        direction="below",
        threshold=0.55,
        unit=_AUC,
        paper_value="0.502, untouched 1.000, complement permuted 1.000 (authors' notebook)",
        smallest="small",
        differs=_SIZE + _WITHOUT,
        controls=_controls("ms57", "ms57"),
        experiment="ms57",
        minutes={"tiny": 0.02, "small": 0.2},
    ),
    Claim(
        id="digit_over_texture",
        says="On images of a digit above a texture a net leans on the digit alone.",
        metric="auc/images/randomized",
        direction="below",
        threshold=0.55,
        unit="AUC (0-1), digit block permuted over test rows",
        paper_value="0.494, untouched 1.000, CIFAR block permuted 1.000 (authors' notebook)",
        smallest="small",
        differs="scikit-learn's digits 0 and 1 above gratings of random phase, for MNIST above "
        "CIFAR-10 cars and trucks; a net of two hidden layers for a ResNet-50. Nets with and "
        "without the digit are trained alike, at rate 0.03, momentum 0.9.",
        controls=_controls("images", "images"),
        experiment="images",
        minutes={"tiny": 0.02, "small": 0.3},
    ),
    Claim(
        id="noisy_feature_costs_accuracy",
        says="A linear coordinate with 10 % noise costs accuracy though 49 others have no noise.",
        metric="test/noisy",
        direction="below",
        threshold=0.96,
        unit="accuracy (0-1) on held-out points, noise included",
        paper_value="0.949, on training data 0.995; MS-7 1.000 (authors' notebook)",
        smallest="small",
        differs=_NOISY,
        controls=(
            Control("test/clean", "above", 0.99, "MS-7 alone, no linear coordinate, is learned"),
            Control("train/noisy", "above", 0.94, "the noisy data have been fitted"),
        ),
        experiment="noisy",
        minutes={"tiny": 0.02, "small": 0.5},
    ),
    Claim(
        id="noisy_feature_used_alone",
        says="It does so because even the noisy coordinate is used alone.",
        metric="accuracy/noisy/randomized",
        direction="below",
        threshold=0.55,
        unit="accuracy (0-1), noisy coordinate permuted over test rows",
        paper_value="0.497, all others permuted 0.949 (authors' notebook)",
        smallest="small",
        differs=_NOISY,
        controls=(
            Control("test/noisy", "above", 0.9, "it has learned the task"),
            Control("accuracy/noisy/kept", "above", 0.97, "the others permuted cost little"),
            Control("test/clean", "above", 0.99, "MS-7 alone, no linear coordinate, is learned"),
        ),
        experiment="noisy",
        minutes={"tiny": 0.02, "small": 0.5},
    ),
    *ATTACKED,
)  # fmt: skip


SETTINGS = settings()

EXAMPLE = """
import numpy as np
from sklearn.linear_model import LogisticRegression
from heldout.dynamics.feature_reliance import group_reliance
from heldout.dynamics.idle_complement import shortcut_report

rng = np.random.default_rng(0)
y = rng.integers(2, size=1200)                      # your held-out data, and your model
x = rng.normal(size=(1200, 6)) + 1.5 * y[:, None]   # five columns that each tell a little
x[:, 0] = 100 * y + rng.normal(size=1200)           # and one that gives the label away
model = LogisticRegression().fit(x[:600], y[:600])
found = group_reliance(model, x[600:], y[600:], {"column 0": [0]}, train=(x[:600], y[:600]))
print(shortcut_report(found)[0].word)               # shortcut
"""


def run(claim: str, scale: str, seed: int) -> dict[str, float]:
    """Return the numbers of the experiment that the claim belongs to."""
    from heldout.papers._simplicity_bias import measure

    group = next(c.group for c in CLAIMS if c.id == claim)
    return measure(group, SETTINGS[scale][group], seed)


def plot(records: dict[str, dict[str, Any]], ax: Any) -> Any:
    """Draw what is left untouched, without the simple feature, and without all others."""
    from heldout.papers._simplicity_bias_figure import draw

    return draw(records, ax)
