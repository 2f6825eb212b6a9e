"""Claims of the recipe `simplicity_bias` about attacks; imports no torch."""

from __future__ import annotations

from heldout.papers.card import Claim, Control

_ONE = (
    "40,000 training points for 100,000, two hidden layers of 100 for one of 200. The perturbation "
    "is found on 4,000 training points and measured on 10,000 others (there on the same), by "
    "ascent as in the authors' code: class 1 gets it, class 0 its negative; not clipped. "
)
_ACCURACY = "accuracy (0-1) on held-out points, all moved along one direction"


def _unharmed(name: str) -> tuple[Control, ...]:
    return (
        Control(f"accuracy/{name}/untouched", "above", 0.99, "it has learned the task"),
        Control(
            f"accuracy/{name}/random_direction", "above", 0.9, "random directions do no such harm"
        ),
    )


ATTACKED = (
    Claim(
        id="universal_perturbation_breaks",
        says="On LMS-5 one perturbation for all points, of norm 1, leaves hardly any right.",
        metric="accuracy/lms5/perturbed",
        direction="below",
        threshold=0.05,
        unit=_ACCURACY,
        paper_value="0.0066 at norm 1 (authors' notebook)",
        smallest="small",
        differs=_ONE,
        controls=_unharmed("lms5"),
        experiment="lms5",
        minutes={"tiny": 0.02, "small": 0.2},
    ),
    Claim(
        id="universal_perturbation_is_simple",
        says="It goes along the linear coordinate, of 50.",
        metric="budget/lms5",
        direction="above",
        threshold=0.9,
        unit="size of its linear coordinate as a share (0-1) of its norm",
        paper_value="0.997, mean over perturbations made for one point each (authors' notebook)",
        smallest="small",
        differs=_ONE + "The share is that of the one perturbation itself.",
        controls=(
            Control("accuracy/lms5/perturbed", "below", 0.05, "it breaks the net"),
            *_unharmed("lms5"),
        ),
        experiment="lms5",
        minutes={"tiny": 0.02, "small": 0.2},
    ),
    Claim(
        id="universal_perturbation_breaks_slabs",
        says="On MS-(5,7) norm 1/2 does so, though no direction flips every 5-slab.",
        metric="accuracy/ms57/perturbed",
        direction="below",
        threshold=0.15,
        unit=_ACCURACY,
        paper_value="0.0656 at norm 0.5 (authors' notebook)",
        smallest="small",
        differs=_ONE,
        controls=(
            Control("budget/ms57", "above", 0.7, "it goes along the 5-slab; at random 0.1"),
            *_unharmed("ms57"),
        ),
        experiment="ms57",
        minutes={"tiny": 0.02, "small": 0.2},
    ),
    Claim(
        id="adversarial_training_keeps_bias",
        says="A net trained against perturbations of every pixel leans on the digit alone, too.",
        metric="auc/adversarial/randomized",
        direction="below",
        threshold=0.55,
        unit="AUC (0-1), digit block permuted over test rows",
        paper_value="0.508, untouched 1.000, CIFAR block permuted 1.000, at epsilon 0.3",
        smallest="small",
        differs="scikit-learn's digits above gratings for MNIST above CIFAR-10; two hidden layers "
        "for a ResNet-50; epsilon 0.2 for 0.3, as 8 x 8 pixels have thinner strokes; 1,500 steps "
        "at rate 0.03, momentum 0.9, each on a 7-step attack as in the authors' code, not clipped "
        "to 0 to 1. Robustness is measured under 20 steps.",
        controls=(
            Control("auc/adversarial/standard", "above", 0.99, "it has learned the task"),
            Control("auc/adversarial/kept", "above", 0.97, "the texture permuted costs nothing"),
            Control("attacked/gain", "above", 0.3, "it withstands what the usual net does not"),
            Control("random_signs/images", "above", 0.95, "random signs do the usual net no harm"),
            Control("auc/images_without/randomized", "above", 0.97, "the texture would do"),
        ),
        experiment="images",
        minutes={"tiny": 0.02, "small": 0.3},
    ),
)
