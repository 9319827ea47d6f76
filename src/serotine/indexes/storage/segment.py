"""What is the state of an index at one moment?  A snapshot: a sequence of immutable segments.

A segment is the documents of one add, or of several that were merged. Nothing in it ever changes; removing documents
makes a new segment that shares everything but the mask of live rows. So a search that holds a snapshot is never
disturbed by a writer, and a failed change has nothing to undo.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serotine.errors import CorruptIndex
from serotine.types import Array, DocumentId, TokenMatrix

__all__ = ["Content", "Finder", "Rows", "Segment", "Snapshot"]

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Finder:
    """What a library made to find a segment's nearest vectors, as bytes in a mapped file.

    Only its length was compared when it was opened; whoever hands the bytes to the library calls `checked`.
    """

    path: Path
    crc32: int
    data: memoryview

    def checked(self) -> memoryview:
        """Return the bytes; raises CorruptIndex if they are not what was written. Cost: reading all of them."""
        found = zlib.crc32(self.data)
        if found != self.crc32:
            raise CorruptIndex(self.path, expected=f"crc32 {self.crc32:08x}", found=f"{found:08x}")
        return self.data


@dataclass(frozen=True, eq=False)
class Content:
    """What all states of a segment share.

    ids: one per row. documents: their vectors, text i is row i. uuid: of the file that holds them, None in memory.
    finder: what finds nearest vectors among them, None where there is none or it is in memory.
    """

    ids: Sequence[DocumentId]
    documents: TokenMatrix
    uuid: str | None = None
    finder: Finder | None = None

    @cached_property
    def lengths(self) -> Rows:
        """int64: tokens of each row."""
        return self.documents.lengths

    @cached_property
    def row_of(self) -> dict[DocumentId, int]:
        """Row of each id."""
        return {document_id: row for row, document_id in enumerate(self.ids)}


@dataclass(frozen=True, eq=False)
class Segment:
    """Some documents, each at a row. alive: bool, one per row; False once the document is removed."""

    content: Content
    alive: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, ids: Sequence[DocumentId], documents: TokenMatrix, *, uuid: str | None = None) -> Segment:
        """Return a segment whose documents are all alive."""
        return cls(Content(ids, documents, uuid), np.ones(len(ids), dtype=np.bool_))

    @property
    def ids(self) -> Sequence[DocumentId]:
        """Ids of all rows, removed ones included."""
        return self.content.ids

    @property
    def documents(self) -> TokenMatrix:
        """Vectors of all rows, removed ones included."""
        return self.content.documents

    @property
    def lengths(self) -> Rows:
        """int64: tokens of each row, removed ones included."""
        return self.content.lengths

    @cached_property
    def num_alive(self) -> int:
        """Documents that are not removed."""
        return int(np.count_nonzero(self.alive))

    @cached_property
    def num_alive_tokens(self) -> int:
        """Token vectors of the documents that are not removed."""
        return int(self.lengths[self.alive].sum())

    @cached_property
    def searchable(self) -> Rows | None:
        """Rows that a search can return: alive and with tokens. None means all of them."""
        can_match = self.alive & (self.lengths > 0)
        return None if can_match.all() else np.flatnonzero(can_match).astype(np.int64)

    def row(self, document_id: DocumentId) -> int | None:
        """Row of a document that is alive here, else None."""
        row = self.content.row_of.get(document_id)
        return row if row is not None and self.alive[row] else None

    def rows(self, ids: Iterable[DocumentId]) -> Rows:
        """Rows of those ids that are alive here and have tokens, ascending, each once."""
        row_of = self.content.row_of
        found = np.array(sorted({row_of[document_id] for document_id in ids if document_id in row_of}), dtype=np.int64)
        return found[self.alive[found] & (self.lengths[found] > 0)]

    def without(self, rows: Sequence[int]) -> Segment:
        """Return the segment with these rows removed."""
        alive = self.alive.copy()
        alive[list(rows)] = False
        return Segment(self.content, alive)

    def alive_ids(self) -> list[DocumentId]:
        """Ids of the documents that are not removed, in row order."""
        return [document_id for document_id, is_alive in zip(self.ids, self.alive, strict=True) if is_alive]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All documents of an index at one moment: segments, oldest first.

    dtype: of every vector. dim: their width, None as long as no document told it. settings: what else the index was
    made with, values of JSON.
    """

    dtype: np.dtype[Any]
    dim: int | None
    segments: tuple[Segment, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(segment.num_alive for segment in self.segments)

    def ids(self) -> Iterator[DocumentId]:
        """Ids of the documents, in order of insertion."""
        for segment in self.segments:
            yield from segment.alive_ids()

    def find(self, document_id: DocumentId) -> tuple[int, int] | None:
        """``(segment, row)`` of a document, None if there is none. Cost: one look-up per segment."""
        for number, segment in enumerate(self.segments):
            row = segment.row(document_id)
            if row is not None:
                return number, row
        return None

    def vectors(self, document_id: DocumentId) -> Array | None:
        """Vectors of a document ``(num_tokens, dim)``, read-only and not copied; None if there is none."""
        place = self.find(document_id)
        return None if place is None else self.segments[place[0]].documents[place[1]]

    def without(self, ids: Iterable[DocumentId]) -> tuple[Segment, ...]:
        """Return the segments with these documents removed; unknown ids are ignored."""
        rows: dict[int, list[int]] = {}
        for document_id in ids:
            place = self.find(document_id)
            if place is not None:
                rows.setdefault(place[0], []).append(place[1])
        return tuple(
            segment.without(rows[number]) if number in rows else segment for number, segment in enumerate(self.segments)
        )
