"""`Snapshot`: one generation of a PLAID index, pinned, and everything that can be read from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from serotine._arrays import to_numpy
from serotine._engine import PlaidSnapshot
from serotine.errors import InvalidInput, UnknownDocument
from serotine.indexes.checks import (
    MAX_MAGNITUDE,
    is_id,
    is_list_of_ids,
    positive_int,
    read_ids,
    read_queries,
    read_subset,
)
from serotine.indexes.plaid.options import SearchSettings, recall_or_none
from serotine.indexes.plaid.stats import CalibrationPoint, Stats
from serotine.indexes.tokens.hits import NearestTokens, TokenHits
from serotine.types import Array, DocumentId, Embeddings, RerankResult, TokenMatrix

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["MAX_QUERY_TOKENS", "Snapshot"]

MAX_QUERY_TOKENS = 4096
"""Token vectors of one query at most."""


class Snapshot:
    """What `PLAID.snapshot` returns: answers from one commit, whatever is committed later.

    Takes no lock and stops no writer; the files that it reads stay until it is closed or forgotten. Safe to use from
    several threads. A retriever takes it as it takes an index.
    """

    def __init__(self, native: PlaidSnapshot, settings: SearchSettings) -> None:
        self._open_native: PlaidSnapshot | None = native
        self._settings = settings

    @property
    def is_end_to_end_index(self) -> bool:
        """True: a call returns ranked documents."""
        return True

    @property
    def generation(self) -> int:
        """Number of the commit, 0 before the first."""
        return self._native.generation

    @property
    def dim(self) -> int | None:
        """Width of the vectors, None as long as no document told it."""
        return self._native.dim or None

    def __call__(
        self,
        queries_embeddings: Embeddings,
        k: int = 10,
        subset: Any = None,
        *,
        recall: float | None = None,
        weights: Any = None,
    ) -> list[list[RerankResult]]:
        """Search; see `PLAID.__call__`."""
        native = self._native
        k = positive_int(k, name="k")
        settings = self._settings
        if recall_or_none(recall) is not None:
            settings = replace(settings, recall=recall_or_none(recall), cells=None, candidates=None)
        queries = read_queries(queries_embeddings, dim=native.dim or None)
        _check_lengths(queries)
        allowed = read_subset(subset, len(queries))
        token_weights = None if weights is None else _read_weights(weights, queries)
        if len(queries) == 0 or native.num_documents == 0:
            return [[] for _ in queries]
        rankings: list[list[RerankResult]] = native.search(  # type: ignore[assignment]  # dicts of just that form
            np.require(queries.values, np.float32, ["C", "A"]),
            queries.offsets,
            k=min(k, native.num_documents),
            subsets=None if allowed is None else allowed.ids,
            weights=token_weights,
            recall=settings.recall or 0.0,
            cells=settings.cells,
            candidates=settings.candidates,
            exhaustive=settings.recall == 1,
            num_threads=settings.num_threads,
        )
        return rankings

    def nearest_tokens(self, queries_embeddings: Embeddings, k: int = 10, subset: Any = None) -> NearestTokens:
        """Return the nearest stored tokens of each query token; see `PLAID.nearest_tokens`."""
        native = self._native
        k = positive_int(k, name="k")
        queries = read_queries(queries_embeddings, dim=native.dim or None)
        _check_lengths(queries)
        allowed = read_subset(subset, len(queries))
        if len(queries) == 0 or native.num_tokens == 0:
            nothing = [
                TokenHits(np.empty((length, 0), dtype=np.int64), np.empty((length, 0), dtype=np.float32))
                for length in queries.lengths
            ]
            return NearestTokens(nothing, native.ids_at)
        hits = native.nearest_tokens(
            np.require(queries.values, np.float32, ["C", "A"]),
            queries.offsets,
            k=min(k, native.num_tokens),
            subsets=None if allowed is None else allowed.ids,
            exhaustive=self._settings.recall == 1,
            num_threads=self._settings.num_threads,
        )
        return NearestTokens([TokenHits(*arrays) for arrays in hits], native.ids_at)

    def get_documents_embeddings(self, documents_ids: Any) -> list[Any]:
        """Return the vectors of documents; see `PLAID.get_documents_embeddings`."""
        if isinstance(documents_ids, (list, tuple)) and any(is_list_of_ids(part) for part in documents_ids):
            return [self._vectors(part) for part in documents_ids]
        return self._vectors(documents_ids)

    def _vectors(self, documents_ids: Any) -> list[Array]:
        ids = read_ids(documents_ids)
        found = []
        for document_id, vectors in zip(ids, self._native.vectors(ids), strict=True):
            if vectors is None:
                raise UnknownDocument(f"document {document_id!r} is not in the index")
            found.append(vectors.view(np.float16) if vectors.dtype == np.uint16 else vectors)
        return found

    def documents_ids(self) -> list[DocumentId]:
        """Return the ids of all documents, oldest first."""
        return self._native.documents_ids()

    def stats(self) -> Stats:
        """Return the facts of this generation. Cost: one look at each document's length."""
        facts = self._native.stats()
        points = tuple(CalibrationPoint(*point) for point in facts.pop("calibration"))
        return Stats(calibration=points, **facts)

    def close(self) -> None:
        """Let go of the files; every later use but another close raises InvalidInput."""
        self._open_native = None

    @property
    def _native(self) -> PlaidSnapshot:
        native = self._open_native
        if native is None:
            raise InvalidInput("this snapshot was closed; take another one")
        return native

    def __len__(self) -> int:
        return self._native.num_documents

    def __bool__(self) -> bool:
        return True  # an empty snapshot is one all the same, as an empty index is

    def __contains__(self, document_id: object) -> bool:
        return is_id(document_id) and self._native.contains(read_ids(document_id)[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return "Snapshot(closed)" if self._open_native is None else f"Snapshot({describe(self._open_native)})"


def describe(native: PlaidSnapshot) -> str:
    """The size of a generation in words, for a repr."""
    segments = native.num_segments
    per_token = native.num_bytes / native.num_tokens if native.num_tokens else 0
    return (
        f"{native.num_documents} documents, {native.num_tokens} tokens, {per_token:.1f} bytes/token, "
        f"{segments} segment{'' if segments == 1 else 's'}, generation {native.generation}, {native.nbits} bits"
    )


def _check_lengths(queries: TokenMatrix) -> None:
    too_long = np.flatnonzero(queries.lengths > MAX_QUERY_TOKENS)
    if len(too_long):
        raise InvalidInput(
            f"query {too_long[0]} has {queries.lengths[too_long[0]]} tokens, at most {MAX_QUERY_TOKENS} are searched"
        )


def _read_weights(weights: Any, queries: TokenMatrix) -> npt.NDArray[np.float32]:
    """Return one finite weight >= 0 for each query token, in order. A 1-D array belongs to a single query.

    A weight times its token's vector is held to what a vector is: no sum of scores can then overflow.
    """
    if not isinstance(weights, Iterable) or getattr(weights, "ndim", 1) == 0:
        raise InvalidInput(f"weights must be a list of 1-D arrays, one per query, got {type(weights).__name__}")
    parts = list(weights)
    if len(queries) == 1 and not any(isinstance(part, Iterable) and getattr(part, "ndim", 1) for part in parts):
        parts = [weights if hasattr(weights, "ndim") else parts]
    if len(parts) != len(queries):
        raise InvalidInput(f"weights has {len(parts)} rows for {len(queries)} queries, expected one each")
    arrays = [np.asarray(to_numpy(part), dtype=np.float32) for part in parts]
    for number, (array, length) in enumerate(zip(arrays, queries.lengths, strict=True)):
        if array.shape != (length,):
            raise InvalidInput(
                f"weights of query {number} have shape {array.shape}, expected one for each of its {length} tokens"
            )
        if not (np.isfinite(array).all() and (array >= 0).all()):
            raise InvalidInput(f"weights of query {number} must be finite and >= 0, got {array}")
        weighted = np.abs(queries[number]).max(axis=1, initial=0) * array.astype(np.float64)
        if len(too_large := np.flatnonzero(weighted > MAX_MAGNITUDE)):
            token = too_large[0]
            raise InvalidInput(
                f"weights of query {number}, token {token}: {array[token]:g} times the largest component of its vector "
                f"is {weighted[token]:g}, expected at most {MAX_MAGNITUDE:g}; give smaller weights, their ratios decide"
            )
    return np.concatenate(arrays) if arrays else np.empty(0, dtype=np.float32)
