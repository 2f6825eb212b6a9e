"""Test and shifted examples that were in the training set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import fisher_exact

from heldout.audit.artifacts import Artifacts
from heldout.audit.collectors.fingerprints import Matches, matches
from heldout.audit.result import Action, Check, Example, Finding, Number, Status, Table, number
from heldout.core.statistics import proportion
from heldout.data.duplicates import exact_matches, repeat_rate

CHECK = Check(
    id="leakage",
    part="why",
    title="Leakage",
    question="Was the model tested on examples that it was trained on?",
    rule="Fails when more than 1 % of the test examples are copies or near-copies of training "
    "examples beyond chance; warns above 0.5 %, or when that holds for a shifted set.",
    needs=("predictions", "fingerprints"),
    cost="one hash per example, and distances to the training set",
    guide="A copied test example rewards memory instead of generalization. Near-copies are "
    "examples that lie far closer to one training example than the data's own spacing explains, "
    "by input (for images also moved by a pixel, or with other brightness and contrast) or in "
    "the model's embedding. Rows that coincide because features are coarse are not counted.",
)

_FAIL = 0.01
_WARN = 0.005
_CHANCE = 0.01  # p-value below which copies exceed what repeats inside the training set explain


@dataclass(frozen=True)
class _Leak:
    """What of one split is leaked, after what chance explains."""

    split: str
    found: Matches
    exact: np.ndarray  # positions in found.exact that count, rarest first
    natural: int  # identical rows put down to chance
    n: int

    @property
    def rows(self) -> np.ndarray:
        return np.concatenate([self.found.exact.rows[self.exact], self.found.near.rows])


def run(artifacts: Artifacts) -> Finding:
    """Count copies in every split, and what the test accuracy is without them."""
    train = artifacts.read("fingerprints/train")
    leaks = [_leak(artifacts, train, s) for s in artifacts.splits if s != "train"]
    test, shifted = leaks[0], leaks[1:]
    numbers = {leak.split: _share(leak) for leak in leaks}
    numbers |= _inside(artifacts, train)
    gain, more = _accuracy(artifacts, test)
    numbers |= more
    status, reason = _verdict(test, shifted, gain)
    return Finding(
        status,
        reason,
        numbers,
        examples=[e for leak in leaks for e in _examples(artifacts, leak)],
        actions=_actions(artifacts, test) if len(test.rows) and status != "passed" else [],
        tables=_tables(artifacts, leaks),
        evidence=100 * max(gain, 0.0) if status != "passed" else 0.0,
    )


def _leak(artifacts: Artifacts, train: dict[str, np.ndarray], split: str) -> _Leak:
    found = matches(artifacts, split)
    n, count = len(artifacts.index(split)), len(found.exact.rows)
    order = np.argsort(found.exact.copies, kind="stable")
    chance, pairs = float(train["chance"]), int(train["found"])
    coarse = pairs <= 3 * chance + 3 * np.sqrt(chance) + (1 if chance > 0.05 else 0)
    if count and coarse:
        repeats = repeat_rate(train["hash"])
        size = len(train["hash"])
        inside = round(repeats * size)
        p = fisher_exact([[count, n - count], [inside, size - inside]], "greater")[1]
        beyond = max(0, round(count - repeats * n)) if p < _CHANCE else 0
        order = order[:beyond]
    return _Leak(split, found, order, count - len(order), n)


def _share(leak: _Leak) -> Number:
    return number(
        proportion(len(leak.rows), leak.n),
        "share of examples (0-1)",
        "higher",
        null=0.0,
        null_label="no copies",
        guide=f"Share of {leak.split} examples with a copy or near-copy in the training set.",
    )


def _inside(artifacts: Artifacts, train: dict[str, np.ndarray]) -> dict[str, Number]:
    repeats = exact_matches(train["hash"])
    share = proportion(len(repeats.rows), len(train["hash"]))
    pairs = int(train["found"])
    return {
        "repeats_in_train": number(
            share,
            "share of examples (0-1)",
            "higher",
            null=0.0,
            null_label="no repeats",
            guide="Training examples that repeat an earlier one. About "
            f"{float(train['chance']):.1f} of the {pairs} identical pairs in train and test "
            "together are explained by coarse features.",
        )
    }


def _accuracy(artifacts: Artifacts, leak: _Leak) -> tuple[float, dict[str, Number]]:
    if artifacts.labels(leak.split) is None or not len(leak.rows):
        return 0.0, {}
    correct = artifacts.correct(leak.split)
    kept = np.setdiff1d(np.arange(leak.n), leak.rows)
    if not len(kept):
        return 0.0, {}
    without = proportion(int(correct[kept].sum()), len(kept))
    return float(correct.mean() - without.value), {
        "accuracy_without_copies": number(
            without,
            "accuracy (0-1)",
            "lower",
            null=float(correct.mean()),
            null_label="accuracy with them",
            guide="Test accuracy on the examples that are not in the training set.",
        )
    }


def _verdict(test: _Leak, shifted: list[_Leak], gain: float) -> tuple[Status, str]:
    share = len(test.rows) / test.n
    exact, near = len(test.exact), len(test.found.near.rows)
    words = (
        f"{len(test.rows)} of {test.n} test examples ({share:.1%}) are in the training set: "
        f"{exact} identical, {near} nearly."
    )
    if test.natural:
        words += f" {test.natural} more are identical as often as chance would have it."
    if share > _FAIL:
        flattered = f" They flatter the test accuracy by {100 * gain:.1f} points."
        return "failed", words + (flattered if gain > 0 else "")
    bad = [leak for leak in shifted if len(leak.rows) / leak.n > _FAIL]
    if bad:
        names = ", ".join(f"{x.split} ({len(x.rows) / x.n:.1%})" for x in bad)
        return "warning", f"{words} Training examples also occur in {names}."
    return ("warning" if share > _WARN else "passed"), words


def _examples(artifacts: Artifacts, leak: _Leak) -> list[Example]:
    index, origin = artifacts.index(leak.split), artifacts.index("train")
    exact, near = leak.found.exact, leak.found.near
    pairs = [
        (int(exact.rows[i]), 1.0, f"identical to train {origin[exact.partners[i]]}")
        for i in leak.exact
    ]
    pairs += [
        (int(r), 1 - float(q), f"nearly train {origin[p]}: {q:.1%} of the distance to others")
        for r, p, q in zip(near.rows, near.partners, near.ratio, strict=True)
    ]
    return [Example(int(index[r]), leak.split, s, why, r) for r, s, why in pairs]


def _actions(artifacts: Artifacts, leak: _Leak) -> list[Action]:
    rows = np.sort(artifacts.index(leak.split)[leak.rows]).tolist()
    shown = f"{rows[:20]}" if len(rows) <= 20 else f"{rows[:20]}  # and {len(rows) - 20} more"
    return [
        Action(
            "leakage.remove_copies",
            f"Remove {len(rows)} copies from the {leak.split} set and test again",
            f"{len(rows)} of {leak.n} {leak.split} examples are in the training set.",
            "leaked = {e.index for e in report.checks['leakage'].examples "
            f"if e.split == '{leak.split}'}}\n# {shown}",
            "no training; one forward pass",
        )
    ]


def _tables(artifacts: Artifacts, leaks: list[_Leak]) -> list[Table]:
    rows = [[x.split, x.n, len(x.exact), len(x.found.near.rows), x.natural] for x in leaks]
    twice = _between(artifacts)
    note = "By chance: identical rows that coarse features and repeats explain. "
    if twice:
        note += "Identical to test examples, as by design in corrupted copies: " + twice + "."
    return [
        Table(
            "Copies of training examples",
            ["split", "n", "identical", "near", "by chance"],
            rows,
            note,
        )
    ]


def _between(artifacts: Artifacts) -> str:
    test = artifacts.read("fingerprints/test")["hash"]
    counts = {
        s: len(exact_matches(test, artifacts.read(f"fingerprints/{s}")["hash"]).rows)
        for s in artifacts.shifted
    }
    return ", ".join(f"{s} {c}" for s, c in counts.items() if c)
