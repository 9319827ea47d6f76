"""`Exact`: brute-force search in memory or on disk, and the oracle that every other index is measured against."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from serotine.indexes.checks import float_dtype, index_path, positive_int, read_queries, read_subset, seconds
from serotine.indexes.exact.search import search
from serotine.indexes.storage.segment import Snapshot
from serotine.indexes.stored import StoredIndex
from serotine.scores.packed import thread_count
from serotine.types import Embeddings, RerankResult

__all__ = ["Exact"]


class Exact(StoredIndex):
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
        num_threads: threads of a search, 1 to 1,024; None: as many as `serotine.scores.packed.maxsim_packed` chooses.
        lock_timeout_s: seconds that a change waits for another writer.

    Raises:
        InvalidInput: an argument is wrong, the index that is there has another dtype, or the folder holds something
            else. DimensionMismatch: it has another dim. CorruptIndex: it is damaged.
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

    kind = "exact"

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
        self._num_threads = None if num_threads is None else thread_count(num_threads)
        empty = Snapshot(
            np.dtype(np.float32) if dtype is None else float_dtype(dtype),
            None if dim is None else positive_int(dim, name="dim"),
        )
        self._open(
            index_path(index_folder, index_name),
            empty,
            override=override,
            requires_dtype=dtype is not None,
            required_settings={},
            lock_timeout_s=seconds(lock_timeout_s, name="lock_timeout_s"),
        )

    @property
    def is_end_to_end_index(self) -> bool:
        """True: a call returns ranked documents."""
        return True

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

    def _description(self, snapshot: Snapshot) -> str:
        return f"dim={snapshot.dim}, {snapshot.dtype.name}"
