"""Forecasts of accuracy from agreement between models, and from reweighted test examples."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from heldout.core.errors import InputError

Floats = NDArray[np.float64]


def agreement(predictions: ArrayLike) -> float:
    """Mean share of equal predictions over all pairs of models, read as accuracy.

    2 / (R (R - 1)) sum_{r<s} mean_i [h_r(x_i) = h_s(x_i)], `predictions` (R, n) class ids,
    R >= 2. In [0, 1]. Cost R^2 / 2 comparisons. Jiang et al. 2022, "Assessing Generalization of
    SGD via Disagreement" (arXiv:2106.13799), theorem 4.1: equals the accuracy when the ensemble
    of retrained models is class-wise calibrated.

    >>> agreement([[0, 1, 1], [0, 1, 0]])
    0.6666666666666666
    """
    h = np.asarray(predictions)
    if h.ndim != 2 or len(h) < 2:
        raise InputError(f"predictions of shape {h.shape}", "(R, n) with R >= 2", "retrain twice")
    pairs = [(h[r] == h[s]).mean() for r in range(len(h)) for s in range(r)]
    return float(np.mean(pairs))


def density_ratio(test: ArrayLike, shifted: ArrayLike, seed: int, folds: int = 3) -> Floats:
    """Weights w(x) = p_shifted(x) / p_test(x) at the test rows, from a logistic classifier.

    w = odds of "shifted" under a cross-fitted logistic regression of (n, d) test against (m, d)
    shifted rows, times n / m, clipped to [0.02, 50], scaled to mean 1. Returns (n,). Cost:
    `folds` logistic fits. Bickel et al. 2009, "Discriminative Learning Under Covariate Shift",
    section 3.

    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(0, 1, (300, 1)), rng.normal(1, 1, (300, 1))
    >>> w = density_ratio(a, b, seed=0)
    >>> bool(w[a[:, 0] > 1].mean() > 2 * w[a[:, 0] < 0].mean())
    True
    """
    a, b = np.asarray(test, dtype=np.float64), np.asarray(shifted, dtype=np.float64)
    x = np.concatenate([a.reshape(len(a), -1), b.reshape(len(b), -1)])
    z = np.repeat([0, 1], [len(a), len(b)])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200))
    cv = StratifiedKFold(folds, shuffle=True, random_state=seed)
    q = cross_val_predict(model, x, z, cv=cv, method="predict_proba")[: len(a), 1]
    w = np.clip(q / np.maximum(1 - q, 1e-9) * len(a) / len(b), 0.02, 50.0)
    return np.asarray(w / w.mean())


def reweighted_accuracy(correct: ArrayLike, weights: ArrayLike) -> float:
    """Self-normalized importance estimate sum_i w_i c_i / sum_i w_i of the shifted accuracy.

    `correct` (n,) 0 or 1 on the test set, `weights` (n,) non-negative. In [0, 1]. Right when
    only the density of the inputs shifts and the test set covers it (Shimodaira 2000).

    >>> reweighted_accuracy([1, 0], [3.0, 1.0])
    0.75
    """
    c, w = np.asarray(correct, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if c.shape != w.shape or w.min() < 0 or w.sum() <= 0:
        raise InputError(f"weights of shape {w.shape}", f"{c.shape}, positive sum", "density_ratio")
    return float((w * c).sum() / w.sum())


def label_shift_accuracy(test: ArrayLike, y_test: ArrayLike, shifted: ArrayLike) -> float:
    """Per-class test accuracies averaged with the shifted set's estimated class shares.

    Solves C v = mu for the class shares v, C[k, l] the share of class-l test examples predicted
    k and mu the predicted shares on the shifted set, with a ridge of 1e-3 and v clipped to the
    simplex; returns sum_l v_l C[l, l]. In [0, 1]. Right when only class shares shift.
    Lipton et al. 2018, "Detecting and Correcting for Label Shift with Black Box Predictors"
    (arXiv:1802.03916), section 3; solved for shares rather than ratios.

    >>> test = np.eye(2)[[0, 0, 0, 1, 1, 0]]  # class 0 always right, class 1 in 2 of 3
    >>> v = label_shift_accuracy(test, [0, 0, 0, 1, 1, 1], np.eye(2)[[1, 1, 0]])
    >>> round(v, 2)
    0.67
    """
    p, q = np.asarray(test), np.asarray(shifted)
    y, k = np.asarray(y_test), np.asarray(test).shape[1]
    joint = np.zeros((k, k))
    np.add.at(joint, (p.argmax(1), y), 1.0)
    c = joint / np.maximum(joint.sum(0), 1.0)
    mu = np.bincount(q.argmax(1), minlength=k) / len(q)
    shares = np.linalg.solve(c.T @ c + 1e-3 * np.eye(k), c.T @ mu)
    shares = np.clip(shares, 0, None)
    return float((shares / max(shares.sum(), 1e-12) * np.diag(c)).sum())
