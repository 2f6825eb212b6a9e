"""Exchange an irrelevant factor between parts, and see whether the model follows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from heldout.core.arrays import as_numpy
from heldout.core.classifier import Classifier, classifier
from heldout.core.errors import InputError
from heldout.core.inputs import from_native
from heldout.core.interval import Interval
from heldout.core.seeds import stream
from heldout.core.statistics import proportion
from heldout.data.diversity.factors import discrete, finite

FactorSwap = Callable[[Any, np.random.Generator], Any]
"""`factor_swap(x, rng) -> x'`, or `(x', shown)` with the part whose value each row now shows."""


@dataclass(frozen=True)
class SwapResult:
    """Accuracies with the factor of the own part, of another part, and of none."""

    id: Interval
    """On the rows as they are."""
    ood: Interval
    """With the irrelevant factor of another part."""
    shortcut_rate: Interval
    """Share of swapped rows answered with a task of the part shown, not of the row's own."""
    shortcut_rate_before: Interval
    """Share of unswapped rows answered with a task of another part: confusion without a swap."""
    unseen: Interval | None
    """With a value that no part has. Where this is as low as `ood`, the model does not follow
    the factor: it cannot extrapolate."""
    relevant_only: Interval | None
    """Cross-fitted accuracy of a linear model on relevant features alone; where it is low, the
    task can hardly be solved without the factor, and any model would take the shortcut."""


def swap_test(
    model: Any,
    data: tuple[Any, Any, Any],
    factor_swap: FactorSwap,
    *,
    unseen: FactorSwap | None = None,
    relevant: Any = None,
    seed: int = 0,
) -> SwapResult:
    """Test whether a model decides by a factor that says the part, not the task.

    Args:
        model: an `nn.Module` with logits, a fitted scikit-learn classifier, or a function from
            inputs to logits or probabilities; it comes back unchanged.
        data: (x, y, parts): held-out inputs, class ids 0 .. C-1, and part of each row.
        factor_swap: gives rows the factor of another part, and changes nothing else; for columns
            of an array see `column_swap`. Where it does not return the part shown, that is the
            other part of two.
        unseen: gives rows a value that no part has, as far away; tells shortcut from plain
            failure to extrapolate.
        relevant: features (n, d) that hold only what matters, for the relevant-only oracle.
        seed: of the swaps and of the oracle's folds.

    Returns:
        Proportions with Wilson intervals. A task belongs to the part with most of its rows, as
        a share of that part; ties go to no part.

    Cost: two forward passes, three with `unseen`.

    Raises:
        InputError: fewer than two parts, a swap that changes nothing or the number of rows, more
            than two parts without the part shown, labels that are no class ids.

    Jang et al. 2025, arXiv:2508.06426, evaluation across viewpoint and task.

    >>> x = np.tile(np.eye(2), (50, 1))
    >>> follows = lambda x: 9.0 * np.asarray(x)  # looks at the factor alone
    >>> found = swap_test(follows, (x, np.arange(100) % 2, np.arange(100) % 2),
    ...                   lambda x, rng: x[:, ::-1])
    >>> found.id.value, found.ood.value, found.shortcut_rate.value
    (1.0, 0.0, 1.0)
    """
    x, labels, parts = data
    y, part = as_numpy(labels), discrete(parts, "parts")
    if y.ndim != 1 or y.dtype.kind not in "iu" or not len(x) == len(y) == len(part):
        raise InputError(
            f"{len(x)} inputs, {len(part)} parts, labels of dtype {y.dtype} and shape {y.shape}",
            "as many inputs, parts and integer class ids",
            "data=(x, y, parts)",
        )
    if part.max() < 1:
        raise InputError("one part", "two or more: values are exchanged between them", "pool data")
    asked, rng = classifier(model), stream(seed, "swap test")
    swapped, shown = _swapped(factor_swap, x, part, np.unique(as_numpy(parts)), rng)
    before, after = _answers(asked, x), _answers(asked, swapped)
    home = _home(y, part, 1 + int(max(y.max(), before.max(), after.max())))
    turned = shown != part
    away = (home[before] >= 0) & (home[before] != part)
    followed = (home[after] == shown) & turned
    third = None if unseen is None else _answers(asked, _first(unseen(x, rng))) == y
    return SwapResult(
        _share(before == y),
        _share((after == y)[turned]),
        _share(followed[turned]),
        _share(away),
        None if third is None else _share(third),
        None if relevant is None else relevant_accuracy(relevant, y, seed=seed),
    )


def column_swap(x: Any, parts: Any, columns: list[int]) -> FactorSwap:
    """Return a swap for arrays: columns are taken from a random row of another part.

    Args:
        x: the rows that will be swapped (n, d).
        parts: part of each row (n,), two or more of them.
        columns: that hold the irrelevant factor, exchanged together.

    Raises:
        InputError: x is not (n, d), or there are fewer than two parts.

    >>> swap = column_swap(np.array([[1.0, 5.0], [2.0, 6.0]]), ["a", "b"], [1])
    >>> swap(np.array([[1.0, 5.0], [2.0, 6.0]]), np.random.default_rng(0))[0].tolist()
    [[1.0, 6.0], [2.0, 5.0]]
    """
    array, part, names = as_numpy(x), discrete(parts, "parts"), np.unique(as_numpy(parts))
    if array.ndim != 2 or len(names) < 2 or len(array) != len(part):
        raise InputError(
            f"inputs of shape {array.shape} with {len(names)} parts",
            "(n, d) with a part per row, two parts or more",
            "write your own factor_swap(x, rng) for other forms",
        )

    def swap(given: Any, rng: np.random.Generator) -> Any:
        donors = donor_rows(part, rng)
        out = given.clone() if hasattr(given, "clone") else np.array(given)
        out[:, columns] = given[donors][:, columns]
        return out, names[part[donors]]

    return swap


def donor_rows(part: Int[np.ndarray, " n"], rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """Return for each row a random row of another part, part by part with equal chance.

    >>> donor_rows(np.array([0, 1]), np.random.default_rng(0))
    array([1, 0])
    """
    m = int(part.max()) + 1
    other = (part + rng.integers(1, m, len(part))) % m
    rows = [np.flatnonzero(part == k) for k in range(m)]
    return np.array([rows[k][rng.integers(len(rows[k]))] for k in other])


def relevant_accuracy(features: Any, y: Int[np.ndarray, " n"], *, seed: int = 0) -> Interval:
    """Cross-fitted accuracy of a logistic regression on relevant features alone, five folds.

    Args:
        features: (n, d) without the irrelevant factor.
        y: class ids (n,), at least five rows of each.
        seed: of the folds.

    Raises:
        InputError: a class has fewer than five rows, other lengths, NaN.

    >>> relevant_accuracy(np.repeat([0.0, 9.0], 50), np.repeat([0, 1], 50)).value
    1.0
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = finite(as_numpy(features), "relevant features").reshape(len(features), -1)
    if len(x) != len(y) or np.unique(y, return_counts=True)[1].min() < 5:
        raise InputError(
            f"{len(x)} rows and {len(y)} labels", "at least five rows of each class", "more rows"
        )
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    return _share(cross_val_predict(pipeline, x, y, cv=folds) == y)


def _swapped(
    swap: FactorSwap, x: Any, part: np.ndarray, names: np.ndarray, rng: np.random.Generator
) -> tuple[Any, Int[np.ndarray, " n"]]:
    made = swap(x, rng)
    found, m = _first(made), int(part.max()) + 1
    if len(found) != len(x):
        raise InputError(f"{len(found)} swapped rows of {len(x)}", "as many", "keep every row")
    if np.array_equal(as_numpy(found), as_numpy(x)):
        raise InputError(
            "a factor_swap that changes nothing",
            "inputs with the irrelevant factor of another part",
            "return a changed copy, such as column_swap(x, parts, columns)",
        )
    if not isinstance(made, tuple):
        if m > 2:
            raise InputError(
                f"{m} parts and a factor_swap without the part shown",
                "(x', shown), shown the part whose factor each row now has",
                "return x, shown",
            )
        return found, 1 - part
    shown = as_numpy(made[1])
    if len(shown) != len(part) or not np.isin(shown, names).all():
        raise InputError(
            f"shown parts {np.unique(shown)[:5]}", f"parts among {names[:5]}", "shown=parts[rows]"
        )
    return found, np.searchsorted(names, shown)


def _first(made: Any) -> Any:
    return made[0] if isinstance(made, tuple) else made


def _answers(asked: Classifier, x: Any) -> Int[np.ndarray, " n"]:
    return np.asarray(asked(from_native(x)).logits.argmax(axis=1))


def _home(y: np.ndarray, part: np.ndarray, classes: int) -> Int[np.ndarray, " c"]:
    """Part that a task belongs to, -1 where none has more of it than every other."""
    share: Float[np.ndarray, "m c"] = np.zeros((int(part.max()) + 1, classes))
    np.add.at(share, (part, y), 1.0)
    share /= share.sum(axis=1, keepdims=True)
    top = np.sort(share, axis=0)[-2:]
    return np.where(top[1] > top[0], share.argmax(axis=0), -1)


def _share(right: Bool[np.ndarray, " n"]) -> Interval:
    return proportion(int(right.sum()), len(right))
