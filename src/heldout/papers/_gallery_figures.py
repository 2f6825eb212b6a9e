"""Plots of the gallery that no recipe has: other numbers of the same records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

Records = dict[str, dict[str, Any]]
Line = tuple[str, str, str, str]
"""Metric, label, color, style."""


def wrong_labels(records: Records, ax: Any) -> Any:
    """Draw what is answered rightly and what is stored, by step."""
    arms = {"plain": "no decay", "decay": "weight decay", "few": "fewer pairs"}
    kinds = {"test": ("held-out", "-"), "memorized": ("wrong labels", "--")}
    _lines(
        _seeds(records["coexistence"]),
        [
            (f"{kind}/{arm}", f"{what}, {name}", f"C{color}", style)
            for kind, (what, style) in kinds.items()
            for color, (arm, name) in enumerate(arms.items())
        ],
        ax,
    )
    return _by_step(ax, "share")


def inversion(records: Records, ax: Any) -> Any:
    """Draw training accuracy, and wrongly labelled pairs answered rightly, by step."""
    seeds = _seeds(records["full_inversion"])
    arms = {"plain": "no decay", "decay": "weight decay"}
    kinds = {"train": ("training", "-"), "inverted": ("put right", "--")}
    _lines(
        seeds,
        [
            (f"{kind}/{arm}", f"{what}, {name}", f"C{color}", style)
            for kind, (what, style) in kinds.items()
            for color, (arm, name) in enumerate(arms.items())
        ],
        ax,
    )
    share = _mean(seeds, "share/true")
    ax.axhline(share, color="0.5", linewidth=1, linestyle=":", label="right labels")
    return _by_step(ax, "share")


def collapse(records: Records, ax: Any) -> Any:
    """Draw the share of collapsed training pairs by step and precision."""
    arms = ("float16", "float32", "float64")
    lines = [(f"collapsed/{arm}", arm, f"C{i}", "-") for i, arm in enumerate(arms)]
    _lines(_seeds(records["float16_collapses_first"]), lines, ax)
    return _by_step(ax, "share of pairs with zero gradient")


def cures(records: Records, ax: Any) -> Any:
    """Draw accuracy by step with StableMax and with softmax."""
    rates = {"stablemax": "StableMax", "softmax": "softmax", "softmax_0.003": "softmax, lower rate"}
    kinds = {"test": ("held-out", "-"), "train": ("training", "--")}
    _lines(
        _seeds(records["stablemax"]),
        [
            (f"{kind}/{arm}", f"{what}, {name}", f"C{color}", style)
            for kind, (what, style) in kinds.items()
            for color, (arm, name) in enumerate(rates.items())
        ],
        ax,
    )
    return _by_step(ax, "accuracy")


def frozen(records: Records, ax: Any) -> Any:
    """Draw the harm of large initial weights by examples per parameter."""
    _by_alpha(_seeds(records["small_start_needed"]), {"start_matters": "large initial weights"}, ax)
    ax.axvline(1.0, color="0.7", linewidth=0.8, linestyle=":")
    ax.set_ylabel("relative rise of final test error")
    return ax


def stopping(records: Records, ax: Any) -> Any:
    """Draw the excess over ridge regression, stopped and not, by examples per parameter."""
    kinds = {"final_over_ridge": "trained to the end", "stopped_over_ridge": "stopped in time"}
    _by_alpha(_seeds(records["early_stopping_near_ridge"]), kinds, ax)
    ax.set(yscale="log", ylabel="excess of test error over ridge's")
    return ax


def robust(records: Records, ax: Any) -> Any:
    """Draw bars of what is memorized, learned and generalized, mean over seeds, a dot per seed."""
    seeds = _seeds(records["winsorized_memorizes_less"])
    kinds = {
        "wrong/fit": "wrong labels\nlearned",
        "clean/fit": "right labels\nlearned",
        "test/validated": "test accuracy,\nrate validated",
    }
    arms = {"plain": "plain SGD", "winsorized": "winsorized", "median": "median of three"}
    for j, (arm, label) in enumerate(arms.items()):
        for i, kind in enumerate(kinds):
            found = [s[f"{kind}/{arm}"] for s in seeds]
            at = i + 0.27 * (j - 1)
            ax.bar(at, _over(found), 0.25, color=f"C{j}", label=label if i == 0 else None)
            ax.plot([at] * len(found), found, "k.", markersize=3)
    ax.set_xticks(range(len(kinds)), list(kinds.values()))
    ax.set(ylabel="share of labels, or accuracy", ylim=(0, 1.02))
    ax.legend()
    return ax


def features(records: Records, ax: Any) -> Any:
    """Draw the recipe's bars, with words for its short names."""
    from heldout.papers.simplicity_bias import plot

    words = {
        "lms5": "linear\nover slabs", "ensemble": "ensemble\nof those", "ms57": "slab\nover slabs",
        "images": "digit over\ntexture", "noisy": "noisy linear\nover slabs",
    }  # fmt: skip
    plot(records, ax)
    marks = [label.get_text() for label in ax.get_xticklabels()]
    ax.set_xticks(ax.get_xticks(), [words.get(m.rpartition("\n")[2], m) for m in marks], fontsize=9)
    ax.set_ylim(0, 1.05)
    return ax


def tidy(ax: Any) -> None:
    """Move the legend below the axes, where it covers no data, and keep covered lines visible."""
    drawn = ax.figure
    drawn.get_layout_engine().set(w_pad=0.12, h_pad=0.08)
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set_fontsize(11)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    # Lines of equal values lie on each other: the lower ones are wider.
    lines = [line for line in ax.lines if not line.get_label().startswith("_")]
    lines = [line for line in lines if line.get_linestyle() != "None"]
    for i, line in enumerate(lines):
        line.set_linewidth(1.4 + 1.6 * (1 - (i + 1) / len(lines)))
    _legend_below(ax)


def _legend_below(ax: Any) -> None:
    drawn, legend = ax.figure, ax.get_legend()
    if legend is None:
        return
    title = legend.get_title().get_text()
    handles, labels = ax.get_legend_handles_labels()
    labels = [label.replace(" ipr", " IPR") for label in labels]
    legend.remove()
    if len(labels) == 1:
        return
    longest = max(map(len, labels))
    columns = 3 if longest < 18 else 2 if longest < 36 else 1
    rows = -(-len(labels) // columns) + bool(title)
    # The axes keep their size: the legend gets height of its own.
    drawn.set_size_inches(6.4, 3.8 + 0.24 * rows)
    drawn.legend(
        handles, labels, loc="outside lower center", ncols=columns, fontsize=10, frameon=False,
        title=title or None,
    )  # fmt: skip


def _seeds(record: Mapping[str, Any]) -> list[dict[str, float]]:
    return [s["metrics"] for s in record["seeds"] if "metrics" in s]


def _lines(seeds: Sequence[Mapping[str, float]], lines: Sequence[Line], ax: Any) -> None:
    for metric, label, color, style in lines:
        found = defaultdict(list)
        for metrics in seeds:
            for key, value in metrics.items():
                if key.startswith(f"{metric}@"):
                    found[float(key.rpartition("@")[2])].append(value)
        steps = sorted(s for s in found if s > 0)  # the axis is logarithmic
        ax.plot(steps, [_over(found[s]) for s in steps], style, color=color, label=label)


def _by_step(ax: Any, what: str) -> Any:
    ax.set(xscale="log", xlabel="full-batch steps", ylabel=what, ylim=(-0.02, 1.02))
    ax.legend()
    return ax


def _by_alpha(seeds: Sequence[Mapping[str, float]], kinds: Mapping[str, str], ax: Any) -> None:
    for color, (kind, label) in enumerate(kinds.items()):
        start = f"{kind}/alpha"
        alphas = sorted(float(k.removeprefix(start)) for k in seeds[0] if k.startswith(start))
        for metrics in seeds:
            each = [metrics[f"{start}{a:g}"] for a in alphas]
            ax.plot(alphas, each, ".", color=f"C{color}", markersize=3)
        means = [_mean(seeds, f"{start}{a:g}") for a in alphas]
        ax.plot(alphas, means, "o-", color=f"C{color}", markersize=4, label=label)
    ax.set(xscale="log", xlabel="examples per parameter")
    ax.set_xticks(alphas, [f"{a:g}" for a in alphas])
    ax.minorticks_off()
    ax.legend()


def _mean(seeds: Sequence[Mapping[str, float]], metric: str) -> float:
    return _over([s[metric] for s in seeds])


def _over(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
