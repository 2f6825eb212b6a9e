"""Labels of any kind become class ids, or an error says why not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heldout.core.errors import InputError
from heldout.core.labels import class_ids, label_array


@given(st.lists(st.integers(0, 30), min_size=1, max_size=20))
def test_one_set_of_ids_in_every_form(ids: list[int]) -> None:
    array = np.array(ids)
    forms = [
        array.astype(np.uint8),
        array[:, None],
        ids,
        torch.tensor(ids, dtype=torch.int32),
        pd.Series(ids, index=range(7, 7 + len(ids))),
        pd.Series(ids, dtype="Int64"),
        pd.Series(pd.Categorical(ids)),
        pl.Series(ids),
        array.astype(object),
    ]
    for form in forms:
        assert class_ids("test", label_array(form), None).tolist() == ids


def test_text_in_every_form() -> None:
    text = ["b", "a", "c", "a"]
    classes = np.array(["a", "b", "c"])
    forms = [text, np.array(text), np.array(text, object), pd.Series(text), pl.Series(text)]
    forms += [pd.Series(pd.Categorical(text)), pl.Series(text).cast(pl.Categorical)]
    for form in forms:
        assert class_ids("test", label_array(form), classes).tolist() == [1, 0, 2, 0]


@given(st.permutations(["x", "y", "z", "w"]), st.lists(st.sampled_from("xyzw"), min_size=1))
def test_class_ids_follow_any_order_of_classes(order: list[str], labels: list[str]) -> None:
    found = class_ids("test", np.array(labels), np.array(order))
    assert found.tolist() == [order.index(label) for label in labels]


@pytest.mark.parametrize(
    ("labels", "classes", "wanted"),
    [
        (np.array([True, False]), None, [1, 0]),
        (np.array([True, False]), np.array([False, True]), [1, 0]),
        (np.array([1, 0]), np.array([False, True]), [1, 0]),
        (np.array([1.0, 0.0]), np.array([0, 1]), [1, 0]),
        (np.array([-1, 1]), np.array([-1, 1]), [0, 1]),
        (np.array([-1, -1]), np.array([-1, 1]), [0, 0]),
        (np.array([5, 9]), np.array([9, 5, 7]), [1, 0]),
        (np.array([-1, -1]), None, None),
        (np.array([-1, -1]), np.array([0, 1]), None),
        (np.array([-1, -1]), np.array(["a", "b"]), None),
    ],
)
def test_ids(labels: np.ndarray, classes: np.ndarray | None, wanted: list[int] | None) -> None:
    found = class_ids("test", labels, classes)
    assert (None if found is None else found.tolist()) == wanted


@pytest.mark.parametrize(
    ("labels", "classes", "said"),
    [
        (np.array([0.0, 1.0]), None, "dtype float64, such as [0.0]"),
        (np.array([0.5, 1.0]), np.array([0, 1]), "unknown to the model: ['0.5']"),
        (np.array([np.nan, 1.0]), np.array([0, 1]), "unknown to the model: ['nan']"),
        (np.array([0, 1, -1]), None, "from -1 to 1"),
        (np.array(["a", "b"]), None, "dtype <U1"),
        (np.array(["a", "z"]), np.array(["a", "b"]), "unknown to the model: ['z']"),
        (np.array(["0", "1"]), np.array([0, 1]), "unknown to the model: ['0', '1']"),
        (np.array([0, 1]), np.array(["0", "1"]), "unknown to the model: ['0', '1']"),
        (np.array([0, 7]), np.array([0, 1]), "unknown to the model: ['7']"),
        (np.array([1 + 2j]), None, "complex"),
    ],
)
def test_labels_of_no_class_are_explained(
    labels: np.ndarray, classes: np.ndarray | None, said: str
) -> None:
    with pytest.raises(InputError) as error:
        class_ids("night", labels, classes)
    assert said in error.value.given and "night" in error.value.given


@pytest.mark.parametrize("labels", [np.eye(3), np.zeros((2, 2, 2)), np.array(3), "cat"])
def test_labels_have_one_axis(labels: object) -> None:
    with pytest.raises(InputError, match="labels of shape"):
        label_array(labels)


@pytest.mark.parametrize(
    "labels",
    [
        ["a", None],
        [1, None],
        [1.0, np.nan],
        pd.Series([1, None], dtype="Int64"),
        pd.Series(["a", np.nan]),
    ],
)
def test_some_missing_labels_are_refused(labels: object) -> None:
    with pytest.raises(InputError, match="1 of 2 labels missing, first at row 1"):
        label_array(labels)
