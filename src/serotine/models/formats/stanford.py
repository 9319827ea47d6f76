"""What does a checkpoint of Stanford's ColBERT say?  artifact.metadata has its settings, and its weights a projection
beside the backbone's.

Sources: Khattab & Zaharia 2020; Santhanam et al. 2022 (ColBERTv2). Defaults where artifact.metadata is missing or
silent are PyLate 1.6's: queries of 32 tokens, documents of 180, markers [unused0] and [unused1].
"""

from __future__ import annotations

import logging
import string
from typing import Any

from sentence_transformers.base.modules import Dense
from torch import nn

from serotine.errors import CorruptModel
from serotine.models.formats.layout import Checkpoint
from serotine.models.formats.weights import Weights
from serotine.models.settings import Settings, positive_int

__all__ = ["known_marker", "read_projection", "read_settings"]

logger = logging.getLogger(__name__)

_DEFAULTS = Settings(
    query_prefix="[unused0]",
    document_prefix="[unused1]",
    query_length=32,
    document_length=180,
    do_query_expansion=True,
    attend_to_expansion_tokens=False,
    skiplist_words=list(string.punctuation),
)


def read_settings(checkpoint: Checkpoint) -> Settings:
    """Return the settings of a checkpoint; those that artifact.metadata does not have are the defaults.

    Raises:
        CorruptModel: artifact.metadata is not JSON, or has a value that no model can have.
    """
    metadata = checkpoint.source.json("artifact.metadata")
    if metadata is None:
        logger.warning(
            "%s has no artifact.metadata: taking queries of 32 tokens, documents of 180 and the markers [unused0] and "
            "[unused1]. If it was trained with others, pass query_length, document_length, query_prefix and "
            "document_prefix.",
            checkpoint.source.name,
        )
        return _DEFAULTS
    punctuation = metadata.get("mask_punctuation")
    try:
        found = Settings(
            query_prefix=metadata.get("query_token_id") or None,
            document_prefix=metadata.get("doc_token_id") or None,
            query_length=positive_int(metadata.get("query_maxlen"), name="query_maxlen"),
            document_length=positive_int(metadata.get("doc_maxlen"), name="doc_maxlen"),
            attend_to_expansion_tokens=bool(metadata.get("attend_to_mask_tokens")),
            skiplist_words=None if punctuation is None or punctuation else [],
        )
        found.check()
    except ValueError as error:
        raise CorruptModel(f"{checkpoint.source.name}: artifact.metadata: {error}") from error
    if metadata.get("similarity") not in (None, "cosine", "l2"):
        raise CorruptModel(
            f"{checkpoint.source.name}: artifact.metadata: expected the similarity 'cosine' or 'l2' (which rank the "
            f"same, since vectors have unit length), found {metadata['similarity']!r}"
        )
    return found.over(_DEFAULTS)


def known_marker(tokenizer: Any, marker: str | None) -> str:
    """Return a marker if the vocabulary has it, else the unknown token, which it was trained as.

    Stanford's code looks a marker's id up in the vocabulary and adds nothing to it: a marker that is not there is the
    unknown token, in training too.

    Raises:
        CorruptModel: the vocabulary has neither.
    """
    if not marker or marker in tokenizer.get_vocab():
        return marker or ""
    if tokenizer.unk_token is None:
        raise CorruptModel(
            f"the marker {marker!r} is not in the vocabulary, which has no token for unknown ones either: pass "
            "query_prefix and document_prefix"
        )
    logger.warning(
        "The marker %r is not in the vocabulary: taking %s, as ColBERT's own code does.", marker, tokenizer.unk_token
    )
    return str(tokenizer.unk_token)


def read_projection(checkpoint: Checkpoint, weights: Weights, hidden_size: int) -> Dense:
    """Return the projection that lies among the backbone's weights.

    It is ``linear.weight`` or, under another name, the one matrix outside of the backbone that ends in ``.weight`` and
    takes the backbone's vectors.

    Raises:
        CorruptModel: there is none, there are several, or it takes vectors of another width.
    """
    name = _projection_name(checkpoint, weights, hidden_size)
    weight = weights.read(name).float()
    if weight.ndim != 2 or weight.shape[1] != hidden_size:
        raise CorruptModel(
            f"{checkpoint.source.name}: {name}: expected a projection of {hidden_size} dimensions, found shape "
            f"{tuple(weight.shape)}"
        )
    bias = name.removesuffix("weight") + "bias"
    return Dense(
        in_features=weight.shape[1],
        out_features=weight.shape[0],
        bias=bias in weights.tensors,
        activation_function=nn.Identity(),
        init_weight=weight,
        init_bias=weights.read(bias).float() if bias in weights.tensors else None,
        module_input_name="token_embeddings",
    )


def _projection_name(checkpoint: Checkpoint, weights: Weights, hidden_size: int) -> str:
    if "linear.weight" in weights.tensors:
        return "linear.weight"
    # The backbone's tensors share their first name ("bert.", "roberta."), the projection stands alone.
    first: dict[str, list[str]] = {}
    for name in weights.tensors:
        first.setdefault(name.split(".")[0], []).append(name)
    candidates: list[Any] = [
        name
        for names in first.values()
        for name in names
        if len(names) <= 2
        and not name.startswith("pooler.")
        and name.endswith(".weight")
        and len(weights.tensors[name].shape) == 2
        and weights.tensors[name].shape[1] == hidden_size
    ]
    if len(candidates) == 1:
        return str(candidates[0])
    raise CorruptModel(
        f"{checkpoint.source.name}: expected the projection of a ColBERT as linear.weight or as the one matrix of "
        f"{hidden_size} columns outside of the backbone, found {candidates or 'none'}"
    )
