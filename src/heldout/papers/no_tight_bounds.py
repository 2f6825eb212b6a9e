"""Fantastic Generalization Measures are Nowhere to be Found, arXiv:2309.13658."""

from __future__ import annotations

from typing import Any

from heldout.papers.card import Claim, Control, Paper

PAPER = Paper(
    slug="no_tight_bounds",
    title="Fantastic Generalization Measures are Nowhere to be Found",
    date="2023-09-24",
    arxiv="2309.13658",
    summary=(
        "When a model has more capacity than its data can pin down, no bound computed from "
        "training set and hypothesis alone is close to the true loss for every algorithm and "
        "distribution. Bounds that also know the algorithm face a trade: an algorithm good at "
        "some distributions cannot have a close bound on all of them. Proofs only, without "
        "experiments."
    ),
    package="measures",
    part="complexity measures and their worst case, exact counter-examples, loss stability",
    authors=4,
    uses=(
        "heldout.measures.complexity.complexity_measures",
        "heldout.measures.ranking.rank",
        "heldout.measures.robust_ranking.environment_errors",
        "heldout.measures.estimability.linear_failure",
        "heldout.measures.loss_stability.loss_stability",
    ),
)

_EXACT = (
    "Exact example of ours after the paper's parities, and of its follow-up, arXiv:2410.01969. "
    "Worlds are simulated with the learner and the best estimate there is."
)
_SWEEP = (
    "Claims of the sweeps that the paper discusses. Ours is small: fully connected networks on the "
    "scikit-learn digits and on 8x8 patches of two photographs, a tenth of the labels wrong, "
    "stopped at cross-entropy 0.05; 60 or 400 training examples, 2 widths, 2 depths, 2 batch "
    "sizes, 2 rates and 2 initial scales far apart, so that gaps differ by more than the noise of "
    "the test set; 6 repeats. Kendall's tau is taken among networks of the same training set, the "
    "granulated one and sign errors over all hyperparameters, with measures divided by the number "
    "of examples as in bounds. Networks that do not converge are dropped and counted. "
    "Recorded twice: at first with tau over both set sizes, 4 repeats, widths from 32."
)
_MODELS = Control("models", "above", 100, "enough networks reach the common loss on each data set")
_ORACLE = Control("tau/oracle", "above", 0.2, "gaps differ by more than the test set's noise: on "
                  "one half of it they rank those on the other")  # fmt: skip
_RANDOM = Control("tau/random", "below", 0.15, "random numbers do not rank the gaps")
_TAU = (
    "Kendall's tau with the generalization gap, -1 to 1, among networks of the same training set, "
    "mean of four"
)


def _claim(*controls: Control, experiment: str, **given: Any) -> Claim:
    small = 1.5 if experiment == "exact" else 3.0
    return Claim(
        smallest="small", controls=controls, minutes={"tiny": 0.1, "small": small},
        experiment=experiment, differs=_EXACT if experiment == "exact" else _SWEEP, **given,
    )  # fmt: skip


CLAIMS = (
    _claim(
        Control("parity/perfect", "above", 0.6, "the learner is right without any loss most times"),
        id="parity_is_not_estimable",
        says="For parities even the best estimate of a learner's loss is off by 1/4 with "
        "probability 0.32 or more.",
        metric="parity/failure", direction="above", threshold=0.32, unit="probability (0-1)",
        paper_value="not (0.25, 0.32, n)-estimable for n of 6 or more", experiment="exact",
    ),
    _claim(
        Control("parity/failure", "above", 0.3, "estimates do fail"),
        id="parity_closed_form",
        says="How often it fails, and how often the learner is perfect, is sum_c P(c) min(2^-c, "
        "1 - 2^-c) and sum_c P(c) 2^-c over the coranks c of random matrices.",
        metric="parity/apart", direction="below", threshold=0.003,
        unit="largest difference of probabilities over dimensions",
        paper_value="not stated; closed form of ours", experiment="exact",
    ),
    _claim(
        Control("memorizer/failure_many", "below", 0.01,
                "with twice as many examples as inputs estimates are that close"),
        id="memorizer_is_not_estimable",
        says="No estimate tells a memorizer that guesses right elsewhere from one that does not: "
        "off by 0.2 nearly half of the time.",
        metric="memorizer/failure_few", direction="above", threshold=0.45,
        unit="probability (0-1), best of all constant or proportional estimates",
        paper_value="1/2 in the construction", experiment="exact",
    ),
    _claim(
        _MODELS, _ORACLE, _RANDOM, id="flatness_beats_norms",
        says="Flatness in proportion to the weights ranks gaps better than the best of seven "
        "norm measures.",
        metric="tau/aware_minus_best_norm", direction="above", threshold=0.0,
        unit="difference of " + _TAU, paper_value="best of all measures in Jiang et al. 2020",
        experiment="sweep",
    ),
    _claim(
        _MODELS, _ORACLE, _RANDOM, id="flatness_ranks",
        says="Flatness in proportion to the weights ranks gaps.",
        metric="tau/aware", direction="above", threshold=0.2, unit=_TAU,
        paper_value="near the noisy oracle in Jiang et al. 2020", experiment="sweep",
    ),
    _claim(
        _MODELS, _ORACLE, _RANDOM, id="spectral_norms_rank_backwards",
        says="Products of spectral norms over the margin rank gaps the wrong way round.",
        metric="tau/spectral", direction="below", threshold=-0.1, unit=_TAU,
        paper_value="strongly negative in Jiang et al. 2020", experiment="sweep",
    ),
    _claim(
        _MODELS, _ORACLE, _RANDOM, id="gradient_variance_ranks",
        says="The variance of gradients at the end of training ranks gaps.",
        metric="tau/variance", direction="above", threshold=0.1, unit=_TAU,
        paper_value="among the best in Jiang et al. 2020", experiment="sweep",
    ),
    _claim(
        _MODELS,
        Control("environments", "above", 10, "environments with 12 effective pairs are left"),
        Control("axes", "above", 2.5, "they vary three hyperparameters or more"),
        Control("worst/oracle", "below", 0.5, "the gap on one half of the test set is right in "
                "most pairs of every environment of the other half"),
        id="every_measure_fails_somewhere",
        says="Every measure ranks nearly all pairs of some environment the wrong way round.",
        metric="worst/least", direction="above", threshold=0.9,
        unit="least over measures of the worst sign error (0-1)",
        paper_value="1.0 for all 24 measures in Dziugaite et al. 2020", experiment="sweep",
    ),
)  # fmt: skip

_SMALL = {
    "exact": {
        "dimensions": (6, 8, 12), "chunk": 500_000, "chunks": 8, "domain": 1000,
        "examples": (100, 500, 2000), "margin": 0.2, "worlds": 8000,
    },
    "sweep": {
        "data": ("digits", "photographs"), "examples": (60, 400), "noise": 0.1, "loss": 0.05,
        "updates": 6000, "width": (16, 96), "depth": (1, 3), "batch": (16, 64),
        "rate": (0.01, 0.03), "spread": (1.0, 2.5), "repeats": 6, "fewest_pairs": 12.0,
        "draws": 5, "steps": 8, "tolerance": 0.05,
    },
}  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "exact": _SMALL["exact"] | {"chunk": 2000, "chunks": 1, "worlds": 200, "dimensions": (6,)},
        "sweep": _SMALL["sweep"] | {
            "examples": (30, 60), "loss": 0.1, "updates": 320, "width": (16,), "depth": (1, 2),
            "batch": (16,), "rate": (0.05,), "spread": (1.0,), "repeats": 2,
            "fewest_pairs": 1.0, "draws": 2, "steps": 2, "tolerance": 0.5,
        },
    },
    "small": _SMALL,
    "full": {"exact": _SMALL["exact"], "sweep": _SMALL["sweep"] | {"repeats": 10, "loss": 0.01,
             "updates": 40_000, "draws": 10, "steps": 20, "tolerance": 0.02}},
}  # fmt: skip

EXAMPLE = """
import copy
import torch

x = torch.randn(200, 10)  # yours
y = (x[:, 0] > 0).long()
model = torch.nn.Sequential(torch.nn.Linear(10, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
start = copy.deepcopy(model.state_dict())
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for step in range(300):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
found = complexity_measures(model, start, x, y, without=("sharpness",))
print(found["pacbayes_mag_flatness"], found["path_norm"])
"""


def run(claim: str, scale: str, seed: int) -> dict[str, float]:
    """Return the numbers of the experiment that the claim belongs to.

    With `--data DIR` (HELDOUT_DATA) finished networks of the sweep are kept there, and a seed that
    was interrupted goes on after them.
    """
    from heldout.papers._no_tight_bounds import parity, rankings

    group = next(c.group for c in CLAIMS if c.id == claim)
    return (parity if group == "exact" else rankings)(SETTINGS[scale][group], seed)


def table(records: dict[str, dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return every measure, best rank correlation first, as header and rows of the page's table."""
    from heldout.papers._no_tight_bounds_table import cells, measure_table

    return cells(measure_table(records))


def plot(records: dict[str, dict[str, Any]], ax: Any) -> Any:
    """Draw how every measure ranks, or the odds of parities where there was no sweep."""
    from heldout.papers._no_tight_bounds_figure import draw

    return draw(records, ax)
