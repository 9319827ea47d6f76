"""Where does an index live that has no folder?  In this process's memory, and nowhere else."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from serotine.errors import IndexLocked
from serotine.indexes.checks import read_only
from serotine.indexes.storage.segment import Segment, Snapshot
from serotine.indexes.storage.store import Save
from serotine.types import DocumentId, TokenMatrix

__all__ = ["MemoryStore"]


class MemoryStore:
    """Holds the current snapshot. See `serotine.indexes.storage.store.Store` for the contract."""

    def __init__(self, empty: Snapshot, *, lock_timeout_s: float) -> None:
        self._snapshot = empty
        self._lock = threading.Lock()
        self._lock_timeout_s = lock_timeout_s

    def current(self) -> Snapshot:
        """Return the newest snapshot."""
        return self._snapshot

    @contextmanager
    def writing(self) -> Iterator[Snapshot]:
        """Keep other writers out and yield the newest snapshot."""
        if not self._lock.acquire(timeout=self._lock_timeout_s):
            raise IndexLocked(f"another thread has been changing this index for {self._lock_timeout_s} s; try again")
        try:
            yield self._snapshot
        finally:
            self._lock.release()

    def write_segment(self, ids: Sequence[DocumentId], chunks: Iterable[TokenMatrix]) -> Segment:
        """Return a segment that shares no memory with the chunks."""
        parts = list(chunks)
        values = np.concatenate([part.values for part in parts])
        lengths = np.concatenate([part.lengths for part in parts])
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
        return Segment.of(tuple(ids), TokenMatrix(read_only(values), offsets))

    def attach(self, segment: Segment, save: Save) -> Segment:  # noqa: ARG002
        """Return the segment as it is: whoever made the finder keeps it."""
        return segment

    def commit(self, snapshot: Snapshot) -> None:
        """Make a snapshot the current one."""
        self._snapshot = snapshot

    def check(self) -> None:
        """Nothing to compare with: memory has no second copy."""
