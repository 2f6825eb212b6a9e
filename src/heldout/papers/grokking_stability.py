"""Grokking at the Edge of Numerical Stability, arXiv:2501.04697."""

from __future__ import annotations

from typing import Any

from heldout.papers._grokking_settings import settings
from heldout.papers._grokking_stability_words import WORDS
from heldout.papers.card import Claim, Control, Paper

PAPER = Paper(
    slug="grokking_stability",
    title="Grokking at the Edge of Numerical Stability",
    date="2025-01-08",
    arxiv="2501.04697",
    summary=(
        "Once a network without weight decay fits its training set, its gradients mostly make "
        "the logits larger, until the softmax rounds to exactly one and learning stops. A softmax "
        "substitute that cannot saturate (StableMax), or removing the part of the gradient that "
        "runs along the weights, lets such networks grok without regularization."
    ),
    package="dynamics",
    part="softmax-collapse monitor, stable activation, gradient projection",
    authors=4,
    code="LucasPrietoAl/grokking-at-the-edge-of-numerical-stability",
    licence="MIT",
    uses=(
        "heldout.dynamics.orthograd.OrthoGrad",
        "heldout.dynamics.orthograd.perpendicular_gradients",
        "heldout.dynamics.stablemax.StableMaxCrossEntropy",
        "heldout.dynamics.collapse.SoftmaxCollapseMonitor",
        "heldout.dynamics.logit_scaling.scaling_alignment",
        "heldout.nets.pair_net.PairNet",
        "heldout.nets.tiny_transformer.TinyTransformer",
        "heldout.bench.sparse_parity.sparse_parity",
    ),
)

_FITS = "plain AdamW fits all training pairs: what is missing is not training"
_HELD, _LESS = (
    "accuracy (0-1) on held-out pairs",
    "difference of accuracies (0-1) on held-out pairs",
)
_SHARES = "difference of shares (0-1) of collapsed training pairs"


def _claim(*controls: Control, minutes: float, **given: Any) -> Claim:
    name = given["id"]
    return Claim(
        smallest="small", controls=controls, minutes={"tiny": 0.04, "small": minutes},
        paper_value=WORDS[name][0], differs=WORDS[name][1], **given,
    )  # fmt: skip


CLAIMS = (
    _claim(
        Control("train/plain", "above", 0.999, _FITS),
        Control("test/best_plain", "below", 0.05,
                "plain AdamW does not generalize in as many steps at the best of three rates"),
        id="perpendicular_gradient",
        says="With perpendicular gradients AdamW generalizes within 300 epochs, no weight decay.",
        metric="test/perpendicular", direction="above", threshold=0.95, unit=_HELD,
        experiment="generalize", minutes=0.7,
    ),
    _claim(
        Control("train/plain", "above", 0.999, _FITS),
        Control("alignment/plain@0", "below", 0.1, "no alignment before training"),
        id="naive_loss_minimization",
        says="Once plain AdamW has fitted, its gradient points along the weights.",
        metric="alignment/plain", direction="above", threshold=0.5,
        unit="cos(-g, theta), -1 to 1, over all weights", experiment="generalize", minutes=0.7,
    ),
    _claim(
        Control("train/weight_decay@147", "above", 0.999, "it fits by step 147"),
        Control("test/weight_decay@147", "below", 0.05, "and does not generalize then"),
        Control("train/plain", "above", 0.999, _FITS),
        Control("test/plain", "below", 0.05, "without weight decay it does not generalize"),
        id="weight_decay_groks",
        says="The set-up can grok: with weight decay, plain AdamW generalizes long after fitting.",
        metric="test/weight_decay", direction="above", threshold=0.9, unit=_HELD,
        experiment="weight_decay", minutes=0.8,
    ),
    _claim(
        Control("train/float16_and_float32", "above", 0.9, "both fit the pairs at that step"),
        id="float16_collapses_first",
        says="Softmax collapse comes earlier when softmax is computed in float16 than in float32.",
        metric="collapsed/float16_minus_float32", direction="above", threshold=0.3, unit=_SHARES,
        experiment="precision", minutes=0.6,
    ),
    _claim(
        Control("train/float32_and_float64", "above", 0.9, "both fit the pairs at that step"),
        Control("collapsed/float64", "below", 0.01, "float64 does not collapse"),
        id="float32_collapses_before_float64",
        says="Later it comes in float32 too, and not yet in float64.",
        metric="collapsed/float32_minus_float64", direction="above", threshold=0.3, unit=_SHARES,
        experiment="precision", minutes=0.6,
    ),
    _claim(
        Control("train/float32", "above", 0.999, "all training pairs are fitted"),
        Control("collapsed_then/float32", "above", 0.3, "float32 has collapsed for many pairs"),
        Control("collapsed/float64", "below", 0.1, "float64 has hardly collapsed"),
        Control("gain/float64", "above", 0.03, "there is more to learn: in float64 it goes on"),
        id="collapse_stops_generalization",
        says="Where softmax collapses in float32, accuracy on held-out pairs rises no further.",
        metric="gain/float32", direction="below", threshold=0.02, unit=_LESS,
        experiment="stall", minutes=1.4,
    ),
    _claim(
        Control("train/float32", "above", 0.999, "float32 fits all training pairs"),
        Control("train/float64", "above", 0.999, "so does float64"),
        Control("test/float32_minus_float16", "above", 0.02, "float32 was beyond float16 before"),
        id="precision_lifts_accuracy",
        says="The more precise the softmax, the further networks generalize before it collapses.",
        metric="test/float64_minus_float32", direction="above", threshold=0.04, unit=_LESS,
        experiment="stall", minutes=1.4,
    ),
    _claim(
        Control("train/softmax", "above", 0.999, "softmax fits all training pairs"),
        Control("train/stablemax", "above", 0.999, "so does StableMax"),
        Control("test/best_softmax", "below", 0.1, "softmax has not generalized"),
        id="stablemax",
        says="With StableMax in place of softmax AdamW generalizes, no weight decay.",
        metric="test/stablemax_minus_softmax", direction="above", threshold=0.3, unit=_LESS,
        experiment="stablemax", minutes=2.3,
    ),
    _claim(
        Control("train/plain", "above", 0.999, _FITS),
        Control("test/best_plain", "below", 0.2,
                "plain AdamW does not generalize in as many steps at the best of three rates"),
        id="transformer_perpendicular",
        says="A one-layer transformer, too, generalizes with perpendicular gradients in 300 steps.",
        metric="test/perpendicular", direction="above", threshold=0.95, unit=_HELD,
        experiment="transformer", minutes=1.2,
    ),
    _claim(
        Control("train/stablemax", "above", 0.999, "StableMax fits the training strings"),
        Control("train/softmax", "above", 0.999, "so does softmax"),
        Control("test/best_softmax", "below", 0.65, "softmax at the best of three rates does not "
                "generalize; guessing gives 0.5"),
        id="parity_stablemax",
        says="On sparse parity, too, AdamW generalizes with StableMax, no weight decay.",
        metric="test/stablemax_minus_softmax", direction="above", threshold=0.1,
        unit="difference of accuracies (0-1) on held-out strings", experiment="parity", minutes=1.7,
    ),
    _claim(
        Control("train/softmax", "above", 0.999, "plain AdamW fits the training strings"),
        Control("test/best_softmax", "below", 0.65, "plain AdamW at the best of three rates does "
                "not generalize in 4 times as many steps"),
        id="parity_perpendicular",
        says="On sparse parity, too, AdamW generalizes with perpendicular gradients.",
        metric="test/perpendicular_minus_softmax", direction="above", threshold=0.2,
        unit="difference of accuracies (0-1) on held-out strings", experiment="parity", minutes=1.7,
    ),
)  # fmt: skip


SETTINGS = settings()

ALT = (
    "Accuracy by step in four panels. Pairs, and pairs with a transformer: plain AdamW, "
    "perpendicular gradients, weight decay. Pairs with softmax in three precisions, and where half "
    "of the examples have collapsed. Sparse parity: softmax, StableMax, perpendicular gradients."
)

EXAMPLE = """
import torch

model, x, y = torch.nn.Linear(10, 3), torch.randn(200, 10), torch.arange(200) % 3  # yours
optimizer = OrthoGrad(model.parameters(), torch.optim.AdamW, lr=0.01)
loss, monitor = StableMaxCrossEntropy(), SoftmaxCollapseMonitor("float32")
for step in range(20):
    optimizer.zero_grad()
    loss(model(x), y).backward()
    optimizer.step()
"""


def run(claim: str, scale: str, seed: int) -> dict[str, float]:
    """Return the numbers of the experiment that the claim belongs to."""
    from heldout.papers._grokking_stability import measure

    group = next(c.group for c in CLAIMS if c.id == claim)
    return measure(SETTINGS[scale][group], seed)


def plot(records: dict[str, dict[str, Any]], ax: Any) -> Any:
    """Draw accuracy by step in a panel for each network and task."""
    from heldout.papers._grokking_stability_figure import draw

    return draw(records, ax)
