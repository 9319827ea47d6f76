"""How is a model written so that PyLate loads it?  Its folder has the backbone, the projections and all settings; mask
and normalisation are in PyLate's code, so a model that scores in any other way has no place in it.

Reading is `serotine.models.loading`; the layout is in docs/models.md. Checked with PyLate 1.6.0
(benchmarks/peers/pylate_goldens.py --compare).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from torch import nn

from serotine.errors import InvalidInput
from serotine.models.settings import maximum_length

if TYPE_CHECKING:
    from serotine.models.colbert import ColBERT

__all__ = ["begins_with_text", "save_pylate"]

logger = logging.getLogger(__name__)

# What a tokenizer without a limit says instead of one is 10^30.
_LONGEST = 32768


def begins_with_text(tokenizer: Any) -> bool:
    """Whether the first token of a text is its own, not a special one ([CLS], <s>).

    PyLate puts a marker at the second position, whatever is at the first.
    """
    return bool(tokenizer("a")["input_ids"][:1] == tokenizer("a", add_special_tokens=False)["input_ids"][:1])


def save_pylate(model: ColBERT, path: str | Path) -> None:
    """Write a model into a folder as PyLate 1.6 does; files that are there are replaced.

    A model without a projection gets one that changes nothing, since PyLate would add a random one.

    Raises:
        InvalidInput: PyLate's layout has no place for something that the model does; the message says for what.
    """
    if model.query_skiplist_words:
        raise InvalidInput(
            f"PyLate's layout has no place for words that queries drop: {model.query_skiplist_words}. Save without "
            "format='pylate', or load the model with query_skiplist_words=[], which scores them"
        )
    projections = _projections(model)
    _check_scoring(model)
    _check_markers(model)
    folder = Path(path)
    transformer = model[0]
    folder.mkdir(parents=True, exist_ok=True)
    transformer.model.save_pretrained(str(folder))
    transformer.processor.save_pretrained(str(folder))
    modules = [_module(0, "", "sentence_transformers.models.Transformer")]
    for number, projection in enumerate(projections, start=1):
        _write_projection(folder / f"{number}_Dense", projection)
        modules.append(_module(number, f"{number}_Dense", "pylate.models.Dense.Dense"))
    settings = _settings(model)
    _write_json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": settings["document_length"], "do_lower_case": transformer.do_lower_case},
    )
    _write_json(folder / "config_sentence_transformers.json", settings)
    # Last, for without it there is no model here.
    _write_json(folder / "modules.json", modules)


def _projections(model: ColBERT) -> list[Dense]:
    """Return the projections of a model of backbone, projections, mask and normalisation; no other is saved."""
    kinds = [type(module) for module in model]
    projections = [module for module in model if isinstance(module, Dense)]
    expected = [Transformer, *[Dense] * len(projections), MultiVectorMask, Normalize]
    if kinds != expected or model[0].transformer_task != "feature-extraction":
        raise InvalidInput(
            "PyLate's layout holds a text backbone, projections, a mask and a normalisation, in this order; this "
            f"model is {', '.join(kind.__name__ for kind in kinds)}. Save it without format='pylate'"
        )
    for projection in projections:
        if projection.module_input_name != "token_embeddings" or projection.module_output_name != "token_embeddings":
            raise InvalidInput("PyLate's layout holds projections of token vectors only")
    return projections or [_identity(model[0].get_embedding_dimension())]


def _identity(width: int) -> Dense:
    weight = torch.eye(width)
    return Dense(width, width, bias=False, activation_function=nn.Identity(), init_weight=weight)


def _check_scoring(model: ColBERT) -> None:
    mask = model[-2]
    expansion = model[0].query_expansion
    problems = {
        "a learnt score": model.scorer is not None,
        f"the similarity {model.similarity_fn_name}": model.similarity_fn_name != "maxsim",
        "a mask that keeps only some tokens": mask.keep_only_token_ids is not None,
        f"query expansion {expansion}": expansion is not None
        and (expansion["strategy"] != "fixed" or expansion["token"] is not None),
    }
    found = [name for name, is_there in problems.items() if is_there]
    if found:
        raise InvalidInput(f"PyLate's layout has no place for {' and '.join(found)}. Save without format='pylate'")


def _check_markers(model: ColBERT) -> None:
    """Raise InvalidInput unless a marker at the second position, where PyLate puts it, is where the model has it."""
    tokenizer = model.tokenizer
    for task, prefix in (("query", model.query_prefix), ("document", model.document_prefix)):
        if not prefix:
            continue
        features = model.preprocess(["a"], prompt=prefix, task=task)
        text = tokenizer("a")["input_ids"]
        mine = features["input_ids"][0, : len(text) + 1].tolist()
        theirs = [*text[:1], tokenizer.convert_tokens_to_ids(prefix), *text[1:]]
        if mine != theirs:
            raise InvalidInput(
                f"PyLate puts the marker {prefix!r} at the second position: {tokenizer.convert_ids_to_tokens(theirs)}. "
                f"This model has {tokenizer.convert_ids_to_tokens(mine)}: save it without format='pylate'"
            )


def _settings(model: ColBERT) -> dict[str, Any]:
    """Return what config_sentence_transformers.json holds, from the model's own, which has most of it."""
    settings = model._get_model_config()
    del settings["model_type"]
    limit = min(maximum_length(model[0]) or _LONGEST, model.tokenizer.model_max_length, _LONGEST)
    unknown = model.tokenizer.unk_token_id
    # PyLate takes a word outside of the vocabulary for the unknown token, and skips all of these.
    ids = {word: model.tokenizer.convert_tokens_to_ids(word) for word in model.skiplist_words}
    prefixes = {"query": model.query_prefix, "document": model.document_prefix}
    prompts = {name: (text or "").removeprefix(prefixes.get(name, "")) for name, text in model.prompts.items()}
    if any(prompts.get(name) for name in prefixes):
        logger.warning("PyLate applies a prompt only when asked: encode(..., prompt_name='query'), or 'document'.")
    return {
        "model_type": "ColBERT",
        **settings,
        "prompts": prompts,
        "similarity_fn_name": "MaxSim",
        "query_length": model.query_length or limit,
        "document_length": model.document_length or limit,
        "skiplist_words": [word for word, number in ids.items() if number not in (None, unknown)],
    }


def _write_projection(folder: Path, projection: Dense) -> None:
    folder.mkdir(exist_ok=True)
    kind = type(projection.activation_function)
    config = {
        "in_features": projection.in_features,
        "out_features": projection.out_features,
        "bias": projection.bias,
        "activation_function": f"{kind.__module__}.{kind.__name__}",
        "use_residual": projection.use_residual,
    }
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in projection.state_dict().items()}
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
    _write_json(folder / "config.json", config)


def _module(number: int, path: str, name: str) -> dict[str, Any]:
    return {"idx": number, "name": str(number), "path": path, "type": name}


def _write_json(path: Path, value: dict[str, Any] | Sequence[Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
