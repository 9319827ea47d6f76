"""`Voyager`: token vectors in a graph (HNSW) of Spotify's library of that name, with PyLate's API.

The library finds neighbours, and no more: vectors, ids, commits and removals are Serotine's own; no pickles.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from serotine._lazy import require
from serotine._unused import NOT_GIVEN, warn_of_unused
from serotine.indexes.checks import optional_positive_int, positive_int
from serotine.indexes.plaid.options import flag_or_none
from serotine.indexes.plaid.progress import counting, is_shown
from serotine.indexes.storage.segment import Rows, Snapshot
from serotine.indexes.tokens.index import DEFAULT_NAME, TokenIndex
from serotine.indexes.tokens.search import Vectors
from serotine.types import Embeddings, TokenMatrix

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Voyager"]

DEFAULTS = {"M": 64, "ef_construction": 200}
"""PyLate's."""

DEFAULT_EF_SEARCH = 200

BATCH_TOKENS = 1 << 13
"""Vectors given to the library at a time: some seconds of work, after which Ctrl-C is heard."""


class Voyager(TokenIndex):
    """Finds the nearest stored vectors of each query token by a graph search over all of them.

    ``Voyager(folder, name)`` lives in ``folder/name``, made if missing, opened if there; ``Voyager(None)`` in memory.
    Commits are as in `Exact`: every call answers from the newest commit of any process, and a change is on the disk, or
    not made at all, when its call ends. Use it through `serotine.retrieve.ColBERT` or `serotine.retrieve.XTR`.

    Slow to build (some thousand vectors a second and processor) and large in memory (some 4 * dim + 8 * M bytes a
    vector): `PLAID` is smaller and faster. This one is for collections of PyLate's Voyager, and for XTR by nearest
    neighbours as published.

    The arguments up to ef_search are PyLate's, in its order.

    Args:
        index_folder: where indexes are kept; None: this one is in memory.
        index_name: the index's own folder in there, a plain name.
        override: start empty even if there is an index. The old one is deleted by the first change that succeeds.
        embedding_size: width of the vectors; None: that of the index that is there, or of the first document.
        M: edges of a vector in the graph: more find better, and take more memory. None: what the index has, 64 for
            a new one.
        ef_construction: how thoroughly neighbours are looked for when a vector is added. None: as above, 200.
        ef_search: how thoroughly a search looks, at least its k.
        dtype: how vectors are stored for scoring, ``"float32"`` or ``"float16"``; the graph has its own, float32.
        num_threads: of changes and searches, 1 to 1,024; None: as many as the processors that this process may use.
        show_progress: a bar for graphs that take more than a second. None: if standard error is a terminal.
        lock_timeout_s: seconds that a change waits for another writer.

    Raises:
        MissingExtra: the package voyager is not installed. InvalidInput: an argument is wrong, or not what the index
            was made with. DimensionMismatch, CorruptIndex, IndexTooNew, CommitFailed: as `Exact`.

    Safe to use from several threads. With more than one thread, graphs of the same vectors differ from run to run.
    Source: Malkov & Yashunin 2018 (HNSW).

    Example:
        >>> import numpy as np
        >>> from serotine.indexes import Voyager
        >>> index = Voyager(None)
        >>> index.add_documents(["north", "east"], [np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]])])
        Voyager(2 documents, dim=2, float32, M=64, ef_construction=200, in memory)
        >>> index(np.array([[1.0, 0.0]]), k=1)["documents_ids"]
        [[['east']]]
    """

    kind = "voyager"

    def __init__(
        self,
        index_folder: str | os.PathLike[str] | None = "indexes",
        index_name: str | None = DEFAULT_NAME,
        override: bool = False,
        embedding_size: int | None = None,
        M: int | None = None,  # noqa: N803  # PyLate's and the literature's name
        ef_construction: int | None = None,
        ef_search: int = DEFAULT_EF_SEARCH,
        *,
        dtype: npt.DTypeLike | None = None,
        num_threads: int | None = None,
        show_progress: bool | None = None,
        lock_timeout_s: float = 1.0,
    ) -> None:
        self._library = require("voyager", extra="voyager", purpose="serotine.indexes.Voyager")
        ef = positive_int(ef_search, name="ef_search")
        self._show_progress = flag_or_none(show_progress, name="show_progress")
        self._open_tokens(
            index_folder,
            index_name,
            override=override,
            embedding_size=embedding_size,
            dtype=dtype,
            defaults=DEFAULTS,
            given={
                "M": optional_positive_int(M, name="M"),
                "ef_construction": optional_positive_int(ef_construction, name="ef_construction"),
            },
            num_threads=num_threads,
            lock_timeout_s=lock_timeout_s,
        )
        self._search = _SearchSettings(ef, self._num_threads)

    @property
    def ef_search(self) -> int:
        """How thoroughly a search looks; can be set."""
        return self._search.ef

    @ef_search.setter
    def ef_search(self, value: int) -> None:
        self._search.ef = positive_int(value, name="ef_search")

    def add_documents(self, documents_ids: Any, documents_embeddings: Embeddings, batch_size: Any = NOT_GIVEN) -> Self:
        """Add documents; see `serotine.indexes.stored.StoredIndex.add_documents`. batch_size has no effect."""
        warn_of_unused("Voyager.add_documents", "", batch_size=batch_size)
        return super().add_documents(documents_ids, documents_embeddings)

    def _make_finder(self, documents: TokenMatrix, settings: Mapping[str, Any]) -> _Graph:
        graph = self._library.Index(
            self._library.Space.Cosine,
            documents.dim,
            M=settings["M"],
            ef_construction=settings["ef_construction"],
            max_elements=documents.num_tokens,
        )
        values = documents.values
        with counting("Building graph", len(values), shown=is_shown(self._show_progress)) as advance:
            for start in range(0, len(values), BATCH_TOKENS):
                batch = np.array(values[start : start + BATCH_TOKENS], dtype=np.float32)  # it takes no read-only one
                graph.add_items(batch, ids=list(range(start, start + len(batch))), num_threads=self._num_threads)
                advance(len(batch))
        return _Graph(self._library, graph, self._search)

    def _load_finder(self, data: memoryview, documents: TokenMatrix, settings: Mapping[str, Any]) -> _Graph:  # noqa: ARG002
        graph = self._library.Index.load(_Reader(data))
        found = (graph.num_elements, graph.num_dimensions, str(graph.space))
        expected = (documents.num_tokens, documents.dim, str(self._library.Space.Cosine))
        if found != expected:
            raise ValueError(f"a graph of {found}, expected {expected}")
        return _Graph(self._library, graph, self._search)

    def _description(self, snapshot: Snapshot) -> str:
        settings = ", ".join(f"{name}={snapshot.settings[name]}" for name in DEFAULTS)
        return f"dim={snapshot.dim}, {snapshot.dtype.name}, {settings}"


@dataclass
class _SearchSettings:
    """What an index can change of how its graphs are searched, shared by all of them."""

    ef: int
    num_threads: int


class _Graph:
    """A graph of the library, whose labels are the numbers of its segment's tokens."""

    def __init__(self, library: Any, graph: Any, settings: _SearchSettings) -> None:
        self._library = library
        self._graph = graph
        self._settings = settings

    def nearest(self, queries: Vectors, k: int) -> Rows | None:
        """Return the labels of the k nearest vectors, -1 where the graph leads to fewer; None if not ours."""
        try:
            labels, _ = self._graph.query(
                np.array(queries),  # it takes no read-only one
                k=k,
                num_threads=self._settings.num_threads,
                query_ef=max(k, self._settings.ef),
            )
        except self._library.RecallError:  # of one query, which it does not name: the others' answers are lost, too
            if len(queries) == 1:
                return np.full((1, k), -1, dtype=np.int64)
            halves = [self.nearest(half, k) for half in np.array_split(queries, 2)]
            found = [half for half in halves if half is not None]
            return np.concatenate(found) if len(found) == len(halves) else None
        positions: Rows = labels.astype(np.int64)
        return positions if labels.max(initial=0) < self._graph.num_elements else None

    def save(self, write: Callable[[bytes], object]) -> None:
        """Write the graph in the library's format."""
        self._graph.save(_Writer(write))


class _Writer:
    """As much of a file as the library's `save` wants: one that cannot seek."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._num_bytes = 0

    def write(self, piece: bytes) -> int:
        self._write(piece)
        self._num_bytes += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._num_bytes

    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise OSError("this file cannot seek")


class _Reader:
    """Mapped memory as the file that the library's `load` wants; `io.BytesIO` would copy all of it first."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        stop = len(self._data) if size < 0 else self._position + size
        piece = bytes(self._data[self._position : stop])
        self._position += len(piece)
        return piece

    def tell(self) -> int:
        return self._position

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: len(self._data)}[whence]
        self._position = max(0, start + offset)
        return self._position
