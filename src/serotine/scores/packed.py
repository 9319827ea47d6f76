"""How is MaxSim computed on packed numpy matrices?  The native engine, behind checks and conversions.

Exact: every similarity is a float32 chain of fused multiply-adds in a fixed order, so the same input gives
the same bits on every processor and for every number of threads. Knows numpy alone; `serotine.scores.maxsim`
is the form for tensors and gradients, `serotine.scores.reference` the plain oracle.
"""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from serotine.errors import DimensionMismatch, InvalidInput
from serotine.scores.quantized import Int8TokenMatrix
from serotine.types import Array, TokenMatrix

try:
    import serotine._engine as _engine
except ModuleNotFoundError as error:
    if error.name != "serotine._engine":
        raise
    raise ImportError(
        "serotine's native engine is not built. In a checkout, build it with: pip install -e . "
        "(needs a C++20 compiler; CMake comes with it)",
        name="serotine._engine",
    ) from error

__all__ = ["MAX_THREADS", "available_threads", "maxsim_packed", "maxsim_packed_pairwise", "thread_count"]

MAX_THREADS = 1024
"""Threads that a call may be given: more than nearly all machines have, few enough to start and to keep scratch for."""

Uint16Kind = Literal["bfloat16", "float16"]


def maxsim_packed(
    queries: TokenMatrix,
    documents: TokenMatrix | Int8TokenMatrix,
    *,
    weights: npt.ArrayLike | None = None,
    selection: npt.ArrayLike | None = None,
    num_threads: int | None = None,
    uint16_kind: Uint16Kind | None = None,
) -> npt.NDArray[np.float32]:
    """Score every query against every document: ``S(Q, D) = sum_i w_i max_j q_i . d_j``.

    queries, documents: float32, float16 or bfloat16 (the ml_dtypes dtype), not necessarily alike; 16-bit values
    are widened exactly. Int8 documents: the query tokens are quantised in the same way and the dot product is
    exact in integers (see `Int8TokenMatrix` for the error).
    weights: float32 ``(num_query_tokens,)``, in the order of ``queries.values``; 1 each if None.
    selection: document numbers to score, in this order, repeats allowed; every document if None.
    num_threads: at most so many, up to 1,024; None takes the processors this process may use. Small work runs on fewer.
    uint16_kind: what uint16 values are the bits of. For callers whose own 16-bit type numpy does not know
    (a torch bfloat16 tensor viewed as uint16); uint16 is refused if None.

    Returns float32 ``(num_queries, num_documents)``, or ``(num_queries, len(selection))``. A document without
    tokens scores ``-inf``, a query without tokens 0 against the others; NaN on either side makes the score NaN.

    Raises:
        DimensionMismatch: queries and documents have different dimensions.
        InvalidInput: a dtype, weight count, selection or thread count that cannot be used.

    Cost: query tokens * document tokens * dim multiply-adds. Extra memory: the scores, the queries once more as
    float32, and a few MB for each thread. Neither side is copied if it is C-contiguous and aligned.
    Source: Khattab & Zaharia 2020, equation 3.

    Example:
        >>> import numpy as np
        >>> query = TokenMatrix.from_arrays([np.eye(2, dtype=np.float32)])
        >>> documents = TokenMatrix.from_arrays([np.float32([[0.5, 0]]), np.float32([[1, 0], [0, 1]])])
        >>> maxsim_packed(query, documents).tolist()
        [[0.5, 2.0]]
    """
    if _is_empty_of_unknown_width(queries, documents):
        num_positions = len(documents) if selection is None else len(_positions(selection))
        return np.empty((len(queries), num_positions), dtype=np.float32)
    query_values, query_kind = _native_values(queries, "queries", uint16_kind)
    document_values, document_kind, scales = _native_documents(documents, uint16_kind)
    _check_dimensions(queries, documents)
    return _engine.maxsim(
        query_values,
        query_kind,
        queries.offsets,
        document_values,
        document_kind,
        documents.offsets,
        document_scales=scales,
        weights=_token_weights(weights),
        selection=None if selection is None else _positions(selection),
        num_threads=thread_count(num_threads),
    )


def maxsim_packed_pairwise(
    queries: TokenMatrix,
    documents: TokenMatrix | Int8TokenMatrix,
    *,
    weights: npt.ArrayLike | None = None,
    num_threads: int | None = None,
    uint16_kind: Uint16Kind | None = None,
) -> npt.NDArray[np.float32]:
    """Score query ``i`` against document ``i``; arguments, semantics and errors as of `maxsim_packed`.

    Returns float32 ``(n,)`` for n queries and n documents, the same bits as the diagonal of `maxsim_packed`.

    Raises:
        InvalidInput: there are not as many queries as documents.
    """
    if len(queries) != len(documents):
        raise InvalidInput(f"pairs need as many queries as documents, got {len(queries)} and {len(documents)}")
    if _is_empty_of_unknown_width(queries, documents):
        return np.empty(0, dtype=np.float32)
    query_values, query_kind = _native_values(queries, "queries", uint16_kind)
    document_values, document_kind, scales = _native_documents(documents, uint16_kind)
    _check_dimensions(queries, documents)
    return _engine.maxsim_pairwise(
        query_values,
        query_kind,
        queries.offsets,
        document_values,
        document_kind,
        documents.offsets,
        document_scales=scales,
        weights=_token_weights(weights),
        num_threads=thread_count(num_threads),
    )


def available_threads() -> int:
    """Processors that this process may use (its affinity where the system has one, else all)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_count(num_threads: Any) -> int:
    """Return a number of threads, 1 to `MAX_THREADS`; None: `available_threads`.

    Raises:
        InvalidInput: it is something else.
    """
    if num_threads is None:
        return available_threads()
    is_whole = isinstance(num_threads, (int, np.integer)) and not isinstance(num_threads, bool)
    if not is_whole or not 1 <= num_threads <= MAX_THREADS:
        raise InvalidInput(f"num_threads must be a whole number from 1 to {MAX_THREADS}, or None, got {num_threads!r}")
    return int(num_threads)


def _is_empty_of_unknown_width(queries: TokenMatrix, documents: TokenMatrix | Int8TokenMatrix) -> bool:
    """Whether one side has no texts and never learned a dimension (``TokenMatrix.from_arrays([])``)."""
    return any(len(side) == 0 and side.dim == 0 for side in (queries, documents))


def _check_dimensions(queries: TokenMatrix, documents: TokenMatrix | Int8TokenMatrix) -> None:
    if queries.dim != documents.dim:
        raise DimensionMismatch(
            f"queries have dimension {queries.dim}, documents {documents.dim}; encode both with one model"
        )


def _native_documents(
    documents: TokenMatrix | Int8TokenMatrix, uint16_kind: Uint16Kind | None
) -> tuple[Array, str, npt.NDArray[np.float32] | None]:
    if isinstance(documents, Int8TokenMatrix):
        return documents.codes, "int8", documents.scales
    return *_native_values(documents, "documents", uint16_kind), None


def _native_values(matrix: TokenMatrix, what: str, uint16_kind: Uint16Kind | None) -> tuple[Array, str]:
    """Return the values as the engine takes them (16-bit floats as their bits) and the name of their kind."""
    values = matrix.values
    kind = values.dtype.name
    if kind == "uint16" and uint16_kind is not None:
        kind = uint16_kind
    if kind not in ("float32", "float16", "bfloat16") or not values.dtype.isnative:
        raise InvalidInput(
            f"{what} have dtype {values.dtype}, expected float32, float16 or bfloat16 in native byte order; "
            f"convert with TokenMatrix.astype"
        )
    # A slice of a byte buffer may be contiguous but not aligned; the kernels read whole elements.
    values = np.require(values, requirements=["C_CONTIGUOUS", "ALIGNED"])
    return (values if kind == "float32" else values.view(np.uint16)), kind


def _positions(selection: npt.ArrayLike) -> npt.NDArray[np.int64]:
    positions = np.asarray(selection)
    if positions.ndim != 1 or (positions.dtype.kind not in "iu" and positions.size > 0):
        raise InvalidInput(
            f"selection must be a 1-D array of document numbers, got shape {positions.shape}, dtype {positions.dtype}"
            f"{' (turn a mask into numbers with numpy.flatnonzero)' if positions.dtype.kind == 'b' else ''}"
        )
    return np.require(positions, dtype=np.int64, requirements=["C_CONTIGUOUS", "ALIGNED"])


def _token_weights(weights: npt.ArrayLike | None) -> npt.NDArray[np.float32] | None:
    if weights is None:
        return None
    array = np.asarray(weights)
    if array.ndim != 1 or array.dtype.kind not in "fiu":
        raise InvalidInput(f"weights must be 1-D numbers, got shape {array.shape}, dtype {array.dtype}")
    return np.require(array, dtype=np.float32, requirements=["C_CONTIGUOUS", "ALIGNED"])
