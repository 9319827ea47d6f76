"""Which document token does each query token match, and what does it add to the score?  For explanations, heatmaps.

One query, one document, numpy only. It holds every similarity of the pair, so it is not how many are scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serotine._arrays import to_numpy
from serotine.errors import DimensionMismatch, InvalidInput

__all__ = ["Alignment", "align"]


@dataclass(frozen=True, eq=False)
class Alignment:
    """How the tokens of a query match those of a document.

    similarity: float32 ``(query_tokens, document_tokens)``, every dot product.
    best_document_token: int64 ``(query_tokens,)``, column of each row's maximum, the first of equal ones; -1 if the
        document has no tokens.
    contribution: float32 ``(query_tokens,)``, what each query token adds: that maximum, ``-inf`` without a document
        token.
    query_tokens, document_tokens: the tokens as text, if they were given.
    """

    similarity: npt.NDArray[np.float32]
    best_document_token: npt.NDArray[np.int64]
    contribution: npt.NDArray[np.float32]
    query_tokens: tuple[str, ...] | None = None
    document_tokens: tuple[str, ...] | None = None

    @property
    def score(self) -> float:
        """The MaxSim score: the sum of the contributions; ``-inf`` for a document without tokens."""
        return float(self.contribution.sum()) if self.similarity.shape[1] else -np.inf


def align(
    query: Any,
    document: Any,
    *,
    query_tokens: Sequence[str] | None = None,
    document_tokens: Sequence[str] | None = None,
) -> Alignment:
    """Match each token of one query with its most similar token of one document.

    query: ``(query_tokens, dim)``, document: ``(document_tokens, dim)``, arrays or tensors of any float dtype.
    query_tokens, document_tokens: one string per row.

    Raises:
        DimensionMismatch: a side is not 2-D, or the sides have two widths.
        InvalidInput: there is not one string per token.

    Cost: ``query_tokens * document_tokens * dim`` multiply-adds and 4 bytes per pair of tokens.

    Example:
        >>> import numpy as np
        >>> alignment = align(np.eye(2), np.array([[0.0, 1.0], [0.6, 0.8]]), document_tokens=["bat", "cave"])
        >>> [alignment.document_tokens[best] for best in alignment.best_document_token]
        ['cave', 'bat']
        >>> round(alignment.score, 3)
        1.6
    """
    query_vectors, document_vectors = _vectors(query, what="query"), _vectors(document, what="document")
    if query_vectors.shape[1] != document_vectors.shape[1]:
        raise DimensionMismatch(
            f"query has dimension {query_vectors.shape[1]}, document {document_vectors.shape[1]}; "
            "encode both with one model"
        )
    similarity = query_vectors @ document_vectors.T
    if similarity.shape[1]:
        best = similarity.argmax(axis=1)
        contribution = np.take_along_axis(similarity, best[:, None], axis=1)[:, 0]
    else:
        best = np.full(len(similarity), -1)
        contribution = np.full(len(similarity), -np.inf, dtype=np.float32)
    return Alignment(
        similarity=similarity,
        best_document_token=best.astype(np.int64, copy=False),
        contribution=contribution,
        query_tokens=_strings(query_tokens, len(query_vectors), what="query_tokens"),
        document_tokens=_strings(document_tokens, len(document_vectors), what="document_tokens"),
    )


def _vectors(embedding: Any, *, what: str) -> npt.NDArray[np.float32]:
    array = to_numpy(embedding)
    if array.ndim != 2:
        raise DimensionMismatch(f"{what} must be 2-D (num_tokens, dim), one text, got shape {array.shape}")
    return array.astype(np.float32, copy=False)


def _strings(tokens: Sequence[str] | None, expected: int, *, what: str) -> tuple[str, ...] | None:
    if tokens is None:
        return None
    if isinstance(tokens, str) or len(tokens) != expected:
        raise InvalidInput(f"{what} must hold one string per token: expected {expected}, got {len(tokens)}")
    return tuple(tokens)
