"""The influence benchmark's models and data, and how each method is run on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heldout.data.influence import EKFAC, CausalLanguageModel, Classification
from heldout.data.influence.batches import Draws, batches

SIZES = {"mlp": (1200, 100, 256), "mlp_no_bias": (1200, 100, 256), "transformer": (200, 20, 25)}
"""Training rows, queries, batch size."""


class Block(nn.Module):
    """One causal pre-norm transformer layer made of plain modules."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, t, width) to (n, t, width)."""
        n, t, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, t, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Language(nn.Module):
    """Token and position embeddings, four layers of width 256, LayerNorm, logits of 256 words."""

    def __init__(self, words: int = 256, width: int = 256, length: int = 64) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(words, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, 4) for _ in range(4))
        self.norm, self.head = nn.LayerNorm(width), nn.Embedding(words, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (n, t) to logits (n, t, words)."""
        h = self.tokens(x) + self.places.weight[: x.shape[1]]
        for block in self.blocks:
            h = block(h)
        return self.norm(h) @ self.head.weight.t()


def build(name: str) -> nn.Module:
    """Return the untrained model of a case."""
    torch.manual_seed(0)
    if name == "transformer":
        return Language()
    bias = name == "mlp"
    widths = [(64, 512), (512, 512), (512, 10)]
    linears = [nn.Linear(a, b, bias=bias) for a, b in widths]
    return nn.Sequential(linears[0], nn.ReLU(), linears[1], nn.ReLU(), linears[2])


def make(name: str, folder: Path) -> None:
    """Train the model of a case for a little while, and write it with its data and labels."""
    model = build(name)
    n, q, _ = SIZES[name]
    generator = torch.Generator().manual_seed(0)
    if name == "transformer":
        table = torch.randn(256, 256, generator=generator).mul_(3).softmax(1).cumsum(1)
        x = torch.randint(0, 256, (n + q, 64), generator=generator)
        for t in range(1, 64):  # a Markov chain
            u = torch.rand(n + q, 1, generator=generator)
            x[:, t] = (table[x[:, t - 1]] < u).sum(1).clamp(max=255)
        y, steps, rate = x, 40, 1e-3
    else:
        from sklearn.datasets import load_digits

        digits, labels = load_digits(return_X_y=True)
        order = torch.randperm(len(labels), generator=generator)[: n + q]
        x, y = torch.tensor(digits / 16).float()[order], torch.tensor(labels)[order]
        steps, rate = 150, 1e-3
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for _ in range(steps):
        rows = torch.randint(0, n, (16 if name == "transformer" else 64,), generator=generator)
        optimizer.zero_grad()
        task(name).per_example(model(x[rows]), y[rows]).sum().div(len(rows)).backward()
        optimizer.step()
    model.eval()
    batch = next(batches((x[:n], y[:n]), n))
    with torch.no_grad():
        drawn = task(name).sample_targets(model(batch.inputs), batch.targets, Draws(0, batch))
    torch.save({"weights": model.state_dict(), "x": x, "y": y, "drawn": drawn}, folder / name)


def task(name: str) -> Any:
    """Return the loss and measure of a case."""
    return CausalLanguageModel() if name == "transformer" else Classification("log_prob")


def layers(model: nn.Module) -> list[str]:
    """Names of the linear layers."""
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]


Step = Callable[[], Any]


def heldout(name: str, model: nn.Module, kept: dict[str, Tensor], folder: Path) -> list[Step]:
    """Fit and score with this library."""
    n, q, size = SIZES[name]
    x, y = kept["x"], kept["y"]
    fitted = EKFAC(model, task(name), batch_size=size)
    return [
        lambda: fitted.fit((x[:n], y[:n]), folder / "factors"),
        lambda: -fitted.scores((x[n:], y[n:]), (x[:n], y[:n])),
    ]


def kronfluence(name: str, model: nn.Module, kept: dict[str, Tensor], folder: Path) -> list[Step]:
    """Fit and score with kronfluence, on the same sampled labels."""
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments
    from kronfluence.task import Task

    n, q, size = SIZES[name]
    loss = task(name)

    class Peer(Task):
        def compute_train_loss(self, batch: Any, model: nn.Module, sample: bool = False) -> Tensor:
            return loss.per_example(model(batch[0]), batch[2 if sample else 1]).sum()

        def compute_measurement(self, batch: Any, model: nn.Module) -> Tensor:
            return loss.measure(model(batch[0]), batch[1]).sum()

        def get_influence_tracked_modules(self) -> list[str]:
            return layers(model)

    peer = Peer()
    drawn = torch.cat([kept["drawn"], kept["y"][n:]])
    parts = [
        torch.utils.data.TensorDataset(kept["x"][p], kept["y"][p], drawn[p])
        for p in (slice(0, n), slice(n, None))
    ]
    model = prepare_model(model, peer)
    analyzer = Analyzer(
        "bench", model, peer, cpu=True, output_dir=str(folder), disable_tqdm=True,
        disable_model_save=True,
    )  # fmt: skip

    def score() -> np.ndarray:
        analyzer.compute_pairwise_scores(
            "scores", "factors", parts[1], parts[0], per_device_query_batch_size=q,
            per_device_train_batch_size=size, score_args=ScoreArguments(damping_factor=None),
        )  # fmt: skip
        return analyzer.load_pairwise_scores("scores")["all_modules"].numpy()

    return [
        lambda: analyzer.fit_all_factors(
            "factors", parts[0], per_device_batch_size=size, factor_args=FactorArguments("ekfac")
        ),
        score,
    ]


def dattri(name: str, model: nn.Module, kept: dict[str, Tensor], folder: Path) -> list[Step]:
    """Fit and score with dattri, its eigenvectors handed on as rows, which its products need."""
    return _dattri(name, model, kept, turned=True)


def dattri_published(
    name: str, model: nn.Module, kept: dict[str, Tensor], folder: Path
) -> list[Step]:
    """Fit and score with dattri as published."""
    return _dattri(name, model, kept, turned=False)


def _dattri(name: str, model: nn.Module, kept: dict[str, Tensor], turned: bool) -> list[Step]:
    # its damping is one number for all layers, so that each layer's is added to Lambda instead
    from dattri.algorithm.influence_function import IFAttributorEKFAC
    from dattri.func import fisher
    from dattri.task import AttributionTask

    n, q, size = SIZES[name]
    x, y = kept["x"], kept["y"]

    def loss(params: Any, data: Any) -> Tensor:
        inputs, labels = data
        out = torch.func.functional_call(model, params, (inputs,))
        return F.cross_entropy(out, labels.reshape(-1))

    def loader(x: Tensor, y: Tensor, size: int) -> Any:
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=size)

    def rows(covariances: dict[str, Any]) -> dict[str, Any]:
        # in float64, as in the other two
        return {
            key: tuple(torch.linalg.eigh(m.double())[1].float().t().contiguous() for m in pair)
            for key, pair in covariances.items()
        }

    found = IFAttributorEKFAC(
        task=AttributionTask(loss_func=loss, model=model, checkpoints=model.state_dict()),
        device="cpu",
    )

    def fit() -> None:
        if turned:
            fisher.estimate_eigenvector = rows
        found.cache(loader(x[:n], kept["drawn"], size))
        found.cached_lambdas = {k: v + 0.1 * v.mean() for k, v in found.cached_lambdas.items()}

    def score() -> np.ndarray:
        made = found.attribute(loader(x[:n], y[:n], size), loader(x[n:], y[n:], q))
        return -made.detach().T.numpy()

    return [fit, score]


RUNS = {
    "heldout": heldout,
    "kronfluence": kronfluence,
    "dattri": dattri,
    "dattri_published": dattri_published,
}
"""Methods by name; each returns the steps that fit and score."""
