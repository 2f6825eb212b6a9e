"""The Universality Lens: Why Even Highly Over-Parametrized Models Learn Well, arXiv:2506.07661."""

from __future__ import annotations

from typing import Any

from heldout.papers._universality_lens_settings import settings
from heldout.papers.card import Claim, Control, Paper

PAPER = Paper(
    slug="universality_lens",
    title="The Universality Lens: Why Even Highly Over-Parametrized Models Learn Well",
    date="2025-06-09",
    arxiv="2506.07661",
    summary=(
        "A Bayesian mixture over a huge class pays regret only for the prior mass that sits close "
        "to the truth, however many other hypotheses there are. A model is simple when that mass "
        "is large: it needs fewer samples. Averaged noisy descent approximates the mixture."
    ),
    package="measures",
    part="mixture weight near the truth as simplicity",
    authors=3,
    uses=(
        "heldout.measures.mixture.MixtureLearner",
        "heldout.measures.mixture.regret_bound",
        "heldout.measures.simplicity.simplicity",
        "heldout.measures.langevin_ensemble.langevin_ensemble",
        "heldout.measures.distillation.distill",
    ),
)

_BOOLEAN = (
    "The paper has no experiment. Functions of 5 bits by 100,000 random ReLU networks of 8 and of "
    "64 hidden units, labels flipped with probability 0.1, mean of 40 data sets; about six truths "
    "from the commonest function down to one seen 30 times. "
)
_MARKOV = (
    "The paper has no experiment. Binary chains of order 2 with chances in 0.2 to 0.8, "
    "Beta(1/2, 1/2) priors in closed form, n from 256 to 8192, mean of 100 chains. "
)
_BRIDGE = (
    "The paper has no experiment. tanh networks of 42 parameters, 20 examples labelled by one "
    "drawn from the prior N(0, 1), SGLD on batches of 5; the exact mixture by 400,000 weighted "
    "draws of the prior; single networks by Adam, the nearest of four weight decays. Two worlds. "
)

CLAIMS = (
    Claim(
        id="bound",
        says="The mixture's regret stays below min over eps of n eps + ln 1 / W_eps.",
        metric="over_bound/largest", direction="below", threshold=1.0,
        unit="regret over bound, largest of truths, widths and n from 8 to 96",
        paper_value="a theorem for the expected regret; no measurement",
        smallest="small",
        differs=_BOOLEAN + "Weights are counted on other networks than those that are mixed.",
        controls=(
            Control(
                "over_bound/uniform", "above", 1.0,
                "a mixture with other weights breaks the bound for the commonest function",
            ),
        ),
        experiment="boolean", minutes={"tiny": 0.02, "small": 0.3},
    ),
    Claim(
        id="width_costs_nothing",
        says="Networks 8 times as wide, of 7.9 times the parameters, pay no more regret.",
        metric="regret/wide_over_narrow", direction="below", threshold=1.25,
        unit="ratio of regrets at n = 96, mean over the same truths",
        paper_value="the size of the class is not in the bound; no measurement",
        smallest="small", differs=_BOOLEAN,
        controls=(
            Control("regret/uniform_over_narrow", "above", 1.5, "equal weights on functions cost"),
        ),
        experiment="boolean", minutes={"tiny": 0.02, "small": 0.3},
    ),
    Claim(
        id="rarity_predicts_regret",
        says="The rarer a function is under the prior, the larger the regret of learning it.",
        metric="correlation/smallest", direction="above", threshold=0.9,
        unit="correlation of regret with ln 1 / W_0 over truths, the smaller of two widths",
        paper_value="simple models have large weight; no measurement",
        smallest="small", differs=_BOOLEAN,
        controls=(
            Control(
                "slope/uniform_over_narrow", "below", 0.6,
                "with equal weights regret rises less from common to rare functions",
            ),
        ),
        experiment="boolean", minutes={"tiny": 0.02, "small": 0.3},
    ),
    Claim(
        id="rare_needs_samples",
        says="A rare function needs several times the samples of the commonest.",
        metric="samples/rarest_over_commonest", direction="above", threshold=3.0,
        unit="ratio of samples until the excess log-loss is below 0.02 nats",
        paper_value="complex models need more data; no measurement",
        smallest="small",
        differs=_BOOLEAN + "Here of 200 data sets up to n = 192, and between its points by a line.",
        controls=(
            Control("samples/narrow@0", "below", 64.5, "the commonest is learnt by 64 examples"),
        ),
        experiment="boolean", minutes={"tiny": 0.02, "small": 0.3},
    ),
    Claim(
        id="half_log_n_per_parameter",
        says="In a regular family regret grows by half ln n for each parameter.",
        metric="slope/error", direction="below", threshold=0.1,
        unit="|slope of regret on ln n over d/2, minus 1|",
        paper_value="(d / 2n) ln n; no measurement",
        smallest="small", differs=_MARKOV,
        controls=(
            Control(
                "slope/largest_over_half_d", "above", 3.0,
                "sixteen times the parameters without weight on the truth grow faster",
            ),
        ),
        experiment="markov", minutes={"tiny": 0.01, "small": 0.02},
    ),
    Claim(
        id="larger_class_is_free",
        says="Mixing all orders up to 6 costs little more than knowing the order.",
        metric="regret/all_over_own", direction="below", threshold=1.25,
        unit="ratio of regrets at the largest n",
        paper_value="at most ln of the number of orders more; no measurement",
        smallest="small",
        differs=_MARKOV + "Orders weigh 1/7 each, so at most 1.95 nats more by construction.",
        controls=(
            Control("regret/largest_over_own", "above", 3.0, "order 6 alone pays several times"),
        ),
        experiment="markov", minutes={"tiny": 0.01, "small": 0.02},
    ),
    Claim(
        id="langevin_approximates_the_mixture",
        says="Averaged probabilities of networks sampled by SGLD approximate the mixture learner.",
        metric="ensemble/over_single", direction="below", threshold=0.5,
        unit="KL from the exact mixture, over that of the nearest single network",
        paper_value="Langevin descent samples the posterior; no measurement",
        smallest="small", differs=_BRIDGE,
        controls=(
            Control("reference/fewest_draws", "above", 1000.0, "the exact mixture is exact enough"),
            Control("r_hat/largest", "below", 1.1, "the chains have mixed"),
            Control(
                "wrong_noise/over_single", "above", 1.0,
                "with mini-batch losses not multiplied by n the ensemble is another learner",
            ),
        ),
        experiment="bridge", minutes={"tiny": 0.05, "small": 0.8},
    ),
    Claim(
        id="distilled_into_one",
        says="One network trained on the ensemble's averages stays as near to the mixture.",
        metric="student/over_single", direction="below", threshold=0.5,
        unit="KL from the exact mixture, over that of the nearest single network",
        paper_value="said to align with distillation; no claim with a number, this test is ours",
        smallest="small", differs=_BRIDGE + "1,000 inputs without labels to distil on.",
        controls=(
            Control("reference/fewest_draws", "above", 1000.0, "the exact mixture is exact enough"),
            Control(
                "student_of_single/over_single", "above", 0.75,
                "distilling the single network instead does not bring it nearer",
            ),
        ),
        experiment="bridge", minutes={"tiny": 0.05, "small": 0.8},
    ),
)  # fmt: skip

SETTINGS = settings()

EXAMPLE = """
import torch
from heldout.measures.distillation import distill
from heldout.measures.langevin_ensemble import Langevin, langevin_ensemble
from heldout.measures.simplicity import simplicity

net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
x = torch.randn(50, 4)  # yours
found = simplicity(net, x, n=5)
print(found.nats, "nats of regret at most in", found.n, "examples")
options = Langevin(samples=20, burn_in=200, refuse=False)  # more, for R-hat below 1.1
ensemble = langevin_ensemble(net, x, (x[:, 0] > 0).long(), options=options)
print(ensemble.r_hat, distill(ensemble, net, torch.randn(200, 4)).kl)
"""


def run(claim: str, scale: str, seed: int) -> dict[str, float]:
    """Return the numbers of the experiment that the claim belongs to."""
    from heldout.papers._universality_lens import boolean
    from heldout.papers._universality_lens_bridge import bridge
    from heldout.papers._universality_lens_markov import markov

    group = next(c.group for c in CLAIMS if c.id == claim)
    found = {"boolean": boolean, "markov": markov, "bridge": bridge}[group]
    return found(SETTINGS[scale][group], seed)


def plot(records: dict[str, dict[str, Any]], ax: Any) -> Any:
    """Draw regret against ln 1 / W_0 of every truth and seed, both widths, under the diagonal."""
    from heldout.papers._universality_lens_plot import draw

    return draw(records, ax)
