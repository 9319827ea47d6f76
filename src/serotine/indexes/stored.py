"""`StoredIndex`: what the indexes have in common that keep plain vectors in segments, whatever they search them with.

They differ in the kind that their manifest names, in what a call returns, and in what is made of new segments.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from serotine.errors import DimensionMismatch, DuplicateDocument, InvalidInput, UnknownDocument
from serotine.indexes.base import Index
from serotine.indexes.checks import is_id, is_list_of_ids, new_ids, positive_int, read_ids, read_queries, read_subset
from serotine.indexes.chunks import document_chunks
from serotine.indexes.storage.compaction import compact
from serotine.indexes.storage.memory import MemoryStore
from serotine.indexes.storage.segment import Segment, Snapshot
from serotine.indexes.storage.store import Store
from serotine.indexes.tokens.hits import NearestTokens
from serotine.indexes.tokens.search import TokenFinder, nearest_tokens
from serotine.types import Array, DocumentId, Embeddings

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["StoredIndex"]


class StoredIndex(Index):
    """An index over a `Store`. A subclass calls `_open` when it is made, and answers calls from `_store.current()`."""

    kind: ClassVar[str]
    """Which of `serotine.indexes.storage.manifest.KINDS` it is."""

    _folder: Path | None
    _open_store: Store | None

    def _open(
        self,
        folder: Path | None,
        empty: Snapshot,
        *,
        override: bool,
        requires_dtype: bool,
        required_settings: Mapping[str, Any],
        lock_timeout_s: float,
    ) -> None:
        """Open the index in a folder, made if missing, or make one in memory.

        empty: the state of a new index. requires_dtype, required_settings: what one that is there must have, too.
        """
        if not isinstance(override, bool):
            raise InvalidInput(f"override must be True or False, got {override!r}")
        self._folder = folder
        if folder is None:
            self._open_store = MemoryStore(empty, lock_timeout_s=lock_timeout_s)
            return
        from serotine.indexes.storage.folder import FolderStore  # needs fcntl, which memory does not

        self._open_store = FolderStore(folder, self.kind, empty, override=override, lock_timeout_s=lock_timeout_s)
        found = self._open_store.current()
        required: dict[str, Any] = {**required_settings, **({"dtype": empty.dtype.name} if requires_dtype else {})}
        _check_requirements(folder, found, required, empty.dim)

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
            self._commit(store, replace(before, dim=added.documents.dim), (*before.without(ids), added))
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
                self._commit(store, before, before.without(known))
        return self

    def _commit(self, store: Store, before: Snapshot, segments: Iterable[Segment]) -> None:
        known = {segment.content for segment in before.segments}
        merged = [
            segment if segment.content in known else self._finished(store, before, segment)
            for segment in compact(tuple(segments), store.write_segment)
        ]
        store.commit(replace(before, segments=tuple(merged)))

    def _finished(self, store: Store, before: Snapshot, segment: Segment) -> Segment:  # noqa: ARG002
        """Return a new segment as it is to be committed; called within a change of the state before it."""
        return segment

    def nearest_tokens(self, queries_embeddings: Embeddings, k: int = 10, subset: Any = None) -> NearestTokens:
        """Return the k stored vectors with the largest cosine to each query token, as arrays.

        Arguments and errors: as a call's. `Exact` compares all vectors, a token index those that its library proposes;
        both then have the exact numbers. For `serotine.retrieve.XTR`, and whoever wants to see what matched.
        """
        snapshot = self._store.current()
        k = positive_int(k, name="k")
        queries = read_queries(queries_embeddings, dim=snapshot.dim)
        return nearest_tokens(
            snapshot,
            queries,
            k,
            subset=read_subset(subset, len(queries)),
            finder_of=lambda segment: self._finder_of(segment, snapshot.settings),
        )

    def _finder_of(self, segment: Segment, settings: Mapping[str, Any]) -> TokenFinder | None:  # noqa: ARG002
        """What proposes the nearest tokens of a segment, loaded when it is first needed; None if it has none."""
        return None

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

    @abstractmethod
    def _description(self, snapshot: Snapshot) -> str:
        """What a repr says beside the number of documents and the place."""

    def __len__(self) -> int:
        return len(self._store.current())

    def __contains__(self, document_id: object) -> bool:
        return is_id(document_id) and self._store.current().find(read_ids(document_id)[0]) is not None

    def __repr__(self) -> str:
        where = "in memory" if self._folder is None else str(self._folder)
        if self._open_store is None:
            return f"{type(self).__name__}(closed, {where})"
        snapshot = self._open_store.current()
        return f"{type(self).__name__}({len(snapshot)} documents, {self._description(snapshot)}, {where})"


def _check_requirements(folder: Path, found: Snapshot, required: Mapping[str, Any], dim: int | None) -> None:
    stored = {**found.settings, "dtype": found.dtype.name}
    for name, value in required.items():
        if stored.get(name) != value:
            raise InvalidInput(
                f"{folder} was made with {name}={stored.get(name)!r}, but {name}={value!r} was asked for; leave {name} "
                "out, or build the index again with override=True"
            )
    if dim not in (None, found.dim):
        raise DimensionMismatch(
            f"{folder} stores vectors of dimension {found.dim}, but dim={dim} was asked for; leave dim out, "
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
