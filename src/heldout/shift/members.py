"""The regressions that a forecast averages: of a set's accuracy, and of each example's."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from heldout.core.errors import InputError

Floats = NDArray[np.float64]

_FLOOR = 0.02  # least scale of a column, so that a constant one is not blown up
_ROWS = 60  # rows per set for the per-example regressions; more hardly helps
_LENGTH = 3.0  # length scale of the kernel, in root-mean-square standard deviations


@dataclass(frozen=True)
class Sets:
    """k sets of examples described by their evidence."""

    rows: Floats
    """Evidence of all examples, set after set (sum of sizes, F)."""
    sizes: NDArray[np.intp]
    """Number of examples of each set (k,)."""
    whole: Floats
    """Evidence of each set as a whole (k, G)."""
    correct: Floats | None = None
    """Whether each example was predicted right, 0 or 1, like `rows`; None when not known."""

    def __post_init__(self) -> None:
        """Check the lengths."""
        if len(self.rows) != self.sizes.sum() or len(self.whole) != len(self.sizes):
            raise InputError(
                f"{len(self.rows)} rows, {len(self.whole)} sets, sizes summing to "
                f"{self.sizes.sum()}", "equal lengths", "pass the sizes of the sets in order",
            )  # fmt: skip

    def __len__(self) -> int:
        """Number of sets."""
        return len(self.sizes)

    def each(self) -> list[slice]:
        """Where each set's examples lie."""
        ends = np.cumsum(self.sizes)
        return [slice(int(b - n), int(b)) for n, b in zip(self.sizes, ends, strict=True)]

    def take(self, chosen: ArrayLike) -> Sets:
        """Some of the sets."""
        picks = np.asarray(chosen, dtype=np.intp)
        places = self.each()
        rows = np.concatenate([np.arange(places[i].start, places[i].stop) for i in picks])
        correct = None if self.correct is None else self.correct[rows]
        return Sets(self.rows[rows], self.sizes[picks], self.whole[picks], correct)

    def accuracy(self) -> Floats:
        """Share of right predictions per set (k,).

        >>> s = Sets(np.zeros((4, 1)), np.array([1, 3]), np.zeros((2, 1)), np.array([1.0, 0, 0, 1]))
        >>> s.accuracy().round(2).tolist()
        [1.0, 0.33]
        """
        if self.correct is None:
            raise InputError("sets without labels", "labelled sets", "pass correct=")
        return np.array([self.correct[at].mean() for at in self.each()])

    def means(self) -> Floats:
        """Mean evidence of each set beside its whole-set evidence (k, F + G)."""
        return np.hstack([np.stack([self.rows[at].mean(0) for at in self.each()]), self.whole])


def in_context(sets: Sets) -> Floats:
    """Evidence of every example beside the mean evidence of its set (examples, 2 F + G).

    >>> in_context(Sets(np.array([[1.0], [3.0]]), np.array([2]), np.array([[9.0]]))).tolist()
    [[1.0, 2.0, 9.0], [3.0, 2.0, 9.0]]
    """
    return np.hstack([sets.rows, np.repeat(sets.means(), sets.sizes, axis=0)])


def ridge(x: Floats, y: Floats, asked: Floats, penalty: float = 3.0) -> Floats:
    """Ridge regression with an offset that is not penalized: predictions at `asked`.

    min_w sum_i (y_i - mean(y) - w x_i)^2 + penalty |w|^2 on centred columns.

    >>> ridge(np.array([[0.0], [1.0]]), np.array([0.0, 1.0]), np.array([[2.0]]), 0.0).tolist()
    [2.0]
    """
    centre = x.mean(0)
    a = x - centre
    w = np.linalg.solve(a.T @ a + penalty * np.eye(x.shape[1]), a.T @ (y - y.mean()))
    return np.asarray(y.mean() + (asked - centre) @ w)


def closest(asked: Floats, known: Floats, hidden: NDArray[np.bool_] | None = None) -> Floats:
    """Mean Euclidean distance of each asked row to its three closest known rows.

    `hidden` (asked, known): pairs that do not count. Infinite where fewer than three are left.

    >>> closest(np.zeros((1, 1)), np.array([[1.0], [2.0], [3.0], [9.0]])).tolist()
    [2.0]
    """
    square = (asked**2).sum(1)[:, None] + (known**2).sum(1) - 2 * asked @ known.T
    distance = np.sqrt(np.maximum(square, 0))
    if hidden is not None:
        distance = np.where(hidden, np.inf, distance)
    return np.asarray(np.sort(distance, axis=1)[:, :3].mean(1))


def kernel(a: Floats, b: Floats) -> Floats:
    """Covariance of accuracies at standardized evidence: a smooth part and a linear part.

    0.05 exp(-|a - b|^2 / (2 l^2 d)) + 0.03 a.b / d, l = 3, in squared accuracies.

    >>> float(kernel(np.zeros((1, 2)), np.zeros((1, 2)))[0, 0])
    0.05
    """
    d = a.shape[1]
    square = np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0)
    return np.asarray(0.05 * np.exp(-square / (2 * _LENGTH**2 * d)) + 0.03 * (a @ b.T) / d)


@dataclass
class Members:
    """Four regressions fitted on labelled sets, in the order of the columns they predict.

    1. ridge regression of the set's accuracy on its mean evidence;
    2. logistic regression of each example's correctness, averaged over the set;
    3. boosted trees of each example's correctness, averaged over the set;

    (2) and (3) see an example's evidence beside the mean evidence of its set, since the same
    confidence means less in a set where everything else looks off;

    4. (2) and a Gaussian process on the set's mean evidence for what it leaves over.
    """

    seed: int = 0
    """Seed of the row samples and of the trees."""
    logistic_: LogisticRegression | None = field(default=None, init=False, repr=False)
    trees_: HistGradientBoostingClassifier | None = field(default=None, init=False, repr=False)

    def fit(self, sets: Sets) -> Members:
        """Fit on labelled sets; returns self."""
        assert sets.correct is not None
        means, self.accuracy_ = sets.means(), sets.accuracy()
        self.centre_, self.scale_ = means.mean(0), means.std(0) + _FLOOR
        self.means_ = (means - self.centre_) / self.scale_
        rng = np.random.default_rng(self.seed)
        rows = np.concatenate(
            [at.start + rng.permutation(at.stop - at.start)[:_ROWS] for at in sets.each()]
        )
        x, y = in_context(sets)[rows], sets.correct[rows].astype(int)
        self.row_centre_, self.row_scale_ = x.mean(0), x.std(0) + _FLOOR
        self.constant_ = float(y.mean()) if y.min() == y.max() else None
        if self.constant_ is None:
            self.logistic_ = LogisticRegression(C=0.02, max_iter=100).fit(self._standard(x), y)
            self.trees_ = HistGradientBoostingClassifier(
                learning_rate=0.15, max_iter=40, max_leaf_nodes=8, min_samples_leaf=40,
                l2_regularization=5.0, early_stopping=False, random_state=self.seed,
            ).fit(x, y)  # fmt: skip
        self.left_over_ = self.accuracy_ - self._average(sets, "logistic")
        self.factor_ = np.linalg.inv(
            kernel(self.means_, self.means_) + 0.02**2 * np.eye(len(self.means_))
        )
        return self

    def predict(self, sets: Sets) -> Floats:
        """Accuracies (k, 4) by each member, between 0 and 1."""
        asked = self.standardized(sets)
        logistic, trees = self._average(sets, "logistic"), self._average(sets, "trees")
        process = kernel(asked, self.means_) @ self.factor_ @ self.left_over_
        linear = ridge(self.means_, self.accuracy_, asked)
        return np.clip(np.stack([linear, logistic, trees, logistic + process], 1), 0, 1)

    def standardized(self, sets: Sets) -> Floats:
        """Mean evidence of each set in units of the fitted sets' spread (k, F + G)."""
        return np.asarray((sets.means() - self.centre_) / self.scale_)

    def nearest(self, sets: Sets) -> Floats:
        """Mean distance of each asked set to the three closest fitted ones (k,)."""
        return closest(self.standardized(sets), self.means_)

    def _average(self, sets: Sets, member: str) -> Floats:
        if self.constant_ is not None or self.logistic_ is None or self.trees_ is None:
            return np.full(len(sets), self.constant_ if self.constant_ is not None else np.nan)
        rows = in_context(sets)
        if member == "logistic":
            p = self.logistic_.predict_proba(self._standard(rows))[:, 1]
        else:
            p = self.trees_.predict_proba(rows)[:, 1]
        return np.array([p[at].mean() for at in sets.each()])

    def _standard(self, rows: Floats) -> Floats:
        return np.asarray((rows - self.row_centre_) / self.row_scale_)
