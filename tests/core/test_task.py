"""What the user's fit gets, and what is done with what it returns."""

from __future__ import annotations

import random
from collections import namedtuple

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from heldout.core.errors import InputError
from heldout.core.preparing import prepare
from heldout.core.task import TrainingData, with_label

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32)
Y = np.digitize(X[:, 0], [-0.4, 0.4])


def _task(train, model=None, fit=None):
    model = nn.Linear(4, 3) if model is None else model
    return prepare(model, train, (X, Y), fit=fit)


def test_arrays_unpack_and_index() -> None:
    seen: list[TrainingData] = []
    task = _task((X, Y), fit=lambda d, s: seen.append(d) or nn.Linear(4, 3))
    rows = np.array([5, 2, 9])
    task.refit(rows, seed=3)
    x, y = seen[0]
    np.testing.assert_array_equal(x, X[rows])
    np.testing.assert_array_equal(y, Y[rows])
    assert len(seen[0]) == 3 and seen[0][1][1] == Y[2] and seen[0][-1][1] == Y[9]
    with pytest.raises(IndexError):
        seen[0][3]


def test_tensors_stay_tensors_and_load() -> None:
    data = TrainingData(_task((torch.from_numpy(X), torch.from_numpy(Y))).splits["train"], Y)
    x, y = next(iter(DataLoader(data, batch_size=7)))
    assert torch.equal(x, torch.from_numpy(X[:7])) and y.tolist() == Y[:7].tolist()
    assert isinstance(data.X, torch.Tensor) and isinstance(data.y, torch.Tensor)


def test_a_frame_stays_a_frame() -> None:
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = LogisticRegression().fit(frame, Y)
    data = TrainingData(_task((frame, Y), model).splits["train"], Y)
    pd.testing.assert_frame_equal(data.X, frame)


def test_a_data_set_keeps_its_transforms() -> None:
    class Augmented(Dataset):
        reads = 0

        def __len__(self) -> int:
            return len(X)

        def __getitem__(self, i: int):
            Augmented.reads += 1
            return torch.from_numpy(X[i]) + 0.01 * torch.randn(4), int(Y[i]), {"id": i}

    task = _task(Augmented())
    data = TrainingData(task.splits["train"], 2 - Y)
    reads = Augmented.reads
    (first, label, meta), again = data[4], data[4]
    assert Augmented.reads == reads + 2 and not torch.equal(first, again[0])
    assert label == 2 - Y[4] and meta == {"id": 4}
    assert [int(item[1]) for item in data] == (2 - Y).tolist()


Named = namedtuple("Named", "x y z")


@pytest.mark.parametrize(
    ("item", "label", "wanted"),
    [
        (("x", 3), np.int64(1), ("x", 1)),
        (["x", 3, "z"], np.int64(1), ["x", 1, "z"]),
        (("x", "cat"), np.str_("dog"), ("x", "dog")),
        (Named("x", 3, "z"), np.int64(1), Named("x", 1, "z")),
        ({"x": 0, "labels": 3}, np.int64(1), {"x": 0, "labels": 1}),
        ({"x": 0, "y": "cat"}, np.str_("dog"), {"x": 0, "y": "dog"}),
    ],
)
def test_labels_are_replaced_in_kind(item, label, wanted) -> None:
    found = with_label(item, label)
    assert found == wanted and type(found) is type(wanted)
    tensor = with_label(("x", torch.tensor(3)), np.int64(1))[1]
    assert torch.equal(tensor, torch.tensor(1))


def test_text_labels_reach_fit_as_text() -> None:
    names = np.array(["low", "mid", "top"])[Y]
    seen = []

    def fit(data, seed):
        seen.append(data.y.tolist())
        return LogisticRegression().fit(data.X, data.y)

    task = prepare(LogisticRegression().fit(X, names), (X, names), (X, names), fit=fit)
    task.refit(np.arange(30))
    assert seen[-1] == names[:30].tolist() and task.class_names == ["low", "mid", "top"]
    module = prepare(
        nn.Linear(4, 3),
        (X, names),
        (X, names),
        fit=lambda d, s: seen.append(d.y.tolist()) or nn.Linear(4, 3),
    )
    module.refit(np.arange(9))
    assert seen[-1] == names[:9].tolist()


def test_other_labels_are_trained_on_when_given() -> None:
    task = _task((X, Y), LogisticRegression().fit(X, Y), lambda d, s: LogisticRegression().fit(*d))
    swapped = task.refit(labels=(Y + 1) % 3)
    hits = swapped(task.splits["test"].inputs).logits.argmax(1) == (Y + 1) % 3
    assert hits.mean() > 0.85
    assert (task.refit()(task.splits["test"].inputs).logits.argmax(1) == Y).mean() > 0.85


@pytest.mark.parametrize("kind", [LogisticRegression, LinearSVC])
@pytest.mark.parametrize("left", [[0, 2], [1, 2]])
def test_a_fold_without_a_class_keeps_its_columns(kind, left: list[int]) -> None:
    names = np.array(["low", "mid", "top"])
    task = prepare(
        kind().fit(X, names[Y]), (X, names[Y]), (X, names[Y]), fit=lambda d, s: kind().fit(*d)
    )
    rows = np.flatnonzero(np.isin(Y, left))
    found = task.refit(rows)(task.splits["test"].inputs).logits
    peer = kind().fit(X[rows], names[Y[rows]])
    assert found.shape == (60, 3)
    assert names[found.argmax(1)].tolist() == peer.predict(X).tolist()
    lacking = ({0, 1, 2} - set(left)).pop()
    assert softmax(found, axis=1)[:, lacking].max() < 1e-9


def test_fit_is_seeded_and_leaves_no_trace() -> None:
    def fit(data, seed):  # a careless one: draws from the global states, and ignores its seed
        net = nn.Linear(4, 3)
        with torch.no_grad():
            net.bias += random.random() + np.random.rand()
        return net

    task = _task((X, Y), fit=fit)
    before = random.getstate(), str(np.random.get_state()), torch.get_rng_state()
    x = task.splits["test"].inputs
    first, same, other = (task.refit(seed=s)(x).logits for s in (0, 0, 1))
    assert np.array_equal(first, same) and not np.allclose(first, other)
    assert before[0] == random.getstate() and before[1] == str(np.random.get_state())
    assert torch.equal(before[2], torch.get_rng_state())


def test_what_fit_returns_is_checked() -> None:
    with pytest.raises(InputError, match=r"no fit[\s\S]*pass fit="):
        _task((X, Y)).refit()
    with pytest.raises(InputError, match=r"fit returned None[\s\S]*return model"):
        _task((X, Y), fit=lambda d, s: None).refit()
    other = LogisticRegression().fit(X, Y + 5)
    task = _task((X, Y), LogisticRegression().fit(X, Y), lambda d, s: other)
    with pytest.raises(InputError, match=r"classes \[5, 6, 7\] that the first one lacks"):
        task.refit()


def test_a_split_takes_all_its_parts_along() -> None:
    groups = {"test": {"place": [f"p{i}" for i in range(60)]}}
    split = prepare(nn.Linear(4, 3), (X, Y), (X, Y), groups=groups).splits["test"]
    taken = split.take(np.array([7, 3]))
    assert taken.index.tolist() == [7, 3] and taken.labels.tolist() == Y[[7, 3]].tolist()
    assert taken.groups["place"].tolist() == ["p7", "p3"] and taken.total == 60
    assert TensorDataset(torch.from_numpy(taken.inputs.array))[0][0].tolist() == X[7].tolist()
