"""A one-layer transformer that answers at its last token, fast enough for full batches on a CPU."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from heldout.core.errors import InputError


class TinyTransformer(nn.Module):
    """Embedding, one post-norm encoder layer without positions, and a linear read-out.

    With E the tokens' embeddings and t the last token of a row: `u = norm(E_t + attention)`,
    `v = norm(u + W2 relu(W1 u + b1) + b2)`, logits `W v + b`. The same function, weight for
    weight, as `nn.Embedding`, `nn.TransformerEncoderLayer(dropout=0)` and `nn.Linear`, read at
    the last token. As in "Grokking at the Edge of Numerical Stability", arXiv:2501.04697,
    figure 6, whose transformer knows no positions either: what tells the operands apart is that
    only the last one asks. DIFFERS: no dropout, which the authors leave at torch's 0.1.

    Fast because only the last token's query, hidden layer and logits are computed, and because
    without positions queries, keys and values are made once per token of the vocabulary rather
    than once per place in the batch.

    Args:
        n_tokens: size of the vocabulary, and number of classes.
        width: of embeddings and of the residual stream, a multiple of `heads`.
        heads: attention heads.
        hidden: width of the feed-forward layer.
        embedding_std: standard deviation of the initial embeddings. Torch's is 1; the smaller,
            the sooner they move by their own size, and so the sooner a task is learned in them
            rather than by the layers on top.
        seed: of the initial weights, torch's own distributions; the global generator is kept.

    Cost: a pass over n rows of l tokens multiplies and adds
    `n (width^2 + 2 width hidden + width n_tokens + 2 l width) + 3 n_tokens width^2` times.

    Raises:
        InputError: a size below 1, a width that the heads do not divide, or a deviation not above
            0.

    >>> net = TinyTransformer(7, width=8, heads=2, hidden=16)
    >>> net(torch.tensor([[3, 5], [5, 3]])).shape
    torch.Size([2, 7])
    """

    def __init__(
        self,
        n_tokens: int,
        width: int = 128,
        heads: int = 4,
        hidden: int = 512,
        *,
        embedding_std: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        sizes = (n_tokens, width, heads, hidden)
        if min(sizes) < 1 or width % heads or not 0 < embedding_std < math.inf:
            raise InputError(
                f"{n_tokens} tokens, width {width}, {heads} heads, hidden width {hidden}, "
                f"embeddings of deviation {embedding_std}",
                "sizes of at least 1, the width a multiple of the heads, a deviation above 0",
                "TinyTransformer(53, width=128, heads=4)",
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(n_tokens, width)
            self.embedding.weight.data.mul_(embedding_std)
            self.layer = nn.TransformerEncoderLayer(
                width, heads, hidden, dropout=0.0, batch_first=True
            )
            self.readout = nn.Linear(width, n_tokens)
        self.heads = heads

    def forward(self, tokens: Int[Tensor, "n l"]) -> Float[Tensor, "n n_tokens"]:
        """Return the logits at each row's last token.

        Raises:
            InputError: not rows of at least one integer token.
        """
        if (
            tokens.ndim != 2
            or tokens.shape[1] < 1
            or tokens.dtype not in (torch.int64, torch.int32)
        ):
            raise InputError(
                f"tokens of shape {tuple(tokens.shape)} and type {tokens.dtype}",
                "integer tokens (rows, places)",
                "torch.from_numpy(split.train_pairs)",
            )
        last = tokens[:, -1]
        u = F.embedding(last, self.embedding.weight) + self._attention(tokens)
        u = self.layer.norm1(u)
        v = self.layer.linear2(F.relu(self.layer.linear1(u)))
        return self.readout(self.layer.norm2(u + v))

    def _attention(self, tokens: Tensor) -> Tensor:
        # what the last token of each row gathers, (n, width)
        attention = self.layer.self_attn
        table = F.linear(self.embedding.weight, attention.in_proj_weight, attention.in_proj_bias)
        width = table.shape[1] // 3
        q, k, v = table.split(width, 1)
        n, places = tokens.shape
        split = (n, places, self.heads, width // self.heads)
        asked = F.embedding(tokens[:, -1], q).view(n, 1, *split[2:])
        keys = F.embedding(tokens, k).view(split)
        scores = (asked * keys).sum(-1, keepdim=True) * split[-1] ** -0.5
        shares = scores.softmax(1)
        mixed = (shares * F.embedding(tokens, v).view(split)).sum(1)
        return attention.out_proj(mixed.reshape(n, width))
