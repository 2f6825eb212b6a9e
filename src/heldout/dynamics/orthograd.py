"""Gradients without the part that only scales the weights.

Prieto, Barsbey, Mediano and Birdal, "Grokking at the Edge of Numerical Stability",
arXiv:2501.04697, section 5: the step along the weights themselves lowers the loss of fitted
examples without changing a prediction; the perpendicular gradient leaves it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from heldout.core.errors import InputError
from heldout.dynamics.projection import project


def perpendicular_gradients(params: Iterable[Tensor], *, skip_1d: bool = False) -> None:
    """Take out of each `.grad`, in place, what is parallel to its tensor; keep its norm.

    g_perp = g - (theta . g) / (theta . theta + 1e-30) theta, then g <- g_perp ||g|| / ||g_perp||,
    for each tensor by itself, within 2e-6 ||g|| (how: `heldout.dynamics.projection`). Call it
    between `backward()` and `step()`; after unscaling scaled gradients, before clipping them.

    DIFFERS: a gradient that is parallel to its tensor up to rounding (always so in a tensor of
    one number) becomes 0; rescaled as published, the rounding error would become the step.

    Args:
        params: tensors; those without a gradient are passed over.
        skip_1d: leave tensors of at most one dimension (biases, norms) as they are.

    Cost: two passes over weights and gradients, none over the data.

    Raises:
        InputError: a sparse or complex gradient; nothing has been changed then.

    >>> w = torch.tensor([1.0, 0.0], requires_grad=True)
    >>> w.grad = torch.tensor([3.0, 4.0])
    >>> perpendicular_gradients([w]); w.grad
    tensor([0., 5.])
    """
    chosen = [p for p in params if p.grad is not None and not (skip_1d and p.ndim <= 1)]
    grads = [_dense(p) for p in chosen]
    project(chosen, grads)


def _dense(p: Tensor) -> Tensor:
    grad = p.grad
    assert grad is not None
    if grad.layout != torch.strided or grad.is_complex():
        raise InputError(
            f"a gradient of layout {grad.layout} and type {grad.dtype}, weights {tuple(p.shape)}",
            "dense real gradients: the projection mixes all entries of a tensor",
            "build embeddings with sparse=False, or put these weights into a group of their own "
            'with "project": False',
        )
    return grad


class OrthoGrad(torch.optim.Optimizer):
    """Any torch optimizer, fed with perpendicular gradients.

    `OrthoGrad(params, torch.optim.AdamW, lr=0.01)` steps as AdamW would after
    `perpendicular_gradients`: the gradient is projected, not the update. Parameter groups, state
    and state_dict are those of the wrapped optimizer, so that schedulers, gradient scalers and
    checkpoints work as with it. A closure is projected each time that the wrapped optimizer calls
    it. Accumulated gradients are projected once, as their sum. Where whole steps are compiled,
    leave `step` itself outside: it is a few calls per tensor already.

    Args:
        params: as for any torch optimizer. Groups with `"project": False` keep their gradients.
        base_cls: class of the wrapped optimizer.
        skip_1d: leave tensors of at most one dimension as they are.
        kw: options of the wrapped optimizer.

    Cost: two passes over weights and gradients more than the wrapped optimizer.

    Raises:
        InputError: `base_cls` is no optimizer class; at `step`, sparse or complex gradients, or
            a closure that changes the weights itself (the projection would belong to others).

    >>> w = torch.nn.Parameter(torch.tensor([1.0, 0.0]))
    >>> optimizer = OrthoGrad([w], torch.optim.SGD, lr=0.1)
    >>> w.grad = torch.tensor([3.0, 4.0])
    >>> optimizer.step(); w.detach()
    tensor([ 1.0000, -0.5000])
    """

    def __init__(
        self,
        params: Any,
        base_cls: type[torch.optim.Optimizer] = torch.optim.AdamW,
        *,
        skip_1d: bool = False,
        **kw: Any,
    ) -> None:
        if not (isinstance(base_cls, type) and issubclass(base_cls, torch.optim.Optimizer)):
            raise InputError(
                f"base_cls {base_cls!r}",
                "a class of torch optimizers",
                "OrthoGrad(params, torch.optim.AdamW, lr=0.01)",
            )
        base = base_cls(params, **kw)
        super().__init__(base.param_groups, base.defaults)
        self.base, self.skip_1d = base, skip_1d
        self._share()

    def _share(self) -> None:
        # one set of groups and one state, so that schedulers and checkpoints see the base's
        self.param_groups, self.state = self.base.param_groups, self.base.state

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Project the gradients, then step; return what the wrapped optimizer returns."""
        if closure is None:
            self._project()
            return self.base.step()
        evaluate = closure

        def projected() -> Any:
            before = [p._version for p in self._params()]
            with torch.enable_grad():
                loss = evaluate()
            if before != [p._version for p in self._params()]:
                raise InputError(
                    "a closure that changes the weights",
                    "one that clears gradients, computes the loss and calls backward",
                    "move the change behind step()",
                )
            self._project()
            return loss

        return self.base.step(projected)

    def _params(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def _project(self) -> None:
        groups = [g["params"] for g in self.param_groups if g.get("project", True)]
        perpendicular_gradients([p for group in groups for p in group], skip_1d=self.skip_1d)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the wrapped optimizer."""
        base = self.__dict__.get("base")  # not there yet while the groups are taken over
        if base is None:
            super().add_param_group(param_group)
        else:
            base.add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """Return the wrapped optimizer's state_dict."""
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state_dict of this class or of the wrapped optimizer alone."""
        self.base.load_state_dict(state_dict)
        self._share()

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"base": self.base, "skip_1d": self.skip_1d}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()
