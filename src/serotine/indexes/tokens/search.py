"""Which k stored token vectors are nearest to each query token, by cosine?

A large segment has a finder, made by a library, which proposes candidates; their distances are computed here, from the
stored vectors. What is small, or mostly removed or filtered out, or where a finder comes up short, is compared vector
by vector: so there are never fewer hits than asked for where there are as many vectors, whatever the filter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from serotine.indexes.checks import Subset
from serotine.indexes.storage.segment import Rows, Segment, Snapshot
from serotine.indexes.tokens.hits import NearestTokens, TokenHits
from serotine.indexes.top_k import TopK
from serotine.types import Array, DocumentId, TokenMatrix

__all__ = ["TokenFinder", "nearest_tokens"]

MAX_SIMILARITIES = 1 << 22
"""Similarities held at once: 16 MiB of float32."""

SCAN_TOKENS = 1 << 14
"""So few vectors are compared one by one faster than any library finds them: some 5 ms for 32 query tokens."""

LEAST_SHARE = 0.25
"""If fewer of a segment's tokens than this may be returned, they are compared one by one: its finder would have to
propose four times as many."""

SPARE = 1.25
"""How many more candidates than the share of allowed tokens suggests are asked of a finder."""

MORE = 4
"""How many times more are asked for a query token whose nearest tokens are of documents that may not be returned."""

MAX_TRIES = 3
"""How often a finder is asked; then the tokens are compared one by one, for those query tokens alone."""

Vectors = npt.NDArray[np.float32]


class TokenFinder(Protocol):
    """What proposes the nearest vectors of one segment. Safe to use from several threads."""

    def nearest(self, queries: Vectors, k: int) -> Rows | None:
        """Return for each query ``(n, dim)`` k distinct token numbers ``(n, k)``, -1 for none; None if it cannot."""

    def save(self, write: Callable[[bytes], object]) -> object:
        """Write what another process needs to use it."""


FinderOf = Callable[[Segment], "TokenFinder | None"]


def nearest_tokens(
    snapshot: Snapshot, queries: TokenMatrix, k: int, *, subset: Subset | None, finder_of: FinderOf
) -> NearestTokens:
    """Return the k nearest tokens of each token of each query, among the documents that may be returned.

    queries: float32, each with at least one token. Equal distances: the older token first. A vector of length 0 has
    the distance 1 to everything. Peak extra memory: 12 bytes * query tokens * k, and some 50 MiB.
    """
    starts = np.concatenate([[0], np.cumsum([len(segment.ids) for segment in snapshot.segments], dtype=np.int64)])

    def ids_of(documents: Rows) -> list[DocumentId]:
        numbers = np.searchsorted(starts, documents, side="right") - 1
        rows = documents - starts[numbers]
        return [snapshot.segments[n].ids[row] for n, row in zip(numbers.tolist(), rows.tolist(), strict=True)]

    if subset is None or subset.is_shared:
        batches = [(queries, None if subset is None else subset.ids[0])]
    else:
        batches = [(queries[number : number + 1], subset.ids[number]) for number in range(len(queries))]
    hits = []
    for batch, allowed in batches:
        parts = [_Part(segment, allowed) for segment in snapshot.segments]
        hits += _split(batch, *_nearest(parts, starts, batch.values, k, finder_of))
    return NearestTokens(hits, ids_of)


class _Part:
    """What may be returned of one segment. rows: of its documents, None for all of them."""

    def __init__(self, segment: Segment, allowed: list[DocumentId] | None) -> None:
        self.segment = segment
        self.rows = segment.searchable if allowed is None else segment.rows(allowed)
        num_tokens = segment.documents.num_tokens
        self.num_tokens = num_tokens if self.rows is None else int(segment.lengths[self.rows].sum())

    def wants_finder(self) -> bool:
        """Whether a finder would save work."""
        return self.num_tokens > max(SCAN_TOKENS, LEAST_SHARE * self.segment.documents.num_tokens)

    def mask(self) -> npt.NDArray[np.bool_] | None:
        """Which of the segment's tokens may be returned, None for all."""
        if self.rows is None:
            return None
        may_return = np.zeros(len(self.segment.ids), dtype=np.bool_)
        may_return[self.rows] = True
        mask: npt.NDArray[np.bool_] = np.repeat(may_return, self.segment.lengths)
        return mask


def _nearest(
    parts: list[_Part], starts: Rows, queries: Vectors, k: int, finder_of: FinderOf
) -> tuple[Rows, Vectors, Vectors]:
    """Documents, similarities and distances ``(len(queries), k)`` of the nearest tokens of all parts."""
    norms = np.linalg.norm(queries, axis=1).astype(np.float32)
    first_tokens = np.cumsum([0, *(part.segment.documents.num_tokens for part in parts)], dtype=np.int64)
    best = TopK(len(queries), min(k, sum(part.num_tokens for part in parts)))
    for part, first in zip(parts, first_tokens[:-1], strict=True):
        finder = finder_of(part.segment) if part.wants_finder() else None
        candidates = {} if finder is None else _candidates(part, finder, queries, k)
        for number, positions in candidates.items():
            cosines = _cosines(part, queries[number : number + 1], norms[number : number + 1], positions)
            best.update(number, cosines, positions + first)
        others = [number for number in range(len(queries)) if number not in candidates]
        for positions in _blocks(part, len(others)):
            cosines = _cosines(part, queries[others], norms[others], positions)
            for number, row in zip(others, cosines, strict=True):
                best.update(number, row[np.newaxis], positions + first)
    found = [best.of(number) for number in range(len(queries))]
    if not found:
        return np.empty((0, 0), dtype=np.int64), np.empty((0, 0), np.float32), np.empty((0, 0), np.float32)
    tokens = np.stack([ordinals for _, ordinals in found])
    documents, similarities = _described(parts, starts, first_tokens, queries, tokens)
    return documents, similarities, 1 - np.stack([cosines for cosines, _ in found])


def _candidates(part: _Part, finder: TokenFinder, queries: Vectors, k: int) -> dict[int, Rows]:
    """The tokens that a finder proposes and that may be returned, ascending, for those queries that get enough."""
    num_tokens = part.segment.documents.num_tokens
    wanted = min(k, part.num_tokens)
    mask = part.mask()
    asked = math.ceil(wanted if mask is None else SPARE * wanted * num_tokens / part.num_tokens)
    kept: dict[int, Rows] = {}
    short = list(range(len(queries)))
    for _ in range(MAX_TRIES):
        proposed = finder.nearest(queries[short], min(asked, num_tokens)) if short else None
        if proposed is None:
            break
        for number, row in zip(short, proposed, strict=True):
            positions = np.sort(row[row >= 0])
            positions = positions if mask is None else positions[mask[positions]]
            if len(positions) >= wanted:
                kept[number] = positions
        short = [number for number in short if number not in kept]
        if asked >= num_tokens:
            break
        asked *= MORE
    return kept


def _blocks(part: _Part, num_queries: int) -> Iterator[Rows]:
    """Cut the tokens that may be returned into blocks of token numbers; none for no queries."""
    if num_queries == 0:
        return
    mask = part.mask()
    step = max(1, MAX_SIMILARITIES // num_queries)
    if mask is None:
        for start in range(0, part.num_tokens, step):
            yield np.arange(start, min(start + step, part.num_tokens), dtype=np.int64)
    else:
        positions = np.flatnonzero(mask).astype(np.int64)
        for start in range(0, len(positions), step):
            yield positions[start : start + step]


def _cosines(part: _Part, queries: Vectors, norms: Vectors, positions: Rows) -> Vectors:
    """Cosines ``(len(queries), len(positions))``; 0 where a vector has no length."""
    vectors = _values(part, positions)
    lengths = np.outer(norms, np.linalg.norm(vectors, axis=1)).astype(np.float32)
    dots = queries @ vectors.T
    cosines: Vectors = np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)
    return cosines


def _values(part: _Part, positions: Rows) -> Vectors:
    """The stored vectors of tokens as float32; a view if they are neighbours and stored so."""
    values: Array = part.segment.documents.values
    first, last = (int(positions[0]), int(positions[-1])) if len(positions) else (0, -1)
    chosen = values[first : last + 1] if last - first + 1 == len(positions) else values[positions]
    vectors: Vectors = chosen.astype(np.float32, copy=False)
    return vectors


def _described(
    parts: list[_Part], starts: Rows, first_tokens: Rows, queries: Vectors, tokens: Rows
) -> tuple[Rows, Vectors]:
    """Documents and similarities of tokens, which are numbered through all parts: ``(len(queries), k)`` each."""
    documents = np.empty(tokens.shape, dtype=np.int64)
    similarities = np.empty(tokens.shape, dtype=np.float32)
    numbers = np.searchsorted(first_tokens, tokens, side="right") - 1
    for number, part in enumerate(parts):
        offsets = part.segment.documents.offsets
        for query, is_here in enumerate(numbers == number):
            if not is_here.any():
                continue
            positions = tokens[query, is_here] - first_tokens[number]
            vectors = part.segment.documents.values[positions].astype(np.float32, copy=False)
            documents[query, is_here] = starts[number] + np.searchsorted(offsets, positions, side="right") - 1
            similarities[query, is_here] = vectors @ queries[query]
    return documents, similarities


def _split(queries: TokenMatrix, documents: Rows, similarities: Vectors, distances: Vectors) -> list[TokenHits]:
    bounds = zip(queries.offsets[:-1].tolist(), queries.offsets[1:].tolist(), strict=True)
    return [TokenHits(documents[start:stop], similarities[start:stop], distances[start:stop]) for start, stop in bounds]
