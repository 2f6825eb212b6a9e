"""The phase of a run on partly wrong labels: the paper's own runs, bounds, limits, refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.core.errors import InputError
from heldout.dynamics.inversion import inversion_check

N = {"n_train": 4704, "n_heldout": 4705}


@pytest.mark.parametrize(
    ("train", "test", "word"),
    [  # saved outputs of the authors' notebook, 35 % wrong: weight decay 0, 5, 15 and 20
        (0.9783, 0.9830, "coexistence"),
        (0.7855, 1.0, "partial inversion"),
        (0.6537, 1.0, "full inversion"),
        (0.0091, 0.0108, "forgetting"),
        # and on the way, at steps 100 (by heart) and 1600 (falling apart) of two of them
        (1.0, 0.0298, "memorization"),
        (0.4537, 0.2519, "undecided"),
    ],
)
def test_the_papers_own_runs(train: float, test: float, word: str) -> None:
    report = inversion_check(train, 0.35, test, chance=1 / 97, **N)
    assert report.word == word
    assert report.train.low <= train <= report.train.high


@settings(max_examples=40, deadline=None)
@given(
    st.floats(0.05, 0.5), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers(400, 9000)
)
def test_bounds_hold_what_made_the_accuracy(
    xi: float, stored: float, right: float, less: float, n: int
) -> None:
    """Whatever S and R made A, with held-out no better than R: the bounds have S in them."""
    wrong = round(xi * n)
    given_back, kept = round(stored * wrong), round(right * (n - wrong))
    report = inversion_check(
        (given_back + kept) / n, wrong / n, less * kept / (n - wrong), n_train=n, n_heldout=n
    )
    # held-out accuracy is rounded to a count of n
    assert report.stored.low - 1e-9 <= given_back / wrong <= report.stored.high + 2 / (xi * n)


def test_counting_the_suspects_decides_what_bounds_leave_open() -> None:
    open_ = inversion_check(0.64, 0.35, 0.92, **N)
    assert open_.word == "undecided"
    counted = inversion_check(0.64, 0.35, 0.92, suspect_accuracy=0.02, **N)
    assert counted.word == "full inversion" and counted.stored.n == 1646
    assert open_.stored.low <= 0.02 <= open_.stored.high


def test_too_few_examples_are_undecided_and_more_are_not() -> None:
    found = {n: inversion_check(0.65, 0.35, 1.0, n_train=n, n_heldout=n).word for n in (20, 5000)}
    assert found == {20: "undecided", 5000: "full inversion"}


def test_fitting_right_labels_alone_without_a_rule_is_not_forgetting() -> None:
    assert inversion_check(0.65, 0.35, 0.01, suspect_accuracy=0.0, **N).word == "undecided"


def test_noise_that_cannot_be_avoided_is_not_held_against_a_network() -> None:
    words = [
        inversion_check(0.65, 0.35, 0.8, suspect_accuracy=0.05, attainable=a, **N).word
        for a in (1.0, 0.85)
    ]
    assert words == ["undecided", "full inversion"]


@pytest.mark.parametrize(
    "change",
    [
        {"train_accuracy": 65.0}, {"suspect_share": 0.0}, {"suspect_share": 1.0},
        {"heldout_accuracy": np.nan}, {"n_train": 0}, {"n_heldout": 0}, {"n_train": 1},
        {"chance": 0.95}, {"attainable": 1.2}, {"suspect_accuracy": 1.0},
    ],
)  # fmt: skip
def test_refusals(change: dict[str, float]) -> None:
    usual = {"train_accuracy": 0.5, "suspect_share": 0.35, "heldout_accuracy": 0.9} | N
    usual |= {"suspect_accuracy": 0.1}
    assert inversion_check(**usual)
    with pytest.raises(InputError):
        inversion_check(**(usual | {"train_accuracy": 0.3} | change))
