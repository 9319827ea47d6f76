"""Which k documents of a snapshot score best?  Every document is scored, block by block, with a running top k."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from serotine.indexes.checks import Subset
from serotine.indexes.storage.segment import Rows, Segment, Snapshot
from serotine.indexes.top_k import TopK
from serotine.scores.packed import maxsim_packed
from serotine.types import RerankResult, TokenMatrix

__all__ = ["search"]

MAX_SCORES = 1 << 24
"""Scores held at once: 64 MiB of float32."""

BLOCK_TOKENS = 1 << 20
"""Document tokens in a block, give or take one document: some 10 ms of work for one query at 128 dimensions, so the
cost of a call vanishes and an interrupt is answered soon."""

BLOCK_DOCUMENTS = 1 << 16
"""Documents in a block at most; `MAX_SCORES` then leaves room for 256 queries however short the documents are."""


def search(
    snapshot: Snapshot, queries: TokenMatrix, k: int, *, subset: Subset | None, num_threads: int | None
) -> list[list[RerankResult]]:
    """Return for each query its k best documents, best first, ties in order of insertion.

    queries: float32, each with at least one token. Documents without tokens are never returned.
    Cost O(query tokens * document tokens * dim). Peak extra memory: 64 MiB of scores and the results.
    """
    if subset is None or subset.is_shared:
        return _best(snapshot, queries, k, _candidates(snapshot, subset, 0), num_threads)
    return [
        hits
        for query in range(len(queries))
        for hits in _best(snapshot, queries[query : query + 1], k, _candidates(snapshot, subset, query), num_threads)
    ]


def _candidates(snapshot: Snapshot, subset: Subset | None, query: int) -> list[Rows | None]:
    """For each segment the rows to score, None for all of them."""
    if subset is None:
        return [segment.searchable for segment in snapshot.segments]
    return [segment.rows(subset.of_query(query)) for segment in snapshot.segments]


def _best(
    snapshot: Snapshot, queries: TokenMatrix, k: int, candidates: list[Rows | None], num_threads: int | None
) -> list[list[RerankResult]]:
    num_rows = [len(segment.ids) for segment in snapshot.segments]
    num_candidates = sum(n if rows is None else len(rows) for n, rows in zip(num_rows, candidates, strict=True))
    starts = np.concatenate([[0], np.cumsum(num_rows, dtype=np.int64)])
    best = TopK(len(queries), min(k, num_candidates))
    for segment, rows, start in zip(snapshot.segments, candidates, starts[:-1], strict=True):
        for documents, selection, ordinals in _blocks(segment, rows):
            step = max(1, MAX_SCORES // len(ordinals))
            for first in range(0, len(queries), step):
                scores = maxsim_packed(
                    queries[first : first + step], documents, selection=selection, num_threads=num_threads
                )
                best.update(first, scores, ordinals + start)
    return [_hits(snapshot, starts, *best.of(query)) for query in range(len(queries))]


def _blocks(segment: Segment, rows: Rows | None) -> Iterator[tuple[TokenMatrix, Rows | None, Rows]]:
    """Cut the rows into blocks: (documents, which of them to score or None for all, their rows in the segment)."""
    ends = segment.documents.offsets[1:] if rows is None else np.cumsum(segment.lengths[rows])
    start = num_tokens = 0
    while start < len(ends):
        stop = int(np.searchsorted(ends, num_tokens + BLOCK_TOKENS, side="right"))
        stop = min(max(stop, start + 1), start + BLOCK_DOCUMENTS)
        if rows is None:
            yield segment.documents[start:stop], None, np.arange(start, stop, dtype=np.int64)
        else:
            yield segment.documents, rows[start:stop], rows[start:stop]
        start, num_tokens = stop, int(ends[stop - 1])


def _hits(snapshot: Snapshot, starts: Rows, scores: npt.NDArray[np.float32], ordinals: Rows) -> list[RerankResult]:
    numbers = np.searchsorted(starts, ordinals, side="right") - 1
    rows = (ordinals - starts[numbers]).tolist()
    return [
        {"id": snapshot.segments[number].ids[row], "score": score}
        for number, row, score in zip(numbers.tolist(), rows, scores.tolist(), strict=True)
    ]
