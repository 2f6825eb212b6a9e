"""Watching a forward pass: taps on every operation that consumes a weight, and a proof that none
was missed.

Weights are followed by identity, through a `TorchFunctionMode`, and not by module hooks: a weight
used outside its own module's forward (tied embeddings, attention projections, `x + self.position`)
is then seen like any other. Each tapped operation gets its weight detached. Whatever still reaches
a weight in the autograd graph was therefore not tapped, and `untapped` finds it.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .rules import BINDERS, VIEWS, Bound, with_statistics
from .tapped import Layout


class PlanMismatchError(Exception):
    """The forward pass did not do what the first look at the model saw."""


@dataclass(frozen=True)
class Owner:
    """The parameter behind a tensor: itself, or a part of it (`push` takes the part)."""

    name: str
    shape: torch.Size
    push: Callable[[Tensor], Tensor] | None = None

    def pull(self, grads: Tensor) -> Tensor:
        """Carry per-example gradients of the part (n, *part) back to the parameter (n, *shape)."""
        if self.push is None:
            return grads
        back = torch.func.vjp(self.push, grads.new_zeros(self.shape))[1]
        whole: Tensor = torch.func.vmap(back)(grads)[0]
        return whole


@dataclass(frozen=True)
class Site:
    """One tap as the plan knows it."""

    kind: str
    owners: dict[str, Owner]
    """Weights to be served here, by role."""
    layout: Layout | None


Receive = Callable[[int, Bound, dict[str, Owner], Tensor], None]
"""Called in the backward pass: number of the tap, its call, its weights, output gradient."""


class _Tap(torch.autograd.Function):
    # Identity, for outputs that no earlier tap makes differentiable: `anchor` does, without asking
    # for any weight's gradient. Marking the output as changed lets later in-place activations
    # work as they did.
    @staticmethod
    def forward(ctx: Any, out: Tensor, anchor: Tensor, receive: Callable[[Tensor], None]) -> Tensor:
        ctx.receive = receive
        ctx.mark_dirty(out)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None]:
        ctx.receive(grads[0])
        return (grads[0] if ctx.needs_input_grad[0] else None), None, None


@dataclass
class Watch:
    """What a recorder is told, and what it has seen."""

    owners: dict[int, Owner]
    """id of a weight to its owner; parts of weights are added on the way."""
    skip: frozenset[str]
    """Parameters that are not to be tapped."""
    receive: Receive
    shared_lookups: frozenset[int] = frozenset()
    """Numbers of the embedding calls whose index has no examples (positions)."""
    anchored: frozenset[int] = frozenset()
    """Numbers of taps that the backward pass reaches through the anchor only."""
    calls: list[tuple[Bound, Tensor, dict[str, Owner]]] = field(default_factory=list)
    keep: list[Tensor] = field(default_factory=list)
    """Parts of weights, held so that their ids stay theirs."""
    lookups: int = 0


class Recorder(TorchFunctionMode):
    """Context in which a model's forward pass is tapped."""

    def __init__(self, watch: Watch, anchor: Tensor) -> None:
        super().__init__()
        self.watch, self.anchor = watch, anchor

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Serve one call of a torch function."""
        kwargs = kwargs or {}
        if func is F.multi_head_attention_forward:
            with self:
                return _opened(func)(*args, **kwargs)
        if not torch.is_grad_enabled():
            return func(*args, **kwargs)
        if func in VIEWS and id(args[0]) in self.watch.owners:
            return self._part(func, args, kwargs)
        binder = BINDERS.get(func)
        if binder is None:
            return func(*args, **kwargs)
        return self._tap(func, binder(*args, **kwargs), args, kwargs)

    def _tap(self, func: Any, bound: Bound | None, args: Any, kwargs: dict[str, Any]) -> Any:
        watch = self.watch
        owners = {} if bound is None else self._served(bound)
        if bound is None or not owners:
            return func(*args, **kwargs)
        if bound.kind == "embedding":
            watch.lookups += 1
            if watch.lookups - 1 in watch.shared_lookups:
                index = bound.a
                return self._part(lambda w: F.embedding(index, w), [bound.roles["weight"]], {})
        if bound.kind in ("shift", "scale"):
            role = next(iter(owners))
            bound = Bound(bound.kind, bound.opts[role], {role: bound.roles[role]})
        cut = {id(bound.roles[role]): bound.roles[role].detach() for role in owners}
        out = func(
            *[cut.get(id(arg), arg) for arg in args],
            **{key: cut.get(id(arg), arg) for key, arg in kwargs.items()},
        )
        if func is F.layer_norm:
            bound = with_statistics(bound, out)
        number = len(watch.calls)
        watch.calls.append((bound, out, owners))
        held, version = [bound], bound.a._version  # emptied in the backward pass: frees memory

        def receive(d: Tensor) -> None:
            seen = held.pop()
            if seen.a._version != version:
                raise RuntimeError("an operation's input was changed in place afterwards")
            watch.receive(number, seen, owners, d)

        if out.requires_grad and number not in watch.anchored:
            out.register_hook(receive)
            return out
        if out._is_view():
            out = out.clone()
        return _Tap.apply(  # type: ignore[no-untyped-call]
            out, self.anchor, receive
        )

    def _served(self, bound: Bound) -> dict[str, Owner]:
        owners = {}
        for role, tensor in bound.roles.items():
            owner = self.watch.owners.get(id(tensor))
            if owner is not None and owner.name not in self.watch.skip:
                owners[role] = owner
        if bound.kind in ("shift", "scale"):
            return owners if len(owners) == 1 else {}
        # A weight that is the input as well, or that fills two roles, is left to the fallback.
        distinct = {id(tensor) for tensor in bound.roles.values()} | {id(bound.a)}
        return owners if len(distinct) == len(bound.roles) + 1 else {}

    def _part(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        owner = self.watch.owners[id(args[0])]
        if owner.name in self.watch.skip:
            return func(*args, **kwargs)
        made = func(args[0].detach(), *args[1:], **kwargs)
        if isinstance(made, Tensor):
            return self._leaf(made, owner, lambda w: func(w, *args[1:], **kwargs))

        def piece(i: int) -> Callable[[Tensor], Tensor]:
            return lambda w: func(w, *args[1:], **kwargs)[i]

        return tuple(self._leaf(part, owner, piece(i)) for i, part in enumerate(made))

    def _leaf(self, part: Tensor, owner: Owner, step: Callable[[Tensor], Tensor]) -> Tensor:
        before = owner.push
        push = step if before is None else lambda w: step(before(w))
        leaf = part.detach().requires_grad_()
        self.watch.owners[id(leaf)] = Owner(owner.name, owner.shape, push)
        self.watch.keep.append(leaf)
        return leaf


def _opened(func: Any) -> Any:
    # The body of a Python function of torch.nn.functional, without its own hand-over to modes:
    # the projections inside it are then seen.
    scope = {**func.__globals__, "has_torch_function": lambda *_: False}
    opened = types.FunctionType(func.__code__, scope, func.__name__, func.__defaults__)
    opened.__kwdefaults__ = func.__kwdefaults__
    return opened


def untapped(losses: Tensor, owners: dict[int, Owner]) -> frozenset[str]:
    """Return the parameters that the autograd graph of the losses still reaches."""
    seen: set[Any] = set()
    stack = [losses.grad_fn]
    found = set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None:
            if id(variable) in owners:
                found.add(owners[id(variable)].name)
            continue
        stack.extend(edge[0] for edge in node.next_functions)
    return frozenset(found)
