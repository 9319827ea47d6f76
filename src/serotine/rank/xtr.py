"""`score_xtr`: rank documents by the tokens that a search found, without looking at their other tokens.

For each query token a document gets the largest similarity among its tokens that were found; if none was, the smallest
similarity that was found at all for that query token: what was not found cannot be larger. The sum ranks.
Source: Lee et al. 2023, "Rethinking the Role of Token Retrieval in Multi-Vector Retrieval", section 3.2.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serotine.errors import InvalidInput
from serotine.indexes.checks import positive_int, read_ids
from serotine.types import DocumentId, RerankResult

__all__ = ["best_by_hits", "score_xtr"]


def score_xtr(
    query_doc_ids: Sequence[Sequence[DocumentId]],
    query_scores: Sequence[Sequence[float]],
    k: int,
    device: Any = "cpu",
) -> list[RerankResult]:
    """Return the k best documents of one query as ``{"id", "score"}``, best first; ties in order of appearance.

    query_doc_ids: for each query token the ids of the documents of the tokens found for it, repeats allowed, in any
    order. query_scores: their similarities, higher is better: a token index's ``"similarities"``, never its distances.
    A query token for which nothing was found adds 0 to every document. device: accepted for PyLate's sake.

    Raises:
        InvalidInput: lists of different lengths, a similarity that is not finite, or k below 1.

    Cost O(hits). Extra memory: 16 bytes per hit and document.

    Example:
        >>> score_xtr([["a", "b"], ["b"]], [[0.9, 0.5], [0.75]], k=2)
        [{'id': 'a', 'score': 1.65}, {'id': 'b', 'score': 1.25}]
    """
    k = positive_int(k, name="k")
    if device is not None and str(device) != "cpu":
        warnings.warn(f"device={device!r} has no effect: hits are added up on the CPU", UserWarning, stacklevel=2)
    if len(query_doc_ids) != len(query_scores):
        raise InvalidInput(
            "query_doc_ids and query_scores must have the same number of query tokens, got "
            f"{len(query_doc_ids)} and {len(query_scores)}"
        )
    number_of: dict[DocumentId, int] = {}
    documents, similarities = [], []
    for token, (ids, scores) in enumerate(zip(query_doc_ids, query_scores, strict=True)):
        numbers = [number_of.setdefault(document_id, len(number_of)) for document_id in read_ids(ids)]
        values = np.asarray(scores, dtype=np.float64)
        if values.shape != (len(numbers),):
            raise InvalidInput(
                "Each query token must have matching document IDs and scores lengths, got "
                f"{len(numbers)} ids and scores of shape {values.shape} for token {token}"
            )
        if not np.isfinite(values).all():
            raise InvalidInput(f"query token {token} has a score that is not finite; leave such hits out")
        documents.append(np.array(numbers, dtype=np.int64))
        similarities.append(values)
    ids_in_order = list(number_of)
    best, totals = best_by_hits(documents, similarities, k)
    return [
        {"id": ids_in_order[number], "score": total}
        for number, total in zip(best.tolist(), totals.tolist(), strict=True)
    ]


def best_by_hits(
    documents: Sequence[npt.NDArray[np.int64]], similarities: Sequence[npt.NDArray[Any]], k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the k best documents by the rule above, and their scores, best first; ties: the lowest number first.

    documents, similarities: for each query token one array of each, of the same length; numbers >= 0.
    """
    found = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *documents]))
    totals = np.zeros(len(found))
    for numbers, values in zip(documents, similarities, strict=True):
        if len(numbers):
            best = np.full(len(found), -np.inf)
            np.maximum.at(best, np.searchsorted(found, numbers), values)
            totals += np.where(best == -np.inf, values.min(), best)
    order = np.argsort(-totals, kind="stable")[:k]
    return found[order], totals[order]
