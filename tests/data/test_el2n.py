"""EL2N, self-confidence and margins against loops and cleanlab."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.core.errors import InputError
from heldout.data.el2n import el2n, log_margin, self_confidence


def random_probs(seed: int, n: int = 30, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(classes), n), rng.integers(0, classes, n)


def test_el2n_equals_a_loop_over_runs() -> None:
    runs = np.stack([random_probs(s)[0] for s in range(3)])
    labels = random_probs(0)[1]
    for i, y in enumerate(labels):
        norms = []
        for run in runs:
            error = run[i].copy()
            error[y] -= 1
            norms.append(np.sqrt((error**2).sum()))
        assert el2n(runs, labels)[i] == pytest.approx(np.mean(norms))


def test_self_confidence_equals_cleanlab() -> None:
    rank = pytest.importorskip("cleanlab.rank")
    probs, labels = random_probs(1)
    theirs = rank.get_label_quality_scores(labels, probs, method="self_confidence")
    np.testing.assert_allclose(self_confidence(probs, labels), theirs)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_scores_do_not_depend_on_the_order_of_classes_or_rows(seed: int) -> None:
    probs, labels = random_probs(seed)
    rng = np.random.default_rng(seed)
    classes, rows = rng.permutation(4), rng.permutation(30)
    moved, renamed = probs[rows][:, classes], np.argsort(classes)[labels[rows]]
    for score in (el2n, self_confidence, log_margin):
        np.testing.assert_allclose(score(moved, renamed), score(probs, labels)[rows])


def test_swapped_labels_score_worse() -> None:
    probs = np.tile([[0.9, 0.1]], (5, 1))
    right, wrong = np.zeros(5, int), np.ones(5, int)
    assert (el2n(probs, wrong) > el2n(probs, right)).all()
    assert (log_margin(probs, wrong) < 0).all() and (log_margin(probs, right) > 0).all()


@pytest.mark.parametrize(
    ("probs", "labels", "said"),
    [
        (np.ones((3, 2)) / 2, np.array([0, 1, 2]), "integer class ids in \\[0, 1\\]"),
        (np.ones((3, 2)) / 2, np.array([0.0, 1.0, 1.0]), "dtype float64"),
        (np.ones((3, 2)) / 2, np.array([0, 1]), "shape"),
        (np.full((1, 2), np.nan), np.array([0]), "NaN"),
    ],
)
def test_bad_input_is_explained(probs: np.ndarray, labels: np.ndarray, said: str) -> None:
    with pytest.raises(InputError, match=said):
        el2n(probs, labels)
