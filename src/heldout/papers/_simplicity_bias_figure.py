"""The figure of the recipe `simplicity_bias`."""

from __future__ import annotations

from typing import Any

_ARMS = {
    "auc/lms5": "linear_over_slabs",
    "auc/ensemble": "ensemble_keeps_bias",
    "auc/ms57": "simpler_slab_over_slabs",
    "auc/images": "digit_over_texture",
    "auc/adversarial": "adversarial_training_keeps_bias",
    "accuracy/noisy": "noisy_feature_used_alone",
}
_KINDS = {
    "standard": "untouched",
    "randomized": "simple feature permuted",
    "complement_randomized": "all others permuted",
}


def draw(records: dict[str, dict[str, Any]], ax: Any) -> Any:
    """Draw bars, mean over seeds, with a dot per seed; chance is the grey line."""
    shown = {k: records[v]["seeds"] for k, v in _ARMS.items() if v in records}
    for j, (kind, label) in enumerate(_KINDS.items()):
        for i, (arm, seeds) in enumerate(shown.items()):
            found = [s["metrics"][f"{arm}/{kind}"] for s in seeds if "metrics" in s]
            at, mean = i + 0.27 * (j - 1), sum(found) / max(len(found), 1)
            ax.bar(at, mean, 0.25, color=f"C{j}", label=label if i == 0 else None)
            ax.plot([at] * len(found), found, "k.", markersize=3)
    ax.axhline(0.5, color="0.5", linewidth=0.8)
    ax.set_xticks(range(len(shown)), [k.replace("/", ",\n") for k in shown], fontsize="small")
    ax.set(ylabel="test AUC or accuracy", ylim=(0, 1.4))
    ax.legend(fontsize="small", loc="upper right")
    return ax
