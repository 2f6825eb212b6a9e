"""Factors of the curvature: fitted in one or two passes, kept on disk, refused when they are not
the model's.

Per layer, with inputs a and output gradients d (Grosse et al. 2023, arXiv:2308.03296; George et
al. 2018, arXiv:1806.03884 for the corrected eigenvalues):

    A = E[a a^T] = Q_A diag(l_A) Q_A^T,   S = E[d d^T] = Q_S diag(l_S) Q_S^T   over positions
    "ekfac"     Lambda_ij = E[((Q_S^T dW Q_A)_ij)^2]   over examples, dW = sum_t d_t a_t^T
    "kfac"      Lambda = l_S l_A^T times the mean number of positions of an example
    "diagonal"  Lambda_ij = E[dW_ij^2], no bases
    "identity"  Lambda = 0 and damping 1: gradient dot products, nothing is fitted
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from heldout.core.errors import InputError

from .batches import Batch
from .covariance import Covariance, add_squares_, eigenbasis
from .layers import Layer
from .losses import LossTask
from .passes import FisherPass, run_fisher
from .taps import positions, tapping

Kind = Literal["ekfac", "kfac", "diagonal", "identity"]
KINDS = ("ekfac", "kfac", "diagonal", "identity")
Pairs = dict[str, list[tuple[Tensor, Tensor]]]


@dataclass
class LayerFactors:
    """Curvature of one layer in its eigenbasis."""

    eigenvalues: Tensor
    """Lambda, (n_out, n_in)."""
    q_a: Tensor | None = None
    """Eigenvectors of A in columns, (n_in, n_in); None: the identity."""
    q_s: Tensor | None = None
    """Eigenvectors of S in columns, (n_out, n_out); None: the identity."""

    def rotated(self, a: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
        """Return a Q_A and d Q_S."""
        if self.q_a is None or self.q_s is None:
            return a, d
        return a @ self.q_a, d @ self.q_s

    def damping(self, rule: str | float) -> float:
        """Return lambda: a number, or "0.1mean" for 0.1 times the mean of Lambda.

        Raises:
            InputError: another rule, a negative number, or 0 where an eigenvalue is 0.

        >>> LayerFactors(torch.tensor([[1.0, 3.0]])).damping("0.1mean")
        0.2
        """
        value = damping_factor(rule)
        if isinstance(rule, str):
            value *= float(self.eigenvalues.double().mean())
            value = round(value, 12) if value > 1e-3 else value
        top = float(self.eigenvalues.max())
        eps = torch.finfo(self.eigenvalues.dtype).eps
        if value == 0 and float(self.eigenvalues.min()) <= eps * top:
            raise InputError(
                f"damping {rule!r} for curvature with eigenvalues from "
                f"{float(self.eigenvalues.min()):.1e} to {top:.1e}",
                "a positive damping where curvature is singular",
                'damping="0.1mean"',
            )
        return value


def damping_factor(rule: str | float) -> float:
    """Read a damping rule: the number itself, or the factor of the mean.

    >>> damping_factor("0.1mean"), damping_factor(0.01)
    (0.1, 0.01)
    """
    try:
        value = float(rule.removesuffix("mean")) if isinstance(rule, str) else float(rule)
    except (TypeError, ValueError):
        value = -1.0
    if not 0 <= value < float("inf") or (isinstance(rule, str) and not rule.endswith("mean")):
        raise InputError(f"damping={rule!r}", 'a number >= 0, or "0.1mean"', 'damping="0.1mean"')
    return value


@dataclass
class Factors:
    """What a fit leaves: curvature per layer, and what it was fitted on."""

    kind: Kind
    layers: dict[str, LayerFactors]
    about: dict[str, Any] = field(default_factory=dict)
    """Model hash, layer shapes, number of examples, Fisher, seed, version; see `store`."""


@dataclass
class Progress:
    """Where an interrupted pass goes on, and where it reports to."""

    done: int = 0
    """Batches that were summed before."""
    sums: dict[str, Any] | None = None
    """What they summed to."""
    after: Callable[[int, dict[str, Any]], None] | None = None
    """Called after every batch with the number done and the sums so far."""


@dataclass
class Stash:
    """Keeps (a, d) of a pass while they fit, so that a second pass is not needed."""

    budget: int
    """Bytes."""
    examples: int | None = None
    """How many examples will come, so that a hopeless stash is dropped at its first batch."""
    pairs: Pairs | None = field(default_factory=dict)
    """Layer to its (a, d) by batch; None once they did not fit."""
    used: int = 0
    reserved: int = 0

    def add(self, name: str, a: Tensor, d: Tensor) -> None:
        """Keep a pair, or drop everything."""
        if self.pairs is None:
            return
        size = (a.numel() + d.numel()) * a.element_size()
        self.used += size
        # a layer's first pair tells what its others will take
        coming = 0 if name in self.pairs else size * ((self.examples or 0) / max(1, len(a)) - 1)
        self.reserved += max(0, int(coming))
        self.pairs.setdefault(name, []).append((a, d))
        if max(self.used, self.reserved) > self.budget:
            self.pairs = None


def covariances(
    model: nn.Module,
    task: LossTask,
    layers: dict[str, Layer],
    data: Any,
    how: FisherPass,
    stash: Stash | None = None,
    shared: bool = False,
    progress: Progress | None = None,
) -> dict[str, Covariance]:
    """First pass: the sums of A and S, one forward and backward pass over the data.

    Args:
        model: in evaluation mode.
        task: the loss.
        layers: from `layers.find_layers`.
        data: as in `batches.batches`.
        how: labels and batches.
        stash: keeps the pass's (a, d) for `corrected`, while they fit.
        shared: a layer may be called several times.
        progress: sums of a pass that was interrupted.

    The sums add up over parts of the data: on several machines, add those of each (fields a, s,
    positions, examples) and give `FisherPass.offset` the number of its first example.
    """
    progress = progress or Progress()
    sums: dict[str, Covariance] = dict(progress.sums or {})

    def receive(batch: Batch, name: str, a: Tensor, d: Tensor, first: bool) -> None:
        if name not in sums:
            sums[name] = Covariance(
                a.new_zeros(a.shape[-1], a.shape[-1]), a.new_zeros(d.shape[-1], d.shape[-1])
            )
        sums[name].add(a if first else None, d, positions(name, a, batch), batch.size)
        if stash is not None:
            stash.add(name, a, d)

    with tapping(model, layers, shared) as taps:
        run_fisher(taps, task, data, how, receive, _after(progress, sums), progress.done)
    return {name: sums[name] for name in layers}


def bases(sums: dict[str, Covariance], kind: Kind = "ekfac") -> dict[str, LayerFactors]:
    """Eigendecompose A and S of every layer; Lambda is K-FAC's until it is corrected.

    Raises:
        InputError: sums that are not finite.

    Cost: about 9 (n_in^3 + n_out^3) float64 operations per layer.
    """
    found = {}
    for name, total in sums.items():
        if not bool(torch.isfinite(total.a.diagonal()).all() & torch.isfinite(total.s.sum())):
            raise InputError(
                f"inputs or gradients of layer '{name}' that are not finite",
                "finite inputs and gradients",
                "look for overflow: very large weights, inputs or logits",
            )
        if kind == "diagonal":
            found[name] = LayerFactors(total.a.new_zeros(len(total.s), len(total.a)))
            continue
        a, s = total.closed()
        (l_a, q_a), (l_s, q_s) = eigenbasis(a), eigenbasis(s)
        per_example = total.positions / max(1, total.examples)
        found[name] = LayerFactors(torch.outer(l_s, l_a) * per_example, q_a, q_s)
    return found


def corrected(
    model: nn.Module,
    task: LossTask,
    layers: dict[str, Layer],
    data: Any,
    how: FisherPass,
    found: dict[str, LayerFactors],
    kept: Pairs | None = None,
    shared: bool = False,
    progress: Progress | None = None,
) -> tuple[dict[str, Tensor], int]:
    """Second pass: sums over examples of squared gradients in the eigenbases, and their number.

    Lambda is the sum divided by the number. With `kept` pairs of the first pass (and then also
    their number of examples unchanged) no pass is made. Sums add up over parts of the data.
    """
    progress = progress or Progress()
    sums = progress.sums or {k: torch.zeros_like(f.eigenvalues) for k, f in found.items()}

    def add(name: str, a: Tensor, d: Tensor) -> None:
        add_squares_(sums[name], *found[name].rotated(a, d))

    if kept is not None:
        for name in layers:
            for a, d in kept[name]:
                add(name, a, d)
        return sums, 0
    with tapping(model, layers, shared) as taps:
        n = run_fisher(
            taps, task, data, how, lambda _, name, a, d, __: add(name, a, d),
            _after(progress, sums), progress.done,
        )  # fmt: skip
    return sums, n


def _after(progress: Progress, sums: dict[str, Any]) -> Callable[[int], None] | None:
    if progress.after is None:
        return None
    report = progress.after
    return lambda done: report(done, sums)
