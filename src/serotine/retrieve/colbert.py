"""`ColBERT`: rank an index's documents by their full MaxSim with each query, whatever the index returns.

An end-to-end index ranks documents itself. A token index (nearest neighbours of single vectors) returns hits for
each query token; their documents together are the candidates, whose stored vectors are fetched and reranked.
"""

from __future__ import annotations

import warnings
from typing import Any, Protocol

from serotine.errors import InvalidInput
from serotine.indexes.checks import Subset, positive_int, read_queries, read_subset
from serotine.indexes.tokens.hits import distinct
from serotine.indexes.tokens.index import TokenIndex
from serotine.rank.reranking import rerank
from serotine.types import DocumentId, Embeddings, RerankResult, TokenMatrix

__all__ = ["ColBERT", "SearchableIndex"]

DEFAULT_K_TOKEN = 100
DEFAULT_BATCH_SIZE = 50


class SearchableIndex(Protocol):
    """What retrieval needs of an index.

    A call of an end-to-end index takes the queries, ``k=`` and ``subset=``, and returns rankings. A call of a token
    index takes the queries and ``k=``, and returns a dict whose ``"documents_ids"`` holds for each query and each of
    its tokens the ids of the documents of the nearest vectors; its `get_documents_embeddings` takes lists of ids per
    query. A token index of ours, an `Index`, takes ``subset=``, too.
    """

    @property
    def is_end_to_end_index(self) -> bool:
        """Whether a call ranks documents."""

    def __call__(self, queries_embeddings: Any, k: int, **options: Any) -> Any:
        """Search."""

    def get_documents_embeddings(self, documents_ids: Any) -> Any:
        """Return stored vectors."""


class ColBERT:
    """Retrieve documents from an index by MaxSim.

    index: one of `serotine.indexes`, or any object with the interface of `SearchableIndex`.

    Raises:
        InvalidInput: the index does not say whether it is end-to-end, or cannot be called.

    Example:
        >>> import numpy as np
        >>> from serotine.indexes import Exact
        >>> index = Exact().add_documents(["a", "b"], [np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]])])
        >>> ColBERT(index).retrieve(np.array([[1.0, 0.0]]), k=1)
        [[{'id': 'b', 'score': 1.0}]]
    """

    def __init__(self, index: Any) -> None:
        if not callable(index) or not isinstance(getattr(index, "is_end_to_end_index", None), bool):
            raise InvalidInput(
                f"index must be one of serotine.indexes or have their interface, got {type(index).__name__}"
            )
        self.index: SearchableIndex = index

    def retrieve(
        self,
        queries_embeddings: Embeddings,
        k: int = 10,
        k_token: int | None = None,
        device: Any = None,
        batch_size: int | None = None,
        subset: Any = None,
    ) -> list[list[RerankResult]]:
        """Return for each query its k best documents as ``{"id", "score"}``, best first.

        queries_embeddings: see `serotine.types.Embeddings`; one 2-D array is one query.
        k_token: hits per query token asked of a token index, 100 if None and at least k. Meaningless, and warned of,
        for an end-to-end index.
        device: where a token index's candidates are scored, see `serotine.rank.rerank`. Likewise.
        batch_size: queries per call of the index. None: 50 for a token index, whose candidates are in memory together;
        all at once for an end-to-end index, which bounds its memory itself.
        subset: ids of the documents that may be returned, one list for all queries or one list per query; nothing known
        in it returns nothing. A token index that is none of ours is searched first and its candidates filtered then, so
        a small subset may return fewer than k: raise k_token.

        Raises:
            InvalidInput: k, k_token, batch_size, the subset or a query is not valid; what the index raises.
        """
        queries = read_queries(queries_embeddings, dim=None)
        k = positive_int(k, name="k")
        allowed = read_subset(subset, len(queries))
        if batch_size is not None:
            batch_size = positive_int(batch_size, name="batch_size")
        if self.index.is_end_to_end_index:
            _warn_of_unused(k_token=k_token, device=device)
            return self._by_documents(queries, k, allowed, batch_size or max(1, len(queries)))
        k_token = DEFAULT_K_TOKEN if k_token is None else positive_int(k_token, name="k_token")
        return self._by_tokens(queries, k, max(k, k_token), allowed, batch_size or DEFAULT_BATCH_SIZE, device)

    def _by_documents(
        self, queries: TokenMatrix, k: int, allowed: Subset | None, batch_size: int
    ) -> list[list[RerankResult]]:
        rankings: list[list[RerankResult]] = []
        for start in range(0, len(queries), batch_size):
            stop = start + batch_size
            batch = queries[start:stop]
            subset = None if allowed is None else allowed.part(start, len(batch)).argument()
            rankings += self.index(batch, k=k, subset=subset)
        return rankings

    def _by_tokens(
        self, queries: TokenMatrix, k: int, k_token: int, allowed: Subset | None, batch_size: int, device: Any
    ) -> list[list[RerankResult]]:
        rankings: list[list[RerankResult]] = []
        for start in range(0, len(queries), batch_size):
            batch = queries[start : start + batch_size]
            candidates = self._candidates(batch, k_token, None if allowed is None else allowed.part(start, len(batch)))
            embeddings = self.index.get_documents_embeddings(candidates)
            rankings += [ranking[:k] for ranking in rerank(candidates, batch, embeddings, device=device)]
        return rankings

    def _candidates(self, batch: TokenMatrix, k_token: int, allowed: Subset | None) -> list[list[DocumentId]]:
        """For each query the documents of its hits."""
        index: Any = self.index
        if isinstance(index, TokenIndex):
            nearest = index.nearest_tokens(batch, k_token, None if allowed is None else allowed.argument())
            return [nearest.ids_of(distinct(hits.documents)) for hits in nearest.hits]
        hits_of_queries = index(batch, k=k_token)["documents_ids"]
        return [
            _documents(hits, None if allowed is None else allowed.of_query(query))
            for query, hits in enumerate(hits_of_queries)
        ]


def _documents(hits_per_token: Any, allowed: list[DocumentId] | None) -> list[DocumentId]:
    """The documents of all hits, each once, in the order in which they first appear."""
    found = dict.fromkeys(document_id for hits in hits_per_token for document_id in hits)
    if allowed is None:
        return list(found)
    may_return = set(allowed)
    return [document_id for document_id in found if document_id in may_return]


def _warn_of_unused(**arguments: Any) -> None:
    for name, value in arguments.items():
        if value is not None:
            warnings.warn(
                f"{name}={value!r} has no effect: this index ranks documents itself; leave it out",
                UserWarning,
                stacklevel=3,
            )
