"""Runs of the toy: accuracy by concept frequency, with less data, wrong captions, no tail."""

from __future__ import annotations

from typing import Any

import numpy as np

from heldout.bench.concept_world import concept_world, contrastive_logits
from heldout.core.seeds import derived_seed, stream
from heldout.data.frequency.law import binned_means, corrected_accuracy, frequency_law


def toy(settings: dict[str, Any], seed: int) -> dict[str, float]:
    """Train on skewed, fewer, misaligned and evenly spread pairs; return trends and accuracies."""
    n, few = settings["pairs"], settings["pairs"] // 4
    arms = {
        "skewed": {"n_pairs": n},
        "few": {"n_pairs": few},
        "misaligned": {"n_pairs": n, "misaligned": settings["misaligned"]},
        "uniform": {"n_pairs": n, "exponent": 0.0},
    }
    found: dict[str, float] = {}
    for arm, options in arms.items():
        counts, plain, corrected = _scores(settings, options, seed)
        found[f"accuracy/{arm}"] = float(plain.mean())
        if arm == "uniform":
            found["binned_r/uniform"] = _binned_r(counts, plain)
            found["raw_r/uniform"] = float(np.corrcoef(np.log(np.maximum(counts, 1)), plain)[0, 1])
            continue
        law = frequency_law(counts, plain, draws=0)
        found |= {
            f"slope/{arm}": law.slope_per_decade.value, f"raw_r/{arm}": law.raw_r.value,
            f"binned_r/{arm}": law.binned_r.value,
        }  # fmt: skip
        if arm == "skewed":
            after = frequency_law(counts, corrected, draws=0)
            mixed = stream(seed, "shuffled").permutation(counts)
            found |= {
                "raw_r/corrected": after.raw_r.value,
                "slope/corrected": after.slope_per_decade.value,
                "accuracy/corrected": float(corrected.mean()),
                "raw_r/shuffled": frequency_law(mixed, plain, draws=0).raw_r.value,
            }
            full = law.bin_sizes > 0
            for x, y in zip(law.bin_counts[full], law.bin_means[full], strict=True):
                found[f"accuracy/bin@{x:.4g}"] = float(y)
    return found | {
        "data_gain": found["accuracy/skewed"] - found["accuracy/few"],
        "slope_lost": found["slope/skewed"] - found["slope/misaligned"],
        "accuracy_lost": found["accuracy/skewed"] - found["accuracy/misaligned"],
    }


def _scores(
    settings: dict[str, Any], options: dict[str, Any], seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    world = concept_world(
        n_concepts=settings["concepts"], spread=settings["spread"], seed=seed,
        test_each=settings["test_each"], **options,
    )  # fmt: skip
    logits = contrastive_logits(world, settings["steps"], seed=derived_seed(seed, "toy"))
    labels = world.test_labels.numpy()
    even = np.full(settings["concepts"], 1.0)
    plain = corrected_accuracy(logits, labels, even)
    return world.counts.astype(float), plain, corrected_accuracy(logits, labels)


def _binned_r(counts: np.ndarray, scores: np.ndarray) -> float:
    # Not by `frequency_law`, which rightly refuses counts that span less than a decade.
    edges, means, sizes = binned_means(counts, scores)
    inner = slice(1, -1)
    full = sizes[inner] > 0
    return float(np.corrcoef(edges[inner][full], means[inner][full])[0, 1])
