"""A first look at the model on three rows: which taps it has, and where examples sit in each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import InputError
from .fallback import LossFn
from .record import Owner, PlanMismatchError, Recorder, Site, Watch, untapped
from .rules import Bound
from .tapped import Layout, find_layout, leading_dims

ROWS = 3
"""Rows of the first look; odd and small, so that it rarely equals a sequence length."""
_EXAMPLE = 1


@dataclass(frozen=True)
class Plan:
    """How per-example gradients of one model are to be computed."""

    sites: tuple[Site, ...]
    """Taps in the order of the forward pass."""
    fallback: frozenset[str]
    """Parameters that taps cannot serve exactly."""
    shared_lookups: frozenset[int]
    uses: dict[str, int]
    """Parameter name to the number of places that contribute to its gradient."""
    floats_each: int
    """Numbers that one example holds between forward and backward, roughly."""
    outputs: Tensor
    """Model outputs for the rows of the first look."""
    rows: Tensor
    """Which rows those were."""


def make_plan(
    model: nn.Module, x: Tensor, y: Tensor, loss_fn: LossFn, params: dict[str, Tensor]
) -> Plan:
    """Plan the taps. The caller holds the model through `borrowed`.

    One forward pass and one backward pass over three rows; a second or third for models with
    weights that taps cannot serve.
    """
    rows = torch.arange(ROWS, device=x.device) % len(x)
    skip: frozenset[str] = frozenset()
    lookups: frozenset[int] = frozenset()
    for _ in range(len(params) + 2):
        look = _look(model, x[rows], y[rows], loss_fn, params, skip, lookups)
        if look.skip == skip and look.lookups == lookups:
            break
        skip, lookups = look.skip, look.lookups
    uses: dict[str, int] = {}
    for site in look.sites:
        for owner in site.owners.values():
            # a part of a weight is never the whole contribution
            uses[owner.name] = uses.get(owner.name, 0) + (1 if owner.push is None else 2)
    return Plan(look.sites, skip, lookups, uses, look.floats_each, look.outputs, rows)


def run_model(model: nn.Module, x: Tensor, loss_fn: LossFn, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return outputs and per-example losses.

    Raises:
        InputError: the output is no tensor, or the losses are reduced, misshapen or not finite.
    """
    out = model(x)
    if not isinstance(out, Tensor):
        raise InputError(
            f"a model output of type {type(out).__name__}",
            "a tensor of logits",
            "wrap the model in a module whose forward returns the logits tensor",
        )
    losses = loss_fn(out, y)
    if not isinstance(losses, Tensor) or losses.shape != (len(x),):
        shape = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise InputError(
            f"loss_fn returned {shape} for {len(x)} examples",
            f"one loss per example, shape ({len(x)},)",
            "a loss with reduction='none'; average positions within an example yourself",
        )
    if not bool(torch.isfinite(losses).all()):
        bad = int(torch.nonzero(~torch.isfinite(losses))[0])
        raise InputError(
            f"loss {losses[bad].item()} at example {bad} of the batch",
            "finite losses",
            "look for NaN or Inf in the inputs, the weights and the logits",
        )
    return out, losses


@dataclass(frozen=True)
class _Look:
    sites: tuple[Site, ...]
    skip: frozenset[str]
    lookups: frozenset[int]
    floats_each: int
    outputs: Tensor


def _look(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    loss_fn: LossFn,
    params: dict[str, Tensor],
    skip: frozenset[str],
    lookups: frozenset[int],
) -> _Look:
    touched: dict[int, Tensor] = {}

    def receive(number: int, bound: Bound, owners: dict[str, Owner], d: Tensor) -> None:
        lead = leading_dims(bound, d)
        touched[number] = (d != 0).flatten(lead).any(-1) if lead < d.ndim else d != 0

    owners = {id(p): Owner(name, p.shape) for name, p in params.items()}
    watch = Watch(owners, skip, receive, lookups)
    anchor = torch.zeros((), requires_grad=True, device=x.device)
    try:
        with Recorder(watch, anchor):
            out, losses = run_model(model, x, loss_fn, y)
        skip = skip | untapped(losses, owners)
        _backward_of_one(out, anchor)
    except InputError:
        raise
    except (RuntimeError, TypeError, PlanMismatchError):
        # A model that cannot run with taps; if it cannot run at all the fallback says so.
        return _Look((), frozenset(params), frozenset(), 1, model(x).detach())
    sites = []
    lookup = -1
    for number, (bound, made, served) in enumerate(watch.calls):
        layout = _layout(bound, made, touched.get(number))
        sites.append(Site(bound.kind, served, layout))
        lookup = _lookup_number(bound, lookup, lookups)
        if layout is None or not _usable(bound, layout, made):
            if bound.kind == "embedding" and bound.opts["padding_idx"] is None and layout is None:
                lookups = lookups | {lookup}
            else:
                skip = skip | {owner.name for owner in served.values()}
    held = sum(bound.a.numel() + made.numel() for bound, made, _ in watch.calls)
    return _Look(tuple(sites), skip, lookups, 2 * held // len(x) + 1, out.detach())


def _lookup_number(bound: Bound, last: int, lookups: frozenset[int]) -> int:
    # numbers of embedding calls count the shared ones too, which leave no site
    if bound.kind != "embedding":
        return last
    last += 1
    while last in lookups:
        last += 1
    return last


def _backward_of_one(out: Tensor, anchor: Tensor) -> None:
    # Not the loss: its gradient can be exactly zero where the model is certain.
    if not out.requires_grad:
        return
    one = out[_EXAMPLE]
    mix = torch.cos(torch.arange(one.numel(), device=out.device, dtype=torch.float32) + 1)
    torch.autograd.grad((one.flatten() * mix.to(one.dtype)).sum(), anchor, allow_unused=True)


def _layout(bound: Bound, made: Tensor, touched: Tensor | None) -> Layout | None:
    if touched is None:  # not on the way to the outputs: shapes alone
        touched = made.new_zeros(made.shape[: leading_dims(bound, made)], dtype=torch.bool)
    return find_layout(touched, ROWS, _EXAMPLE)


def _usable(bound: Bound, layout: Layout, made: Tensor) -> bool:
    if bound.kind not in ("shift", "scale"):
        return bound.kind != "embedding" or bound.a.ndim == made.ndim - 1
    (weight,) = bound.roles.values()
    aligned = (1,) * (made.ndim - weight.ndim) + tuple(weight.shape)
    return layout.how == "dim" and aligned[layout.at] == 1
