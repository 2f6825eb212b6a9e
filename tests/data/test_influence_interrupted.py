"""Factors on disk: those of something else are refused, an interrupted fit goes on."""

import contextlib

import numpy as np
import pytest
import torch
from torch import nn

from heldout.core.errors import ArtifactError
from heldout.core.files import read_json, write_json
from heldout.data.influence import EKFAC, Classification, Regression, fitting, load_factors

from .small_fit import X, Y, refused, small_net


def test_factors_of_another_model_setting_or_version(tmp_path):
    net, task = small_net(), Classification()
    fitted = EKFAC(net, task).fit((X, Y), tmp_path / "f")
    again = EKFAC(net, task).fit((X, Y), tmp_path / "f")  # read, not fitted
    np.testing.assert_array_equal(again.scores((X, Y), (X, Y)), fitted.scores((X, Y), (X, Y)))
    assert not hasattr(EKFAC(net, task), "factors_")
    np.testing.assert_array_equal(
        EKFAC(net, task).load(tmp_path / "f").scores((X, Y), (X, Y)),
        fitted.scores((X, Y), (X, Y)),
    )
    other = small_net()
    refused("another model", lambda: EKFAC(other, task).load(tmp_path / "f"))
    refused("another task: Classification", lambda: EKFAC(net, Regression()).load(tmp_path / "f"))
    refused("another seed", lambda: EKFAC(net, task, seed=1).fit((X, Y), tmp_path / "f"))
    refused("another data", lambda: EKFAC(net, task).fit((X + 1, Y), tmp_path / "f"))
    with torch.no_grad():
        net[0].weight += 1
    refused("weights changed", lambda: fitted.scores((X, Y), (X, Y)))
    header = read_json(tmp_path / "f/factors.json")
    write_json(tmp_path / "f/factors.json", {**header, "version": 99})
    refused("version 99", lambda: EKFAC(net, task).load(tmp_path / "f"))
    write_json(tmp_path / "f/factors.json", header)
    file = tmp_path / "f/layer_0000.safetensors"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ArtifactError, match="damaged"):
        load_factors(tmp_path / "f")


@contextlib.contextmanager
def _stopped(net, after=None):
    """Let a model run that often, then stop as if killed; gives the sizes of the batches seen."""
    seen = []

    def hook(_, args):
        if len(seen) == after:
            raise KeyboardInterrupt
        seen.append(len(args[0]))

    handle = net.register_forward_pre_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()


def _kill(net, after, call):
    with _stopped(net, after), pytest.raises(KeyboardInterrupt):
        call()


def _same(one, two):
    for name, layer in one.factors_.layers.items():
        other = two.factors_.layers[name]
        assert torch.equal(layer.eigenvalues, other.eigenvalues)
        assert torch.equal(layer.q_a, other.q_a) and torch.equal(layer.q_s, other.q_s)


PARTS = [(X[i : i + 3], Y[i : i + 3]) for i in range(0, 12, 3)]
NEVER_TWICE = {"memory": 0, "save_every": 0.0}


@pytest.mark.parametrize("memory", [2**28, 0], ids=["one pass", "two passes"])
def test_an_interrupted_fit_goes_on_from_anywhere(tmp_path, memory):
    net, options = small_net(), {"memory": memory, "save_every": 0.0}
    task = Classification()
    with _stopped(net) as every:
        whole = EKFAC(net, task, **options).fit(PARTS)
    assert every.count(3) == (4 if memory else 8)  # beside the checks of the loss
    for at in range(len(every)):
        folder = tmp_path / str(at)
        _kill(net, at, lambda folder=folder: EKFAC(net, task, **options).fit(PARTS, folder))
        assert not (folder / "factors.json").exists()
        with _stopped(net) as left:
            _same(whole, EKFAC(net, task, **options).fit(PARTS, folder))
        done = every[:at].count(3)  # once something is, pairs are lost and two passes are needed
        assert left.count(3) == (8 if done or not memory else 4) - done
        names = sorted(p.name for p in folder.iterdir())
        assert names == ["factors.json", "layer_0000.safetensors", "layer_0001.safetensors"]


def test_a_fit_that_is_killed_again_and_again(tmp_path):
    # A batch at a time, through both passes: sums of the first are neither lost nor added twice.
    net, task = small_net(), Classification()
    whole = EKFAC(net, task, **NEVER_TWICE).fit(PARTS)
    with _stopped(net) as checks:
        EKFAC(net, task, kind="kfac").fit([(X, Y)])
    each = len(checks)  # the check of the loss and a batch
    for _ in range(7):
        _kill(net, each, lambda: EKFAC(net, task, **NEVER_TWICE).fit(PARTS, tmp_path))
    _same(whole, EKFAC(net, task, **NEVER_TWICE).fit(PARTS, tmp_path))


def test_a_fit_killed_between_the_passes(tmp_path, monkeypatch):
    net, task = small_net(), Classification()
    whole = EKFAC(net, task).fit(PARTS)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(fitting, "corrected", _raise)
        EKFAC(net, task).fit(PARTS, tmp_path)  # all pairs fit in memory
    _same(whole, EKFAC(net, task).fit(PARTS, tmp_path))


def _raise(*_):
    raise KeyboardInterrupt


def test_sums_of_another_model_or_other_data_are_not_taken_over(tmp_path):
    task = Classification()
    first = small_net()
    _kill(first, 5, lambda: EKFAC(first, task, save_every=0.0).fit(PARTS, tmp_path))
    assert (tmp_path / "covariances.safetensors").exists()
    net, other = small_net(), [*PARTS[:3], (X[9:] + 1, Y[9:])]
    for at, data in ((5, PARTS), (3, other)):
        found = EKFAC(net, task, save_every=0.0)
        _same(EKFAC(net, task).fit(data), found.fit(data, tmp_path / f"{at}"))
        again = tmp_path / f"again{at}"
        _kill(net, 5, lambda again=again: EKFAC(net, task, **NEVER_TWICE).fit(PARTS, again))
        _same(EKFAC(net, task).fit(data), EKFAC(net, task).fit(data, again))
    _same(EKFAC(net, task).fit(PARTS), EKFAC(net, task).fit(PARTS, tmp_path))
    cut = tmp_path / "cut"  # the same rows, cut otherwise: batches that were done are others
    _kill(net, 5, lambda: EKFAC(net, task, batch_size=2, **NEVER_TWICE).fit((X, Y), cut))
    found = EKFAC(net, task, batch_size=5).fit((X, Y), cut)
    _same(EKFAC(net, task, batch_size=5).fit((X, Y)), found)


def test_factors_of_other_data_in_any_batch(tmp_path):
    net, task, ones = small_net(), Classification(), torch.ones(12, 4, dtype=torch.bool)
    wide = X[:, None].repeat(1, 4, 1)
    pooled = small_net(nn.Linear(4, 3), nn.AvgPool2d((4, 1)), nn.Flatten())
    EKFAC(net, task, batch_size=3).fit((X, Y), tmp_path / "f")
    late, label = X.clone(), Y.clone()
    late[11, 0] += 1
    label[11] = 0
    for other in ((late, Y), (X, label), (X[:11], Y[:11]), (X.repeat(2, 1), Y.repeat(2))):
        refused(
            "another data.*fit again",
            lambda other=other: EKFAC(net, task, batch_size=3).fit(other, tmp_path / "f"),
        )
    with _stopped(net) as seen:  # the same rows cut otherwise are the same data
        EKFAC(net, task, batch_size=5).fit((X, Y), tmp_path / "f")
        EKFAC(net, task).fit(PARTS, tmp_path / "f")
    assert not seen
    EKFAC(pooled, task).fit((wide, Y, ones), tmp_path / "m")
    ones[11, 3] = False
    refused("another data", lambda: EKFAC(pooled, task).fit((wide, Y, ones), tmp_path / "m"))
    refused("another data", lambda: EKFAC(pooled, task).fit((wide, Y), tmp_path / "m"))


def test_factors_of_an_earlier_version_are_refused_in_words(tmp_path):
    net, task = small_net(), Classification()
    EKFAC(net, task).fit((X, Y), tmp_path)
    header = read_json(tmp_path / "factors.json")
    old = {**header["about"], "version": 1, "data": "0" * 64}  # a hash of the first batch only
    write_json(tmp_path / "factors.json", {**header, "about": old})
    refused("another version: 1.*version 3", lambda: EKFAC(net, task).fit((X, Y), tmp_path))
    refused("another version: 1.*version 3", lambda: EKFAC(net, task).load(tmp_path))
