"""The native engine. Private: only serotine.scores and serotine.indexes call it."""

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
