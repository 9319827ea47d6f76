"""`Exact`: brute-force search in memory or on disk, and the oracle that every other index is measured against."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from serotine.errors import DimensionMismatch, DuplicateDocument, InvalidInput, UnknownDocument
from serotine.indexes.base import Index
from serotine.indexes.checks import (
    float_dtype,
    index_path,
    is_id,
    is_list_of_ids,
    new_ids,
    positive_int,
    read_ids,
    read_queries,
    read_subset,
    seconds,
)
from serotine.indexes.chunks import document_chunks
from serotine.indexes.exact.compaction import compact
from serotine.indexes.exact.memory import MemoryStore
from serotine.indexes.exact.search import search
from serotine.indexes.exact.segment import Snapshot
from serotine.indexes.exact.store import Store
from serotine.types import Array, DocumentId, Embeddings, RerankResult

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Exact"]


class Exact(Index):
    """Scores every document: ``S(Q, D) = sum_i max_j q_i . d_j`` over the stored vectors, in float32.

    ``Exact()`` lives in memory. ``Exact(folder, name)`` lives in ``folder/name``: made if missing, opened if there;
    vectors are mapped, not loaded. Every call answers from the newest commit of any process at its start; a change
    is on the disk, or not made at all, when its call ends. Vectors that are removed leave the disk in later changes.

    Args:
        index_folder: where indexes are kept. Give it together with index_name, or neither.
        index_name: the index's own folder in there, a plain name.
        override: start empty even if there is an index. The old one is deleted by the first change that
            succeeds, not before: if building the new one fails, the old one is still there.
        dtype: how vectors are stored, ``"float32"`` or ``"float16"`` (half the memory, scores to about 1e-3).
            None: that of the index that is there, float32 for a new one.
        dim: width of the vectors; None: that of the index that is there, or of the first document.
        num_threads: threads of a search; None: as many as `serotine.scores.packed.maxsim_packed` chooses.
        lock_timeout_s: seconds that a change waits for another writer.

    Raises:
        InvalidInput: an argument is wrong, or the index that is there has another dtype.
        DimensionMismatch: it has another dim. CorruptIndex: the folder holds something else or is damaged.
        IndexTooNew: it was written by a later version. CommitFailed: the folder cannot be made or written.

    Safe to use from several threads. Memory of a search beside the mapped vectors: about 64 MiB and the results.
    Source of the score: Khattab & Zaharia 2020, equation 3.

    Example:
        >>> import numpy as np
        >>> from serotine.indexes import Exact
        >>> index = Exact()
        >>> index.add_documents(["north", "east"], [np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]])])
        Exact(2 documents, dim=2, float32, in memory)
        >>> index(np.array([[0.8, 0.6]]), k=1)
        [[{'id': 'east', 'score': 0.800000011920929}]]
    """

    def __init__(
        self,
        index_folder: str | os.PathLike[str] | None = None,
        index_name: str | None = None,
        override: bool = False,
        *,
        dtype: npt.DTypeLike | None = None,
        dim: int | None = None,
        num_threads: int | None = None,
        lock_timeout_s: float = 1.0,
    ) -> None:
        self._num_threads = None if num_threads is None else positive_int(num_threads, name="num_threads")
        empty = Snapshot(
            np.dtype(np.float32) if dtype is None else float_dtype(dtype),
            None if dim is None else positive_int(dim, name="dim"),
        )
        lock_timeout_s = seconds(lock_timeout_s, name="lock_timeout_s")
        self._folder = index_path(index_folder, index_name)
        self._open_store: Store | None
        if self._folder is None:
            self._open_store = MemoryStore(empty, lock_timeout_s=lock_timeout_s)
            return
        from serotine.indexes.exact.folder import FolderStore  # needs fcntl, which memory does not

        self._open_store = FolderStore(self._folder, empty, override=override, lock_timeout_s=lock_timeout_s)
        _check_requirements(self._folder, self._open_store.current(), empty, requires_dtype=dtype is not None)

    @property
    def is_end_to_end_index(self) -> bool:
        """True: a call returns ranked documents."""
        return True

    @property
    def dim(self) -> int | None:
        """Width of the vectors, None as long as no document told it."""
        return self._store.current().dim

    @property
    def dtype(self) -> np.dtype[Any]:
        """How vectors are stored: float32 or float16."""
        return self._store.current().dtype

    def add_documents(self, documents_ids: Any, documents_embeddings: Embeddings) -> Self:
        """Add documents: their ids, and ``(num_tokens, dim)`` vectors for each.

        documents_ids: str or int, which stay what they are: ``1`` and ``"1"`` are two documents. A bare id is one.
        documents_embeddings: see `serotine.types.Embeddings`, or a generator of arrays or tensors, of which an
        index on disk holds 32 MiB at a time. Vectors are copied; all-zero rows of a padded 3-D array are padding.
        A document without tokens is stored and counted, but never returned. No documents: nothing happens.

        Cost: that of what is added, times log(number of adds) over time, and the flush of an index on disk.

        Raises:
            DuplicateDocument: an id occurs twice or is in the index. InvalidInput: an id is not valid, there are not as
                many embeddings as ids, or a value is NaN, infinite or too large for dtype.
            DimensionMismatch: a document has another width. IndexLocked: another writer is at work.
            CommitFailed: the disk refused. After any error the index is what it was.
        """
        return self._write(new_ids(documents_ids), documents_embeddings, may_replace=False)

    def update_documents(self, documents_ids: Any, documents_embeddings: Embeddings) -> Self:
        """Replace the documents of these ids and add those that are not in the index, in one step.

        They then count as the newest ones. Arguments, cost and errors: as `add_documents`.
        """
        return self._write(new_ids(documents_ids), documents_embeddings, may_replace=True)

    def _write(self, ids: Sequence[DocumentId], embeddings: Embeddings, *, may_replace: bool) -> Self:
        store = self._store
        with store.writing() as before:
            if not may_replace:
                _check_are_new(before, ids)
            chunks = document_chunks(ids, embeddings, dim=before.dim, dtype=before.dtype)
            if not ids:
                next(chunks, None)  # raises if there are embeddings without ids
                return self
            added = store.write_segment(ids, chunks)
            segments = compact((*before.without(ids), added), store.write_segment)
            store.commit(replace(before, dim=added.documents.dim, segments=segments))
        return self

    def remove_documents(self, documents_ids: Any, *, missing_ok: bool = True) -> Self:
        """Remove documents. Ids that the index does not hold are ignored unless missing_ok is False.

        Raises:
            UnknownDocument: missing_ok is False and an id is unknown; nothing is removed.
            InvalidInput: an id is neither str nor int. IndexLocked, CommitFailed: as `add_documents`.
        """
        ids = read_ids(documents_ids)
        store = self._store
        with store.writing() as before:
            known = [document_id for document_id in ids if before.find(document_id) is not None]
            if not missing_ok and len(known) < len(ids):
                unknown = next(document_id for document_id in ids if before.find(document_id) is None)
                raise UnknownDocument(f"document {unknown!r} is not in the index; nothing was removed")
            if known:
                store.commit(replace(before, segments=compact(before.without(known), store.write_segment)))
        return self

    def __call__(self, queries_embeddings: Embeddings, k: int = 10, subset: Any = None) -> list[list[RerankResult]]:
        """Return for each query its k best documents as ``{"id", "score"}``, best first, ties oldest first.

        queries_embeddings: see `serotine.types.Embeddings`; one 2-D array is one query; no queries: ``[]``.
        k: at least 1; if there are fewer documents, all of them are returned.
        subset: ids of the documents that may be returned, one list for all queries or one list per query; unknown ids
        are ignored, and a subset without a known id returns nothing.

        Cost O(query tokens * document tokens * dim).

        Raises:
            InvalidInput: k, the subset or a query is not valid (no tokens, NaN, infinity).
            DimensionMismatch: a query has another width.
        """
        snapshot = self._store.current()
        k = positive_int(k, name="k")
        queries = read_queries(queries_embeddings, dim=snapshot.dim)
        return search(snapshot, queries, k, subset=read_subset(subset, len(queries)), num_threads=self._num_threads)

    def get_documents_embeddings(self, documents_ids: Any) -> list[Any]:
        """Return the stored vectors, float ``(num_tokens, dim)`` and read-only, in the order of the ids.

        A list of lists of ids gives a list of lists. Nothing is copied; arrays stay valid when the index changes.

        Raises:
            UnknownDocument: an id is not in the index.
        """
        snapshot = self._store.current()
        if isinstance(documents_ids, (list, tuple)) and any(is_list_of_ids(part) for part in documents_ids):
            return [_vectors(snapshot, part) for part in documents_ids]
        return _vectors(snapshot, documents_ids)

    def documents_ids(self) -> list[DocumentId]:
        """Return the ids of all documents, oldest first."""
        return list(self._store.current().ids())

    def check(self) -> None:
        """Read all of an index on disk and compare its checksums; an opened index has checked all but the vectors.

        Raises:
            CorruptIndex: a file is not what was written.
        """
        self._store.check()

    def close(self) -> None:
        """Release memory and mapped files; every later use but another close raises InvalidInput."""
        self._open_store = None

    @property
    def _store(self) -> Store:
        if self._open_store is None:
            raise InvalidInput("this index was closed; open it again to use it")
        return self._open_store

    def __len__(self) -> int:
        return len(self._store.current())

    def __contains__(self, document_id: object) -> bool:
        return is_id(document_id) and self._store.current().find(read_ids(document_id)[0]) is not None

    def __repr__(self) -> str:
        where = "in memory" if self._folder is None else str(self._folder)
        if self._open_store is None:
            return f"Exact(closed, {where})"
        snapshot = self._open_store.current()
        return f"Exact({len(snapshot)} documents, dim={snapshot.dim}, {snapshot.dtype.name}, {where})"


def _check_requirements(folder: Path, found: Snapshot, required: Snapshot, *, requires_dtype: bool) -> None:
    if requires_dtype and found.dtype != required.dtype:
        raise InvalidInput(
            f"{folder} stores {found.dtype.name}, but dtype={required.dtype.name!r} was asked for; leave dtype out, "
            "or build the index again with override=True"
        )
    if required.dim not in (None, found.dim):
        raise DimensionMismatch(
            f"{folder} stores vectors of dimension {found.dim}, but dim={required.dim} was asked for; leave dim out, "
            "or build the index again with override=True"
        )


def _check_are_new(snapshot: Snapshot, ids: Sequence[DocumentId]) -> None:
    for document_id in ids:
        if snapshot.find(document_id) is not None:
            raise DuplicateDocument(
                f"document {document_id!r} is in the index already; use update_documents to replace it"
            )


def _vectors(snapshot: Snapshot, ids: Any) -> list[Array]:
    found = []
    for document_id in read_ids(ids):
        vectors = snapshot.vectors(document_id)
        if vectors is None:
            raise UnknownDocument(f"document {document_id!r} is not in the index")
        found.append(vectors)
    return found
