"""Which segments are joined when documents were added or removed?

Many small adds must not leave many small segments, or a search pays for each; yet a large segment must not be copied
for each small add. So segments grow in tiers: once the newest `FAN_OUT` segments are of one tier, they become one
of the next. A document is then copied O(log(number of adds)) times and a search meets O(log) segments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from serotine.indexes.chunks import CHUNK_VALUES
from serotine.indexes.storage.segment import Segment
from serotine.types import DocumentId, TokenMatrix

__all__ = ["compact", "live_chunks", "tail_to_merge"]

FAN_OUT = 4
"""Segments of one tier that are joined. 1,000 adds of one document leave at most 15 segments, and copy each 5 times."""

MAX_MERGED_TOKENS = 1 << 22
"""A merge never makes a segment of more tokens than this (2 GiB of float32 at 128 dimensions): beyond it a search
gains nothing, and copying would cost time and temporary space."""

WriteSegment = Callable[[Sequence[DocumentId], Iterable[TokenMatrix]], Segment]


def compact(segments: Sequence[Segment], write: WriteSegment) -> tuple[Segment, ...]:
    """Return segments with the same live documents in the same order, few and mostly alive.

    write: makes a segment of ids and pieces of their vectors. A segment that lost all documents goes; one that lost
    more than half of its tokens or rows is written again without them.
    """
    kept = [
        _rewritten([segment], write) if _is_mostly_removed(segment) else segment
        for segment in segments
        if segment.num_alive
    ]
    start = tail_to_merge([_weight(segment) for segment in kept])
    return (*kept[:start], _rewritten(kept[start:], write)) if start < len(kept) - 1 else tuple(kept)


def tail_to_merge(weights: Sequence[int]) -> int:
    """Return where the tail starts that should become one segment; the last position, or 0, if none should.

    weights: of the segments, oldest first.
    """
    start = len(weights) - 1
    weight = weights[start] if weights else 0
    while start > 0:
        run = start
        while run > 0 and _tier(weights[run - 1]) <= _tier(weight):
            run -= 1
        merged = weight + sum(weights[run:start])
        if start - run + 1 < FAN_OUT or merged > MAX_MERGED_TOKENS:
            break
        start, weight = run, merged
    return max(start, 0)


def live_chunks(segments: Iterable[Segment]) -> Iterator[TokenMatrix]:
    """Yield the vectors of the live documents in order, in pieces of about `CHUNK_VALUES`."""
    for segment in segments:
        rows = np.flatnonzero(segment.alive)
        ends = np.cumsum(segment.lengths[rows])
        step = max(1, CHUNK_VALUES // segment.documents.dim)
        start = done = 0
        while start < len(rows):
            stop = max(start + 1, int(np.searchsorted(ends, done + step, side="right")))
            yield segment.documents.take(rows[start:stop])
            start, done = stop, int(ends[stop - 1])


def _rewritten(segments: Sequence[Segment], write: WriteSegment) -> Segment:
    ids = [document_id for segment in segments for document_id in segment.alive_ids()]
    return write(ids, live_chunks(segments))


def _is_mostly_removed(segment: Segment) -> bool:
    num_tokens = segment.documents.num_tokens
    return 2 * segment.num_alive_tokens < num_tokens or 2 * segment.num_alive < len(segment.ids)


def _weight(segment: Segment) -> int:
    """What a segment costs to copy, in tokens; a document counts even if it has none."""
    return segment.num_alive_tokens + segment.num_alive


def _tier(weight: int) -> int:
    """The power of `FAN_OUT` that the weight reaches: 0 for 1..3, 1 for 4..15, ..."""
    return (weight.bit_length() - 1) // (FAN_OUT.bit_length() - 1)
