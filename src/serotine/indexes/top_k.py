"""Which k of many scores are the largest, when they come block by block?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["TopK"]

Rows = npt.NDArray[np.int64]


class TopK:
    """The k best scores so far of each query, best first; among equal ones the earliest ordinal wins.

    Blocks must come in ascending order of their ordinals: then what is held always precedes what is new.
    """

    def __init__(self, num_queries: int, k: int) -> None:
        self._k = k
        self._scores = np.full((num_queries, k), -np.inf, dtype=np.float32)
        self._ordinals = np.full((num_queries, k), -1, dtype=np.int64)

    def update(self, first_query: int, scores: npt.NDArray[np.float32], ordinals: Rows) -> None:
        """Take in scores ``(num_queries, len(ordinals))`` of the queries from first_query on."""
        for query, row in enumerate(scores, start=first_query):
            better = np.flatnonzero(row > self._scores[query, -1])
            if len(better) > self._k:
                better = better[_largest(row[better], self._k)]
            if len(better):
                merged = np.concatenate([self._scores[query], row[better]])
                order = np.argsort(-merged, kind="stable")[: self._k]
                self._scores[query] = merged[order]
                self._ordinals[query] = np.concatenate([self._ordinals[query], ordinals[better]])[order]

    def of(self, query: int) -> tuple[npt.NDArray[np.float32], Rows]:
        """Scores and ordinals of a query's best, best first."""
        filled = self._ordinals[query] >= 0
        return self._scores[query, filled], self._ordinals[query, filled]


def _largest(values: npt.NDArray[np.float32], k: int) -> Rows:
    """Positions of the k largest values, ascending; of equal values at the border the first ones. Cost O(n)."""
    border = np.partition(values, len(values) - k)[len(values) - k]
    above = np.flatnonzero(values > border)
    equal = np.flatnonzero(values == border)[: k - len(above)]
    return np.sort(np.concatenate([above, equal]))
