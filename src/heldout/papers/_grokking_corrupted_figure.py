"""The figure of the recipe `grokking_corrupted`."""

from __future__ import annotations

from typing import Any

_WAYS = {
    "coexistence": (),
    "dropout_inverts": ("none", "dropout_0.3", "dropout_0.6"),
    "small_batches_invert": ("full_batch", "small_batches", "batch_norm"),
    "weight_decay_forgets": ("less", "too_much"),
}


def draw(records: dict[str, dict[str, Any]], ax: Any) -> Any:
    """Draw accuracy by share of neurons pruned: held-out pairs solid, wrong labels dashed.

    Records without the pruning are drawn by step: held-out pairs solid, wrong labels that are
    answered rightly dashed.
    """
    found = {c.get("claim", name): c for name, c in records.items()}
    for claim, arms in _WAYS.items():
        if claim in found:
            seeds = [s["metrics"] for s in found[claim]["seeds"] if "metrics" in s]
            return _by_step(seeds, arms, ax) if arms else _pruned(seeds, ax)
    return _pruned([s["metrics"] for c in found.values() for s in c["seeds"] if "metrics" in s], ax)


def _pruned(seeds: list[dict[str, float]], ax: Any) -> Any:
    for color, way in enumerate(("low_ipr", "high_ipr", "attribution", "random")):
        for kind, style in (("test", "-"), ("memorized", "--")):
            label = f"{way.replace('_', ' ')}, {kind}"
            _line(seeds, f"{kind}/pruned_{way}@", style, f"C{color}", label, ax)
    ax.set(xlabel="% of neurons pruned", ylabel="accuracy", ylim=(-0.02, 1.02))
    ax.legend(fontsize="small")
    return ax


def _by_step(seeds: list[dict[str, float]], arms: tuple[str, ...], ax: Any) -> Any:
    for color, arm in enumerate(arms):
        for kind, style, says in (("test", "-", "held-out"), ("inverted", "--", "put right")):
            label = f"{arm.replace('_', ' ')}, {says}"
            _line(seeds, f"{kind}/{arm}@", style, f"C{color}", label, ax)
    ax.set(xlabel="step", ylabel="share answered rightly", ylim=(-0.02, 1.02))
    ax.set_xscale("symlog", linthresh=1)
    ax.legend(fontsize="small")
    return ax


def _line(
    seeds: list[dict[str, float]], start: str, style: str, color: str, label: str, ax: Any
) -> None:
    keys = sorted({k for s in seeds[:1] for k in s if k.startswith(start)}, key=_at)
    means = [sum(s[k] for s in seeds) / len(seeds) for k in keys]
    ax.plot([_at(k) for k in keys], means, style, color=color, label=label)


def _at(key: str) -> float:
    return float(key.split("@")[1])
