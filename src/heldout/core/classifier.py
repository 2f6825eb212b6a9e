"""One face for the three kinds of classifier: nn.Module, scikit-learn, plain function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from heldout.core.borrow import borrowed
from heldout.core.errors import InputError
from heldout.core.inputs import Inputs

_TINY = 1e-12  # floor of a probability before its logarithm is taken


@dataclass(frozen=True)
class Outputs:
    """What a classifier says of n examples."""

    logits: Float[np.ndarray, "n c"]
    """Logits; log-probabilities where the model gives only probabilities."""
    features: Float[np.ndarray, "n d"] | None
    """Input of the last linear layer (the embedding), or None when there is no such layer."""


@dataclass(frozen=True)
class Classifier:
    """A model that can be asked for logits and features; it never changes the model."""

    model: Any
    """The user's own object."""
    kind: Literal["module", "estimator", "callable"]
    """How it is called."""
    classes: np.ndarray | None = None
    """For estimators: the label of each column."""
    batch_size: int = 256
    """Examples per call."""

    @property
    def module(self) -> nn.Module | None:
        """The `nn.Module`, or None when the model is of another kind."""
        return self.model if self.kind == "module" else None

    def __call__(self, inputs: Inputs) -> Outputs:
        """Return logits and features, batch by batch, in evaluation mode.

        Raises:
            InputError: the output is not (n, classes), or holds NaN or infinities.
        """
        parts = list(self._batches(inputs))
        logits = np.concatenate([p.logits for p in parts])
        bad = ~np.isfinite(logits).all(axis=1)
        if bad.any():
            raise InputError(
                f"non-finite logits for {int(bad.sum())} of {len(logits)} examples, "
                f"first at row {int(np.argmax(bad))}",
                "finite logits or probabilities",
                "check that example, the input scaling, and the loaded weights",
            )
        features = [p.features for p in parts if p.features is not None]
        return Outputs(logits, np.concatenate(features) if len(features) == len(parts) else None)

    def _batches(self, inputs: Inputs) -> Iterator[Outputs]:
        with borrowed(self.model), torch.inference_mode(), _last_linear(self.module) as caught:
            for start in range(0, len(inputs), self.batch_size):
                rows = np.arange(start, min(start + self.batch_size, len(inputs)))
                caught.clear()
                raw = self._call(inputs.take(rows))
                logits = _as_logits(raw, len(rows), self.kind)
                yield Outputs(logits, _flat(caught[-1], len(rows)) if caught else None)

    def _call(self, batch: Inputs) -> Any:
        if self.kind == "module":
            assert self.module is not None
            first = next(self.module.parameters(), None)
            x = batch.tensors(torch.device("cpu") if first is None else first.device)
            if first is not None and isinstance(x, torch.Tensor) and x.is_floating_point():
                x = x.to(first.dtype)
            return call_module(self.module, x)
        if self.kind == "estimator":
            return _estimator_log_probabilities(self.model, batch.native())
        return self.model(batch.native())


def classifier(model: Any, batch_size: int = 256) -> Classifier:
    """Wrap a model; see `Classifier`.

    Args:
        model: an `nn.Module` that returns logits, a fitted scikit-learn classifier, or a
            function from a batch of inputs to logits or probabilities (n, classes).
        batch_size: examples per call.

    Raises:
        InputError: the object is none of the three, an estimator is not fitted or gives
            neither probabilities nor decision values, or weights hold NaN or infinities.

    >>> classifier(nn.Linear(2, 3)).kind
    'module'
    """
    if isinstance(model, Classifier):
        return model
    if isinstance(model, nn.Module):
        _refuse_bad_weights(model)
        return Classifier(model, "module", batch_size=batch_size)
    if isinstance(model, type):
        raise InputError(f"the class {model.__name__}", "a model", f"pass {model.__name__}(...)")
    if hasattr(model, "predict_proba") or hasattr(model, "decision_function"):
        classes = getattr(model, "classes_", None)
        if classes is None:
            raise InputError(
                f"an unfitted {type(model).__name__} (no classes_)",
                "a fitted scikit-learn classifier",
                "call .fit(X, y) first",
            )
        return Classifier(model, "estimator", np.asarray(classes), max(batch_size, 4096))
    if hasattr(model, "predict"):
        raise InputError(
            f"{type(model).__name__} with predict only",
            "predict_proba or decision_function",
            "use a probabilistic classifier, or wrap it in CalibratedClassifierCV",
        )
    if callable(model):
        return Classifier(model, "callable", batch_size=batch_size)
    raise InputError(
        f"a model of type {type(model).__name__}",
        "an nn.Module, a fitted scikit-learn classifier, or a callable",
        "pass the model itself; for a path to weights, load them in my_model.py",
    )


def call_module(module: nn.Module, x: torch.Tensor | dict[str, torch.Tensor]) -> Any:
    """Call a module; inputs with several names go in as keyword arguments.

    >>> call_module(nn.Linear(2, 3), torch.zeros(1, 2)).shape
    torch.Size([1, 3])
    """
    return module(**x) if isinstance(x, dict) else module(x)


def logits_of(output: Any) -> torch.Tensor:
    """Return the logits (n, classes) inside a module's output.

    Accepts a tensor, an object or dict with `logits`, or a tuple that starts with them. One
    column becomes two, (0, z), so that a single-logit binary classifier is a classifier too.

    Raises:
        InputError: there is no tensor of logits in it.

    >>> logits_of(torch.zeros(4)).shape
    torch.Size([4, 2])
    """
    if isinstance(output, dict):
        output = output.get("logits", output)
    output = getattr(output, "logits", output)
    if isinstance(output, tuple | list) and output:
        output = output[0]
    if not isinstance(output, torch.Tensor):
        raise InputError(
            f"model output of type {type(output).__name__}",
            "a tensor of logits (n, classes), or an object with .logits",
            "wrap the model so that it returns its logits",
        )
    if output.ndim == 1:
        output = output[:, None]
    if output.ndim == 2 and output.shape[1] == 1:
        output = torch.cat([torch.zeros_like(output), output], dim=1)
    return output


def _as_logits(raw: Any, n: int, kind: str) -> np.ndarray:
    if kind == "module" or isinstance(raw, torch.Tensor):
        raw = logits_of(raw).detach().float().cpu().numpy()
    array = np.asarray(raw)
    if array.dtype == object or array.ndim not in (1, 2) or len(array) != n:
        raise InputError(
            f"model output of shape {array.shape} for {n} examples",
            f"({n}, classes)",
            "return one row of logits or probabilities per example",
        )
    if array.ndim == 1 or array.shape[1] == 1:
        column = array.reshape(n, 1).astype(np.float64)
        if kind == "callable" and n and column.min() >= 0 and column.max() <= 1:
            array = np.hstack([1 - column, column])
        else:
            return np.hstack([np.zeros_like(column), column]).astype(np.float32)
    if kind == "callable" and _are_probabilities(array):
        array = np.log(np.maximum(array, _TINY))
    return np.asarray(array, dtype=np.float32)


def _are_probabilities(array: np.ndarray) -> bool:
    return bool(len(array) and array.min() >= 0 and np.allclose(array.sum(axis=1), 1, atol=1e-3))


def _estimator_log_probabilities(model: Any, x: Any) -> np.ndarray:
    if hasattr(model, "predict_proba"):
        return np.asarray(np.log(np.maximum(model.predict_proba(x), _TINY)))
    return np.asarray(model.decision_function(x))


def _flat(features: torch.Tensor, n: int) -> np.ndarray | None:
    if features.shape[0] != n:
        return None
    # A sequence model's head sees (n, tokens, d): its mean over tokens is the usual embedding.
    features = features.float()
    pooled = features.mean(dim=tuple(range(1, features.ndim - 1))) if features.ndim > 2 else features
    return np.asarray(pooled.cpu().numpy())


@contextmanager
def _last_linear(module: nn.Module | None) -> Iterator[list[torch.Tensor]]:
    """Catch the inputs of linear layers in call order; the last one is the embedding."""
    caught: list[torch.Tensor] = []
    handles = []

    def catch(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if inputs and isinstance(inputs[0], torch.Tensor):
            caught.append(inputs[0].detach())

    if module is not None:
        linear = [m for m in module.modules() if isinstance(m, nn.Linear)]
        handles = [m.register_forward_pre_hook(catch) for m in linear]
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()


def _refuse_bad_weights(module: nn.Module) -> None:
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            bad = int((~torch.isfinite(value)).sum())
            raise InputError(
                f"weights {name!r} with {bad} of {value.numel()} non-finite values",
                "finite weights",
                "load an earlier checkpoint, and lower the learning rate or clip gradients",
            )


Predict = Callable[[Inputs], Outputs]
"""What checks and collectors need of a classifier."""
