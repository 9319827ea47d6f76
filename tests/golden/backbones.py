"""Which networks do the tiny checkpoints have?  Two layers of 32 dimensions of five families, with weights that are the
same on every machine and with every version of torch: they come from the raw bits of a counter of numpy's.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import AutoConfig, AutoModel

from . import vocabularies

__all__ = ["HIDDEN", "KINDS", "backbone", "random_weight", "write_weights"]

HIDDEN = 32

_SIZES: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}

KINDS: dict[str, dict[str, Any]] = {
    "bert": {"model_type": "bert", "architectures": ["BertModel"], **_SIZES},
    "distilbert": {
        "model_type": "distilbert",
        "architectures": ["DistilBertModel"],
        "dim": HIDDEN,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 48,
        "max_position_embeddings": 64,
    },
    "xlm-roberta": {
        "model_type": "xlm-roberta",
        "architectures": ["XLMRobertaModel"],
        **_SIZES,
        # Positions are counted from pad_token_id + 1 on.
        "max_position_embeddings": 66,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "type_vocab_size": 1,
    },
    "modernbert": {
        "model_type": "modernbert",
        "architectures": ["ModernBertModel"],
        **_SIZES,
        "pad_token_id": 2,
        "cls_token_id": 0,
        "sep_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "global_attn_every_n_layers": 2,
        "local_attention": 8,
    },
    "llama": {
        "model_type": "llama",
        "architectures": ["LlamaModel"],
        **_SIZES,
        "num_key_value_heads": 2,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    },
    "qwen": {
        "model_type": "qwen2",
        "architectures": ["Qwen2Model"],
        **_SIZES,
        "num_key_value_heads": 2,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    },
}


def random_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return float32 values that only the name and the shape determine.

    Uniform in +-1.5/sqrt(fan in), so that layers change their input; scales of normalisations are near 1.
    """
    raw = np.random.PCG64(zlib.crc32(name.encode())).random_raw(int(np.prod(shape)))
    unit = ((raw >> 40).astype(np.float32) / np.float32(1 << 23) - 1).reshape(shape)
    if len(shape) == 1:
        is_scale = name.endswith("weight")
        return np.float32(1) + unit * np.float32(0.1) if is_scale else unit * np.float32(0.1)
    return unit * np.float32(1.5 / np.sqrt(shape[-1]))


def write_weights(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Write a safetensors file as transformers does."""
    save_file(tensors, str(path), metadata={"format": "pt"})


def backbone(
    folder: Path,
    kind: str,
    *,
    markers: list[str] = [],  # noqa: B006 - never changed
    inside: list[str] = [],  # noqa: B006
    changes: dict[str, Any] = {},  # noqa: B006
) -> dict[str, np.ndarray]:
    """Write the tokenizer and config.json of a kind of backbone; return its weights by name.

    markers, inside: see `vocabularies.wordpiece`. changes: entries of config.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if kind in ("bert", "distilbert"):
        size = vocabularies.wordpiece(folder, markers=markers, inside=inside)
    elif kind == "xlm-roberta":
        size = vocabularies.unigram(folder, markers=markers)
    else:
        families = {"modernbert": "encoder", "llama": "decoder", "qwen": "bare decoder"}
        size = vocabularies.byte_bpe(folder, markers=markers, kind=families[kind])
    config = {**KINDS[kind], "vocab_size": size}
    (folder / "config.json").write_text(json.dumps({**config, **changes}, indent=1))
    options = {key: value for key, value in config.items() if key not in ("model_type", "architectures")}
    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.for_model(config["model_type"], **options))
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    return {name: random_weight(name, shape) for name, shape in sorted(shapes.items())}
