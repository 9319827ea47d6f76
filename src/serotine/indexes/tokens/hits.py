"""What does a search for single vectors return?  For each query token its nearest document tokens, best first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from serotine.types import DocumentId

__all__ = ["NearestTokens", "TokenHits", "distinct"]


class TokenHits(NamedTuple):
    """The hits of one query; every array is ``(num_query_tokens, num_hits)``, each row best first.

    documents: int64, numbers of documents, -1 where a token has fewer hits than others. similarities: float32, dot
    products with the stored vectors. distances: float32, 1 - cosine; None from an index that orders by similarity.
    """

    documents: npt.NDArray[np.int64]
    similarities: npt.NDArray[np.float32]
    distances: npt.NDArray[np.float32] | None = None


def distinct(documents: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Numbers of documents that occur among hits, each once, ascending."""
    return np.setdiff1d(documents, [-1])


class NearestTokens(NamedTuple):
    """The hits of several queries, and what turns their numbers of documents into ids."""

    hits: list[TokenHits]
    ids_of: Callable[[npt.NDArray[np.int64]], list[DocumentId]]

    def to_dict(self) -> dict[str, list[list[Any]]]:
        """Return the form that PyLate's token indexes return, with ``"similarities"`` added.

        Each value holds, for every query and every token of it, one list of ids or one float32 array. ``"distances"``
        is left out where the hits have none, as those of `PLAID`.
        """
        found: dict[str, list[list[Any]]] = {"documents_ids": [], "distances": [], "similarities": []}
        if any(hits.distances is None for hits in self.hits):
            del found["distances"]
        for hits in self.hits:
            rows = [row[row >= 0] for row in hits.documents]
            found["documents_ids"].append([self.ids_of(row) for row in rows])
            for name, values in (("distances", hits.distances), ("similarities", hits.similarities)):
                if values is not None and name in found:
                    found[name].append([value[: len(row)] for value, row in zip(values, rows, strict=True)])
        return found
