"""The figure of the recipe `universality_lens`."""

from __future__ import annotations

from typing import Any


def draw(records: dict[str, dict[str, Any]], ax: Any) -> Any:
    """Draw regret against ln 1 / W_0 of every truth and seed, both widths, under the diagonal."""
    seeds = [s["metrics"] for s in records["bound"]["seeds"] if "metrics" in s]
    top = 0.0
    for color, name in enumerate(("narrow", "wide")):
        start, inverse = f"regret/{name}@", f"log_inverse_weight/{name}@"
        pairs = [(m[k.replace(start, inverse)], m[k]) for m in seeds for k in m if start in k]
        top = max([top, *(p[0] for p in pairs)])
        ax.plot(*zip(*pairs, strict=True), "ox"[color], color=f"C{color}", label=f"{name} nets")
    ax.plot([0, top], [0, top], "--", color="0.5", label="bound at eps = 0")
    ax.set(xlabel="ln 1 / W of the truth (nats)", ylabel="regret after 96 examples (nats)")
    ax.legend(fontsize="small")
    return ax
