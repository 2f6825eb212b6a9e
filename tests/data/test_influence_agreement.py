"""Low precision and low rank against float32 with whole gradients."""

import copy

import numpy as np
import pytest
import torch

from heldout.data.influence import CausalLanguageModel
from heldout.data.influence.agreement import agreement, agreement_size
from heldout.data.influence.blocks import Source, query_directions
from heldout.data.influence.setup import _layers
from heldout.data.influence.sharding import fit_factors
from heldout.data.influence.texts import query_batches, train_batches
from heldout.lm.installed_texts import Sequences

transformers = pytest.importorskip("transformers")
pytest.importorskip("safetensors")
TASK, CPU = CausalLanguageModel(), torch.device("cpu")
QUERIES = [([3, 4, 5], [6, 7]), ([8, 9], [10, 30, 31]), ([11, 12, 13, 14], [15, 16])]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=24, intermediate_size=48, num_hidden_layers=3,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=32, pad_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.LlamaForCausalLM(config).eval()
    model.config.use_cache = False
    tokens = np.random.default_rng(0).integers(3, 40, (40, 16))
    data = Sequences(tokens, np.full(40, 16), tuple("" for _ in range(40)))
    folder = tmp_path_factory.mktemp("factors")
    batches = train_batches(data, range(40), 8, CPU)
    fit_factors(model, TASK, _layers(model, ["*.mlp.*"]), batches, folder, {})
    return model, batches, folder


def compared(fitted, rank, dtype):
    model, batches, folder = fitted
    used = copy.deepcopy(model).to(dtype)
    layers, source = _layers(used, ["*.mlp.*"]), Source(folder, {})
    queries = query_batches(QUERIES, 3, 0, CPU)
    found = query_directions(used, TASK, layers, queries[0], source, rank, dtype)
    return agreement(used, TASK, layers, queries, batches, source, found, few=4)


def test_whole_rank_in_float32_is_the_same(fitted):
    found = compared(fitted, 24, torch.float32)
    for name in ("spearman", "pearson", "rank_spearman", "rank_pearson", "type_spearman"):
        assert found[name] == pytest.approx(1.0, abs=1e-3)
    assert (found["sequences"], found["queries"], found["layers"]) == (40, 3, 4)


def test_low_rank_and_low_precision_keep_the_order(fitted):
    low = compared(fitted, 8, torch.bfloat16)
    assert low["spearman"] > 0.95 and low["type_spearman"] > 0.95
    least = compared(fitted, 1, torch.float32)
    # negative: what is lost is seen, and told apart from what the type loses
    assert least["spearman"] < low["spearman"]
    assert least["rank_spearman"] == pytest.approx(least["spearman"], abs=1e-3)
    assert least["type_spearman"] == pytest.approx(1.0, abs=1e-6)


def test_model_comes_back_as_it_was(fitted):
    model = fitted[0]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    compared(fitted, 4, torch.float32)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert agreement_size([(24, 48)], 1000, 10) > 4000
