"""Model and data that do not belong together are refused, with the next thing to try."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from heldout.core.errors import InputError
from heldout.core.preparing import prepare

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4)).astype(np.float32)
Y = np.arange(40) % 3


def _net(out: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, out)
    )


def _with(x: np.ndarray, row: int, value: float) -> np.ndarray:
    x = x.copy()
    x[row, 2] = value
    return x


def test_a_task_holds_what_was_given() -> None:
    task = prepare(_net(), (X, Y), (X[:9], Y[:9]), {"night": X[:5], "blur": (X[:7], Y[:7])}, seed=4)
    assert list(task.splits) == ["train", "test", "shifted/night", "shifted/blur"]
    assert task.shifted == ["shifted/night", "shifted/blur"] and task.seed == 4
    assert task.splits["shifted/night"].labels is None
    assert task.labels("shifted/blur").tolist() == Y[:7].tolist()
    assert task.class_names == ["0", "1", "2"] and task.n_classes == 3
    with pytest.raises(InputError, match="shifted/night without labels"):
        task.labels("shifted/night")


def test_the_model_comes_back_as_it_was() -> None:
    net = _net().train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = torch.get_rng_state()
    loader = DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), shuffle=True)
    prepare(net, loader, loader)
    assert all(m.training for m in net.modules())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


def test_groups_follow_the_sample() -> None:
    names = np.array([f"p{i}" for i in range(40)])
    groups = {"train": {"place": names}, "night": names[:30], "shifted/blur": list(names[:20])}
    task = prepare(
        _net(), (X, Y), (X, Y), {"night": X[:30], "blur": X[:20]}, groups=groups, max_examples=12
    )
    for name, key in (("train", "place"), ("shifted/night", "group"), ("shifted/blur", "group")):
        split = task.splits[name]
        assert len(split) == 12 and split.groups[key].tolist() == names[split.index].tolist()


@pytest.mark.parametrize(
    ("train", "test", "said", "hint"),
    [
        ((X, Y + 1), (X, Y), "train labels up to 3 for a model with 3 outputs", "start at 0"),
        ((X, Y), (X, Y + 1), "test labels up to 3 for a model with 3 outputs", "start at 0"),
        ((X, Y.astype(float)), (X, Y), "train labels of dtype float64", "astype(int)"),
        ((X, Y - 1), (X, Y), "train labels from -1 to 1", "drop or relabel"),
        ((X, Y * 0 + 2), (X, Y), "train with one class only (2)", "sorted file"),
        ((X, None), (X, Y), "train without labels", "pass train=(X, y)"),
        ((X, Y), X, "test without labels", "pass test=(X, y)"),
        ((X, Y), (X, Y * 0 - 1), "test without labels", "pass test=(X, y)"),
        ((X, Y), (X[:0], Y[:0]), "test with no examples", "check the path"),
        ((X, Y[:-1]), (X, Y), "train with mismatched lengths", "same rows"),
        ((_with(X, 7, np.nan), Y), (X, Y), "train inputs with NaN or infinity in 1 of", "impute"),
        ((X, Y), (_with(X, 9, np.inf), Y), "first at index 9", "drop or impute"),
        ((X[:, :3], Y), (X[:, :3], Y), "the model raised RuntimeError", "shape and dtype"),
        ((X.astype(int), Y), (X, Y), "int64", "shape and dtype"),
        ((X, np.array(["a", "b"])[Y % 2]), (X, Y), "labels unknown", "dtype"),
        (None, (X, Y), "train=None", "pass train=(X, y)"),
    ],
)  # fmt: skip
def test_bad_data_is_explained(train, test, said: str, hint: str) -> None:
    with pytest.raises(InputError) as error:
        prepare(_net(), train, test)
    assert said in error.value.given, error.value.given
    assert hint in error.value.hint and error.value.expected


def test_labels_of_shifted_sets_are_checked_too() -> None:
    with pytest.raises(InputError, match=r"shifted/night labels up to 5"):
        prepare(_net(), (X, Y), (X, Y), {"night": (X, Y + 3)})
    prepare(_net(), (X, Y), (X, Y), {"night": (X[:5], Y[:5] * 0)})  # one class is fine there


def test_names_must_fit_the_outputs() -> None:
    with pytest.raises(InputError, match="2 class names for a model with 3 outputs"):
        prepare(_net(), (X, Y), (X, Y), class_names=["a", "b"])
    two = np.array(["a", "b"])[Y % 2]
    with pytest.raises(InputError, match=r"2 different train labels \(a, b"):
        prepare(_net(), (X, two), (X, two))
    assert prepare(_net(2), (X, two), (X, two)).class_names == ["a", "b"]
    with pytest.raises(InputError, match=r"test labels unknown to the model: \['c'\]"):
        prepare(_net(2), (X, two), (X, np.where(Y == 0, "c", two)))


@pytest.mark.parametrize("name", ["", "  ", 3, None])
def test_shifted_sets_need_names(name: object) -> None:
    with pytest.raises(InputError, match="a non-empty name"):
        prepare(_net(), (X, Y), (X, Y), {name: X})


def test_groups_must_fit() -> None:
    with pytest.raises(InputError, match=r"'place' of test with 3 values for 40"):
        prepare(_net(), (X, Y), (X, Y), groups={"test": {"place": ["a"] * 3}})
    with pytest.raises(InputError, match="groups for 'nigth'"):
        prepare(_net(), (X, Y), (X, Y), {"night": X}, groups={"nigth": ["a"] * 40})


class Restless(nn.Module):
    """Draws anew on every call, whatever mode it is in."""

    def __init__(self, by: str) -> None:
        super().__init__()
        self.linear, self.by = nn.Linear(4, 3), by

    def forward(self, x):
        z = self.linear(x)
        if self.by == "dropout":
            return functional.dropout(z, 0.5, training=True)
        return z + float(np.random.rand())


@pytest.mark.parametrize("by", ["dropout", "numpy"])
def test_a_model_that_draws_is_refused(by: str) -> None:
    with pytest.raises(InputError, match=r"outputs differ by[\s\S]*test-time dropout"):
        prepare(Restless(by), (X, Y), (X, Y))


def test_a_model_that_counts_its_calls_is_refused() -> None:
    calls = []

    def model(x):
        calls.append(1)
        return np.asarray(x)[:, :3] + len(calls)

    with pytest.raises(InputError, match="outputs differ by 1 "):
        prepare(model, (X, Y), (X, Y))


def test_a_model_that_looks_at_its_batch_is_refused() -> None:
    net = nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.Linear(8, 3)
    )
    with pytest.raises(InputError, match=r"with the rest of its batch[\s\S]*track_running_stats"):
        prepare(net, (X, Y), (X, Y))
    prepare(_net().bfloat16(), (X, Y), (X, Y))  # its rounding alone is no reason


def test_missing_values_are_for_pipelines_that_mend_them() -> None:
    frame = pd.DataFrame(_with(X, 3, np.nan), columns=list("abcd"))
    forest = HistGradientBoostingClassifier(max_iter=2).fit(frame, Y)
    assert len(prepare(forest, (frame, Y), (frame, Y)).splits["train"]) == 40
    with pytest.raises(InputError, match="in column 'c' in 1 of 40"):
        prepare(_net(), (frame, Y), (frame, Y))
    infinite = pd.DataFrame(_with(X, 3, np.inf), columns=list("abcd"))
    with pytest.raises(InputError, match="in column 'c' in 1 of 40"):
        prepare(forest, (frame, Y), (infinite, Y))


def test_a_function_is_asked_once_what_it_gives() -> None:
    task = prepare(lambda x: 1 / (1 + np.exp(-x[:, 0])), (X, Y % 2), (X, Y % 2))
    assert task.classifier.gives == "probabilities" and task.n_classes == 2


def test_bool_labels_and_estimator_classes() -> None:
    truth = X[:, 0] > 0
    for model in (LogisticRegression().fit(X, truth), _net(2), lambda x: x[:, 0]):
        task = prepare(model, (X, truth), (X, truth))
        assert task.labels("test").tolist() == truth.astype(int).tolist()
    five = prepare(LogisticRegression().fit(X, Y * 5), (X, Y * 5), (X, Y * 5))
    assert five.class_names == ["0", "5", "10"] and five.labels("train").max() == 2
