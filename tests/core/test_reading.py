"""Every form of data reads as the same examples, labels, groups and positions."""

from __future__ import annotations

from collections import UserDict, namedtuple

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from heldout.core.errors import InputError
from heldout.core.reading import read

N = 23
X = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)
Y = np.arange(N) % 3
G = np.array([f"place {i % 5}" for i in range(N)])
TX, TY = torch.from_numpy(X), torch.from_numpy(Y)


class Pairs(Dataset):
    def __init__(self, items: list) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int):
        return self.items[i]


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(x, int(y)) for x, y in zip(TX, TY, strict=True)])


class NoPositions:
    def __iter__(self):
        return ({"x": x, "y": y} for x, y in zip(X, Y, strict=True))


Example = namedtuple("Example", "x y")
_EXAMPLES = [(x, int(y)) for x, y in zip(X, Y, strict=True)]
_DICTS = [{"image": x, "label": int(y), "source": g} for x, y, g in zip(X, Y, G, strict=True)]
_FRAME = pd.DataFrame(X, columns=list("abcd"))


def _batches(size: int = 5):
    return [(X[i : i + size], Y[i : i + size], G[i : i + size]) for i in range(0, N, size)]


FORMS = {
    "arrays": lambda: (X, Y),
    "arrays and groups": lambda: (X, Y, G),
    "lists": lambda: [X.tolist(), Y.tolist()],
    "tensors": lambda: (TX, TY),
    "labels in a column": lambda: (X, Y[:, None]),
    "sparse": lambda: (scipy.sparse.csr_matrix(X), Y),
    "sparse by column": lambda: (scipy.sparse.csc_matrix(X), Y),
    "dict of arrays": lambda: {"x": X, "label": Y, "group": G},
    "pandas": lambda: _FRAME.assign(target=Y, domain=G),
    "pandas with numbered columns": lambda: pd.DataFrame(X).assign(y=Y),
    "pandas and series": lambda: (_FRAME, pd.Series(Y, index=range(50, 50 + N))),
    "polars": lambda: pl.from_pandas(_FRAME).with_columns(pl.Series("label", Y)),
    "loader": lambda: DataLoader(TensorDataset(TX, TY), batch_size=4),
    "shuffled loader": lambda: DataLoader(TensorDataset(TX, TY), batch_size=4, shuffle=True),
    "loader that drops the last": lambda: DataLoader(
        TensorDataset(TX, TY), batch_size=4, shuffle=True, drop_last=True
    ),
    "loader with workers": lambda: DataLoader(TensorDataset(TX, TY), batch_size=9, num_workers=1),
    "loader of dicts": lambda: DataLoader(Pairs(_DICTS), batch_size=4, shuffle=True),
    "loader that collates": lambda: DataLoader(
        Pairs(_EXAMPLES),
        batch_size=4,
        shuffle=True,
        collate_fn=lambda rows: {
            "input": torch.tensor(np.array([r[0] for r in rows])),
            "target": torch.tensor([r[1] for r in rows]),
        },
    ),
    "loader without batches": lambda: DataLoader(TensorDataset(TX, TY), batch_size=None),
    "loader over batches": lambda: DataLoader(Pairs(_batches()), batch_size=None),
    "loader with batch sampler": lambda: DataLoader(
        TensorDataset(TX, TY), batch_sampler=BatchSampler(RandomSampler(range(N)), 4, False)
    ),
    "loader of a stream": lambda: DataLoader(Stream(), batch_size=4),
    "data set": lambda: TensorDataset(TX, TY),
    "data set of arrays": lambda: Pairs(_EXAMPLES),
    "data set of dicts": lambda: Pairs(_DICTS),
    "data set of lists": lambda: Pairs([[x, int(y)] for x, y in zip(TX, TY, strict=True)]),
    "data set of named tuples": lambda: Pairs([Example(*e) for e in _EXAMPLES]),
    "streaming data set": lambda: Stream(),
    "subset": lambda: Subset(TensorDataset(TX, TY), range(N)),
    "list of examples": lambda: list(_EXAMPLES),
    "list of dicts": lambda: [UserDict(d) for d in _DICTS],
    "list of batches": lambda: list(_batches()),
    "two batches as lists": lambda: [[TX[:10], TY[:10]], [TX[10:], TY[10:]]],
    "two batches as dicts": lambda: [{"x": X[:10], "y": Y[:10]}, {"x": X[10:], "y": Y[10:]}],
    "generator of examples": lambda: (e for e in _EXAMPLES),
    "generator of batches": lambda: (b for b in _batches()),
    "generator of dicts": lambda: (d for d in _DICTS),
    "iterable without a length": NoPositions,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_reads_as_the_same(form: str) -> None:
    found = read("test", FORMS[form]())
    columns = found.inputs.columns
    x = columns[""] if "" in columns else np.column_stack(list(columns.values()))
    np.testing.assert_allclose(x, X, rtol=1e-6)
    assert found.labels.tolist() == Y.tolist()
    assert found.index.tolist() == list(range(N)) and found.total == N
    if found.groups:
        assert [v.tolist() for v in found.groups.values()] == [G.tolist()]


@pytest.mark.parametrize("form", [f for f in FORMS if "streaming" not in f])
def test_a_sample_is_of_the_positions_it_says(form: str) -> None:
    found = read("test", FORMS[form](), max_examples=5, seed=3)
    columns = found.inputs.columns
    x = columns[""] if "" in columns else np.column_stack(list(columns.values()))
    assert len(found.index) == 5 and found.total == N and (np.diff(found.index) > 0).all()
    np.testing.assert_allclose(x, X[found.index], rtol=1e-6)
    assert found.labels.tolist() == Y[found.index].tolist()
    again = read("test", FORMS[form](), max_examples=5, seed=3)
    assert again.index.tolist() == found.index.tolist()


@pytest.mark.parametrize(
    "data",
    [
        X,
        TX,
        (X, None),
        _FRAME,
        scipy.sparse.csr_matrix(X),
        {"features": X},
        TensorDataset(TX),
        DataLoader(TensorDataset(TX), batch_size=4, shuffle=True),
        list(X),
        [X[:9], X[9:14], X[14:18], X[18:]],
        ({"x": x} for x in X),
        (x for x in TX),
    ],
    ids=lambda d: type(d).__name__,
)
def test_shifted_sets_need_no_labels(data: object) -> None:
    found = read("shifted/new", data)
    assert found.labels is None and len(found.inputs) == N


@pytest.mark.parametrize("shape", [(3, 6, 6), (6, 6, 3)])
def test_unlabelled_images_one_by_one_and_in_batches(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).normal(size=(7, *shape)).astype(np.float32)
    for data in (
        images,
        list(images),
        iter(images),
        [images[:4], images[4:]],
        ({"img": i} for i in images),
    ):
        np.testing.assert_array_equal(read("night", data).inputs.array, images)
    loader = DataLoader(TensorDataset(torch.from_numpy(images[..., 0])), batch_size=3)
    assert len(read("night", loader).inputs) == 7  # batches (3, h, w) are no colour images


def test_a_sampler_that_leaves_rows_out_is_respected() -> None:
    data = TensorDataset(TX, TY)
    kept = [1, 4, 9, 16]
    found = read("train", DataLoader(data, sampler=SubsetRandomSampler(kept), batch_size=2))
    assert found.index.tolist() == kept and found.total == 4
    weights = [1.0 if i in kept else 0.0 for i in range(N)]
    loader = DataLoader(data, sampler=WeightedRandomSampler(weights, 100), batch_size=8)
    assert read("train", loader).index.tolist() == kept
    batches = DataLoader(data, batch_sampler=[[9, 1], [16, 4]])
    assert read("train", batches).index.tolist() == kept


def test_reading_moves_no_random_state() -> None:
    own = torch.Generator().manual_seed(5)
    loader = DataLoader(TensorDataset(TX, TY), batch_size=4, shuffle=True, generator=own)
    before = torch.get_rng_state(), own.get_state(), str(np.random.get_state())
    for data in (loader, DataLoader(Stream(), generator=own)):
        read("train", data)
    assert torch.equal(before[0], torch.get_rng_state())
    assert torch.equal(before[1], own.get_state())
    assert before[2] == str(np.random.get_state())


def test_random_transforms_are_decided_by_the_seed() -> None:
    class Noisy(Pairs):
        def __getitem__(self, i: int):
            return torch.randn(3), 0

    first, same, other = (read("train", Noisy([0] * 4), seed=s).inputs.array for s in (0, 0, 1))
    assert np.array_equal(first, same) and not np.array_equal(first, other)


def test_a_long_stream_is_sampled_evenly_and_in_little_memory() -> None:
    chosen = np.zeros(400)
    for seed in range(150):
        batches = ((np.arange(i, i + 8.0)[:, None], np.zeros(8, int)) for i in range(0, 400, 8))
        found = read("train", batches, max_examples=20, seed=seed)
        assert found.total == 400 and len(found.index) == 20
        np.testing.assert_array_equal(found.inputs.array[:, 0], found.index)
        chosen[found.index] += 1
    quarters = chosen.reshape(4, 100).sum(axis=1)
    # 3000 draws: a quarter holds 750, with a standard deviation of 23.
    assert np.abs(quarters - 750).max() < 95


def test_large_maps_are_read_only_where_sampled() -> None:
    asked = []

    class Counting(Pairs):
        def __getitem__(self, i: int):
            asked.append(i)
            return X[i], int(Y[i])

    read("train", Counting(_EXAMPLES), max_examples=5)
    assert len(asked) == 5


def test_tokens_keep_their_companions() -> None:
    rows = [
        {
            "sentence": "a b",
            "input_ids": [1, 2, 3][: 1 + i % 3],
            "attention_mask": [1] * (1 + i % 3),
            "label": i % 2,
        }
        for i in range(6)
    ]
    found = read("train", Pairs(rows))
    assert found.inputs.columns["input_ids"].tolist()[:3] == [[1, 0, 0], [1, 2, 0], [1, 2, 3]]
    assert sorted(found.inputs.columns) == ["attention_mask", "input_ids"]
    assert found.labels.tolist() == [0, 1] * 3
    loader = DataLoader(
        Pairs([{"input_ids": torch.arange(4), "labels": torch.tensor(1)}] * 5), batch_size=2
    )
    assert read("train", loader).inputs.columns["input_ids"].shape == (5, 4)


def test_groups_of_all_kinds_become_strings() -> None:
    meta = [{"hospital": f"h{i % 2}", "year": 2000 + i} for i in range(N)]
    items = [(x, int(y), m) for x, y, m in zip(TX, TY, meta, strict=True)]
    for data in (
        items,
        DataLoader(Pairs(items), batch_size=4),
        (X, Y, {k: [m[k] for m in meta] for k in meta[0]}),
    ):
        groups = read("test", data).groups
        assert groups["hospital"].tolist() == [m["hospital"] for m in meta]
        assert groups["year"].tolist() == [str(m["year"]) for m in meta]
    nasty = ["</script>", "a\0b", "\udc80", "\N{FIRE}"] * 6
    found = read("test", (X, Y, nasty[:N])).groups["group"]
    "".join(found).encode()  # can be written to a file
    assert found[0] == "</script>"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "test=None"),
        (42, "type int"),
        ("folder/data.csv", "type str"),
        (b"bytes", "type bytes"),
        (np.zeros((0, 3)), "no examples"),
        ((np.zeros((0, 3)), np.zeros(0, int)), "no examples"),
        ([], "no examples"),
        (iter([]), "no examples"),
        (Pairs([]), "no examples"),
        (_FRAME.iloc[:0], "no examples"),
        (DataLoader(TensorDataset(TX, TY), sampler=SubsetRandomSampler([])), "no examples"),
        ((X, Y[:-1]), "{'inputs': 23, 'labels': 22}"),
        ((X, Y, G[:-1]), "\"group 'group'\": 22"),
        ((scipy.sparse.csr_matrix(X), Y[:-1]), "'inputs': 23"),
        ((X, np.eye(3)[Y]), "labels of shape (23, 3)"),
        ([(X[:4], Y[:3]), (X[4:], Y[3:])], "4 inputs, 3 labels"),
        ([(X[:4], Y[:4], G[:3])], "3 values of group 'group'"),
        ([(X[:4], Y[:4]), (X[4:], None)], "some items with labels"),
        ({"pixels": X, "truth": Y}, "keys ['pixels', 'truth']"),
        ([{"pixels": x, "truth": 1} for x in X], "keys ['pixels', 'truth']"),
        (DataLoader(Pairs([{"pixels": x, "truth": 1} for x in X])), "keys ['pixels', 'truth']"),
        ({"x": X, "image": X, "y": Y}, "keys ['image', 'x', 'y']"),
        ([(X[0], 1), (X[0, :3], 0)], "different shapes"),
        (Pairs(_batches()), "labels of shape (1, 5)"),
        (pd.DataFrame({"a": [1, 2], "label": ["x", None]}), "1 of 2 labels missing"),
    ],
    ids=lambda v: v[:24] if isinstance(v, str) else "",
)
def test_what_cannot_be_read_is_explained(data: object, said: str) -> None:
    with pytest.raises(InputError) as error:
        read("test", data)
    assert said in error.value.given, error.value.given
    assert error.value.expected and error.value.hint


def test_an_iterator_that_was_used_up_gets_the_right_hint() -> None:
    once = iter(_EXAMPLES)
    assert read("train", once).total == N
    with pytest.raises(InputError, match="an iterator can be read only once"):
        read("test", once)
