"""The leakage check on images and tables with planted copies, and on clean ones."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_iris

from heldout.audit.artifacts import fresh
from heldout.audit.checks import leakage
from heldout.audit.collect import describe
from heldout.audit.collectors import fingerprints, predictions
from heldout.audit.context import Context, Settings, Speed
from heldout.core.preparing import prepare


def audited(folder, train, test, shifted=None):  # type: ignore[no-untyped-def]
    """Run the check on a model that answers by the first two numbers of an example."""
    classes = int(max(train[1].max(), test[1].max())) + 1

    def model(x):  # type: ignore[no-untyped-def]
        flat = np.asarray(x).reshape(len(x), -1)
        return np.stack([np.cos(k + flat[:, 0] + flat[:, 1]) for k in range(classes)], axis=1) * 3

    task = prepare(model, train, test, shifted or {})
    settings = Settings()
    artifacts = fresh(folder, describe(task, settings))
    context = Context(task, artifacts, settings, Speed(1e-5, 100.0))
    predictions.collect(context)
    fingerprints.collect(context)
    return leakage.run(artifacts)


def halves(name, seed=0):  # type: ignore[no-untyped-def]
    load = {"digits": load_digits, "cancer": load_breast_cancer, "iris": load_iris}[name]
    x, y = load(return_X_y=True)
    if name == "digits":
        x = x.reshape(-1, 1, 8, 8).astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(y))[:900]
    cut = len(order) * 2 // 3
    return (x[order[:cut]], y[order[:cut]]), (x[order[cut:]], y[order[cut:]])


@pytest.mark.parametrize("name", ["digits", "cancer"])
@pytest.mark.parametrize("jitter", [0.0, 0.02])
def test_planted_copies_are_found_and_nothing_else(tmp_path, name, jitter) -> None:  # type: ignore[no-untyped-def]
    train, (x, y) = halves(name)
    rng = np.random.default_rng(1)
    x, y = x.copy(), y.copy()
    rows, origin = rng.permutation(len(x))[:15], rng.permutation(len(train[0]))[:15]
    noise = jitter * train[0].std(axis=0) * rng.normal(size=x[rows].shape)
    x[rows], y[rows] = train[0][origin] + noise, train[1][origin]
    finding = audited(tmp_path, train, (x, y))
    assert finding.status == "failed"
    flagged = {e.row for e in finding.examples if e.split == "test"}
    assert len(flagged & set(rows.tolist())) >= 14 and len(flagged - set(rows.tolist())) <= 1
    pairs = {e.row: e.why for e in finding.examples}
    assert all(f"train {o}" in pairs[r] for r, o in zip(rows, origin, strict=True) if r in pairs)
    assert finding.numbers["test"].ci_low < 15 / len(x) < finding.numbers["test"].ci_high + 0.01
    assert finding.actions and "accuracy_without_copies" in finding.numbers


@pytest.mark.parametrize("name", ["digits", "cancer", "iris"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_clean_splits_pass(tmp_path, name, seed) -> None:  # type: ignore[no-untyped-def]
    finding = audited(tmp_path, *halves(name, seed))
    assert finding.status == "passed", finding.reason
    assert finding.evidence == 0 and not finding.actions


def test_rows_of_a_coarse_table_coincide_by_chance(tmp_path) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, (600, 4)).astype(float), rng.integers(0, 2, 600)
    finding = audited(tmp_path, (x[:400], y[:400]), (x[400:], y[400:]))
    assert finding.status == "passed" and not finding.examples
    assert "chance" in finding.reason


def test_a_shifted_set_made_of_training_examples_warns(tmp_path) -> None:  # type: ignore[no-untyped-def]
    train, test = halves("cancer")
    shifted = {"copied": train[0][:40], "moved": test[0] * 1.3 + 5, "same as test": test[0]}
    finding = audited(tmp_path, train, test, shifted)
    assert finding.status == "warning"
    assert finding.numbers["shifted/copied"].value == 1
    assert finding.numbers["shifted/moved"].value == 0
    assert "same as test" in finding.tables[0].note


def test_relabelled_splits_swap_the_verdict(tmp_path) -> None:  # type: ignore[no-untyped-def]
    # The same rows, once in both splits and once not: only the split may decide.
    train, test = halves("cancer")
    assert audited(tmp_path / "a", train, test).status == "passed"
    assert audited(tmp_path / "b", train, (train[0][:100], train[1][:100])).status == "failed"
