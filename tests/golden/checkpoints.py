"""Which formats does `ColBERT` load?  A tiny checkpoint in each, file by file as that format's own writers leave it.

Runs in two environments: this project's, and the one in which PyLate makes the golden vectors
(benchmarks/peers/pylate_goldens.py). So it imports nothing of this project.
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .backbones import HIDDEN, backbone, random_weight, write_weights

__all__ = ["ARGUMENTS", "CHECKPOINTS", "DIM", "GOLDEN_OF", "PROJECTION", "build", "pylate_files", "stanford_metadata"]

DIM = 8
QUERY_LENGTH, DOCUMENT_LENGTH = 12, 24

PROJECTION = {
    "in_features": HIDDEN,
    "out_features": DIM,
    "bias": False,
    "activation_function": "torch.nn.modules.linear.Identity",
    "use_residual": False,
}


def pylate(
    folder: Path,
    *,
    kind: str = "bert",
    layers: list[dict[str, Any]] = [PROJECTION],  # noqa: B006 - never changed
    model_type: str | None = "ColBERT",
    markers: tuple[str, str] = ("[Q] ", "[D] "),
    inside: list[str] = [],  # noqa: B006
    max_seq_length: int = 11,
    **settings: Any,
) -> None:
    """Write a model as PyLate saves it.

    max_seq_length: what its last call of tokenize left behind, which says nothing about the model.
    """
    added = [marker for marker in markers if marker and marker not in inside]
    tensors = backbone(folder, kind, markers=added, inside=inside)
    write_weights(folder / "model.safetensors", tensors)
    pylate_files(folder, layers, model_type, markers, max_seq_length, settings)


def pylate_files(
    folder: Path,
    layers: list[dict[str, Any]],
    model_type: str | None,
    markers: tuple[str, str],
    max_seq_length: int,
    settings: dict[str, Any],
) -> None:
    """Write what PyLate's layout has beside the backbone: projections and settings."""
    modules = [_module(0, "", "sentence_transformers.models.Transformer")]
    for number, config in enumerate(layers, start=1):
        modules.append(_module(number, f"{number}_Dense", "pylate.models.Dense.Dense"))
        _dense(folder / f"{number}_Dense", config)
    config = {
        "__version__": {"sentence_transformers": "5.3.0", "transformers": "5.3.0", "pytorch": "2.11.0"},
        **({"model_type": model_type} if model_type else {}),
        "prompts": {"query": "", "document": ""},
        "default_prompt_name": None,
        "similarity_fn_name": "MaxSim",
        "query_prefix": markers[0],
        "document_prefix": markers[1],
        "query_length": QUERY_LENGTH,
        "document_length": DOCUMENT_LENGTH,
        "attend_to_expansion_tokens": False,
        "skiplist_words": list(string.punctuation),
        "do_query_expansion": True,
        **settings,
    }
    _json(folder / "modules.json", modules)
    _json(folder / "config_sentence_transformers.json", config)
    _json(folder / "sentence_bert_config.json", {"max_seq_length": max_seq_length, "do_lower_case": False})


def stanford(
    folder: Path,
    *,
    metadata: dict[str, Any] | None = {},  # noqa: B006 - never changed
    key: str = "linear.weight",
    inside: list[str] = ["[unused0]", "[unused1]"],  # noqa: B006
    shards: int = 1,
    changes: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Write a checkpoint as Stanford's ColBERT does: projection and backbone in one file, settings beside it.

    metadata: entries of artifact.metadata beside the usual ones, None for no such file. key: name of the projection.
    """
    tensors = backbone(folder, "bert", inside=inside, changes={"architectures": ["HF_ColBERT"], **changes})
    tensors = {f"bert.{name}": tensor for name, tensor in tensors.items()}
    tensors[key] = random_weight("linear.weight", (DIM, HIDDEN))
    if shards == 1:
        write_weights(folder / "model.safetensors", tensors)
    else:
        _write_shards(folder, tensors, shards)
    if metadata is not None:
        stanford_metadata(folder, metadata)


def stanford_metadata(folder: Path, changes: dict[str, Any]) -> None:
    """Write artifact.metadata; changes: its entries that are not the usual ones."""
    usual = {
        "query_token_id": "[unused0]",
        "doc_token_id": "[unused1]",
        "query_maxlen": QUERY_LENGTH,
        "doc_maxlen": DOCUMENT_LENGTH,
        "dim": DIM,
        "similarity": "cosine",
        "mask_punctuation": True,
        "attend_to_mask_tokens": False,
        "checkpoint": "somewhere/else",
        "meta": {"version": "colbert-v0.4"},
    }
    _json(folder / "artifact.metadata", {**usual, **changes})


def _write_shards(folder: Path, tensors: dict[str, np.ndarray], number: int) -> None:
    names = sorted(tensors)
    weight_map = {}
    for shard in range(number):
        file = f"model-{shard + 1:05}-of-{number:05}.safetensors"
        mine = {name: tensors[name] for name in names[shard::number]}
        write_weights(folder / file, mine)
        weight_map.update(dict.fromkeys(mine, file))
    total = sum(tensor.nbytes for tensor in tensors.values())
    _json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def stanford_with_modules(folder: Path) -> None:
    """Write what answerai-colbert-small-v1 is: both formats in one folder, and no model_type."""
    stanford(folder)
    pylate_files(
        folder, [PROJECTION], None, ("[unused0]", "[unused1]"), 11, {"attend_to_expansion_tokens": True, "prompts": {}}
    )


def custom_code(folder: Path) -> None:
    """Write what jina-colbert-v2 is: Stanford's format around a backbone whose code is in the folder.

    Importing the code leaves a file behind, so that a test sees whether it ran.
    """
    auto_map = {"AutoConfig": "configuration_tiny.TinyConfig", "AutoModel": "modeling_tiny.TinyModel"}
    inside = ["[QueryMarker]", "[DocumentMarker]"]
    metadata = {
        "query_token_id": inside[0],
        "doc_token_id": inside[1],
        "attend_to_mask_tokens": True,
    }
    changes = {"model_type": "serotine_tiny", "auto_map": auto_map}
    stanford(folder, inside=inside, metadata=metadata, changes=changes)
    trace = f"if Path({str(folder)!r}).is_dir():\n    Path({str(folder / 'executed')!r}).touch()\n"
    (folder / "configuration_tiny.py").write_text(
        f"from pathlib import Path\n\nfrom transformers import BertConfig\n\n{trace}\n\n"
        'class TinyConfig(BertConfig):\n    model_type = "serotine_tiny"\n'
    )
    (folder / "modeling_tiny.py").write_text(
        "from transformers import BertModel\n\nfrom .configuration_tiny import TinyConfig\n\n\n"
        "class TinyModel(BertModel):\n    config_class = TinyConfig\n"
    )


def dense(folder: Path) -> None:
    """Write a Sentence Transformers model with one vector a text and a trained projection."""
    write_weights(folder / "model.safetensors", backbone(folder, "bert"))
    pooling = {"word_embedding_dimension": HIDDEN, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling").mkdir()
    _json(folder / "1_Pooling" / "config.json", pooling)
    config = {**PROJECTION, "activation_function": "torch.nn.modules.activation.Tanh", "bias": True}
    del config["use_residual"]
    _dense(folder / "2_Dense", config)
    (folder / "3_Normalize").mkdir()
    types = ["Transformer", "Pooling", "Dense", "Normalize"]
    paths = ["", "1_Pooling", "2_Dense", "3_Normalize"]
    modules = [
        _module(number, path, f"sentence_transformers.models.{name}")
        for number, (path, name) in enumerate(zip(paths, types, strict=True))
    ]
    _json(folder / "modules.json", modules)
    _json(folder / "config_sentence_transformers.json", {"__version__": {"sentence_transformers": "2.2.2"}})
    _json(folder / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": False})


def _dense(folder: Path, config: dict[str, Any]) -> None:
    folder.mkdir()
    _json(folder / "config.json", config)
    inner, outer = config["in_features"], config["out_features"]
    tensors = {"linear.weight": random_weight("linear.weight", (outer, inner))}
    if config["bias"]:
        tensors["linear.bias"] = random_weight("linear.bias", (outer,))
    if config.get("use_residual") and inner != outer:
        tensors["residual.weight"] = random_weight("residual.weight", (outer, inner))
    write_weights(folder / "model.safetensors", tensors)


def _module(number: int, path: str, name: str) -> dict[str, Any]:
    return {"idx": number, "name": str(number), "path": path, "type": name}


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1))


_MLP = [
    {**PROJECTION, "out_features": 48, "bias": True, "activation_function": "torch.nn.modules.activation.GELU"},
    {**PROJECTION, "in_features": 48, "use_residual": True},
]

CHECKPOINTS: dict[str, Callable[[Path], None]] = {
    "pylate": pylate,
    "pylate-old": partial(pylate, model_type=None),
    "pylate-attend": partial(pylate, attend_to_expansion_tokens=True),
    "pylate-plain": partial(pylate, do_query_expansion=False, skiplist_words=["the", "."], markers=("", "")),
    "pylate-mlp": partial(pylate, layers=_MLP),
    "pylate-prompts": partial(pylate, prompts={"query": "which bat ", "document": "night: "}),
    "pylate-distilbert": partial(pylate, kind="distilbert"),
    "pylate-xlm-roberta": partial(pylate, kind="xlm-roberta"),
    "pylate-modernbert": partial(pylate, kind="modernbert"),
    "pylate-decoder": partial(pylate, kind="llama"),
    "pylate-bare-decoder": partial(pylate, kind="qwen"),
    "stanford": stanford,
    "stanford-attend": partial(stanford, metadata={"attend_to_mask_tokens": True}),
    "stanford-sharded": partial(stanford, shards=3),
    "stanford-other-key": partial(stanford, key="colbert_linear.weight"),
    "stanford-no-metadata": partial(stanford, metadata=None),
    "stanford-with-modules": stanford_with_modules,
    "custom-code": custom_code,
    "dense": dense,
}
"""How each checkpoint is written, by name."""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "stanford-no-metadata": {"document_length": DOCUMENT_LENGTH},
    "custom-code": {"trust_remote_code": True},
    # New markers would have random vectors.
    "dense": {"query_prefix": "", "document_prefix": "", "query_length": 12, "document_length": DOCUMENT_LENGTH},
}
"""Arguments that PyLate and Serotine are both given."""

GOLDEN_OF = {"stanford-sharded": "stanford", "stanford-other-key": "stanford"}
"""Checkpoints that PyLate cannot read, and the one with the same weights whose vectors they must have."""


def build(name: str, folder: Path) -> Path:
    """Write a checkpoint by name into a new folder, and return the folder."""
    folder.mkdir(parents=True)
    CHECKPOINTS[name](folder)
    return folder
