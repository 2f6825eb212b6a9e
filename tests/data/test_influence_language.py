"""Influence on a tiny language model: groups of layers, processes, resuming, blocks, the page."""

import json
import os
import re
import socket
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from heldout.core.errors import InputError
from heldout.data.influence import EKFAC, CausalLanguageModel, find_layers
from heldout.data.influence.blocks import (
    Source,
    query_directions,
    read_scores,
    score_all,
    score_block,
)
from heldout.data.influence.directions import load_directions, save_directions
from heldout.data.influence.found import Found
from heldout.data.influence.page import write_page
from heldout.data.influence.processes import Group, processes
from heldout.data.influence.results import results
from heldout.data.influence.setup import Constructed
from heldout.data.influence.sharding import factor_bytes, fit_factors, load_layer
from heldout.data.influence.texts import query_batches, train_batches, with_facts
from heldout.lm.installed_texts import Sequences

transformers = pytest.importorskip("transformers")
TASK = CausalLanguageModel()
CPU = torch.device("cpu")
ABOUT = {"model": "tiny"}
QUERIES = [([3, 4, 5], [6, 7]), ([8, 9], [10]), ([11, 12, 13, 14], [15, 16])]


def tiny():
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=8, intermediate_size=12, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=32, pad_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.LlamaForCausalLM(config)
    model.config.use_cache = False
    return model.eval()


def rows(n=12, length=10):
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, length + 1, n)
    tokens = rng.integers(3, 40, (n, length))
    tokens[np.arange(length) >= lengths[:, None]] = 0
    return Sequences(tokens, lengths, tuple(f"row {i}" for i in range(n)))


def mlp(model):
    return find_layers(model, ["*.mlp.*"])


def run(folder, budget=2**31, rank=8, group=None):
    """Fit and score; returns the scores."""
    group, model, data = group or Group(), tiny(), rows()
    layers, share = mlp(model), group.share(12)
    part = [
        type(b)(b.inputs, b.targets, b.mask, b.start + share.start, b.size)
        for b in train_batches(data, list(share), 3, CPU)
    ]
    fit_factors(
        model, TASK, layers, part, folder / "factors", ABOUT, budget=budget, group=group
    )  # fmt: skip
    queries = query_batches(QUERIES, 3, 0, CPU)[0]
    found = query_directions(model, TASK, layers, queries, Source(folder / "factors", ABOUT), rank)
    every = train_batches(data, range(12), 3, CPU)
    score_all(model, TASK, layers, every, found, folder / "scores", per_block=2, group=group)
    return read_scores([folder / "scores"])


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return run(tmp_path_factory.mktemp("alone"))


def test_equal_to_the_engine_at_full_rank(alone):
    model, data = tiny(), rows()
    whole = train_batches(data, range(12), 3, CPU)
    fitted = EKFAC(model, TASK, layers=["*.mlp.*"]).fit(whole)
    queries = query_batches(QUERIES, 3, 0, CPU)
    scores = fitted.scores(queries, whole)
    tokens = fitted.scores(queries, whole, per_token=True)
    scale = np.abs(scores).max()
    np.testing.assert_allclose(alone["tokens"].sum(2), scores, atol=2e-4 * scale)
    np.testing.assert_allclose(alone["layers"].sum(2), scores, atol=2e-4 * scale)
    np.testing.assert_allclose(alone["tokens"], tokens, atol=2e-4 * np.abs(tokens).max())


def test_less_memory_gives_the_same_scores_in_more_passes(alone, tmp_path):
    one = factor_bytes(next(iter(mlp(tiny()).values())))
    grouped = run(tmp_path, budget=2 * one)
    scale = np.abs(alone["tokens"]).max()
    np.testing.assert_allclose(grouped["tokens"], alone["tokens"], atol=1e-5 * scale)


def test_padding_has_no_score_and_changes_none(alone):
    lengths = rows().lengths
    for i, n in enumerate(lengths):
        # the last token predicts nothing: it has no score either
        assert (alone["tokens"][:, i, n - 1 :] == 0).all()
        assert (alone["tokens"][:, i, : n - 1] != 0).any()


def test_sign_and_size_are_those_of_a_step(tmp_path):
    # Oracle: a step down a sequence's loss changes the measure by step * score where the damping
    # is so large that curvature does not matter (times the damping).
    # To 1 %: norms of the model compute in float32 whatever its type.
    model = tiny().double()
    layers, data = mlp(model), rows(4)
    fit_factors(model, TASK, layers, train_batches(data, range(4), 4, CPU), tmp_path, ABOUT)
    query = query_batches(QUERIES[:1], 1, 0, CPU)[0]
    source = Source(tmp_path, ABOUT, 1e6)
    found = query_directions(model, TASK, layers, query, source, 8, torch.float64)
    batch = train_batches(data, range(4), 4, CPU)
    scores = score_block(model, TASK, layers, batch, found)["tokens"].sum(2)[0] * 1e6
    changes = []
    for i in range(4):
        ends = []
        for step in (1e-2, -1e-2):
            moved = tiny().double()
            one = train_batches(data, [i], 1, CPU)[0]
            own = [layer.module.weight for layer in mlp(moved).values()]
            grads = torch.autograd.grad(TASK.per_example(one.call(moved), one.targets).sum(), own)
            with torch.no_grad():
                for weight, grad in zip(own, grads, strict=True):
                    weight -= step * grad
                # not TASK.measure, which is in float32
                logits = query.call(moved).logits[0, :-1].log_softmax(-1)
                ends.append(float(logits[2, 6] + logits[3, 7]))
        changes.append((ends[0] - ends[1]) / 2e-2)
    np.testing.assert_allclose(scores, changes, atol=1e-2 * np.abs(changes).max())


def test_resumes_where_it_was_killed(alone, tmp_path, monkeypatch):
    import heldout.data.influence.sharding as sharding

    saved, real = [], sharding.save_factors

    def failing(factors, path):
        if len(saved) == 9:  # bases of all six layers and factors of three
            raise KeyboardInterrupt
        saved.append(path)
        real(factors, path)

    monkeypatch.setattr(sharding, "save_factors", failing)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    monkeypatch.setattr(sharding, "save_factors", real)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "factors").glob("layer_*/*")}
    again = run(tmp_path)
    assert before and all(p.stat().st_mtime_ns == t for p, t in before.items())
    scale = np.abs(alone["tokens"]).max()
    np.testing.assert_allclose(again["tokens"], alone["tokens"], atol=1e-5 * scale)


def test_sums_of_an_unfinished_pass_are_used(tmp_path):
    import heldout.data.influence.sharding as sharding

    model, data = tiny(), train_batches(rows(), range(12), 3, CPU)
    layers = mlp(model)
    reads = []

    class Stopped(list):
        def __iter__(self):
            for i, batch in enumerate(list.__iter__(self)):
                if i == 2 and not reads:
                    reads.append(i)
                    raise KeyboardInterrupt
                yield batch

    with pytest.raises(KeyboardInterrupt):
        fit_factors(model, TASK, layers, Stopped(data), tmp_path / "a", ABOUT, save_every=0)
    partial = sharding._Partial(tmp_path / "a/sums_0of1", {**ABOUT, "of": list(layers)}, 0)
    assert partial.progress("covariances").done == 2
    fit_factors(model, TASK, layers, data, tmp_path / "a", ABOUT)
    fit_factors(model, TASK, layers, data, tmp_path / "b", ABOUT)
    for i, name in enumerate(layers):
        a, b = (load_layer(tmp_path / k, i, ABOUT, name).eigenvalues for k in "ab")
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_factors_of_another_model_are_refused(tmp_path):
    model, data = tiny(), train_batches(rows(), range(12), 3, CPU)
    fit_factors(model, TASK, mlp(model), data, tmp_path, ABOUT)
    with pytest.raises(InputError, match="another model"):
        fit_factors(model, TASK, mlp(model), data, tmp_path, {"model": "other"})
    with pytest.raises(InputError, match="another model"):
        load_layer(tmp_path, 0, {"model": "other"}, next(iter(mlp(model))))


def test_directions_survive_the_disk(tmp_path):
    model = tiny()
    layers = mlp(model)
    data = train_batches(rows(), range(12), 3, CPU)
    fit_factors(model, TASK, layers, data, tmp_path / "f", ABOUT)
    files = []
    for batch in query_batches(QUERIES, 2, 0, CPU):
        found = query_directions(model, TASK, layers, batch, Source(tmp_path / "f", ABOUT), 4)
        assert (found.kept > 0.5).all() and (found.kept < 1 + 1e-5).all()
        files.append(tmp_path / f"{batch.start}.safetensors")
        save_directions(found, files[-1])
    joined = load_directions(files, CPU)
    assert joined.size.shape == (3,)
    last = next(iter(layers))
    torch.testing.assert_close(joined.u[last][:, 2:], found.u[last])


WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from test_influence_language import run, processes
with processes() as group:
    run(Path({out!r}), group=group)
threads = [task.read_text() for task in Path("/proc/self/task").glob("*/comm")]
assert not [name for name in threads if "gloo" in name or "store" in name], threads
"""


def test_two_processes_give_the_numbers_of_one(alone, tmp_path):
    code = WORKER.format(tests=os.path.dirname(__file__), out=str(tmp_path))
    env = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    env |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        env["MASTER_PORT"] = str(free.getsockname()[1])
    started = [
        subprocess.Popen([sys.executable, "-c", code], env={**env, "RANK": str(rank)})
        for rank in range(2)
    ]
    assert [p.wait(timeout=300) for p in started] == [0, 0]  # and no thread of the group is left
    both = read_scores([tmp_path / "scores"])
    scale = np.abs(alone["tokens"]).max()
    np.testing.assert_allclose(both["tokens"], alone["tokens"], atol=1e-5 * scale)
    assert not list((tmp_path / "factors").glob("sums_*"))


class _Tokens:
    def decode(self, ids, **_):
        return "".join(f" <{i}>" for i in ids)


class _Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [v for k, v in attrs if k in ("src", "href") and not v.startswith("#")]


def test_page_is_self_contained_and_escapes(alone, tmp_path):
    data, same, flipped = with_facts(rows(12), [], lambda t: [], 0)
    found = Found(
        alone, np.ones(3), np.ones(3), np.full(3, -2.0), QUERIES,
        ["query", "query", "null"], Constructed(data, same, flipped),
    )  # fmt: skip
    made = results(found, _Tokens(), top=4)
    made |= {"agreement": None, "peak_gb": 1.0, "versions": {}, "layer_names": ["a"] * 6}
    made["settings"] = {
        "model": "<b>",
        "untrained": False,
        "fit_sequences": 1,
        "rank": 8,
        "dtype": "float32",
    }
    write_page(made, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    links = _Links()
    links.feed(text)
    assert links.found == [] and "url(" not in text and "<b>," not in text
    assert "&lt;3&gt;" in text and len(re.findall(r'id="q\d"', text)) == 2
    best = made["queries"][0]["positive"][0]
    assert best["score"] == pytest.approx(alone["tokens"].sum(2)[0].max(), rel=1e-5)
    assert sum(best["tokens"]) == pytest.approx(best["score"], rel=1e-4)
    json.dumps(made)


def test_group_shares_cover_everything_once():
    for n in (1, 5, 12):
        taken = [i for r in range(3) for i in Group(r, 3).share(n)]
        assert taken == list(range(n))


def test_alone_without_torchrun(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with processes() as group:
        assert (group.rank, group.size) == (0, 1)
