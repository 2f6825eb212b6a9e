"""Where inputs are perturbed and compared: standardized columns, or pixels in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heldout.core.errors import InputError

Floats = NDArray[np.float64]

_WIDEST = 256  # probes and distances look at no more numbers per example than this


@dataclass
class InputSpace:
    """Maps inputs to the space of perturbations and back, and to flat rows for the probes.

    Tables (n, d): columns standardized by the training rows. Images (n, C, H, W): the training
    range mapped to [0, 1]. Flat rows are standardized per number; images are first averaged over
    blocks, and wide tables projected at random, until an example has at most 256 numbers.
    Cost: one pass.

    >>> space = InputSpace().fit(np.array([[0.0, 5.0], [2.0, 5.0]]))
    >>> space.forward([[1.0, 5.0]]).tolist(), space.back([[1.0, 0.0]]).tolist()
    ([[0.0, 0.0]], [[2.0, 5.0]])
    """

    ndim_: int = field(default=0, init=False)
    """2 for tables, 4 for images."""

    def fit(self, x: ArrayLike) -> InputSpace:
        """Learn scales from training inputs (n, d) or (n, C, H, W); returns self."""
        x = np.asarray(x, dtype=np.float64)
        if x.ndim not in (2, 4) or len(x) == 0:
            raise InputError(f"inputs of shape {x.shape}", "(n, d) or (n, C, H, W)", "reshape")
        self.ndim_ = x.ndim
        if x.ndim == 2:
            self.shift_, self.factor_ = x.mean(0), x.std(0)
            # A constant column stays as it is: there is no scale on which to perturb it.
            self.factor_ = np.where(self.factor_ < 1e-12, 0.0, self.factor_)
        else:
            self.shift_ = np.asarray(x.min())
            self.factor_ = np.asarray(max(x.max() - x.min(), 1e-12))
            side = max(x.shape[2:])
            self.block_ = next(
                b for b in range(1, side + 1)
                if x.shape[1] * -(-x.shape[2] // b) * -(-x.shape[3] // b) <= _WIDEST or b == side
            )  # fmt: skip
        pooled = self._pooled(self.forward(x))
        self.centre_ = pooled.mean(0)
        # Pixels that are constant in training must not explode under noise.
        self.scale_ = pooled.std(0) + (0.1 if x.ndim == 4 else 1e-8)
        return self

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Range of images after `forward`; None for tables."""
        return None if self.ndim_ == 2 else (0.0, 1.0)

    def forward(self, x: ArrayLike) -> Floats:
        """Inputs to the space of perturbations, same shape."""
        safe = np.where(self.factor_ == 0, 1.0, self.factor_)
        return np.asarray((np.asarray(x, dtype=np.float64) - self.shift_) / safe)

    def back(self, z: ArrayLike) -> Floats:
        """The inverse of `forward`; columns that were constant in training get that constant."""
        return np.asarray(self.shift_ + self.factor_ * np.asarray(z, dtype=np.float64))

    def flat(self, z: ArrayLike) -> Floats:
        """Standardized rows (n, at most 256) of perturbed inputs."""
        rows = (self._pooled(np.asarray(z, dtype=np.float64)) - self.centre_) / self.scale_
        return np.clip(rows, -20, 20)

    def _pooled(self, z: Floats) -> Floats:
        if z.ndim == 4 and self.block_ > 1:
            b = self.block_
            pad = [(0, 0), (0, 0), (0, -z.shape[2] % b), (0, -z.shape[3] % b)]
            z = np.pad(z, pad, mode="edge")
            n, c, h, w = z.shape
            z = z.reshape(n, c, h // b, b, w // b, b).mean((3, 5))
        rows = z.reshape(len(z), -1)
        if self.ndim_ == 2 and rows.shape[1] > _WIDEST:
            # Johnson-Lindenstrauss, the same matrix for every call: distances survive.
            rng = np.random.default_rng(rows.shape[1])
            rows = rows @ rng.normal(size=(rows.shape[1], _WIDEST)) / np.sqrt(_WIDEST)
        return rows
