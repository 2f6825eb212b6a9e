"""A first look at the model on three rows: which taps it has, and where examples sit in each."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
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
    anchored: frozenset[int]
    uses: dict[str, int]
    """Parameter name to the number of places that contribute to its gradient."""
    floats_each: int
    """Numbers that one example holds between forward and backward, roughly."""
    outputs: Tensor
    """Model outputs for the rows of the first look; empty once they were compared."""
    names: frozenset[str]
    """Parameters that the plan is for."""


def make_plan(
    model: nn.Module, x: Tensor, y: Tensor, loss_fn: LossFn, params: dict[str, Tensor]
) -> Plan:
    """Plan the taps. The caller holds the model through `borrowed`.

    One forward pass and one backward pass over three rows; a second or third for models with
    weights that taps cannot serve.
    """
    if len(x) < ROWS:  # repeat rows
        rows = torch.arange(ROWS, device=x.device) % len(x)
        x, y = x[rows], y[rows]
    x, y = x[:ROWS], y[:ROWS]
    settings = _Settings()
    for _ in range(len(params) + 2):
        look = _look(model, x, y, loss_fn, params, settings)
        if look.settings == settings:
            break
        settings = look.settings
    uses: dict[str, int] = {}
    for site in look.sites:
        for owner in site.owners.values():
            # a part of a weight is never the whole contribution
            uses[owner.name] = uses.get(owner.name, 0) + (1 if owner.push is None else 2)
    return Plan(
        look.sites, settings.skip, settings.lookups, settings.anchored, uses,
        look.floats_each, look.outputs, frozenset(params),
    )  # fmt: skip


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
    if not math.isfinite(losses.detach().sum().item()) and not bool(torch.isfinite(losses).all()):
        bad = int(torch.nonzero(~torch.isfinite(losses))[0])
        raise InputError(
            f"loss {losses[bad].item()} at example {bad} of the batch",
            "finite losses",
            "look for NaN or Inf in the inputs, the weights and the logits",
        )
    return out, losses


@dataclass(frozen=True)
class _Settings:
    skip: frozenset[str] = frozenset()
    lookups: frozenset[int] = frozenset()
    anchored: frozenset[int] = frozenset()


@dataclass(frozen=True)
class _Look:
    sites: tuple[Site, ...]
    settings: _Settings
    floats_each: int
    outputs: Tensor


def _look(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    loss_fn: LossFn,
    params: dict[str, Tensor],
    settings: _Settings,
) -> _Look:
    touched: dict[int, np.ndarray] = {}

    def receive(number: int, bound: Bound, owners: dict[str, Owner], d: Tensor) -> None:
        lead = leading_dims(bound, d)
        moved = d.detach().float().cpu().numpy() != 0
        touched[number] = moved.any(tuple(range(lead, d.ndim)))

    owners = {id(p): Owner(name, p.shape) for name, p in params.items()}
    watch = Watch(owners, settings.skip, receive, settings.lookups, settings.anchored)
    anchor = torch.zeros((), requires_grad=True, device=x.device)
    try:
        with Recorder(watch, anchor):
            out, losses = run_model(model, x, loss_fn, y)
        reached = untapped(losses, owners)
        _backward_of_one(out, anchor)
    except InputError:
        raise
    except (RuntimeError, TypeError, PlanMismatchError):
        # A model that cannot run with taps; if it cannot run at all the fallback says so.
        return _Look((), _Settings(frozenset(params)), 1, model(x).detach())
    sites = [
        Site(bound.kind, served, _layout(bound, made, touched.get(number)))
        for number, (bound, made, served) in enumerate(watch.calls)
    ]
    skip = settings.skip | reached
    missed = frozenset(range(len(sites))) - set(touched) - settings.anchored
    if skip != settings.skip:
        settings = _Settings(skip, settings.lookups)
    elif missed:
        settings = replace(settings, anchored=settings.anchored | missed)
    else:
        settings = _refined(watch, sites, settings)
    held = sum(bound.a.numel() + made.numel() for bound, made, _ in watch.calls)
    return _Look(tuple(sites), settings, 2 * held // len(x) + 1, out.detach())


def _refined(watch: Watch, sites: list[Site], settings: _Settings) -> _Settings:
    # What no layout explains is looked up without examples (positions), or left to the fallback.
    skip, lookups, lookup = settings.skip, settings.lookups, -1
    for (bound, made, served), site in zip(watch.calls, sites, strict=True):
        lookup = _lookup_number(bound, lookup, settings.lookups)
        if site.layout is not None and _usable(bound, site.layout, made):
            continue
        if bound.kind == "embedding" and bound.opts["padding_idx"] is None:
            lookups = lookups | {lookup}
        else:
            skip = skip | {owner.name for owner in served.values()}
    if (skip, lookups) == (settings.skip, settings.lookups):
        return settings
    return _Settings(skip, lookups)  # taps are numbered anew


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
    mix = torch.zeros_like(out)
    one = torch.arange(1, out[0].numel() + 1, device=out.device, dtype=torch.float32).cos_()
    mix[_EXAMPLE] = one.view(out.shape[1:])
    # The product keeps `out` from being the root, whose hooks run even with no way to the anchor.
    torch.autograd.grad((out * mix).sum(), anchor, allow_unused=True)


def _layout(bound: Bound, made: Tensor, touched: np.ndarray | None) -> Layout | None:
    if touched is None:  # not on the way to the outputs: shapes alone
        touched = np.zeros(made.shape[: leading_dims(bound, made)], dtype=bool)
    return find_layout(touched, ROWS, _EXAMPLE)


def _usable(bound: Bound, layout: Layout, made: Tensor) -> bool:
    if bound.kind not in ("shift", "scale"):
        return bound.kind != "embedding" or bound.a.ndim == made.ndim - 1
    (weight,) = bound.roles.values()
    aligned = (1,) * (made.ndim - weight.ndim) + tuple(weight.shape)
    return layout.how == "dim" and aligned[layout.at] == 1
