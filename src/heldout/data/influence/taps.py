"""Inputs and output gradients of the layers that influence is taken over.

A layer y = W a (+ b) with input a_t and loss gradient d_t = dL/dy_t at position t of an example
has the gradient sum_t d_t [a_t, 1]^T: all that factors and scores need is (a, d). Weight gradients
are never computed: weights do not require one during the pass, and an anchor at the first layers
carries the backward pass through the outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heldout.core.borrow import borrowed
from heldout.core.errors import HeldoutError, InputError

from .batches import Batch, nested
from .layers import Layer

Receive = Callable[[str, Tensor, Tensor], None]
"""Takes a layer's name, inputs (n, T, n_in) with a last column of ones for a bias, and output
gradients (n, T, n_out), T = 1 for plain rows; both are zero at masked positions. Taps made without
`ones` leave the column out."""


class _Tap(torch.autograd.Function):
    # Identity that hands over the gradient. Marking the output as changed lets in-place
    # activations after it work as they did.
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
class Taps:
    """Runs batches through a model and hands over (a, d); made by `tapping`."""

    model: nn.Module
    layers: dict[str, Layer]
    shared: bool
    ones: bool = True
    seen: dict[str, list[Tensor]] = field(default_factory=dict)
    # inputs of each layer's calls in this forward pass
    found: dict[str, dict[int, Tensor]] = field(default_factory=dict)
    # output gradients that arrived, by number of the call
    batch: Batch | None = None
    receive: Receive | None = None
    anchor: Tensor | None = None
    again: bool = False

    def forward(self, batch: Batch) -> Any:
        """Run the model on a batch and return its outputs."""
        self.seen.clear()
        self.batch = batch
        # the anchor is the only way for gradients in, so that they all pass through it
        inputs = nested(batch.inputs, lambda t: t.detach())
        device = next(self.model.parameters()).device
        self.anchor = torch.zeros((), requires_grad=True, device=device)
        try:
            outputs = replace(batch, inputs=inputs).call(self.model)
        except (HeldoutError, torch.OutOfMemoryError):
            raise
        except (RuntimeError, TypeError, IndexError, ValueError) as error:
            raise _refused(self.model, inputs, error) from error
        missing = [name for name in self.layers if name not in self.seen]
        if missing:
            raise InputError(
                f"layers {missing[:4]} whose forward is not called",
                "layers that take part when the model is called",
                "leave them out of layers= (attention modules use such weights directly)",
            )
        return outputs

    def backward(self, total: Tensor, receive: Receive, again: bool = False) -> None:
        """Hand over (a, d) of every layer for d = gradient of `total`; `again`: keep the graph."""
        assert self.anchor is not None
        self.found, self.receive, self.again = {}, receive, again
        if total.requires_grad:
            torch.autograd.grad(total, self.anchor, retain_graph=again, allow_unused=True)
        for name in self.layers:  # outputs that the loss does not depend on
            if len(self.found.get(name, {})) < len(self.seen[name]):
                self._finish(name)
        if not again:
            self.seen.clear()

    def _watch(self, name: str, a: Tensor, out: Tensor) -> Tensor:
        assert self.batch is not None
        if a.shape[0] != self.batch.size:  # here, so that the check of a few rows tells
            raise InputError(
                f"layer '{name}' with input {tuple(a.shape)} for {self.batch.size} examples",
                "inputs with the examples first",
                "batch_first=True in the model, or leave this layer out of layers=",
            )
        calls = self.seen.setdefault(name, [])
        if calls and not self.shared:
            raise InputError(
                f"layer '{name}' called more than once in a forward pass",
                "one call: influence treats a layer's uses as one gradient",
                "shared=True to take its calls as further positions, or leave it out of layers=",
            )
        number = len(calls)
        calls.append(a.detach())

        def arrived(grad: Tensor) -> None:
            found = self.found.setdefault(name, {})
            found[number] = grad
            if len(found) == len(self.seen[name]):
                self._finish(name)

        # Beyond the first layers the pass comes by anyway, and a hook saves what autograd does for
        # a view that was changed: a zero-filled buffer and two copies. On the base, for an in-place
        # activation after the layer leaves the view out of the graph.
        base = out._base if out._base is not None else out
        if base.requires_grad and base.numel() == out.numel() and base.is_contiguous():
            shape = out.shape
            base.register_hook(lambda grad: arrived(grad.reshape(shape)))
            return out
        return _Tap.apply(out, self.anchor, arrived)

    def _finish(self, name: str) -> None:
        layer, found = self.layers[name], self.found.setdefault(name, {})
        assert self.batch is not None and self.receive is not None
        pairs = [
            _pair(layer, a, found.get(i), self.batch, self.ones)
            for i, a in enumerate(self.seen[name])
        ]
        for i in range(len(pairs)):
            found[i] = pairs[i][1][:0]  # held no longer; the count says that it has arrived
        a = pairs[0][0] if len(pairs) == 1 else torch.cat([p[0] for p in pairs], 1)
        d = pairs[0][1] if len(pairs) == 1 else torch.cat([p[1] for p in pairs], 1)
        if not self.again:
            self.seen[name] = [part[:0] for part in self.seen[name]]
        self.receive(name, a, d)


def _refused(model: nn.Module, inputs: Any, error: Exception) -> InputError:
    shown: list[str] = []

    def show(tensor: Tensor) -> None:
        shown.append(f"{tensor.dtype} {tuple(tensor.shape)}")

    nested(inputs, show)
    dtype = next(model.parameters()).dtype
    return InputError(
        f"inputs {', '.join(shown)}, on which {type(model).__name__} fails: "
        f"{str(error).splitlines()[0] if str(error) else type(error).__name__}",
        f"inputs that the model takes when it is called on them; its weights are {dtype}",
        f"model(x[:2]) must run; x.to({dtype}) for another type of numbers",
    )


@contextmanager
def tapping(
    model: nn.Module, layers: dict[str, Layer], shared: bool = False, ones: bool = True
) -> Iterator[Taps]:
    """Borrow a model with taps on its layers; it is handed back exactly as it was.

    Without `ones`, inputs come without a bias's last column: a copy of them is saved.

    >>> from heldout.data.influence.layers import find_layers
    >>> from heldout.data.influence.batches import batches
    >>> net = nn.Linear(2, 1).eval()
    >>> with tapping(net, find_layers(net)) as taps:
    ...     out = taps.forward(next(batches((torch.ones(3, 2), torch.zeros(3)))))
    ...     taps.backward(out.sum(), lambda name, a, d: print(a.shape, d.shape))
    torch.Size([3, 1, 3]) torch.Size([3, 1, 1])
    """
    taps = Taps(model, layers, shared, ones)
    handles = []
    # torch's fused encoder goes past the layers, or hands them nested tensors
    fused = torch.backends.mha.get_fastpath_enabled()
    with borrowed(model, evaluating=False), torch.inference_mode(False), torch.enable_grad():
        try:
            torch.backends.mha.set_fastpath_enabled(False)
            for p in model.parameters():
                p.requires_grad_(False)
            for name, layer in layers.items():

                def hook(_: Any, args: Any, out: Tensor, name: str = name) -> Tensor:
                    return taps._watch(name, args[0], out)

                handles.append(layer.module.register_forward_hook(hook))
            yield taps
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
            for handle in handles:
                handle.remove()


def _pair(
    layer: Layer, a: Tensor, d: Tensor | None, batch: Batch, ones: bool
) -> tuple[Tensor, Tensor]:
    if layer.kind == "conv":
        a = _patches(layer.module, a)
        d = None if d is None else d.flatten(2).transpose(1, 2)
    plain = a.ndim == 2
    a = a.reshape(batch.size, -1, a.shape[-1])
    if a.dtype in (torch.float16, torch.bfloat16):
        a = a.float()
    if layer.bias and ones:
        a = torch.cat([a, a.new_ones(*a.shape[:2], 1)], -1)
    if d is None:
        d = a.new_zeros(*a.shape[:2], layer.n_out)
    d = d.reshape(batch.size, -1, layer.n_out).to(a.dtype)
    if batch.mask is None or plain or layer.kind == "conv":
        return a, d
    if batch.mask.shape != a.shape[:2] and batch.derived:
        return a, d
    if batch.mask.shape != a.shape[:2]:
        raise InputError(
            f"mask {tuple(batch.mask.shape)} for layer '{layer.name}' with {a.shape[1]} positions",
            "one entry per position of every layer",
            "pass the mask of the padded batch, or leave this layer out of layers=",
        )
    if bool(batch.mask.all()):
        return a, d
    # Not a product: what stands at padding may be infinite.
    off = ~batch.mask[..., None]
    return a.masked_fill(off, 0), d.masked_fill(off, 0)


def _patches(module: nn.Module, x: Tensor) -> Tensor:
    # (n, positions, channels * kh * kw), in the order of the flattened filter
    assert isinstance(module, nn.Conv2d)
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    x = F.pad(x, module._reversed_padding_repeated_twice, mode=mode)
    out = F.unfold(x, module.kernel_size, module.dilation, 0, module.stride)
    return out.transpose(1, 2)


def positions(name: str, a: Tensor, batch: Batch) -> int:
    """How many positions of a layer count in a batch: what covariances are averaged over.

    >>> from heldout.data.influence.batches import batches
    >>> positions("fc", torch.zeros(3, 1, 2), next(batches((torch.ones(3, 2), torch.zeros(3)))))
    3
    """
    if batch.mask is None or batch.mask.shape != a.shape[:2]:
        return a.shape[0] * a.shape[1]
    return int(batch.mask.sum())
