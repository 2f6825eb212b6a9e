"""Accuracy on a shifted set without its labels, learned on perturbed copies of labelled data."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from heldout.core.errors import InputError
from heldout.shift.members import Members, Sets, closest

Floats = NDArray[np.float64]

# Set on 30 development worlds (data set x model), where 95 of 100 forecasts of kinds in and
# out of the meta-set were covered; see the docstring of `AccuracyForecaster` for their meaning.
_SHARE = 0.75
_CLOSE = 0.3


@dataclass(frozen=True)
class Forecast:
    """Forecast accuracies of k sets, each between 0 and 1."""

    value: Floats
    """Point forecasts (k,)."""
    low: Floats
    """Lower ends (k,)."""
    high: Floats
    """Upper ends (k,)."""
    deviation: Floats
    """Standard deviations behind the ends (k,)."""
    unlike: Floats
    """Distance to the closest fitted sets (k,), in units of what is usual for a new kind."""
    level: float
    """Coverage aimed at."""


def kind_folds(
    kinds: list[str], folds: int, seed: int
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Split sets so that no kind of perturbation is on both sides: (train, held-out) positions.

    A set of two kinds ("a+b") is held out with either, and trained on with neither; it can
    be held out twice.

    >>> folds = kind_folds(["a", "b", "a+b", "c"], folds=3, seed=0)
    >>> [sorted(set(t.tolist()) & set(h.tolist())) for t, h in folds]
    [[], [], []]
    """
    parts = [set(k.split("+")) for k in kinds]
    names = sorted(set().union(*parts))
    order = np.random.default_rng(seed).permutation(len(names))
    made = []
    for chosen in np.array_split(order, min(folds, len(names))):
        out = {names[i] for i in chosen}
        held = np.array([bool(p & out) for p in parts])
        made.append((np.flatnonzero(~held), np.flatnonzero(held)))
    return made


@dataclass
class AccuracyForecaster:
    """Forecasts accuracy from unlabelled evidence; fitted on sets whose labels are known.

    Averages four regressions (`Members`), each weighted by its inverse squared mean squared
    error on held-out kinds. The interval is
    value +- z sqrt(s^2 + v/m + v/n), where

    - s^2 = (0.75 e u)^2 + d^2: e is the error on kinds of perturbation held out of the fit, more
      so on those whose evidence is like the set's; u the distance of the set's evidence to the
      three closest fitted sets over the usual distance of a held-out kind; d the deviation
      between the members;
    - v/m and v/n, v = a(1 - a), are the sampling noise of the asked set (m) and of the labelled
      rows under the meta-set (n).

    Cost: `folds` + 1 fits of the members on at most 60 rows per set, about 2 seconds.
    """

    seed: int = 0
    """Seed of the row samples and of the folds."""
    folds: int = 5
    """Folds of kinds."""
    level: float = 0.9
    """Coverage aimed at."""
    members_: Members | None = field(default=None, init=False, repr=False)

    def fit(self, sets: Sets, kinds: list[str], n_labelled: int) -> AccuracyForecaster:
        """Fit on sets with known correctness; returns self.

        `kinds` names each set's perturbation ("a", "a+b"); `n_labelled` is the number of
        distinct labelled rows from which the sets were made.
        Raises InputError with fewer than 8 sets, or unlabelled ones.
        """
        if len(sets) < 8 or len(kinds) != len(sets) or sets.correct is None:
            raise InputError(
                f"{len(sets)} sets, {len(kinds)} kinds", "8 labelled sets or more", "plan_copies"
            )
        self.n_labelled_ = n_labelled
        self.members_ = Members(self.seed).fit(sets)
        means, parts = self.members_.means_, [set(k.split("+")) for k in kinds]
        same = np.array([[bool(a & b) for b in parts] for a in parts])
        apart = closest(means, means, same)
        self.usual_ = (
            float(np.median(apart[np.isfinite(apart)])) if np.isfinite(apart).any() else 1.0
        )
        residuals, noise, places = [], [], []
        truth = sets.accuracy()
        for train, held in kind_folds(kinds, self.folds, self.seed):
            if len(train) < 6 or len(held) == 0:
                continue
            found = Members(self.seed).fit(sets.take(train)).predict(sets.take(held))
            residuals.append(found - truth[held][:, None])
            places.append(means[held])
            noise.append(truth[held] * (1 - truth[held]) / sets.sizes[held])
        each, v = np.concatenate(residuals), np.concatenate(noise)
        trust = 1.0 / np.maximum((each**2).mean(0), 1e-6) ** 2
        self.weights_ = trust / trust.sum()
        r = each @ self.weights_
        # The sets share labelled rows, so their own sampling noise is only part of r.
        self.residuals_, self.places_ = r, np.concatenate(places)
        self.error_ = float(np.sqrt(max(np.mean(r**2) - 0.5 * np.mean(v), 0.25 * np.mean(r**2))))
        return self

    def predict(self, sets: Sets) -> Forecast:
        """Forecast sets without using their labels."""
        assert self.members_ is not None
        each = self.members_.predict(sets)
        value = each @ self.weights_
        spread = np.sqrt((each - value[:, None]) ** 2 @ self.weights_)
        unlike = self.members_.nearest(sets) / self.usual_
        model = (_SHARE * self._local_error(sets) * np.maximum(unlike, _CLOSE)) ** 2 + spread**2
        v = np.clip(value * (1 - value), 0.01, None)
        deviation = np.sqrt(model + v / sets.sizes + v / self.n_labelled_)
        half = norm.ppf(0.5 + self.level / 2) * deviation
        return Forecast(
            value,
            np.clip(value - half, 0, 1),
            np.clip(value + half, 0, 1),
            deviation,
            unlike,
            self.level,
        )

    def _local_error(self, sets: Sets) -> Floats:
        # Where like-looking held-out sets disagreed (a cue that may or may not still be true),
        # the error is larger than it is overall; the overall one counts as one more such set.
        assert self.members_ is not None
        asked = self.members_.standardized(sets)
        square = (asked**2).sum(1)[:, None] + (self.places_**2).sum(1) - 2 * asked @ self.places_.T
        weight = np.exp(-np.maximum(square, 0) / (2 * self.usual_**2))
        total = weight @ self.residuals_**2 + self.error_**2
        return np.asarray(np.sqrt(total / (weight.sum(1) + 1)))

    def nearest(self, sets: Sets, kinds: list[str], count: int = 3) -> list[list[str]]:
        """Names of the kinds of the fitted sets whose evidence is closest to each asked set.

        Euclidean distance of standardized mean evidence; every kind named once.
        """
        assert self.members_ is not None
        asked = self.members_.standardized(sets)
        order = [np.argsort(((a - self.members_.means_) ** 2).sum(1)) for a in asked]
        return [list(dict.fromkeys(kinds[i] for i in o))[:count] for o in order]
