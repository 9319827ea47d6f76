"""`Writer`: several changes of a PLAID index that become one commit, or none."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from serotine._engine import PlaidIndex, PlaidSnapshot, PlaidWriter
from serotine.errors import DuplicateDocument, IndexLocked, InvalidInput, UnknownDocument
from serotine.indexes.checks import new_ids, read_ids
from serotine.indexes.chunks import document_chunks
from serotine.indexes.plaid.progress import counting, fraction_done
from serotine.types import DocumentId, Embeddings, TokenMatrix

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["LOCK_WAIT_S", "MAX_DOCUMENT_TOKENS", "Writer", "lock_waits"]

MAX_DOCUMENT_TOKENS = 65_535
"""Token vectors of one document at most."""

LOCK_WAIT_S = 1.0
"""The engine waits no longer than this for a lock at a time, so that Ctrl-C is heard between two waits."""


class Writer:
    """What `PLAID.writer` returns, for a ``with`` statement: one commit at its end, nothing if it ends in an error.

    Holds the index's lock from its beginning to its end; other writers wait or are refused, readers see nothing of it
    before the commit. A change that raises while documents were being taken in leaves a writer that can only be left:
    half of it might be staged, so nothing will be committed. An error found before that (an id that is there
    already, an unknown one) changes nothing, and the writer goes on.

    Documents wait in memory up to 64 MiB, in the index's folder beyond.
    """

    def __init__(
        self,
        index: PlaidIndex,
        *,
        num_threads: int,
        show_progress: bool,
        lock_timeout_s: float,
        check_base: Callable[[PlaidSnapshot], None],
    ) -> None:
        self._index = index
        self._check_base = check_base
        self._num_threads = num_threads
        self._show_progress = show_progress
        self._lock_timeout_s = lock_timeout_s
        self._open_native: PlaidWriter | None = None
        self._before: PlaidSnapshot | None = None
        self._dim: int | None = None
        self._staged: dict[DocumentId, bool] = {}  # in this writer: added (True) or removed (False) last
        self._is_broken = False

    def __enter__(self) -> Self:
        if self._open_native is not None:
            raise InvalidInput("this writer is in use; take another one")
        self._open_native = _begin(self._index, self._lock_timeout_s)
        try:
            self._before = self._index.snapshot()
            self._check_base(self._before)  # now that nobody else can change it
        except BaseException:
            self._end()
            raise
        self._dim = self._before.dim or None
        self._staged, self._is_broken = {}, False
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error_type is None:
                self._commit()
        finally:
            self._end()

    def add_documents(self, documents_ids: Any, documents_embeddings: Embeddings) -> Self:
        """Add documents; as `PLAID.add_documents`, published with the other changes."""
        return self.stage(new_ids(documents_ids), documents_embeddings, may_replace=False)

    def update_documents(self, documents_ids: Any, documents_embeddings: Embeddings) -> Self:
        """Replace or add documents; as `PLAID.update_documents`, published with the other changes."""
        return self.stage(new_ids(documents_ids), documents_embeddings, may_replace=True)

    def remove_documents(self, documents_ids: Any, *, missing_ok: bool = True) -> Self:
        """Remove documents; as `PLAID.remove_documents`, published with the other changes."""
        native = self._native
        ids = read_ids(documents_ids)
        if not missing_ok:
            unknown = next((document_id for document_id in ids if not self._holds(document_id)), None)
            if unknown is not None:
                raise UnknownDocument(f"document {unknown!r} is not in the index; nothing was removed")
        native.remove(list(ids))
        self._staged.update(dict.fromkeys(ids, False))
        return self

    def optimize(self, *, retrain: bool) -> None:
        """Merge what is there as `PLAID.optimize` says, and end. Only a writer that has staged nothing can."""
        native = self._native
        if self._staged:
            raise InvalidInput("this writer has staged changes; optimize with a writer of its own")
        with fraction_done("Optimizing index", shown=self._show_progress) as progress:
            native.optimize(retrain=retrain, num_threads=self._num_threads, progress=progress)

    def stage(self, ids: Sequence[DocumentId], embeddings: Embeddings, *, may_replace: bool) -> Self:
        """Take documents in piece by piece; ids are valid and distinct, as `checks.new_ids` returns them."""
        native = self._native
        ids = list(ids)
        if not may_replace:
            self._check_are_new(ids)
        done = 0
        try:
            with counting("Reading documents", len(ids), shown=self._show_progress) as advance:
                for piece in document_chunks(ids, embeddings, dim=self._dim, dtype=np.dtype(np.float16)):
                    part = ids[done : done + len(piece)]
                    _check_lengths(part, piece)
                    native.add(part, piece.lengths.astype(np.uint32), piece.values.view(np.uint16), replace=may_replace)
                    self._dim = piece.dim
                    done += len(piece)
                    advance(len(piece))
        except BaseException:
            self._is_broken = True
            raise
        self._staged.update(dict.fromkeys(ids, True))
        return self

    def _check_are_new(self, ids: list[DocumentId]) -> None:
        if self._staged:
            known = next((document_id for document_id in ids if self._holds(document_id)), None)
        else:
            known = None if self._before is None else self._before.first(ids, known=True)
        if known is not None:
            raise DuplicateDocument(f"document {known!r} is in the index already; use update_documents to replace it")

    def _holds(self, document_id: DocumentId) -> bool:
        """Whether the index would hold a document if the writer ended now."""
        staged = self._staged.get(document_id)
        return staged if staged is not None else self._before is not None and self._before.contains(document_id)

    @property
    def _native(self) -> PlaidWriter:
        if self._open_native is None:
            raise InvalidInput("a writer works inside a with statement: with index.writer() as writer: ...")
        self._check_is_whole()
        return self._open_native

    def _check_is_whole(self) -> None:
        if self._is_broken:
            raise InvalidInput("an earlier change of this writer failed half way; nothing of it is committed")

    def _commit(self) -> None:
        native = self._native
        if self._staged:
            with fraction_done("Building index", shown=self._show_progress) as progress:
                native.commit(num_threads=self._num_threads, progress=progress)

    def _end(self) -> None:
        native, self._open_native, self._before = self._open_native, None, None
        self._staged = {}
        if native is not None:
            native.close()


def _begin(index: PlaidIndex, timeout_s: float) -> PlaidWriter:
    """Take the lock in as many waits of the native index as make up timeout_s."""
    num_waits = lock_waits(timeout_s)[0]
    for _ in range(1, num_waits):
        with contextlib.suppress(IndexLocked):
            return index.begin_write()
    try:
        return index.begin_write()
    except IndexLocked as error:
        if num_waits == 1:
            raise
        raise IndexLocked(f"{error} That was the last of {num_waits} waits, {timeout_s:g} s in all.") from error


def lock_waits(timeout_s: float) -> tuple[int, float]:
    """Divide a timeout into equal waits of at most `LOCK_WAIT_S`: their number, and the seconds of each."""
    num_waits = max(1, math.ceil(timeout_s / LOCK_WAIT_S))
    return num_waits, timeout_s / num_waits


def _check_lengths(ids: Sequence[DocumentId], piece: TokenMatrix) -> None:
    too_long = np.flatnonzero(piece.lengths > MAX_DOCUMENT_TOKENS)
    if len(too_long):
        raise InvalidInput(
            f"document {ids[too_long[0]]!r} has {piece.lengths[too_long[0]]} tokens, at most {MAX_DOCUMENT_TOKENS} can "
            "be stored; split it"
        )
