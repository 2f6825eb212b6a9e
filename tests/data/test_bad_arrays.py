"""Arrays and settings that functions on data refuse, rather than answer with a wrong number."""

from __future__ import annotations

import re

import numpy as np
import pytest

from heldout.core.errors import InputError
from heldout.data.diversity.dependence import disjoint_islands_information, normalized_information
from heldout.data.diversity.gaps import mmd_gap, wasserstein_gap
from heldout.data.frequency.law import binned_means, corrected_accuracy
from heldout.data.influence_eval import agreement, loo
from heldout.data.influence_stats import order_effect, tail_exponent, top_share

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 3))
Y = np.arange(20) % 3
BAD = np.where(np.arange(20)[:, None] == 3, np.nan, X)
ROW = np.abs(BAD).T.ravel()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: agreement(BAD, X), "some not finite"),
        (lambda: agreement(X[:2], X[:2]), "three or more"),
        (lambda: loo(X.T, lambda s, seed: s @ X, np.arange(11, 21), [0]), "20 scored"),
        (lambda: top_share(ROW, RNG), "3 of 60 scores not finite"),
        (lambda: tail_exponent(ROW, RNG), "3 of 60 scores not finite"),
        (lambda: order_effect(BAD[2:4], [[0], [1]], [[1], [2]], RNG), "not finite"),
        (lambda: order_effect(X[:2], [[0], [9]], [[1], [2]], RNG), "column 9"),
        (lambda: wasserstein_gap(X, X, directions=0), "0 directions"),
        (lambda: wasserstein_gap(X[:0], X), "rows of one width"),
        (lambda: mmd_gap(X, X, bandwidth=0.0), "bandwidth 0.0"),
        (lambda: mmd_gap(X, X, bandwidth=float("nan")), "bandwidth nan"),
        (lambda: normalized_information(Y, Y, correction="miller"), "'miller'.*miller-madow"),
        (lambda: normalized_information(Y, Y, level=95), "level=95"),
        (lambda: normalized_information(Y, Y, shuffles=-1), "-1 shuffles"),
        (lambda: disjoint_islands_information([0, np.nan], [1, 1]), "one of each"),
        (lambda: disjoint_islands_information([0, -1], [1, 1]), "one of each"),
        (lambda: binned_means(np.ones(4), np.ones(3)), "a score for each count"),
        (lambda: corrected_accuracy(BAD, Y), "finite logits"),
        (lambda: corrected_accuracy(X, Y[:4]), "a label for each row"),
        (lambda: corrected_accuracy(X, Y - 1), "class ids from 0 to 2"),
        (lambda: corrected_accuracy(X, Y + 1), "class ids from 0 to 2"),
        (lambda: corrected_accuracy(X, Y + 0.5), "float64"),
        (lambda: corrected_accuracy(X, Y, np.array([1.0, 0, 0])), "2 shares not above 0"),
        (lambda: corrected_accuracy(X, Y, np.array([0.5, 0.5])), r"\(3,\)"),
    ],
)
def test_refused(call, said):
    with pytest.raises(InputError, match=re.compile(said, re.S)):
        call()
