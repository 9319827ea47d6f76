"""Is what was loaded what was saved?  Errors of other libraries by name, and what they leave unsaid.

transformers fills what a file lacks with random numbers, and makes a tokenizer of nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sentence_transformers.base.modules import Dense, Transformer
from torch import nn
from transformers import MODEL_MAPPING
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

from serotine.errors import CorruptModel, SerotineError, UntrustedModel
from serotine.models.formats.layout import Checkpoint
from serotine.models.formats.weights import Weights

__all__ = ["check_loaded", "named_errors"]


@contextmanager
def named_errors(name: str) -> Iterator[None]:
    """Turn what other libraries raise about a broken model into CorruptModel; other errors pass."""
    try:
        yield
    except (SerotineError, ImportError, MemoryError):
        raise
    except Exception as error:
        if "ignore_mismatched_sizes" in str(error) or "size mismatch" in str(error):
            raise CorruptModel(
                f"{name}: expected weights of the shapes that config.json says, found others (the report of "
                "transformers has their names)"
            ) from error
        if not Path(name).is_dir():
            raise  # a network and its hub have errors of their own
        raise CorruptModel(f"{name} could not be loaded: {type(error).__name__}: {error}") from error


def check_loaded(
    checkpoint: Checkpoint, modules: Sequence[nn.Module], weights: Weights | None, *, trust_remote_code: bool
) -> None:
    """Raise an error if the modules cannot be what was saved.

    weights: those of the backbone, None if they are not known.

    Raises:
        CorruptModel: weights or a vocabulary are missing, or a projection does not fit.
        UntrustedModel: they do not fit because the model has code of its own, which was not allowed.
    """
    name, first = checkpoint.source.name, modules[0]
    if not hasattr(first, "tokenizer"):
        raise CorruptModel(f"{name}: modules.json: expected a Transformer first, found a {type(first).__name__}")
    if not isinstance(first, Transformer):
        return
    if weights is not None:
        missing = _missing_weights(first, weights)
        if missing and "auto_map" in (checkpoint.config or {}) and not trust_remote_code:
            raise UntrustedModel(
                f"{name} brings code of its own, which was not run; {len(missing)} weights of transformers' network of "
                "that kind are not in its files. Read the code, and then pass trust_remote_code=True"
            )
        if missing:
            raise CorruptModel(
                f"{name}: {len(missing)} weights of the backbone are missing, the first is {missing[0]}. There are "
                f"{', '.join(sorted(weights.tensors)[:3])} and {max(len(weights.tensors) - 3, 0)} others"
            )
    _check_vocabulary(name, first)
    _check_widths(name, first, modules[1:])


def _check_vocabulary(name: str, transformer: Transformer) -> None:
    tokenizer = transformer.tokenizer
    if tokenizer is not None and len(tokenizer) <= len(tokenizer.all_special_ids):
        raise CorruptModel(f"{name}: the vocabulary has special tokens only: is tokenizer.json or vocab.txt missing?")


def _check_widths(name: str, transformer: Transformer, others: Sequence[nn.Module]) -> None:
    width = transformer.get_embedding_dimension()
    for module in others:
        if isinstance(module, Dense) and module.module_input_name == "token_embeddings":
            if module.in_features != width:
                raise CorruptModel(f"{name}: a projection takes {module.in_features} dimensions, but gets {width}")
            width = module.out_features


def _missing_weights(transformer: Transformer, weights: Weights) -> list[str]:
    """Return the weights that the backbone has and its files have not: transformers made them up.

    A file has the network's own names, or those behind the name of its kind ("bert."). Architectures that rename, code
    of the model's own, parts of a network and quantised ones are left out. Poolers may be missing: no token vector goes
    through them.
    """
    network, config = transformer.model, transformer.config
    if (
        type(network) is not MODEL_MAPPING.get(type(config), None)
        or get_checkpoint_conversion_mapping(config.model_type) is not None
        or getattr(config, "quantization_config", None) is not None
    ):
        return []
    kind = f"{network.base_model_prefix}."
    there = {_current_name(tensor).removeprefix(kind) for tensor in weights.tensors}
    wanted = [parameter for parameter, _ in network.named_parameters() if "pooler" not in parameter]
    return [parameter for parameter in wanted if parameter not in there]


def _current_name(tensor: str) -> str:
    # BERT's first checkpoints call the scale and shift of a LayerNorm gamma and beta.
    return tensor.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
