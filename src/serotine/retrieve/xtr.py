"""`XTR`: rank documents by the nearest tokens of each query token alone, and fetch no document.

Any index that finds tokens will do: those that search for single vectors by a graph or leaves, and `PLAID`, whose
cells are looked into until they hold enough tokens. `Exact` finds exactly what the others look for.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from serotine.errors import InvalidInput
from serotine.indexes.checks import positive_int, read_queries, read_subset
from serotine.indexes.tokens.hits import TokenHits
from serotine.rank.xtr import best_by_hits, score_xtr
from serotine.types import Embeddings, RerankResult

__all__ = ["XTR"]

DEFAULT_K_TOKEN = 10_000
DEFAULT_BATCH_SIZE = 8


class XTR:
    """Retrieve documents from an index by XTR's imputed scores; see `serotine.rank.score_xtr` for the rule.

    index: one of `serotine.indexes`, or any token index whose calls return ``"documents_ids"`` and ``"similarities"``.
    trained_for_xtr: whether the embeddings are of a model that was trained with XTR's scores
    (`serotine.scores.XTRScores`). Of other models the similarities of tokens beyond the nearest are not low enough to
    be replaced by a bound: `serotine.retrieve.ColBERT` then ranks better. So anything but True is warned of.

    Raises:
        InvalidInput: the index can find no tokens.

    Example:
        >>> import numpy as np
        >>> from serotine.indexes import Exact
        >>> index = Exact().add_documents(["a", "b"], [np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]])])
        >>> XTR(index, trained_for_xtr=True).retrieve(np.array([[1.0, 0.0]]), k=1)
        [[{'id': 'b', 'score': 1.0}]]
    """

    def __init__(self, index: Any, *, trained_for_xtr: bool | None = None) -> None:
        finds_tokens = hasattr(index, "nearest_tokens") or getattr(index, "is_end_to_end_index", None) is False
        if not callable(index) or not finds_tokens:
            raise InvalidInput(
                f"index must be one of serotine.indexes, or another token index; got {type(index).__name__}"
            )
        if trained_for_xtr is not True:
            warnings.warn(
                "XTR ranks by retrieved tokens alone, which needs a model that was trained with its scores "
                "(serotine.scores.XTRScores). Use serotine.retrieve.ColBERT with other models; pass "
                "trained_for_xtr=True if yours is one",
                UserWarning,
                stacklevel=2,
            )
        self.index = index

    def retrieve(
        self,
        queries_embeddings: Embeddings,
        k: int = 10,
        k_token: int | None = None,
        device: Any = None,
        batch_size: int | None = None,
        subset: Any = None,
    ) -> list[list[RerankResult]]:
        """Return for each query its k best documents as ``{"id", "score"}``, best first, ties oldest first.

        queries_embeddings: see `serotine.types.Embeddings`; one 2-D array is one query.
        k_token: tokens found for each query token, 10,000 if None and at least k. Documents of which none is found for
        any query token are not returned, so there may be fewer than k.
        device: accepted for PyLate's sake; anything but None and ``"cpu"`` is warned of.
        batch_size: queries per call of the index, 8 if None; each takes 12 bytes * its tokens * k_token.
        subset: ids of the documents that may be returned, one list for all queries or one list per query; nothing known
        in it returns nothing. The tokens found are then the nearest of those documents.

        Raises:
            InvalidInput: k, k_token, batch_size, the subset or a query is not valid; what the index raises.
        """
        queries = read_queries(queries_embeddings, dim=None)
        k = positive_int(k, name="k")
        k_token = max(k, DEFAULT_K_TOKEN if k_token is None else positive_int(k_token, name="k_token"))
        batch_size = DEFAULT_BATCH_SIZE if batch_size is None else positive_int(batch_size, name="batch_size")
        allowed = read_subset(subset, len(queries))
        if device is not None and str(device) != "cpu":
            warnings.warn(f"device={device!r} has no effect: hits are added up on the CPU", UserWarning, stacklevel=2)
        rankings: list[list[RerankResult]] = []
        for start in range(0, len(queries), batch_size):
            batch = queries[start : start + batch_size]
            part = None if allowed is None else allowed.part(start, len(batch)).argument()
            rankings += self._ranked(batch, k, k_token, part)
        return rankings

    def _ranked(self, batch: Any, k: int, k_token: int, subset: Any) -> list[list[RerankResult]]:
        if hasattr(self.index, "nearest_tokens"):
            nearest = self.index.nearest_tokens(batch, k_token, subset)
            return [_ranking(hits, nearest.ids_of, k) for hits in nearest.hits]
        if subset is not None:
            raise InvalidInput(
                f"{type(self.index).__name__} cannot search within a subset; use one of serotine.indexes for that"
            )
        found = self.index(batch, k=k_token)
        if "similarities" not in found:
            raise InvalidInput(
                f"{type(self.index).__name__} returns no similarities, and distances cannot be added up; use "
                "serotine.indexes.Voyager, ScaNN or PLAID"
            )
        return [
            score_xtr(ids, scores, k) for ids, scores in zip(found["documents_ids"], found["similarities"], strict=True)
        ]


def _ranking(hits: TokenHits, ids_of: Any, k: int) -> list[RerankResult]:
    filled = [row >= 0 for row in hits.documents]
    documents = [row[is_hit] for row, is_hit in zip(hits.documents, filled, strict=True)]
    similarities = [row[is_hit] for row, is_hit in zip(hits.similarities, filled, strict=True)]
    best, totals = best_by_hits(documents, similarities, k)
    return [
        {"id": document_id, "score": score}
        for document_id, score in zip(ids_of(np.asarray(best)), totals.tolist(), strict=True)
    ]
