"""The recipe's fast mixture against the library's, Markov evidence by hand, and a tiny run."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from heldout.measures.mixture import MixtureLearner
from heldout.measures.prior import GaussianPrior, flatten
from heldout.papers import _universality_lens as measured
from heldout.papers import _universality_lens_bridge as bridge
from heldout.papers import _universality_lens_markov as chains
from heldout.papers import universality_lens as recipe


@pytest.fixture(scope="module")
def tiny() -> dict[str, dict[str, float]]:
    first = {c.group: c.id for c in reversed(recipe.CLAIMS)}
    return {group: recipe.run(claim, "tiny", 7) for group, claim in first.items()}


@pytest.mark.parametrize("uniform", [False, True])
def test_the_fast_mixture_is_the_exact_learner(uniform: bool) -> None:
    codes = measured.random_functions(3, 4, 60, 0, "test")
    fast = measured.Sampled(codes, 8, uniform)
    p = 0.5 + 0.4 * fast.rows
    tables = np.stack([1 - p, p], axis=2).astype(float)
    truth = fast.rows[0]
    rng = np.random.default_rng(0)
    x = rng.integers(8, size=(2, 12))
    y = truth[x] * np.where(rng.random((2, 12)) < 0.1, -1, 1)
    for run in range(2):
        labels = ((y[run] + 1) / 2).astype(int)
        learner = MixtureLearner(tables, fast.log_prior).update(x[run], labels)
        own = np.log(tables[0][x[run], labels]).sum()
        assert fast.regret(truth, x, y)[run] == pytest.approx(own + learner.log_loss_, abs=1e-5)
        q, p0 = learner.predict_proba(np.arange(8)), tables[0]
        wanted = float((p0 * np.log(p0 / q)).sum(1).mean())
        assert fast.excess(truth, x, y)[run] == pytest.approx(wanted, abs=1e-5)
        # at eps = 0 the bound holds for every sequence, not only on average
        assert fast.regret(truth, x, y)[run] <= -fast.log_prior[0] + 1e-6


def test_weights_count_functions_by_disagreements() -> None:
    codes = np.array([0b0000, 0b0001, 0b0011, 0b1111])
    eps, log_w = measured.log_weights(codes, 0, 4)
    assert np.exp(log_w) == pytest.approx([0.25, 0.5, 0.75, 0.75, 1.0])
    kl = 0.9 * math.log(9) + 0.1 * math.log(1 / 9)
    assert eps == pytest.approx(np.arange(5) / 4 * kl)


def test_evidence_sums_to_one_over_all_sequences() -> None:
    total = 0.0
    for bits in itertools.product([0, 1], repeat=6):
        symbols = np.array([1, 0, *bits])
        context = chains._contexts(symbols, 2, 2)
        total += float(np.exp(chains._evidence(*chains._tally(context, symbols[2:], 2)).sum()))
    assert total == pytest.approx(1.0)


def test_samples_needed_are_those_of_a_mixture_of_two() -> None:
    # two functions that disagree everywhere, equal weights: the excess in closed form
    learner = measured.Sampled(np.array([0b00, 0b11]), 2)
    setting = {"repeats": 4000, "grid": [1, 2, 3, 4, 5, 6, 8, 10, 12, 16]}
    truth = learner.rows[0]

    def excess(n: int) -> float:
        total = 0.0
        for wrong in range(n + 1):
            chance = math.comb(n, wrong) * 0.1**wrong * 0.9 ** (n - wrong)
            odds = 9.0 ** (2 * wrong - n)
            p = (0.9 + 0.1 * odds) / (1 + odds)
            total += chance * (0.9 * math.log(0.9 / p) + 0.1 * math.log(0.1 / (1 - p)))
        return total

    found = measured.samples_needed(learner, truth, setting, 0)
    below = next(n for n in setting["grid"] if excess(n) < 0.02)
    assert found == pytest.approx(below, abs=1.0) and found <= below + 0.2
    never = {"repeats": 5, "grid": [1, 2]}
    without = measured.Sampled(np.array([0b11]), 2)
    assert measured.samples_needed(without, truth, never, 0) == 4.0


def test_the_exact_mixture_is_that_of_enumeration_and_chains_agree() -> None:
    net = bridge.network(2, 0, "test")
    rng = torch.Generator().manual_seed(0)
    x, new = torch.randn(12, 2, generator=rng), torch.randn(5, 2, generator=rng)
    y = (x[:, 0] > 0).long()
    found, worth = bridge.exact_mixture(net, x, y, new, 3000, torch.Generator().manual_seed(1))
    # the same draws, one network at a time, in the library's mixture
    rng = torch.Generator().manual_seed(1)
    us = torch.randn(3000, 12, generator=rng)
    flat = flatten(net, GaussianPrior(1.0))
    both = torch.cat([x, new])
    with torch.no_grad():
        tables = torch.stack([flat(u, both).double().softmax(1) for u in us]).numpy()
    learner = MixtureLearner(tables).update(np.arange(12), y.numpy())
    assert found == pytest.approx(learner.predict_proba(np.arange(12, 17)), abs=1e-5)
    assert worth == pytest.approx(1 / np.exp(2 * learner.log_posterior_).sum(), rel=1e-4)


def test_descent_with_the_priors_penalty_finds_the_mode() -> None:
    net = bridge.network(2, 0, "mode")
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(12, 2, generator=rng)
    y = (x[:, 0] > 0).long()
    bridge.descended(net, x, y, 700, 1.0)
    loss = torch.nn.functional.cross_entropy(net(x), y, reduction="sum")
    loss = loss + sum((p**2).sum() for p in net.parameters()) / 2
    slopes = torch.autograd.grad(loss, list(net.parameters()))
    assert max(float(g.abs().max()) for g in slopes) < 0.02


def test_every_number_that_claims_and_figure_need(tiny: dict[str, dict[str, float]]) -> None:
    from matplotlib.figure import Figure

    for claim in recipe.CLAIMS:
        found = tiny[claim.group]
        assert {claim.metric} | {c.metric for c in claim.controls} <= set(found), claim.id
        assert all(isinstance(v, float) and math.isfinite(v) for v in found.values())
    seeds = [{"seed": 0, "metrics": tiny["boolean"]}, {"seed": 1, "error": "stopped"}]
    ax = Figure().subplots()
    assert recipe.plot({"bound": {"seeds": seeds}}, ax) is ax
    assert len(ax.lines[0].get_xdata()) == tiny["boolean"]["functions/chosen"]


@pytest.mark.parametrize("group", ["boolean", "markov", "bridge"])
def test_same_seed_same_numbers(group: str, tiny: dict[str, dict[str, float]]) -> None:
    claim = next(c.id for c in recipe.CLAIMS if c.group == group)
    assert recipe.run(claim, "tiny", 7) == tiny[group]
    assert recipe.run(claim, "tiny", 8) != tiny[group]


@pytest.mark.filterwarnings("ignore:R-hat")
def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(recipe.EXAMPLE, "EXAMPLE", "exec"), {})
    assert "nats" in capsys.readouterr().out


def test_recipe_imports_no_torch() -> None:
    code = "import sys, heldout.papers.universality_lens; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
