"""Held-out predictions: exact leave-one-out, untouched by the row's own label."""

import numpy as np
import pytest
import torch

from heldout.core.errors import InputError
from heldout.data.crossfit import (
    PROBES,
    ProbeOptions,
    crossfit_model,
    crossfit_probes,
    stratified_folds,
)
from heldout.data.design import standardize
from heldout.data.kernel_probe import KernelProbeOptions, kernel_loo, landmark_features, ridge_loo
from heldout.data.net_probe import NetProbeOptions, train_net_folds


def blobs(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    return rng.normal(size=(n, 4)) + 2.5 * np.eye(3, 4)[labels], labels


def test_ridge_leave_one_out_equals_refitting_without_each_row() -> None:
    rng = np.random.default_rng(0)
    features, targets, ridge = rng.normal(size=(25, 4)), rng.normal(size=(25, 2)), 0.7
    found, _ = ridge_loo(features, targets, (ridge,))
    for i in range(25):
        rest = np.arange(25) != i
        f = features[rest]
        w = np.linalg.solve(f.T @ f + ridge * np.eye(4), f.T @ targets[rest])
        np.testing.assert_allclose(found[i], features[i] @ w, atol=1e-8)


@pytest.mark.parametrize("kernel", ["gaussian", "laplace"])
def test_landmark_features_are_exact_with_all_rows(kernel: str) -> None:
    x = np.random.default_rng(1).normal(size=(20, 3))
    f = landmark_features(x, kernel, 0.5, x)[:, :-1]
    distance = np.linalg.norm(x[:, None] - x[None], axis=-1)
    scaled = distance / (0.5 * np.median(distance[distance > 0]))
    expected = np.exp(-0.5 * scaled**2) if kernel == "gaussian" else np.exp(-scaled)
    np.testing.assert_allclose(f @ f.T, expected, atol=1e-6)


def test_a_rows_own_label_has_no_part_in_its_kernel_scores() -> None:
    x, y = blobs(60, 0)
    changed = y.copy()
    changed[7] = (y[7] + 1) % 3
    # Penalty and width are fixed, for their choice is the one thing that all labels decide.
    fixed = KernelProbeOptions(widths=(1.0,), ridges=(0.5,))
    before = kernel_loo(x, y, 3, "gaussian", 0, fixed)
    after = kernel_loo(x, changed, 3, "gaussian", 0, fixed)
    np.testing.assert_allclose(before[7], after[7], atol=1e-8)
    assert not np.allclose(before[8], after[8], atol=1e-8)


def test_a_folds_labels_have_no_part_in_its_net_predictions() -> None:
    x, y = blobs(60, 1)
    folds = np.arange(60) % 3
    options = NetProbeOptions(steps=20, members=2, hidden=8, batch=32, snapshots=2)
    changed = np.where(folds == 0, (y + 1) % 3, y)
    before = train_net_folds(x, y, folds, 3, 0, options)
    after = train_net_folds(x, changed, folds, 3, 0, options)
    np.testing.assert_array_equal(before[:, folds == 0], after[:, folds == 0])
    assert not np.allclose(before[:, folds == 1], after[:, folds == 1])


def test_net_predictions_leave_the_global_generator_alone() -> None:
    x, y = blobs(30, 2)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    train_net_folds(x, y, np.arange(30) % 2, 3, 0, NetProbeOptions(steps=3, snapshots=1))
    assert torch.equal(torch.rand(2), expected)


def test_every_probe_beats_chance_and_memory_is_worthless() -> None:
    x, y = blobs(150, 3)
    noise = np.random.default_rng(4).integers(0, 3, 150)
    net = NetProbeOptions(steps=120, members=1, snapshots=3)
    options = ProbeOptions(trees=40, net=net)
    real = crossfit_probes(x, y, 3, 0, options=options)
    random = crossfit_probes(x, noise, 3, 0, options=options)
    assert set(real) == set(PROBES)
    for name in PROBES:
        np.testing.assert_allclose(real[name].sum(axis=1), 1.0, atol=1e-6)
        assert (real[name].argmax(axis=1) == y).mean() > 0.75, name
        # Random labels cannot be predicted by a model that did not see them.
        assert (random[name].argmax(axis=1) == noise).mean() < 0.5, name


def test_extra_rows_teach() -> None:
    x, y = blobs(400, 5)
    few = (x[:20], y[:20])
    options = ProbeOptions(probes=("gaussian",))
    alone = crossfit_probes(*few, 3, 0, options=options)["gaussian"]
    helped = crossfit_probes(*few, 3, 0, extra=(x[20:], y[20:]), options=options)["gaussian"]
    assert helped.shape == alone.shape
    assert helped[np.arange(20), few[1]].mean() > alone[np.arange(20), few[1]].mean()


def test_crossfit_model_holds_out_every_row_once() -> None:
    y = np.random.default_rng(0).integers(0, 2, 37)
    seen: list[int] = []

    def recall(train: np.ndarray, held: np.ndarray, seed: int) -> np.ndarray:
        assert not np.intersect1d(train, held).size and len(train) + len(held) == 37
        seen.extend(held.tolist())
        return np.eye(2)[np.zeros(len(held), int)]

    crossfit_model(recall, y, 2, seed=0, folds=5)
    assert sorted(seen) == list(range(37))


def test_folds_are_stratified() -> None:
    y = np.repeat([0, 1, 2], [50, 20, 10])
    folds = stratified_folds(y, 5, np.random.default_rng(0))
    for k in range(5):
        assert np.bincount(y[folds == k]).tolist() == [10, 4, 2]


def test_bad_inputs_are_explained() -> None:
    with pytest.raises(InputError, match="impute"):
        standardize(np.array([[np.nan], [1.0]]))
    with pytest.raises(InputError, match="vary"):
        standardize(np.ones((4, 2)))
    with pytest.raises(InputError, match="3 rows"):
        crossfit_probes(np.eye(3), np.arange(3), 3, 0)
