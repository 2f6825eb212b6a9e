"""Small sentence encoders of BERT's kind, as MiniLM, in plain NumPy: a page needs no torch for one.

    h_0 = LN(word + position + type)
    a   = LN(h + W_o concat_heads softmax(q k^T / sqrt(d)) v)
    h'  = LN(a + W_2 gelu(W_1 a))          for each layer
    y   = mean over tokens of h, divided by its length

(Devlin et al. 2019; Reimers and Gurevych 2019.) Weights are read from `model.safetensors` by
mapping the file, so only what is used of it is in memory, and that is shared with the system's
cache. Equal to sentence-transformers within 1e-5; a query of ten words takes some milliseconds.
"""

from __future__ import annotations

import importlib.util
import json
import math
import mmap
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
_KIND = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
# What is done after the network, by the last part of each module's name.
_MODULES = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])


def readable(folder: Path) -> bool:
    """Whether a folder holds a model of just this kind, and `tokenizers` is installed.

    Anything else (other pooling, other weights than float32, other layers) is for
    sentence-transformers.
    """
    try:
        config = _json(folder / "config.json")
        modules = [m["type"].rpartition(".")[2] for m in _json(folder / "modules.json")]
        pooling = _json(folder / "1_Pooling" / "config.json")
        weights, start = _header(folder)
        ends = {told["data_offsets"][1] for told in weights.values()}
        whole = (folder / "model.safetensors").stat().st_size == start + max(ends)
        kinds = {told["dtype"] for told in weights.values()}
        files = (folder / "tokenizer.json").is_file()
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return False
    modes = {name for name, on in pooling.items() if name.startswith("pooling_mode") and on}
    return (
        all(config.get(name, value) == value for name, value in _KIND.items())
        and modules in _MODULES
        and modes == {"pooling_mode_mean_tokens"}
        and kinds <= {"F32", "I64"}
        and whole
        and files
        and importlib.util.find_spec("tokenizers") is not None
    )


class Bert:
    """An encoder whose weights are mapped from disk.

    Args:
        folder: a sentence-transformers model for which `readable` holds.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        config = _json(folder / "config.json")
        self.heads: int = config["num_attention_heads"]
        self.layers: int = config["num_hidden_layers"]
        self.eps: float = config.get("layer_norm_eps", 1e-12)
        self.size: int = config["hidden_size"]
        self.weights = _mapped(folder)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(_longest(folder, config))

    def encode(self, texts: Sequence[str]) -> Floats:
        """Return (n, size) rows of length 1.

        One text after the other, so that none is padded: for products of this size a batch is not
        faster. Cost: some 21 million multiplications for each token.
        """
        made = np.zeros((len(texts), self.size), np.float32)
        for row, text in enumerate(texts):
            mean = self._tokens(self.tokenizer.encode(text).ids).mean(axis=0)
            made[row] = mean / max(float(np.linalg.norm(mean)), 1e-12)
        return made

    def _tokens(self, ids: Sequence[int]) -> Floats:
        w = self.weights
        h = w["embeddings.word_embeddings.weight"][np.asarray(ids)]
        h = h + w["embeddings.position_embeddings.weight"][: len(ids)]
        h = self._norm(h + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for n in range(self.layers):
            at = f"encoder.layer.{n}"
            told = self._linear(self._attended(h, f"{at}.attention.self"),
                                f"{at}.attention.output.dense")  # fmt: skip
            a = self._norm(h + told, f"{at}.attention.output.LayerNorm")
            inner = _gelu(self._linear(a, f"{at}.intermediate.dense"))
            h = self._norm(a + self._linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
        return h

    def _attended(self, h: Floats, at: str) -> Floats:
        # (tokens, size) -> (heads, tokens, size / heads), and back.
        shape = (len(h), self.heads, -1)
        q, k, v = (
            self._linear(h, f"{at}.{name}").reshape(shape).transpose(1, 0, 2)
            for name in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 2, 1)
        scores *= 1 / math.sqrt(q.shape[-1])
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        made: Any = scores @ v
        return cast(Floats, made.transpose(1, 0, 2).reshape(len(h), self.size))

    def _linear(self, x: Floats, name: str) -> Floats:
        made: Floats = x @ self.weights[f"{name}.weight"].T
        made += self.weights[f"{name}.bias"]
        return made

    def _norm(self, x: Floats, name: str) -> Floats:
        x = x - x.mean(axis=-1, keepdims=True)
        x /= np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + np.float32(self.eps))
        made: Floats = x * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]
        return made


def _gelu(x: Floats) -> Floats:
    # x Phi(x), with erf by Abramowitz and Stegun's 7.1.26, whose error of 1.5e-7 is float32's own;
    # NumPy has no erf, and SciPy's would double the memory of the process.
    z = np.abs(x) * np.float32(math.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * z)
    tail = np.full_like(t, 1.061405429)
    for c in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail *= t
        tail += np.float32(c)
    tail *= t
    tail *= np.exp(-np.square(z))  # 1 - erf(z)
    made: Floats = np.where(x > 0, x * (1 - tail / 2), x * tail / 2)
    return made


def _longest(folder: Path, config: dict[str, Any]) -> int:
    told = folder / "sentence_bert_config.json"
    asked = _json(told).get("max_seq_length") if told.is_file() else None
    most = int(config["max_position_embeddings"])
    return min(int(asked or most), most)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _header(folder: Path) -> tuple[dict[str, Any], int]:
    with (folder / "model.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > 2**20:
            raise ValueError("no header of a small model")
        told = json.loads(file.read(length))
    if not isinstance(told, dict):
        raise ValueError("no header")
    told.pop("__metadata__", None)
    return told, 8 + length


def _mapped(folder: Path) -> dict[str, Floats]:
    header, start = _header(folder)
    with (folder / "model.safetensors").open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    found = {}
    for name, told in header.items():
        if told["dtype"] != "F32":
            continue  # positions are counted here
        first, last = told["data_offsets"]
        flat = np.frombuffer(data, "<f4", (last - first) // 4, start + first)
        found[name.removeprefix("bert.")] = flat.reshape(told["shape"])
    return found
