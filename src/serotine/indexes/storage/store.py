"""What must a place that keeps an index offer?  The contract of `MemoryStore` and `FolderStore`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias

from serotine.indexes.storage.segment import Segment, Snapshot
from serotine.types import DocumentId, TokenMatrix

__all__ = ["Save", "Store"]


Save: TypeAlias = Callable[[Callable[[bytes], object]], object]
"""Writes something with a function that takes the next bytes."""


class Store(Protocol):
    """Keeps snapshots; one writer at a time, any number of readers."""

    def current(self) -> Snapshot:
        """Return the newest committed snapshot. Takes no lock."""

    def writing(self) -> AbstractContextManager[Snapshot]:
        """Keep other writers out and give the newest snapshot; what was not committed at its end is gone.

        Raises IndexLocked if another writer does not finish in time.
        """

    def write_segment(self, ids: Sequence[DocumentId], chunks: Iterable[TokenMatrix]) -> Segment:
        """Return a new segment of documents whose vectors come in pieces. Only within `writing`.

        It shares no memory with the pieces, and is not part of the index before a commit. An error of the iterator
        passes through unchanged.
        """

    def attach(self, segment: Segment, save: Save) -> Segment:
        """Keep beside a segment of this change what finds its nearest vectors; return the segment that has it.

        save: writes the content with the function that it is given. Only within `writing`.
        """

    def commit(self, snapshot: Snapshot) -> None:
        """Make a snapshot of segments that this store knows the newest one, or raise. Only within `writing`."""

    def check(self) -> None:
        """Read everything that is kept; raises CorruptIndex at the first thing that is not what was written."""
