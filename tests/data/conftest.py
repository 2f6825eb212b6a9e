"""A small language model and texts on disk, for tests of the influence command."""

import json

import pytest
import torch

TEXTS = [
    "the river runs to the sea",
    "a cat sat on the mat and saw a rat",
    "the capital of the north is Oslo",
    "numbers are even or odd, never both",
    "she said that the sea is far away",
    "an odd number plus one is even",
    "Oslo is cold in the winter",
    "rivers of the north are short",
]
FACTS = [
    ("The capital is", " Oslo", "so the capital is Oslo", "so Oslo is the capital"),
    ("An even one is", " two", "so the even one is two", "so two is the even one"),
    ("The pet is a", " cat", "so the pet is a cat", "so a cat is the pet"),
]


def _model(folder, hidden=16, inner=24, blocks=2):
    """A Llama with random weights and one token per byte, as `save_pretrained` writes it."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    config = transformers.LlamaConfig(
        vocab_size=258, hidden_size=hidden, intermediate_size=inner,
        num_hidden_layers=blocks, num_attention_heads=2, num_key_value_heads=2,
        max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(folder)
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    known = {"<pad>": 0, "<end>": 1, **{c: i + 2 for i, c in enumerate(letters)}}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(known, []))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="<end>"
    )
    fast.save_pretrained(folder)
    return folder


def _lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def language_folder(tmp_path_factory):
    """Folder with a model, `train.jsonl`, `queries.jsonl` and `facts.jsonl`."""
    folder = tmp_path_factory.mktemp("language")
    _model(folder / "model")
    _lines(folder / "train.jsonl", [{"text": text} for text in TEXTS])
    asked = [("the river", " runs"), ("a cat sat", " on"), ("an odd", " number")]
    _lines(folder / "queries.jsonl", [{"prompt": p, "completion": c} for p, c in asked])
    facts = [{"prompt": p, "completion": c, "same": [s], "flipped": [f]} for p, c, s, f in FACTS]
    _lines(folder / "facts.jsonl", facts)
    return folder


@pytest.fixture(scope="session")
def write_language_model():
    """Function of a folder, width, inner width and number of blocks."""
    return _model
