"""Which settings make an encoder a ColBERT, where do they come from, and where do they live in the modules?

A setting is taken from the constructor's argument, else from the checkpoint, else (for a backbone that
was never a late-interaction model) from ColBERT's defaults. After construction the modules of Sentence
Transformers hold them (`Transformer`, `MultiVectorMask`, the prompts), so that a saved model needs none
of our code; this file only translates between the two vocabularies.
"""

from __future__ import annotations

import operator
import string
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal

from sentence_transformers.base.modules import Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from torch import nn

from serotine.errors import InvalidInput

__all__ = [
    "COLBERT_DEFAULTS",
    "Settings",
    "Task",
    "apply_lengths",
    "check_length",
    "maximum_length",
    "positive_int",
    "read_lengths",
    "read_skiplist",
    "write_skiplists",
]

Task = Literal["query", "document"]
"""What a text is encoded as."""


@dataclass(frozen=True)
class Settings:
    """The settings of a ColBERT encoder; None means "not given here".

    query_prefix, document_prefix: marker token put before the text, "" for none.
    query_length, document_length: tokens kept of a text, markers and special tokens included.
    do_query_expansion: pad queries to query_length with [MASK] tokens whose vectors are scored.
    attend_to_expansion_tokens: whether the other tokens see the expansion tokens.
    skiplist_words: tokens of documents whose vectors are dropped.
    query_skiplist_words: tokens of queries whose vectors are dropped.
    embedding_size: width of a token vector.
    """

    query_prefix: str | None = None
    document_prefix: str | None = None
    query_length: int | None = None
    document_length: int | None = None
    do_query_expansion: bool | None = None
    attend_to_expansion_tokens: bool | None = None
    skiplist_words: list[str] | None = None
    query_skiplist_words: list[str] | None = None
    embedding_size: int | None = None

    def over(self, base: Settings) -> Settings:
        """Return these settings, with the base's wherever nothing is given here."""
        return Settings(
            **{
                field.name: getattr(base if getattr(self, field.name) is None else self, field.name)
                for field in fields(self)
            }
        )

    @property
    def is_empty(self) -> bool:
        """True if nothing is given."""
        return all(getattr(self, field.name) is None for field in fields(self))

    def check(self) -> None:
        """Raise InvalidInput for a value that no encoder can have."""
        for name in ("query_length", "document_length", "embedding_size"):
            positive_int(getattr(self, name), name=name)
        for name in ("query_prefix", "document_prefix"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise InvalidInput(f"{name} must be a string ('' for none), got {value!r}")
        for name in ("skiplist_words", "query_skiplist_words"):
            words = getattr(self, name)
            if words is not None and (not isinstance(words, list) or not all(isinstance(word, str) for word in words)):
                raise InvalidInput(f"{name} must be a list of strings, got {words!r}")


def positive_int(value: Any, *, name: str) -> int | None:
    """Return a positive whole number (of any integer type) as an int, None as None; else raise InvalidInput."""
    if value is None:
        return None
    if isinstance(value, (bool, str)) or not hasattr(value, "__index__") or operator.index(value) < 1:
        raise InvalidInput(f"{name} must be a positive integer, got {value!r}")
    return operator.index(value)


# Khattab & Zaharia 2020, section 3.2, as PyLate sets them for a new model.
COLBERT_DEFAULTS = Settings(
    query_prefix="[Q] ",
    document_prefix="[D] ",
    query_length=32,
    document_length=180,
    do_query_expansion=True,
    attend_to_expansion_tokens=False,
    skiplist_words=list(string.punctuation),
    query_skiplist_words=[],
    embedding_size=128,
)


def maximum_length(transformer: Transformer) -> int | None:
    """Tokens that the backbone can take at once, None if it sets no limit.

    Backbones of the RoBERTa family count positions from padding_idx + 1, so they take fewer tokens than
    their table of positions has rows.
    """
    config = transformer.config
    text_config = config.get_text_config() if hasattr(config, "get_text_config") else config
    positions = getattr(text_config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        return None
    return positions - _first_position(transformer)


def _first_position(transformer: Transformer) -> int:
    modules = transformer.model.modules() if hasattr(transformer.model, "modules") else ()
    for module in modules:
        padding_index = getattr(module, "padding_idx", None)
        if isinstance(padding_index, int) and isinstance(getattr(module, "position_embeddings", None), nn.Embedding):
            return padding_index + 1
    return 0


def check_length(transformer: Transformer, name: str, value: int | None) -> None:
    """Raise InvalidInput if the backbone cannot take texts of the given number of tokens."""
    specials = transformer.tokenizer.num_special_tokens_to_add() if transformer.tokenizer is not None else 0
    if value is not None and value <= specials:
        # A tokenizer that is asked for less gives up truncating, and keeps the whole text.
        raise InvalidInput(f"{name}={value} leaves no room for text beside the {specials} special tokens")
    limit = maximum_length(transformer)
    if value is not None and limit is not None and value > limit:
        raise InvalidInput(
            f"{name}={value} is above the backbone's maximum of {limit} tokens. Lower it, or encode long "
            "documents in overlapping windows: encode(..., window_overlap=...)"
        )


def apply_lengths(transformer: Transformer, settings: Settings) -> None:
    """Write lengths and query expansion to the backbone module (complete settings are expected)."""
    check_length(transformer, "query_length", settings.query_length)
    check_length(transformer, "document_length", settings.document_length)
    # Sentence Transformers checks the two query settings against each other on each assignment.
    transformer.query_expansion = None
    transformer.query_length = settings.query_length
    transformer.document_length = settings.document_length
    if settings.do_query_expansion:
        if settings.query_length is None:
            raise InvalidInput("do_query_expansion=True needs query_length, the length that queries are padded to")
        transformer.query_length = None
        transformer.query_expansion = {
            "strategy": "fixed",
            "attend": bool(settings.attend_to_expansion_tokens),
            "length": settings.query_length,
        }


def read_lengths(transformer: Transformer) -> dict[str, Any]:
    """Read lengths and query expansion back from the backbone module."""
    expansion = transformer.query_expansion
    return {
        "query_length": transformer.query_length if expansion is None else expansion["length"],
        "document_length": transformer.document_length,
        "do_query_expansion": expansion is not None,
        "attend_to_expansion_tokens": bool(expansion and expansion["attend"]),
    }


def read_skiplist(modules: Iterable[Any], task: Task) -> list[str]:
    """Return the words that masks among the modules drop from queries or from documents, [] if none does."""
    masks = [module for module in modules if isinstance(module, MultiVectorMask) and task in module.skiplist_tasks]
    return list(dict.fromkeys(word for mask in masks for word in mask.skiplist_words))


def write_skiplists(modules: list[nn.Module], *, queries: list[str], documents: list[str]) -> list[nn.Module]:
    """Return the modules with these words: those of documents in the first mask, those of queries in one of their own.

    Masks that have these words already stay as they are. Otherwise the first one is changed (there has to be one), and
    of the others only those stay that keep nothing but some tokens.
    """
    if (read_skiplist(modules, "query"), read_skiplist(modules, "document")) == (queries, documents):
        return modules
    first, *others = (module for module in modules if isinstance(module, MultiVectorMask))
    for mask in (first, *others):
        mask.skiplist_words, mask.skiplist_tasks = [], ["document"]
    first.skiplist_words = list(documents)
    kept = [module for module in modules if module not in others or module.keep_only_token_ids]
    # After the last one, since each mask scores expansion tokens again.
    position = max(number for number, module in enumerate(kept) if isinstance(module, MultiVectorMask)) + 1
    added = [MultiVectorMask(skiplist_words=queries, skiplist_tasks="query")] if queries else []
    return [*kept[:position], *added, *kept[position:]]
