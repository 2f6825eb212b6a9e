"""Models for the per-example gradient tests: name -> (model, x, y)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Tied(nn.Module):
    """Embedding that is also the output matrix, through a functional call."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 6)
        self.mix = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.mix(self.table(x)))
        return F.linear(h, self.table.weight).mean(1)


class Reused(nn.Module):
    """One module called twice, one parameter shared by two modules."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 4)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.relu(self.b(torch.tanh(self.a(torch.tanh(self.a(x)))))))


class Positions(nn.Module):
    """Tokens plus a learned position table, looked up by an index without examples."""

    def __init__(self, direct: bool, norm: str = "layer") -> None:
        super().__init__()
        self.tokens = nn.Embedding(9, 8, padding_idx=0)
        self.table = nn.Parameter(torch.randn(1, 12, 8)) if direct else nn.Embedding(12, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.cls = nn.Parameter(torch.randn(1, 1, 8))
        self.out = nn.Linear(8, 5)
        self.scale = nn.Parameter(torch.rand(8))

    def forward(self, x: Tensor) -> Tensor:
        t = x.shape[1]
        place = self.table[:, :t] if isinstance(self.table, Tensor) else self.table(torch.arange(t))
        h = self.layers(self.tokens(x) + place) * self.scale
        return self.out(h.mean(1) + self.cls.squeeze(1))


class TimeFirst(nn.Module):
    """Attention with time before examples; cross-attention with other widths for keys."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attention = nn.MultiheadAttention(8, 2)
        self.cross = nn.MultiheadAttention(8, 2, kdim=4, vdim=4)
        self.packed = nn.MultiheadAttention(8, 2)
        self.read = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = x.transpose(0, 1)
        h = h + self.self_attention(h, h, h)[0]
        small = h[:2, :, :4]
        h = h + self.cross(h, small, small)[0]
        h = h + self.packed(h, h[:3], h[:3])[0]
        return self.read(h[0])


class Direct(nn.Module):
    """Weights used by operations without a tap."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(5, 6))
        self.temperature = nn.Parameter(torch.tensor(0.3))
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.einsum("ni,io->no", x, self.w)
        return self.out(torch.tanh(h)) * torch.exp(self.temperature)


class Routed(nn.Module):
    """Rows go to experts by value: no batching rule, no fixed shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(4, 3) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        out = x.new_zeros(len(x), 3)
        for k, expert in enumerate(self.experts):
            rows = torch.nonzero((x[:, 0] > 0) == bool(k)).flatten()
            out = out.index_copy(0, rows, expert(x[rows]))
        return out


class Frames(nn.Module):
    """Video: frames are folded into the batch for the convolution, in either order."""

    def __init__(self, time_first: bool) -> None:
        super().__init__()
        self.time_first = time_first
        self.conv, self.norm = nn.Conv2d(2, 6, 3, padding=1), nn.GroupNorm(2, 6)
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        n, t = x.shape[:2]
        h = (x.transpose(0, 1) if self.time_first else x).reshape(n * t, *x.shape[2:])
        h = torch.relu(self.norm(self.conv(h))).mean((2, 3))
        h = h.view(t, n, -1).mean(0) if self.time_first else h.view(n, t, -1).mean(1)
        return self.out(h)


class Matmul(nn.Module):
    """A plain product, a shift, a scale and a part of a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.shift = nn.Parameter(torch.randn(5, 8)), nn.Parameter(torch.randn(4))
        self.out = nn.Parameter(torch.randn(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.w.chunk(2, dim=1)
        h = torch.tanh(x @ first + self.shift) * torch.sigmoid(x @ second)
        return F.linear(h, self.out.t())


def conv_net(dims: int, **options: object) -> nn.Module:
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims - 1]
    groups = int(options.get("groups", 1))  # type: ignore[call-overload]
    return nn.Sequential(
        conv(2 * groups, 6 * groups, 3, padding=1),
        norm(6 * groups),
        nn.ReLU(inplace=True),
        conv(6 * groups, 4 * groups, 3, **options),  # type: ignore[arg-type]
        nn.Tanh(),
        nn.Flatten(),
        nn.LazyLinear(3),
    )


def _conv_case(dims: int, **options: object) -> tuple[nn.Module, Tensor, Tensor]:
    groups = int(options.get("groups", 1))  # type: ignore[call-overload]
    x = torch.randn(6, 2 * groups, *[7, 6, 5][:dims])
    model = conv_net(dims, **options).eval()
    model(x)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.uniform_(-1, 1)  # type: ignore[operator, union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[operator, union-attr]
    return model, x, torch.arange(6) % 3


def cases() -> dict[str, tuple[nn.Module, Tensor, Tensor]]:
    """Build every case anew, in float64, with fixed weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = _build()
    return {
        name: (model.double().eval(), x.double() if x.is_floating_point() else x, y)
        for name, (model, x, y) in made.items()
    }


def _build() -> dict[str, tuple[nn.Module, Tensor, Tensor]]:
    y3, y5 = torch.arange(6) % 3, torch.arange(6) % 5
    tokens = torch.randint(0, 9, (6, 6))
    mlp = nn.Sequential(nn.Linear(5, 7), nn.ReLU(inplace=True), nn.LayerNorm(7), nn.Linear(7, 3))
    sequence = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Tanh(), nn.Flatten(), nn.Linear(18, 3))
    long = nn.Sequential(nn.Linear(40, 50), nn.Tanh(), nn.Flatten(), nn.Linear(100, 3))
    return {
        "mlp": (mlp, torch.randn(6, 5), y3),
        "sequence": (sequence, torch.randn(6, 6, 4), y3),
        "grid": (nn.Sequential(nn.Linear(4, 3), nn.Flatten(), nn.Linear(18, 3)),
                 torch.randn(6, 3, 2, 4), y3),
        "wide_sequence": (long, torch.randn(6, 2, 40), y3),
        "conv1": _conv_case(1),
        "conv2": _conv_case(2, padding="same", dilation=2),
        "conv3": _conv_case(3, padding=(1, 0, 2)),
        "conv_groups": _conv_case(2, groups=2, padding=1),
        "conv_groups_wide": _conv_case(1, groups=3, padding=1, stride=2),
        "conv_stride": _conv_case(2, stride=(2, 1), dilation=(1, 2)),
        "conv_reflect": _conv_case(2, padding=2, padding_mode="reflect", bias=False),
        "conv_circular": _conv_case(1, padding=1, padding_mode="circular"),
        "tied": (Tied(), torch.randint(0, 7, (6, 6)), torch.arange(6) % 7),
        "reused": (Reused(), torch.randn(6, 5), torch.arange(6) % 4),
        "positions_table": (Positions(direct=False), tokens, y5),
        "positions_direct": (Positions(direct=True), tokens, y5),
        "time_first": (TimeFirst(), torch.randn(6, 6, 8), torch.arange(6) % 4),
        "direct": (Direct(), torch.randn(6, 5), y3),
        "routed": (Routed(), torch.randn(6, 4), y3),
        "lstm": (LastStep(), torch.randn(6, 4, 3), y3),
        "frames": (Frames(time_first=False), torch.randn(6, 4, 2, 5, 5), y3),
        "frames_time_first": (Frames(time_first=True), torch.randn(6, 4, 2, 5, 5), y3),
        "matmul": (Matmul(), torch.randn(6, 5), y3),
    }  # fmt: skip


class LastStep(nn.Module):
    """A recurrent network, read out at the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.LSTM(3, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.cell(x)[0][:, -1])
