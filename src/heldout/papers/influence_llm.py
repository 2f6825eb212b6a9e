"""Studying Large Language Model Generalization with Influence Functions, arXiv:2308.03296."""

from __future__ import annotations

from typing import Any

from heldout.papers._influence_llm_claims import LABELS, ORDER, RETRAINING, SPREAD
from heldout.papers._influence_llm_settings import settings
from heldout.papers.card import Paper

PAPER = Paper(
    slug="influence_llm",
    title="Studying Large Language Model Generalization with Influence Functions",
    date="2023-08-07",
    arxiv="2308.03296",
    summary=(
        "A Kronecker-factored curvature with corrected eigenvalues makes it affordable to ask "
        "which training sequences pushed a language model of up to 52B parameters towards an "
        "output. Influence is concentrated on few sequences and becomes more abstract in larger "
        "models. It nearly vanishes when two phrases appear in the opposite order."
    ),
    package="data",
    part="EK-FAC influence with null reference",
    authors=17,
    uses=(
        "heldout.data.influence.EKFAC",
        "heldout.data.influence.Classification",
        "heldout.data.influence.CausalLanguageModel",
        "heldout.data.influence.dense_ggn_influence",
        "heldout.data.influence_eval.lds",
        "heldout.data.influence_eval.loo",
        "heldout.data.influence_stats.order_effect",
        "heldout.data.influence_stats.tail_exponent",
        "heldout.data.influence_stats.top_share",
    ),
)

CLAIMS = (*RETRAINING, *ORDER, *SPREAD, *LABELS)
SETTINGS = settings()

ALT = (
    "Four panels, a dot for each seed. Linear datamodeling scores by kind of curvature. Median "
    "ranks of sentences in the question's order and of flipped ones. Average precision of scores "
    "for wrong labels. Share of the positive influence that the first 1 % of rows carry."
)

EXAMPLE = """
import torch

net = torch.nn.Sequential(torch.nn.Linear(10, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
x, y = torch.randn(200, 10), torch.arange(200) % 3  # yours
model = net.eval()
fitted = EKFAC(model, Classification(on="loss")).fit((x, y))
scores = fitted.scores((x[:5], y[:5]), (x, y))  # positive: training on the row raised that loss
print(scores.argmax(axis=1), fitted.self_influence((x, y)).argmax())
"""


def run(claim: str, scale: str, seed: int) -> dict[str, float]:
    """Return the numbers of the experiment that the claim belongs to."""
    group = next(c.group for c in CLAIMS if c.id == claim)
    if group == "order":
        from heldout.papers._influence_llm_order import word_order as measure
    elif group == "labels":
        from heldout.papers._influence_llm_labels import label_errors as measure
    elif group == "spread" and scale == "full":
        from heldout.papers._influence_llm_language import spread as measure
    elif group == "spread":
        from heldout.papers._influence_llm_lds import spread as measure
    else:
        from heldout.papers._influence_llm_lds import retraining as measure
    if group not in SETTINGS[scale]:
        raise ValueError(f"{group} has no {scale} scale: its networks are trained at small")
    return measure(SETTINGS[scale][group], seed)


def plot(records: dict[str, dict[str, Any]], ax: Any) -> Any:
    """Draw what each experiment measured, a panel for each."""
    from heldout.papers._influence_llm_figure import draw

    return draw(records, ax)
