"""Noise rate and ranking where the truth is known, and silence where nothing is wrong."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.metrics import average_precision_score

from heldout.core.errors import InputError
from heldout.data.crossfit import ProbeOptions, crossfit_probes
from heldout.data.label_noise import rank_label_noise, wrong_probability
from heldout.data.net_probe import NetProbeOptions
from heldout.data.noise_rate import lapse_rate, noise_rate, plateau_rate
from heldout.data.stacking import fit_lapse, temper


def planted(classes: int, rate: float, n: int = 3000, seed: int = 0, sharp: float = 3.0):  # type: ignore[no-untyped-def]
    """Exact class probabilities, labels drawn from them, a share then changed at random."""
    rng = np.random.default_rng(seed)
    probs = softmax(sharp * rng.normal(size=(n, classes)), axis=1)
    truth = (probs.cumsum(axis=1) > rng.uniform(size=(n, 1))).argmax(axis=1)
    wrong = rng.uniform(size=n) < rate
    labels = np.where(wrong, (truth + rng.integers(1, classes, n)) % classes, truth)
    return probs, labels, wrong


@pytest.mark.parametrize("classes", [2, 3, 5, 10])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3])
def test_lapse_rate_is_recovered_from_unsaturated_probabilities(classes: int, rate: float) -> None:
    probs, labels, wrong = planted(classes, rate)
    found = lapse_rate({"exact": probs}, labels)
    assert abs(found.value - wrong.mean()) < 0.04
    assert found.low - 0.01 <= wrong.mean() <= found.high + 0.01


def test_lapse_fit_gradient_matches_differences() -> None:
    # The optimum is stationary: no small change of a weight or of the lapse raises the likelihood.
    probs, labels, _ = planted(4, 0.1, n=500)
    other = softmax(np.random.default_rng(1).normal(size=probs.shape), axis=1)
    best = fit_lapse({"a": probs, "b": other}, labels)
    assert (best.clean.argmax(axis=1) == probs.argmax(axis=1)).mean() > 0.9
    for lapse in (best.lapse - 0.02, best.lapse + 0.02):
        assert (
            fit_lapse({"a": probs, "b": other}, labels, lapse).log_likelihood < best.log_likelihood
        )


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3])
def test_error_floor_is_told_from_overlap(rate: float) -> None:
    rng = np.random.default_rng(1)
    confidence = rng.uniform(size=4000)
    overlap = 0.5 * (1 - confidence) ** 2
    wrong = rng.uniform(size=4000) < rate + (1 - rate) * overlap
    found = plateau_rate(confidence, wrong)
    assert abs(found.value - rate) < 0.05
    assert found.low - 0.005 <= rate <= found.high + 0.005


def test_error_floor_depends_on_the_order_of_confidence_only() -> None:
    rng = np.random.default_rng(2)
    confidence, wrong = rng.uniform(0.1, 1, 500), rng.uniform(size=500) < 0.2
    assert plateau_rate(confidence, wrong) == plateau_rate(np.log(confidence), wrong)
    assert plateau_rate(confidence, wrong) != plateau_rate(confidence, ~wrong)


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_overlapping_clean_classes_raise_no_alarm(classes: int) -> None:
    alarms = 0
    for seed in range(5):
        probs, labels, _ = planted(classes, 0.0, n=800, seed=seed, sharp=1.2)
        assert (probs.argmax(axis=1) != labels).mean() > 0.2  # hard by construction
        alarms += noise_rate({"net": probs}, labels, fit_lapse({"net": probs}, labels)).low > 0.03
    assert alarms == 0


def test_wrong_probability_is_bayes() -> None:
    # Two classes, 10 % changed: P(wrong | given) counted in a simulation.
    rng = np.random.default_rng(0)
    p = 0.3
    truth = rng.uniform(size=400_000) < p
    changed = rng.uniform(size=400_000) < 0.1
    given = truth ^ changed
    counted = changed[given].mean()
    assert wrong_probability(np.array([p]), 0.1, 2)[0] == pytest.approx(counted, abs=0.01)


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine])
def test_planted_errors_come_first_and_their_share_is_found(load) -> None:  # type: ignore[no-untyped-def]
    x, truth = load(return_X_y=True)
    rng = np.random.default_rng(0)
    n, classes = len(truth), truth.max() + 1
    wrong = np.zeros(n, bool)
    wrong[rng.permutation(n)[: n // 10]] = True
    labels = np.where(wrong, (truth + rng.integers(1, classes, n)) % classes, truth)
    options = ProbeOptions(trees=50, net=NetProbeOptions(steps=150, members=1, snapshots=3))
    found = rank_label_noise(crossfit_probes(x, labels, classes, 0, options=options), labels)
    assert average_precision_score(wrong, found.score) > 0.85
    assert abs(found.rate.value - 0.1) < 0.05
    top = found.order[: n // 20]
    assert (found.suggested[top] == truth[top]).mean() > 0.9
    clean = rank_label_noise(crossfit_probes(x, truth, classes, 0, options=options), truth)
    assert clean.rate.value < 0.03 and clean.rate.low < 0.01


def test_temperature_does_not_change_the_order_of_classes() -> None:
    scores = np.random.default_rng(0).normal(size=(50, 3))
    probs = temper(scores, np.zeros(50, int))
    np.testing.assert_array_equal(probs.argsort(axis=1), scores.argsort(axis=1))


def test_bad_sources_are_explained() -> None:
    with pytest.raises(InputError, match="no source"):
        rank_label_noise({}, np.zeros(3, int))
    with pytest.raises(InputError, match="for all"):
        rank_label_noise({"a": np.ones((3, 2)) / 2, "b": np.ones((3, 3)) / 3}, np.zeros(3, int))
