"""`TokenIndex`: an index whose calls return hits for each query token, found by a library of nearest neighbours."""

from __future__ import annotations

import os
import threading
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from serotine.errors import CorruptIndex, StorageError
from serotine.indexes.checks import float_dtype, index_path, positive_int, seconds
from serotine.indexes.storage.segment import Content, Finder, Segment, Snapshot
from serotine.indexes.storage.store import Store
from serotine.indexes.stored import StoredIndex
from serotine.indexes.tokens import search
from serotine.indexes.tokens.search import TokenFinder
from serotine.scores.packed import thread_count
from serotine.types import Embeddings, TokenMatrix

__all__ = ["DEFAULT_NAME", "TokenIndex"]

DEFAULT_NAME = "colbert"


class TokenIndex(StoredIndex):
    """Documents stored as in `Exact`, with a finder for each large segment: an index of its token vectors.

    Small segments have none and are compared vector by vector. Segments are merged as `Exact` merges them, so a token
    passes through O(log(number of adds)) finders. Removed documents stay in their segment's finder, and are passed
    over, until more than half of it is removed.
    """

    @property
    def is_end_to_end_index(self) -> bool:
        """False: a call returns hits for each query token; `serotine.retrieve` makes rankings of them."""
        return False

    def _open_tokens(
        self,
        index_folder: str | os.PathLike[str] | None,
        index_name: str | None,
        *,
        override: bool,
        embedding_size: int | None,
        dtype: npt.DTypeLike | None,
        defaults: Mapping[str, Any],
        given: Mapping[str, Any],
        num_threads: int | None,
        lock_timeout_s: float,
    ) -> None:
        """Open the index. given: the settings of its making that were asked for, None where `defaults` may decide."""
        self._num_threads = thread_count(num_threads)
        required = {name: value for name, value in given.items() if value is not None}
        empty = Snapshot(
            np.dtype(np.float32) if dtype is None else float_dtype(dtype),
            None if embedding_size is None else positive_int(embedding_size, name="embedding_size"),
            settings={**defaults, **required},
        )
        self._finders: WeakKeyDictionary[Content, TokenFinder] = WeakKeyDictionary()
        self._loading = threading.Lock()
        self._open(
            None if index_folder is None else index_path(index_folder, index_name),
            empty,
            override=override,
            requires_dtype=dtype is not None,
            required_settings=required,
            lock_timeout_s=seconds(lock_timeout_s, name="lock_timeout_s"),
        )

    def __call__(self, queries_embeddings: Embeddings, k: int = 10, subset: Any = None) -> dict[str, list[list[Any]]]:  # type: ignore[override]  # a token index returns hits
        """Return the k nearest stored vectors of each query token, nearest first.

        queries_embeddings: see `serotine.types.Embeddings`; one 2-D array is one query; no queries: empty lists.
        k: hits per query token, at least 1; if there are fewer vectors, all of them. Several may be of one document.
        subset: ids of the documents that may be returned, one list for all queries or one list per query; unknown ids
        are ignored, and a subset without a known id returns nothing. Hits are never fewer because of it.

        Returns a dict with, for every query and every token of it:
        ``"documents_ids"``: a list of ids; ``"distances"``: float32 ``(k,)``, 1 - cosine, lower is better;
        ``"similarities"``: float32 ``(k,)``, dot products, which MaxSim and XTR add up.

        Raises:
            InvalidInput: k, the subset or a query is not valid (no tokens, NaN, infinity).
            DimensionMismatch: a query has another width. CorruptIndex: a finder is not what was written.
        """
        return self.nearest_tokens(queries_embeddings, k, subset).to_dict()

    def _finder_of(self, segment: Segment, settings: Mapping[str, Any]) -> TokenFinder | None:
        content = segment.content
        with self._loading:
            finder = self._finders.get(content)
            if finder is None and content.finder is not None:
                finder = self._finders[content] = self._loaded(content.finder, content.documents, settings)
        return finder

    def _loaded(self, stored: Finder, documents: TokenMatrix, settings: Mapping[str, Any]) -> TokenFinder:
        try:
            return self._load_finder(stored.checked(), documents, settings)
        except OSError as error:
            raise StorageError(f"could not load {stored.path}: {error}") from error
        except (RuntimeError, ValueError, TypeError) as error:  # what the libraries and `json` raise
            raise CorruptIndex(
                stored.path, expected=f"what {type(self).__name__} wrote", found=f"{type(error).__name__}: {error}"
            ) from error

    def _finished(self, store: Store, before: Snapshot, segment: Segment) -> Segment:
        if segment.documents.num_tokens <= search.SCAN_TOKENS:
            return segment
        finder = self._make_finder(segment.documents, before.settings)
        attached = store.attach(segment, finder.save)
        self._finders[attached.content] = finder
        return attached

    @abstractmethod
    def _make_finder(self, documents: TokenMatrix, settings: Mapping[str, Any]) -> TokenFinder:
        """Return a finder for a segment's tokens."""

    @abstractmethod
    def _load_finder(self, data: memoryview, documents: TokenMatrix, settings: Mapping[str, Any]) -> TokenFinder:
        """Return the finder that wrote data for these tokens. RuntimeError, ValueError, TypeError: none did."""
