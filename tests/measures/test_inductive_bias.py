"""Bits of inductive bias against closed forms, Monte Carlo and explicit matrices."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy import stats

from heldout.core.errors import InputError
from heldout.measures.gp_base import GPBase, compare, rbf
from heldout.measures.inductive_bias import bits, fit_ncx2
from heldout.measures.quadratic_law import QuadraticLaw


def imhof(law, x):
    """P(sum > x) by Imhof's integral (1961), in plain form."""
    with mpmath.workdps(20):

        def integrand(u):
            theta, rho = -x * u / 2, mpmath.mpf(1)
            for w, k, c in zip(law.weights, law.degrees, law.shifts, strict=True):
                wu = w * u
                theta += k * mpmath.atan(wu) / 2 + c * u / (2 * (1 + wu**2))
                rho *= (1 + wu**2) ** (k / 4) * mpmath.exp(w * c * u**2 / (2 * (1 + wu**2)))
            return mpmath.sin(theta) / (u * rho)

        return 0.5 + float(mpmath.quad(integrand, mpmath.linspace(0, 60, 31))) / np.pi


def some_law():
    return QuadraticLaw(
        np.array([1.0, 0.5, 0.3, 0.2]), np.array([3.0, 2, 2, 4]), np.array([0.5, 1.0, 0.1, 0.0])
    )


@pytest.mark.parametrize("x", [1.0, 6.0])
def test_cdf_is_imhofs_integral(x):
    law = some_law()
    assert np.exp(law.log_cdf(x)) == pytest.approx(1 - imhof(law, x), abs=1e-6)


@pytest.mark.parametrize("k", [1.0, 2.0, 7.5, 80.0])
@pytest.mark.parametrize("share", [1e-4, 0.1, 0.9, 1.0, 3.0])
def test_cdf_of_one_weight_is_the_chi_square(k, share):
    law = QuadraticLaw(np.array([0.4]), np.array([k]), np.array([0.0]))
    x = share * law.mean
    assert law.log_cdf(x) == pytest.approx(stats.chi2.logcdf(x / 0.4, k), rel=1e-8, abs=1e-12)
    other = QuadraticLaw(np.array([0.4]), np.array([k]), np.array([2.0]))
    wanted = stats.ncx2.logcdf(x / 0.4, k, 5.0)
    if np.isfinite(wanted) and wanted > -20:
        assert other.log_cdf(x) == pytest.approx(wanted, rel=1e-6)


def test_cdf_far_out_and_its_bound():
    law = QuadraticLaw(np.full(1, 1.0), np.full(1, 400.0), np.zeros(1))
    # P(chi2_k <= x) = gamma(k/2, x/2) / Gamma(k/2), here about e^-700
    wanted = mpmath.log(mpmath.gammainc(200, 0, 2.0, regularized=True))
    assert law.log_cdf(4.0) == pytest.approx(float(wanted), rel=1e-10)
    assert law.chernoff(4.0) == pytest.approx(-2 + 200 * (1 + np.log(4.0 / 400)), rel=1e-9)
    xs = np.linspace(0.2, 20, 25)
    found = np.array([some_law().log_cdf(x) for x in xs])
    assert (np.diff(found) > 0).all()
    assert all(some_law().chernoff(x) >= f for x, f in zip(xs, found, strict=True))
    constant = QuadraticLaw(np.array([0.0, 1.0]), np.ones(2), np.array([3.0, 0.0]))
    assert constant.log_cdf(2.9) == -np.inf and constant.smallest == 3
    assert constant.log_cdf(4.0) == pytest.approx(stats.chi2.logcdf(1.0, 1))


def test_samples_have_the_law():
    law = some_law()
    drawn = law.sample(20_000)
    assert drawn.mean() == pytest.approx(law.mean, rel=0.02)
    assert drawn.std() == pytest.approx(law.sd, rel=0.03)
    for x in (2.0, 5.0):
        assert (drawn <= x).mean() == pytest.approx(np.exp(law.log_cdf(x)), abs=0.012)


def gp_task(seed=0, n=40, m=15, outputs=2):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n + m, 3))
    y = np.stack([x[:, 0] * x[:, 1], x[:, 2], x[:, 0]][:outputs], axis=1)
    return x[:n], y[:n], x[n:], y[n:]


def test_gp_losses_are_those_of_functions_drawn_by_hand():
    x, y, xt, yt = gp_task()
    law = GPBase(rbf(1.0)).law(x, y, xt, yt)
    k = rbf(1.0)(np.vstack([x, xt]), np.vstack([x, xt]))
    solve = np.linalg.solve(k[:40, :40], np.hstack([y, k[:40, 40:]]))
    mean, cov = k[40:, :40] @ solve[:, :2], k[40:, 40:] - k[40:, :40] @ solve[:, 2:]
    rng = np.random.default_rng(1)
    root = np.linalg.cholesky(cov + 1e-9 * np.eye(15))
    drawn = mean + root @ rng.normal(size=(20_000, 15, 2))
    losses = ((drawn - yt) ** 2).mean(axis=(1, 2))
    assert law.points == 15
    assert law.mean == pytest.approx(losses.mean(), rel=0.01)
    target = float(np.quantile(losses, 0.01))
    found = bits(law, target, "gp_exact")
    assert found.value == pytest.approx(np.log2(100), abs=0.35)
    assert found.per_point == found.value / 15 and found.chernoff < found.value
    seen = bits(losses, target, "empirical")
    assert seen.interval.low < found.value < seen.interval.high and not seen.extrapolated
    assert bits(law, target * 0.9, "gp_exact").value > found.value
    own = GPBase(rbf(1.0)).sample_losses(x, y, xt, yt, 4000)
    assert stats.ks_2samp(own, losses).pvalue > 1e-3


def test_fit_recovers_its_own_family_and_its_range_covers():
    law = QuadraticLaw(np.array([0.1]), np.array([20.0]), np.array([1.0]), points=20)
    target = law.mean - 3 * law.sd
    exact = bits(law, target, "gp_exact").value
    inside = 0
    for seed in range(4):
        found = bits(law.sample(3000, seed), target, "ncx2", bootstrap=100, points=20)
        inside += found.interval.low - 0.2 <= exact <= found.interval.high + 0.2
        assert found.value == pytest.approx(exact, rel=0.12)
        assert found.per_point == found.value / 20
    assert inside >= 3
    fitted = fit_ncx2(law.sample(3000))
    assert fitted.mean == pytest.approx(law.mean, rel=0.01)
    assert fitted.sd == pytest.approx(law.sd, rel=0.05)


def test_what_samples_cannot_certify_is_said():
    law = QuadraticLaw(np.array([0.1]), np.array([20.0]), np.zeros(1))
    losses = law.sample(200)
    found = bits(losses, losses.min() / 2, "empirical")
    assert found.extrapolated and found.interval.high == np.inf and "certified" in found.note
    assert found.interval.low == pytest.approx(-np.log2(1 - 0.05 ** (1 / 200)))
    easy = bits(losses, float(np.quantile(losses, 0.8)), "empirical")
    assert easy.value < 1 and "at most one bit" in easy.note
    assert "at most one bit" in bits(law, 2 * law.mean, "gp_exact").note


@pytest.mark.parametrize(
    ("losses", "target", "family", "words"),
    [
        (np.ones(99), 0.5, "ncx2", "at least 100"),
        (np.r_[np.ones(150), 0.0], 0.5, "ncx2", "zero or negative"),
        (np.r_[np.ones(150), np.nan], 0.5, "empirical", "NaN"),
        (np.ones(150), 0.5, "empirical", "all equal"),
        (np.linspace(9, 11, 150), 1.0, "ncx2", "standard deviations below"),
        (np.linspace(9, 11, 150), -1.0, "ncx2", "above 0"),
        (np.linspace(9, 11, 150), 9.0, "gp_exact", "a law"),
    ],
)
def test_refusals(losses, target, family, words):
    with pytest.raises(InputError, match=words):
        bits(losses, target, family)


def test_a_base_space_that_does_not_fit_is_refused():
    x, y, xt, yt = gp_task()
    with pytest.raises(InputError, match="miss the training targets"):
        GPBase(rbf(1.0), ridge=1.0).law(x, y, xt, yt)
    with pytest.raises(InputError, match="targets of shape"):
        GPBase(rbf(1.0)).law(x, y[:-1], xt, yt)
    with pytest.raises(InputError, match="family="):
        bits(GPBase(rbf(1.0)).law(x, y, xt, yt), 0.1, "ncx2")


def test_compare_orders_by_error():
    law = GPBase(rbf(1.0)).law(*gp_task())
    found = compare({"a": law.mean, "b": law.mean / 4, "c": law.mean / 2}, law)
    assert list(found) == ["b", "c", "a"]
    with pytest.raises(InputError, match="no models"):
        compare({}, law)
