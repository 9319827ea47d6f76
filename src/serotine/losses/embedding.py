"""How do the columns of a batch become embeddings?  Checks, the model's forward passes, and documents in groups.

A batch is a list of features as the collator makes them: queries first, then one or more columns of documents. A column
of documents may hold a list for each query; its texts then follow each other, query by query, and if the lists differ
in length, ``features["num_documents"]`` has the length of each.

The masks here are the model's scoring masks, not its attention masks: expansion tokens of a query are not attended
to but scored, punctuation of a document is attended to but not scored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as functional
from sentence_transformers.base.losses.gradcache import _get_batch_size
from sentence_transformers.base.losses.merged_forward import embed_columns_padded
from torch import Tensor

from serotine.errors import InvalidInput

__all__ = ["Columns", "Documents", "Texts", "embed", "group", "read_columns", "scoring_output"]

Features = dict[str, Any]


class Texts(NamedTuple):
    """Embeddings of a column."""

    tokens: Tensor  # (num_texts, num_tokens, dim)
    mask: Tensor  # bool (num_texts, num_tokens): which tokens are scored

    def cut(self, dim: int | None) -> Texts:
        """Keep the leading dimensions, with norm 1; None keeps everything as it is."""
        return self if dim is None else self._replace(tokens=_leading(self.tokens, dim))


class Documents(NamedTuple):
    """Embeddings of the documents of each query."""

    tokens: Tensor  # (num_queries, num_documents, num_tokens, dim)
    mask: Tensor  # bool (num_queries, num_documents, num_tokens)
    exist: Tensor | None  # bool (num_queries, num_documents) where queries have different numbers of documents

    def existing(self) -> Tensor:
        """Return which documents there are, also where it is all."""
        return self.mask.new_ones(self.mask.shape[:2]) if self.exist is None else self.exist

    def cut(self, dim: int | None) -> Documents:
        """Keep the leading dimensions, with norm 1; None keeps everything as it is."""
        return self if dim is None else self._replace(tokens=_leading(self.tokens, dim))


def _leading(tokens: Tensor, dim: int) -> Tensor:
    return tokens if tokens.shape[-1] == dim else functional.normalize(tokens[..., :dim], dim=-1)


class Columns(NamedTuple):
    """A checked batch: features with their tasks, and for each column of documents how many each query has."""

    features: list[Features]
    num_queries: int
    counts: list[list[int]]


def read_columns(
    sentence_features: Iterable[Features], *, loss: str, num_documents: Sequence[int] | None = None
) -> Columns:
    """Check a batch and copy its dicts, which modules write to.

    num_documents: documents of each query, if there is one column of documents and labels tell.

    Raises:
        InvalidInput: no column of documents, no rows, a column whose rows do not match the queries, or that was
            tokenised without a task; it is named.
    """
    features = [_own_features(column) for column in sentence_features]
    if len(features) < 2:
        raise InvalidInput(
            f"{loss} needs a column of queries and at least one of documents, got {len(features)} column(s): "
            "(query, positive, negative, ...) in this order"
        )
    num_queries = _get_batch_size(features[0])
    if num_queries == 0:
        raise InvalidInput(f"{loss} got a batch without rows in column 0 (queries)")
    for position, column in enumerate(features):
        if column.get("task") is None:
            raise InvalidInput(
                f"{loss}: column {position} was tokenised neither as queries nor as documents, so without the model's "
                "markers and lengths. Give the trainer data_collator=serotine.utils.ColBERTCollator(model.tokenize)"
            )
    given = num_documents if len(features) == 2 else None
    counts = [
        _counts(features[position], position, num_queries, given, loss=loss) for position in range(1, len(features))
    ]
    return Columns(features, num_queries, counts)


def _own_features(column: Features) -> Features:
    """Leave out the features of other columns whose names begin with this one's.

    Sentence Transformers' trainer tells columns apart by how keys begin, so that "negative" gets "1_input_ids" and the
    like, which are those of "negative_1".
    """
    others = tuple(key.removesuffix("input_ids") for key in column if key.endswith("_input_ids"))
    return {key: value for key, value in column.items() if not (others and key.startswith(others))}


def _counts(
    features: Features, position: int, num_queries: int, given: Sequence[int] | None, *, loss: str
) -> list[int]:
    """Return how many documents of a column each query has."""
    rows = _get_batch_size(features)
    stated = features.pop("num_documents", None)
    counts = [int(count) for count in (stated if stated is not None else given or ())]
    if counts:
        if len(counts) != num_queries or sum(counts) != rows or min(counts) < 0:
            raise InvalidInput(
                f"{loss}: column {position} has {rows} documents, but the lists of the {num_queries} queries have "
                f"{sum(counts)} in {len(counts)} lists"
            )
        return counts
    if rows == 0 or rows % num_queries:
        raise InvalidInput(
            f"{loss}: column {position} has {rows} rows for {num_queries} queries, expected one for each, or as many "
            "for each. Lists of different lengths need features['num_documents'], which the collator sets"
        )
    return [rows // num_queries] * num_queries


def embed(model: Any, columns: Columns) -> tuple[Texts, Documents]:
    """Run the model with gradients: the queries, and all columns of documents together where they allow it."""
    query_features, *document_features = columns.features
    queries = scoring_output(model(query_features, task=query_features["task"]))
    tokens, masks = embed_columns_padded(model, document_features, task_default="document")
    return queries, group([Texts(*column) for column in zip(tokens, masks, strict=True)], columns)


def scoring_output(outputs: Features) -> Texts:
    """Take token vectors and scoring mask from what the model returned."""
    if "token_embeddings" not in outputs or "attention_mask" not in outputs:
        raise InvalidInput(
            f"the model returned {sorted(outputs)}, expected token_embeddings and attention_mask: train a "
            "serotine.models.ColBERT or another late-interaction model"
        )
    return Texts(outputs["token_embeddings"], outputs["attention_mask"].bool())


def group(texts: list[Texts], columns: Columns) -> Documents:
    """Stand the documents of each query side by side, filled up to the longest text and the longest list."""
    longest = max(column.tokens.shape[1] for column in texts)
    parts = [
        _group_column(Texts(_filled(column.tokens, longest), _filled(column.mask, longest)), counts)
        for column, counts in zip(texts, columns.counts, strict=True)
    ]
    if len(parts) == 1:
        return parts[0]
    exist = None
    if any(part.exist is not None for part in parts):
        exist = torch.cat([part.existing() for part in parts], dim=1)
    return Documents(torch.cat([part.tokens for part in parts], 1), torch.cat([part.mask for part in parts], 1), exist)


def _filled(values: Tensor, num_tokens: int) -> Tensor:
    missing = num_tokens - values.shape[1]
    return functional.pad(values, (0, 0) * (values.ndim - 2) + (0, missing)) if missing else values


def _group_column(column: Texts, counts: list[int]) -> Documents:
    num_queries, most = len(counts), max(counts)
    if min(counts) == most:
        shape = (num_queries, most)
        tokens = column.tokens.view(*shape, *column.tokens.shape[1:])
        return Documents(tokens, column.mask.view(*shape, -1), None)
    exist = torch.arange(most) < torch.tensor(counts).unsqueeze(1)
    places = exist.view(-1).nonzero().view(-1).to(column.tokens.device)
    shape = (num_queries * most, *column.tokens.shape[1:])
    tokens = column.tokens.new_zeros(shape).index_copy(0, places, column.tokens)
    mask = column.mask.new_zeros(shape[:2]).index_copy(0, places, column.mask)
    return Documents(
        tokens.view(num_queries, most, *shape[1:]), mask.view(num_queries, most, -1), exist.to(column.tokens.device)
    )
