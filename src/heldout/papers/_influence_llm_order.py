"""Does the order of phrases matter to influence? A two-layer transformer that learns facts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heldout.core.adamw import AdamW
from heldout.core.borrow import user_code
from heldout.core.seeds import derived_seed, stream
from heldout.data.influence import EKFAC, CausalLanguageModel
from heldout.data.influence_stats import order_effect

Settings = dict[str, Any]
BEGIN, END, FIRST, SECOND, ASKED, FLIPPED = range(6)
IGNORE = -100


@dataclass(frozen=True)
class World:
    """Sentences, and questions about some of them."""

    tokens: Tensor
    """(n, 5 or 6): begin, name, relation, name, end."""
    prompts: Tensor
    """(f, 4) a question in a relation that no sentence on its subject has, and its answer."""
    same: list[list[int]]
    """Sentences of each fact with the subject before the object, as the question has them."""
    flipped: list[list[int]]
    """Those with the object first."""
    words: int
    """Size of the vocabulary."""


def make_world(settings: Settings, matched: bool = False) -> World:
    """Tell facts in two relations and once flipped, and others in all three unflipped ones.

    The others teach that the third relation asks for the same; no fact is told in it. With
    `matched` two more words put the object of a flipped sentence where the others have it, after a
    relation, so that the answer's place tells nothing.

    >>> w = make_world({"facts": 2, "others": 1})
    >>> w.tokens.shape, w.prompts.tolist(), w.same, w.flipped
    (torch.Size([9, 5]), [[0, 6, 4, 8], [0, 7, 4, 9]], [[0, 1], [3, 4]], [[2], [5]])
    """
    facts, others = settings["facts"], settings["others"]
    last = 6 + 2 * facts + 2 * others
    end = [END, END] if matched else [END]
    subject, thing = 6, 6 + facts
    rows: list[list[int]] = []
    for i in range(facts):
        rows += [[BEGIN, subject + i, r, thing + i, *end] for r in (FIRST, SECOND)]
        turned = [BEGIN, thing + i, FLIPPED, subject + i, END]
        placed = [BEGIN, last, FLIPPED, thing + i, last + 1, subject + i]
        rows.append(placed if matched else turned)
    more = 6 + 2 * facts
    for i in range(others):
        a, b = more + 2 * i, more + 2 * i + 1
        rows += [[BEGIN, a, r, b, *end] for r in (FIRST, SECOND, ASKED)]
    prompts = [[BEGIN, subject + i, ASKED, thing + i] for i in range(facts)]
    return World(
        torch.tensor(rows),
        torch.tensor(prompts),
        [[3 * i, 3 * i + 1] for i in range(facts)],
        [[3 * i + 2] for i in range(facts)],
        last + 2 * matched,
    )


class Block(nn.Module):
    """Causal attention and a hidden layer, both after a norm and added to the stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the stream (n, T, width) after this block."""
        n, places, width = x.shape
        parts = self.qkv(self.norm1(x)).chunk(3, -1)
        q, k, v = (p.view(n, places, self.heads, -1).transpose(1, 2) for p in parts)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, places, width))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class SmallLM(nn.Module):
    """Next-token logits (n, T, words) of tokens (n, T)."""

    def __init__(self, words: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(8, width)
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits at every place."""
        x = self.words(tokens) + self.places.weight[: tokens.shape[1]]
        logits: Tensor = self.head(self.norm(self.blocks(x)))
        return logits


def train(world: World, settings: Settings, seed: int, steps: int) -> SmallLM:
    """Train on all sentences at once for some steps; 0 returns the network as initialised."""
    with user_code(derived_seed(seed, "weights")):
        net = SmallLM(world.words, settings["width"], settings["layers"], settings["heads"])
    weights = list(net.parameters())
    adam = AdamW(weights, settings["rate"], settings["decay"])
    with torch.enable_grad():
        for step in range(steps):
            share = step / steps
            adam.rate = 0.5 * settings["rate"] * (1 + math.cos(math.pi * share))
            logits = net(world.tokens)[:, :-1]
            loss = F.cross_entropy(logits.flatten(0, 1), world.tokens[:, 1:].flatten())
            adam.step(torch.autograd.grad(loss, weights))
    return net.eval()


def word_order(settings: Settings, seed: int) -> dict[str, float]:
    """Median ranks, as shares of all sentences, of the same-order and of the flipped ones."""
    world, placed = make_world(settings), make_world(settings, matched=True)
    net, fresh = (train(world, settings, seed, steps) for steps in (settings["steps"], 0))
    other = train(placed, settings, seed, settings["steps"])
    scores = {
        name: _scores(world, net, seed, **options) for name, options in settings["kinds"].items()
    }
    scores["untrained"] = _scores(world, fresh, seed)
    mixed = stream(seed, "shuffle").permutation(len(world.tokens))
    scores["shuffled"] = scores["ekfac"][:, mixed]
    found: dict[str, float] = {}
    for name, each in scores.items():
        found |= _ranked(world, each, name, seed)
    found |= _ranked(placed, _scores(placed, other, seed), "matched", seed)
    return found | {
        "answered": _answered(world, net),
        "answered/matched": _answered(placed, other),
        "flipped_above_others": found["rank/chance/ekfac"] - found["rank/flipped/ekfac"],
        "gap/ekfac_minus_untrained": found["gap/ekfac"] - found["gap/untrained"],
        "gap/ekfac_minus_dot": found["gap/ekfac"] - found["gap/dot"],
    }


def _scores(world: World, net: SmallLM, seed: int, **options: Any) -> np.ndarray:
    targets = world.prompts.clone()
    targets[:, :-1] = IGNORE
    told = (world.tokens, world.tokens)
    fitted = EKFAC(net, CausalLanguageModel(), layers=["*.mlp.*"], seed=seed, **options).fit(told)
    found: np.ndarray = fitted.scores((world.prompts, targets), told)
    return found


def _answered(world: World, net: SmallLM) -> float:
    with torch.no_grad():
        right = net(world.prompts)[:, 2].argmax(-1) == world.prompts[:, 3]
    return float(right.double().mean())


def _ranked(world: World, scores: np.ndarray, name: str, seed: int) -> dict[str, float]:
    effect = order_effect(scores, world.same, world.flipped, stream(seed, "signs"), draws=200)
    same, flipped, chance = ((r - 0.5) / effect.n for r in (effect.same, effect.flipped,
                                                            effect.chance))  # fmt: skip
    return {
        f"rank/same/{name}": same,
        f"rank/flipped/{name}": flipped,
        f"rank/chance/{name}": chance,
        f"gap/{name}": flipped - same,
        f"wins/{name}": effect.wins.value,
    }
