"""A toy of contrastive image-text training: concepts with known frequencies, and a small model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from heldout.core.errors import InputError
from heldout.core.seeds import derived_seed, stream, torch_stream


@dataclass(frozen=True)
class ConceptWorld:
    """Pairs of an image (a point near its concept's centre) and a caption (a concept)."""

    images: Float[Tensor, "n d"]
    """Training images."""
    captions: Int[Tensor, " n"]
    """Concept that each caption names; wrong for misaligned pairs."""
    test_images: Float[Tensor, "m d"]
    """As many for each concept."""
    test_labels: Int[Tensor, " m"]
    """Their concepts."""
    counts: Int[np.ndarray, " c"]
    """Pairs whose image is of each concept."""


def concept_world(
    n_pairs: int,
    n_concepts: int = 300,
    dimension: int = 32,
    *,
    exponent: float = 1.2,
    spread: float = 1.0,
    misaligned: float = 0.0,
    test_each: int = 40,
    seed: int = 0,
) -> ConceptWorld:
    """Draw pairs whose concept of rank k has probability proportional to k ** -exponent.

    Args:
        n_pairs: training pairs.
        n_concepts: Gaussian concepts with standard normal centres.
        dimension: of the images.
        exponent: of Zipf's law; 0 makes all concepts equally frequent.
        spread: standard deviation of images around their centre.
        misaligned: share of pairs whose caption is exchanged for another pair's.
        test_each: test images of each concept.
        seed: of everything; centres and test images do not depend on the other arguments.

    Raises:
        InputError: a share outside 0 to 1, or sizes below 1.

    >>> world = concept_world(1000, 50)
    >>> world.images.shape, int(world.counts.sum()), bool(world.counts[0] > world.counts[-1])
    (torch.Size([1000, 32]), 1000, True)
    """
    if min(n_pairs, n_concepts, dimension, test_each) < 1 or not 0 <= misaligned <= 1:
        raise InputError(
            f"{n_pairs} pairs of {n_concepts} concepts, {misaligned} misaligned",
            "at least one of each, a share of 0 to 1",
            "concept_world(20000)",
        )
    centres = stream(seed, "centres").normal(size=(n_concepts, dimension))
    test = stream(seed, "test")
    labels = np.repeat(np.arange(n_concepts), test_each)
    tests = centres[labels] + spread * test.normal(size=(len(labels), dimension))
    rng = stream(seed, "pairs")
    weight = np.arange(1, n_concepts + 1) ** -float(exponent)
    seen = rng.choice(n_concepts, n_pairs, p=weight / weight.sum())
    images = centres[seen] + spread * rng.normal(size=(n_pairs, dimension))
    said = seen.copy()
    wrong = np.flatnonzero(rng.random(n_pairs) < misaligned)
    said[wrong] = seen[rng.permutation(wrong)]
    return ConceptWorld(
        torch.as_tensor(images, dtype=torch.float32), torch.as_tensor(said),
        torch.as_tensor(tests, dtype=torch.float32), torch.as_tensor(labels),
        np.bincount(seen, minlength=n_concepts),
    )  # fmt: skip


def contrastive_logits(
    world: ConceptWorld,
    steps: int = 1500,
    batch_size: int = 256,
    width: int = 128,
    embedding: int = 32,
    learning_rate: float = 3e-3,
    temperature: float = 0.1,
    seed: int = 0,
) -> Float[np.ndarray, "m c"]:
    """Train image and caption encoders on pairs by InfoNCE; return test logits of every concept.

    Loss: mean of both directions' cross-entropy among the pairs of a batch, on cosine similarities
    divided by the temperature. Images go through a network of one hidden layer, captions through a
    table. Caption repeats in a batch stay negatives of each other, as in the original.

    Args:
        world: from `concept_world`.
        steps: of AdamW with a cosine schedule.
        batch_size: pairs a step.
        width: of the hidden layer.
        embedding: dimension of both embeddings.
        learning_rate: at the start.
        temperature: of the similarities.
        seed: of weights and batches.

    Radford et al. 2021, arXiv:2103.00020, figure 3.

    >>> contrastive_logits(concept_world(100, 5, test_each=2), steps=2, batch_size=8).shape
    (10, 5)
    """
    n_concepts, d = len(world.counts), world.images.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "weights"))
        net = nn.Sequential(nn.Linear(d, width), nn.ReLU(), nn.Linear(width, embedding))
        table = nn.Embedding(n_concepts, embedding)
    weights = [*net.parameters(), *table.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=learning_rate, weight_decay=1e-4, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order, target = torch_stream(seed, "batches"), torch.arange(batch_size)

    def similarity(images: Tensor, captions: Tensor) -> Tensor:
        a = nn.functional.normalize(net(images), dim=1)
        b = nn.functional.normalize(table(captions), dim=1)
        return a @ b.T / temperature

    for _ in range(steps):
        rows = torch.randint(len(world.captions), (batch_size,), generator=order)
        scores = similarity(world.images[rows], world.captions[rows])
        loss = nn.functional.cross_entropy(scores, target)
        loss = (loss + nn.functional.cross_entropy(scores.T, target)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return similarity(world.test_images, torch.arange(n_concepts)).numpy().astype(np.float64)
