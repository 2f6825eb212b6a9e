"""`EKFAC`: fit the curvature of a model once, then score pairs of examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from heldout.core.errors import InputError

from .batches import Ignoring
from .core import Core, fit_core
from .curvature import whole_damping
from .factors import KINDS, Kind, damping_factor
from .fitting import STAGES, Fitting, fit_factors
from .layers import Layer, find_layers, left_out
from .losses import LossTask, refuse_task
from .passes import Fisher, FisherPass
from .refine import Refining, refined_pairwise
from .scores import Scoring, pairwise, self_scores
from .store import data_hash, load_factors, model_hash, save_factors

VERSION = 3
"""Of what factors are said to be of; factors of other versions are refused. Since 2 all data are
compared, since 3 the kind of loss."""


class EKFAC:
    """Influence of training examples on a model's measurements, by eigenvalue-corrected K-FAC.

        score(q, i) = - grad f_q^T (G + lambda)^-1 grad L_i

    the change of the measurement f_q when training example i counts more: positive means that
    training on it raises the measure. G is the mean Gauss-Newton (Fisher) matrix of the loss over
    the fitted data, block by layer; divide by the number of training examples for the effect of
    adding one copy to a mean loss (Grosse et al. 2023, arXiv:2308.03296).

    Args:
        model: a module in evaluation mode; borrowed, never changed.
        task: the loss and the measure; see `LossTask`.
        layers: names or patterns ("*.mlp.*"); all supported layers that are trained by default.
        kind: "ekfac", "kfac", "diagonal", or "identity" (gradient dot products).
        damping: lambda, a number or "0.1mean": 0.1 times each layer's mean eigenvalue.
        fisher: "sampled" labels from the model, "empirical" (the data's), or "exact".
        shared: allow weights with several uses; see `find_layers`.
        batch_size: rows at a time, where data are given whole.
        memory: bytes for what is kept between passes, in fitting and in scoring.
        seed: of the sampled labels, which depend on an example's number in the data only.
        save_every: seconds between saves of an unfinished fit that has a folder.

    Attributes:
        factors_: what `fit` found, a `Factors`.
        layers_: the layers, by name.
        left_out_: parameters that influence does not see, by name, in numbers: those of norms,
            embeddings and layers without support; see `left_out`.
        residuals_: of the last refined scores, ||grad f_q - (G + lambda) x|| / ||grad f_q||, (q,).

    >>> import torch
    >>> from heldout.data.influence.losses import Classification
    >>> net, x, y = nn.Linear(2, 2).eval(), torch.eye(2), torch.tensor([0, 1])
    >>> found = EKFAC(net, Classification(), fisher="exact").fit((x, y)).scores((x, y), (x, y))
    >>> found.shape, bool(found[0, 0] > 0)  # training on an example more raises its own margin
    ((2, 2), True)
    """

    def __init__(
        self,
        model: nn.Module,
        task: LossTask,
        *,
        layers: Sequence[str] | None = None,
        kind: Kind = "ekfac",
        damping: str | float = "0.1mean",
        fisher: Fisher = "sampled",
        shared: bool = False,
        batch_size: int = 64,
        memory: int = 256 * 2**20,
        seed: int = 0,
        save_every: float = 60.0,
    ) -> None:
        self.model, self.task, self.layers, self.kind = model, task, layers, kind
        self.damping, self.fisher, self.shared = damping, fisher, shared
        self.batch_size, self.memory, self.seed = batch_size, memory, seed
        self.save_every = save_every

    def fit(self, data: Any, path: str | Path | None = None) -> EKFAC:
        """Fit the factors, or load them where the folder holds those of this fit.

        Args:
            data: `(x, y)`, `(x, y, mask)`, or batches of these; see `batches.batches`.
            path: folder for the factors. An interrupted fit goes on from its last save when it is
                called again with the same model, data and settings. Factors of other data are
                refused: all inputs, targets and masks are compared, in a pass over the data.

        Raises:
            InputError: see `find_layers`, `batches`, `run_fisher` and `load_factors`.

        Cost: a forward and a backward pass; for "ekfac" a second one when inputs and gradients do
        not fit in `memory`; eigendecompositions of every layer's factors.
        """
        self._look()
        data = self._counted(data)
        about = self._about()
        folder = None if path is None else Path(path)
        sizes: list[int] = []
        if folder is not None and self.kind != "identity":
            about["data"], sizes = data_hash(data, self.batch_size)
        if folder is not None and (folder / "factors.json").exists():
            self.factors_ = load_factors(folder, about)
            return self
        how = FisherPass(self.fisher, self.seed, self.batch_size)
        fitting = Fitting(
            self.kind, how, self.shared, self.memory, about, folder, tuple(sizes), self.save_every
        )
        self.factors_ = fit_factors(self.model, self.task, self.layers_, data, fitting)
        if folder is not None:
            save_factors(self.factors_, folder)
            for stage in STAGES:
                (folder / f"{stage}.safetensors").unlink(missing_ok=True)
        return self

    def load(self, path: str | Path) -> EKFAC:
        """Take factors from a folder, of this model and these settings only.

        Raises:
            InputError: they are of another model, version or setting.
        """
        self._look()
        self.factors_ = load_factors(Path(path), self._about())
        return self

    def scores(
        self,
        queries: Any,
        train: Any,
        per_layer: bool = False,
        per_token: bool = False,
        rank: int | None = None,
        refine: int = 0,
        refine_on: Any = None,
        core: Core | None = None,
    ) -> Any:
        """Score every query against every training example.

        Args:
            queries: data whose measure is asked about, q examples.
            train: data whose loss is trained on, n examples.
            per_layer: return a dict with the scores of each layer; they add up to the total.
            per_token: scores of each position of the training examples, (q, n, T); they add up to
                the example's. The score of a next-token loss stands at the position before the
                predicted token; padding has none.
            rank: keep only this many singular directions of each query's preconditioned gradient,
                which holds r (n_in + n_out) numbers for a query instead of n_in n_out.
            refine: conjugate-gradient steps on the whole damped curvature, all layers together,
                with EK-FAC as preconditioner: 3 to 5 come near the exact solution, more reach it.
                Each costs a pass over `refine_on` for every group of queries that fits in `memory`
                (a forward and a backward pass, with fisher="exact" a backward pass per class), all
                steps a single one where its inputs and gradients fit as well; see `refine`.
            refine_on: data whose curvature that is; `train` when None. The whole curvature needs
                more labels than EK-FAC's means do: with one sampled label for each of fewer
                examples than there are weights, or on a small sample of the data, refined scores
                can be worse than unrefined ones; prefer fisher="exact" where there are few classes.
            core: from `core`; the curvature among the strongest directions, taken whole.

        With `refine` or `core` lambda is one for all layers: "1mean" is the mean eigenvalue of the
        whole matrix. The best multiple is larger than for EK-FAC alone: what EK-FAC leaves out
        acts like a damping of its own.

        Returns:
            (q, n) or (q, n, T) float array, or a dict of them by layer.

        Raises:
            InputError: not fitted, a model other than the fitted one, gradients that are not
                finite, or rank together with refine or core.
        """
        for name, value, least in (("rank", rank, 1), ("refine", refine, 0)):
            if value is not None and (not isinstance(value, int) or value < least):
                raise InputError(
                    f"{name}={value!r}", f"a whole number from {least} on", f"{name}=8"
                )
        how = self._scoring(rank)
        queries, train = self._counted(queries), self._counted(train)
        if refine or core is not None:
            if rank is not None:
                raise InputError(f"rank={rank} with refined scores", "one of the two", "rank=None")
            refining = Refining(
                refine,
                whole_damping(self.damping, self.factors_.layers),
                train if refine_on is None else self._counted(refine_on),
                FisherPass(self.fisher, self.seed, self.batch_size),
                core,
            )
            found, self.residuals_ = refined_pairwise(
                self.model, self.task, queries, train, how, refining, per_layer, per_token
            )
            return found
        return pairwise(self.model, self.task, queries, train, how, per_layer, per_token)

    def core(self, data: Any, size: int) -> Core:
        """Take the whole curvature among the `size` strongest directions; see `fit_core`.

        Args:
            data: what the factors were fitted on.
            size: number of directions, over all layers. One pass over the data, size^2 numbers.

        Raises:
            InputError: not fitted, another model, or a size below 1 or above 20,000.
        """
        how = self._scoring(None)
        labels = FisherPass(self.fisher, self.seed, self.batch_size)
        return fit_core(
            self.model,
            self.task,
            how.layers,
            how.factors,
            self._counted(data),
            labels,
            size,
            self.shared,
        )

    def self_influence(self, train: Any) -> np.ndarray:
        """Return grad L_i^T (G + lambda)^-1 grad L_i, (n,): how far an example moves its own loss.

        Large values mark examples that the model can only learn by heart, wrong labels among them.
        """
        return self_scores(self.model, self.task, self._counted(train), self._scoring(None))

    def _scoring(self, rank: int | None) -> Scoring:
        if not hasattr(self, "factors_"):
            raise InputError("an EKFAC that is not fitted", "fit first", "EKFAC(...).fit(data)")
        now = self._checked()
        if model_hash(self.model) != self.factors_.about["model"]:
            raise InputError(
                "a model whose weights changed since the fit",
                "the model that the factors were fitted on",
                "fit again",
            )
        flat = self.factors_.kind == "identity"
        damping = {
            k: 1.0 if flat else f.damping(self.damping) for k, f in self.factors_.layers.items()
        }
        return Scoring(
            now, self.factors_.layers, damping, self.shared, self.batch_size, self.memory, rank
        )

    def _counted(self, data: Any) -> Any:
        ignore = getattr(self.task, "ignore", None)
        return data if ignore is None else Ignoring(data, ignore)

    def _checked(self) -> dict[str, Layer]:
        if self.kind not in KINDS:
            raise InputError(f"kind={self.kind!r}", f"one of {KINDS}", 'kind="ekfac"')
        damping_factor(self.damping)
        if not isinstance(self.batch_size, int) or self.batch_size < 1:
            given = f"batch_size={self.batch_size!r}"
            raise InputError(given, "a whole number from 1 on", "batch_size=64")
        refuse_task(self.task)
        return find_layers(self.model, self.layers, self.shared)

    def _look(self) -> None:
        self.layers_ = self._checked()
        self.left_out_ = left_out(self.model, self.layers_)

    def _about(self) -> dict[str, Any]:
        return {
            "version": VERSION,  # first, for it is the first difference that is told
            "model": model_hash(self.model),
            "layers": {k: [v.n_out, v.n_in] for k, v in self.layers_.items()},
            "task": type(self.task).__qualname__,
            "kind": self.kind,
            "fisher": self.fisher,
            "seed": self.seed,
        }
