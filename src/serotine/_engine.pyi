"""The native engine. Private: only serotine.scores and serotine.indexes call it."""

from collections.abc import Callable
from typing import Any

import numpy
import numpy.typing

def maxsim(
    query_values: numpy.typing.NDArray[Any],
    query_kind: str,
    query_offsets: numpy.typing.NDArray[numpy.int64],
    document_values: numpy.typing.NDArray[Any],
    document_kind: str,
    document_offsets: numpy.typing.NDArray[numpy.int64],
    *,
    document_scales: numpy.typing.NDArray[numpy.float32] | None = None,
    weights: numpy.typing.NDArray[numpy.float32] | None = None,
    selection: numpy.typing.NDArray[numpy.int64] | None = None,
    num_threads: int = 1,
    instruction_set: str = "",
) -> numpy.typing.NDArray[numpy.float32]:
    """
    Score every query against every document, or those that selection numbers, in its order.

    Arrays are C-contiguous and aligned. Kinds: float32, float16, bfloat16 (both as uint16 bits); documents also int8,
    with finite scales. instruction_set: empty for the active one. Returns float32 (num_queries, num_documents).
    """

def maxsim_pairwise(
    query_values: numpy.typing.NDArray[Any],
    query_kind: str,
    query_offsets: numpy.typing.NDArray[numpy.int64],
    document_values: numpy.typing.NDArray[Any],
    document_kind: str,
    document_offsets: numpy.typing.NDArray[numpy.int64],
    *,
    document_scales: numpy.typing.NDArray[numpy.float32] | None = None,
    weights: numpy.typing.NDArray[numpy.float32] | None = None,
    num_threads: int = 1,
    instruction_set: str = "",
) -> numpy.typing.NDArray[numpy.float32]:
    """
    Score query i against document i.

    Arguments as of maxsim, without a selection. Returns float32 (num_queries,).
    """

def instruction_set() -> str:
    """Name of the instruction set in use."""

def instruction_sets() -> list[str]:
    """Those that this machine can run, narrowest first."""

class PlaidSnapshot:
    """One generation of a PlaidIndex, open. Never changes."""

    @property
    def generation(self) -> int: ...
    @property
    def num_documents(self) -> int: ...
    @property
    def num_tokens(self) -> int: ...
    @property
    def num_bytes(self) -> int: ...
    @property
    def num_segments(self) -> int: ...
    @property
    def dim(self) -> int: ...
    @property
    def nbits(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def keep_originals(self) -> bool: ...
    def contains(self, document_id: str | int) -> bool: ...
    def first(self, ids: list[str | int], *, known: bool) -> str | int | None:
        """The first of the ids that is known, or that is not; None if there is none."""

    def documents_ids(self) -> list[str | int]:
        """All ids, oldest document first."""

    def vectors(self, ids: list[str | int]) -> list[numpy.typing.NDArray[Any] | None]:
        """
        The vectors of documents, (num_tokens, dim) and read-only; None for an unknown one.

        uint16 bits of float16 where the index keeps what it was given, float32 decoded from the codes elsewhere.
        """

    def stats(self) -> dict[str, Any]:
        """The facts of serotine.indexes.Stats."""

    def search(
        self,
        values: numpy.typing.NDArray[numpy.float32],
        offsets: numpy.typing.NDArray[numpy.int64],
        *,
        k: int,
        subsets: list[list[str | int]] | None = None,
        weights: numpy.typing.NDArray[numpy.float32] | None = None,
        recall: float = 0.0,
        cells: int | None = None,
        candidates: int | None = None,
        exhaustive: bool = False,
        num_threads: int = 1,
    ) -> list[list[dict[str, Any]]]:
        """
        The k best documents of each query as {"id", "score"}.

        subsets: None, one list of ids for all queries, or one per query. recall 0: the engine's default.
        """

    def nearest_tokens(
        self,
        values: numpy.typing.NDArray[numpy.float32],
        offsets: numpy.typing.NDArray[numpy.int64],
        *,
        k: int,
        subsets: list[list[str | int]] | None = None,
        exhaustive: bool = False,
        num_threads: int = 1,
    ) -> list[tuple[numpy.typing.NDArray[numpy.int64], numpy.typing.NDArray[numpy.float32]]]:
        """
        For each query the documents of its tokens' k nearest stored tokens, and their similarities.

        Both are (num_query_tokens, num_hits), best first; the document is -1 where a token has fewer hits than others.
        subsets: as of search.
        """

    def ids_at(self, documents: numpy.typing.NDArray[numpy.int64]) -> list[str | int]:
        """The ids of documents that nearest_tokens numbered."""

class PlaidWriter:
    """A change in the making: holds the lock until it ends."""

    def add(
        self,
        ids: list[str | int],
        lengths: numpy.typing.NDArray[numpy.uint32],
        values: numpy.typing.NDArray[numpy.uint16],
        *,
        replace: bool,
    ) -> None:
        """
        Stages documents.

        values: (sum of lengths, dim), uint16 bits of finite float16, C-contiguous.
        """

    def remove(self, ids: list[str | int]) -> int:
        """Stages deletions; returns how many documents of these ids there were."""

    def commit(self, *, num_threads: int, progress: Callable[[float], object] | None = None) -> int:
        """Publishes everything and ends; returns the generation."""

    def optimize(self, *, retrain: bool, num_threads: int, progress: Callable[[float], object] | None = None) -> int:
        """Merges what is there and ends; returns the generation."""

    def close(self) -> None:
        """Ends without a change, if it has not ended."""

class PlaidIndex:
    """An index in a folder, or in memory if there is none."""

    def __init__(
        self,
        folder: str | None,
        *,
        nbits: int,
        seed: int,
        keep_originals: bool,
        lock_timeout_s: float,
        override: bool = False,
        verify_values: bool = False,
        recover_previous: bool = False,
    ) -> None: ...
    def snapshot(self) -> PlaidSnapshot:
        """The newest commit: one look at the folder."""

    def begin_write(self) -> PlaidWriter:
        """Takes the lock, waiting for it."""

    def check(self) -> None:
        """Compares every byte with its checksum."""
