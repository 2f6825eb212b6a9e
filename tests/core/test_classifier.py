"""One face for modules, estimators and functions; the right numbers from each."""

from __future__ import annotations

from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import LinearSVC
from torch import nn

from heldout.core.classifier import classifier
from heldout.core.errors import InputError
from heldout.core.inputs import from_native

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 4)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] > 0).astype(int) + (X[:, 2] > 0.5)


def _net(seed: int = 0, out: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(4, 8), nn.ReLU(), nn.Dropout(), nn.BatchNorm1d(8), nn.Linear(8, out)
    )


@given(st.integers(1, 60))
def test_batch_size_does_not_matter(size: int) -> None:
    net = _net().eval()
    found = classifier(net, size)(from_native(X))
    with torch.no_grad():
        np.testing.assert_allclose(found.logits, net(torch.from_numpy(X)).numpy(), atol=1e-5)
        wanted = net[:-1](torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(found.features, wanted, atol=1e-5)


def test_a_module_in_training_mode_comes_back_untouched() -> None:
    net = _net().train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = torch.get_rng_state()
    first = classifier(net)(from_native(X)).logits
    assert net.training and all(m.training for m in net.modules())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert not any(m._forward_pre_hooks for m in net.modules())
    np.testing.assert_allclose(first, classifier(net.eval())(from_native(X)).logits, atol=1e-6)


def test_a_module_that_raises_comes_back_untouched() -> None:
    net = _net().train()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        classifier(net)(from_native(X[:, :3]))
    assert net.training and not any(m._forward_pre_hooks for m in net.modules())
    assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled()


@pytest.mark.parametrize(
    "dress",
    [
        lambda z: SimpleNamespace(logits=z),
        lambda z: {"logits": z, "loss": None},
        lambda z: OrderedDict(logits=z),
        lambda z: (z, "hidden"),
        lambda z: [z],
    ],
)
def test_outputs_of_all_shapes_hold_the_logits(dress) -> None:
    class Dressed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = _net()

        def forward(self, x):
            return dress(self.net(x))

    plain = classifier(_net())(from_native(X))
    dressed = classifier(Dressed())(from_native(X))
    np.testing.assert_allclose(dressed.logits, plain.logits)


class Tokens(nn.Module):
    """Takes names as a transformer does, ignores what is masked, and reads no other name."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Embedding(10, 6), nn.Linear(6, 2)

    def forward(self, input_ids, attention_mask=None):
        mask = attention_mask[..., None].float()
        hidden = (self.embed(input_ids) * mask).sum(1) / mask.sum(1)
        return SimpleNamespace(logits=self.head(hidden))


def test_named_inputs_go_in_by_name() -> None:
    ids = torch.randint(10, (7, 5), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(5) < 3).long().expand(7, 5)
    net = Tokens()
    given_ = from_native({"input_ids": ids, "attention_mask": mask, "idx": torch.arange(7)})
    found = classifier(net, 3)(given_)
    with torch.no_grad():
        wanted = net(ids[:, :3], mask[:, :3]).logits.numpy()
    np.testing.assert_allclose(found.logits, wanted, atol=1e-6)
    assert found.features.shape == (7, 6)


def test_a_single_logit_is_two_classes() -> None:
    net = _net(out=1)
    for model in (net, nn.Sequential(net, nn.Flatten(0))):
        found = classifier(model)(from_native(X)).logits
        with torch.no_grad():
            z = net.eval()(torch.from_numpy(X)).numpy()[:, 0]
        np.testing.assert_allclose(found[:, 1] - found[:, 0], z, atol=1e-6)
        assert (found.argmax(1) == (z > 0)).all()


def test_half_and_double_precision() -> None:
    exact = _net().double()
    x = RNG.normal(size=(20, 4))
    found = classifier(exact)(from_native(x)).logits
    with torch.no_grad():
        wanted = exact.eval()(torch.from_numpy(x)).float().numpy()
    np.testing.assert_array_equal(found, wanted)
    half = classifier(nn.Linear(4, 3).bfloat16())(from_native(x)).logits
    assert half.dtype == np.float32 and half.shape == (20, 3)


def test_uint8_images_arrive_as_they_are() -> None:
    class Scales(nn.Module):
        def forward(self, x):
            assert x.dtype == torch.uint8 and x.shape[1:] == (8, 8, 3)
            return x.float().mean(dim=(1, 2))

    images = RNG.integers(0, 255, (5, 8, 8, 3)).astype(np.uint8)
    found = classifier(Scales())(from_native(images))
    np.testing.assert_allclose(found.logits, images.mean(axis=(1, 2)), rtol=1e-5)
    assert found.features is None


# -- estimators -------------------------------------------------------------------------------


def test_an_estimator_gives_its_log_probabilities() -> None:
    model = LogisticRegression().fit(X, np.array(["u", "v", "w"])[Y])
    found = classifier(model)
    assert found.classes.tolist() == ["u", "v", "w"]
    np.testing.assert_allclose(
        softmax(found(from_native(X)).logits, axis=1), model.predict_proba(X), atol=1e-5
    )
    svc = LinearSVC().fit(X, Y == 1)
    logits = classifier(svc)(from_native(X)).logits
    assert (svc.classes_[logits.argmax(1)] == svc.predict(X)).all()


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_a_pipeline_on_text_and_categories_gets_its_frame(kind: str) -> None:
    columns = {
        "note": ["good day", "bad day", "good", "bad thing"] * 5,
        "kind": ["a", "b", "a", "b"] * 5,
        "size": [1.0, np.nan, 3.0, 4.0] * 5,
    }
    frame = pl.DataFrame(columns) if kind == "polars" else pd.DataFrame(columns)
    y = np.array([1, 0, 1, 0] * 5)
    columns = make_column_transformer(
        (TfidfVectorizer(), "note"), (OneHotEncoder(), ["kind"]), (SimpleImputer(), ["size"])
    )
    model = make_pipeline(columns, LogisticRegression()).fit(frame, y)
    found = classifier(model)(from_native(frame))
    np.testing.assert_allclose(softmax(found.logits, axis=1), model.predict_proba(frame), atol=1e-5)
    assert (found.logits.argmax(1) == y).all()


# -- functions --------------------------------------------------------------------------------


def test_functions_may_give_logits_or_probabilities() -> None:
    weights = RNG.normal(size=(4, 3))
    x = from_native(X)
    logits = classifier(lambda b: b @ weights).settled(x)(x).logits
    chances = classifier(lambda b: softmax(b @ weights, axis=1)).settled(x)(x).logits
    np.testing.assert_allclose(log_softmax(logits, axis=1), chances, atol=1e-4)
    np.testing.assert_allclose(logits, X @ weights, atol=1e-4)


def test_one_column_of_a_function() -> None:
    x = from_native(X)
    chance = 1 / (1 + np.exp(-X[:, 0]))
    for shape in ((-1,), (-1, 1)):
        found = classifier(lambda b, s=shape: (1 / (1 + np.exp(-b[:, 0]))).reshape(s))(x).logits
        np.testing.assert_allclose(softmax(found, axis=1)[:, 1], chance, atol=1e-5)
        z = classifier(lambda b, s=shape: (3 * b[:, 0]).reshape(s))(x).logits
        np.testing.assert_allclose(z[:, 1] - z[:, 0], 3 * X[:, 0], atol=1e-5)


def test_logits_that_look_like_probabilities_in_one_batch_are_still_logits() -> None:
    x = from_native(np.concatenate([np.full((4, 1), 0.5), np.linspace(-3, 3, 8)[:, None]]))
    model = classifier(lambda b: b, batch_size=4)
    np.testing.assert_allclose(model(x).logits[:, 1], x.array[:, 0], atol=1e-6)
    settled = model.settled(x)
    np.testing.assert_allclose(settled(x.take(np.arange(4))).logits[:, 1], 0.5)


def test_a_function_that_changes_its_mind_is_refused() -> None:
    model = classifier(lambda b: b).settled(from_native(np.full((4, 1), 0.5)))
    with pytest.raises(InputError, match=r"from -2 to 0\.5[\s\S]*two columns"):
        model(from_native(np.array([[0.5], [-2.0]])))


def test_a_function_gets_the_users_own_form() -> None:
    seen = []

    def model(x):
        seen.append(type(x))
        return np.zeros((len(x), 2)) if not isinstance(x, dict) else np.zeros((3, 2))

    for data in (
        X[:3],
        torch.from_numpy(X[:3]),
        {"a": X[:3]},
        pd.DataFrame(X[:3]),
        pl.DataFrame(X[:3]),
    ):
        classifier(model)(from_native(data))
    assert seen == [np.ndarray, torch.Tensor, dict, pd.DataFrame, pl.DataFrame]


# -- bad models -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (None, "type NoneType"),
        ("weights.pt", "type str"),
        (nn.Linear, "the class Linear"),
        (LogisticRegression(), "an unfitted LogisticRegression"),
        (make_pipeline(LogisticRegression()), "an unfitted Pipeline"),
        (LinearRegression().fit(X, Y), "LinearRegression with predict only"),
        (nn.LazyLinear(3), "'weight' without a shape"),
    ],
)
def test_what_is_no_classifier_is_explained(model: object, said: str) -> None:
    with pytest.raises(InputError) as error:
        classifier(model)
    assert said in error.value.given and error.value.hint


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_weights_and_buffers_are_refused(value: float) -> None:
    net = _net()
    with torch.no_grad():
        net[0].weight[1, 2] = value
    with pytest.raises(InputError, match=r"'0.weight' with 1 of 32 non-finite"):
        classifier(net)
    norm = _net()
    norm[3].running_var[0] = value
    with pytest.raises(InputError, match=r"'3.running_var' with 1 of 8"):
        classifier(norm)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_logits_are_refused_with_their_row(value: float) -> None:
    def model(x):
        out = np.asarray(x[:, :2], dtype=float).copy()
        out[x[:, 0] == X[7, 0]] = value
        return out

    with pytest.raises(InputError, match="1 of 50 examples, first at row 7"):
        classifier(model, 5)(from_native(X))


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (lambda x: torch.zeros(len(x), 5, 3), "shape (50, 5, 3) for 50"),
        (lambda x: torch.zeros(2, 3), "shape (2, 3) for 50"),
        (lambda x: torch.zeros(len(x), 0), "shape (50, 0)"),
        (lambda x: "text", "type str"),
        (lambda x: None, "type NoneType"),
        (lambda x: {"scores": torch.zeros(2)}, "type dict"),
    ],
)
def test_outputs_of_a_wrong_shape_are_explained(output, said: str) -> None:
    class Odd(nn.Module):
        def forward(self, x):
            return output(x)

    with pytest.raises(InputError) as error:
        classifier(Odd())(from_native(X))
    assert said in error.value.given


def test_a_module_that_ends_in_a_softmax_is_refused() -> None:
    x = from_native(X)
    with pytest.raises(
        InputError, match=r"outputs are probabilities[\s\S]*remove the last softmax"
    ):
        classifier(nn.Sequential(_net(), nn.Softmax(dim=1))).settled(x)
    assert classifier(nn.Sequential(_net(), nn.LogSoftmax(dim=1))).settled(x).gives == "logits"


def test_no_examples_is_an_error_of_its_own() -> None:
    with pytest.raises(InputError, match="no examples"):
        classifier(_net())(from_native(X).take(np.arange(0)))
