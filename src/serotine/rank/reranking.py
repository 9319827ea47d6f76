"""`rerank`: order given candidates by their MaxSim with a query.

Embeddings in this process's memory are scored with numpy and the engine; torch is neither needed nor imported. Only
tensors on an accelerator, or an explicit device, are scored by torch, there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serotine._arrays import to_numpy
from serotine._lazy import require
from serotine.errors import DimensionMismatch, InvalidInput
from serotine.indexes.checks import check_finite, read_ids, read_queries
from serotine.scores.packed import maxsim_packed
from serotine.types import Array, DocumentId, Embeddings, RerankResult, TokenMatrix

__all__ = ["rerank"]


def rerank(
    documents_ids: Sequence[Sequence[DocumentId]],
    queries_embeddings: Embeddings,
    documents_embeddings: Sequence[Embeddings],
    device: Any = None,
) -> list[list[RerankResult]]:
    """Return for each query its candidates as ``{"id", "score"}``, best first; ties stay in the order given.

    documents_ids: for each query the ids of its candidates. An id may occur twice and is then returned twice.
    queries_embeddings: see `serotine.types.Embeddings`; one 2-D array is one query.
    documents_embeddings: for each query the ``(num_tokens, dim)`` vectors of its candidates, in the order of the ids.
    device: where torch computes, such as ``"cuda"``. None: where the tensors are. Numpy arrays and tensors on the
    CPU are scored without torch, as is everything if it is ``"cpu"``.

    A candidate's score does not depend on the others: nothing is padded. One without tokens comes last, with ``-inf``.
    Cost per query O(query tokens * candidate tokens * dim), and a copy of its candidates.

    Raises:
        InvalidInput: lists of different lengths, or a value that is NaN or infinite; the message names the query.
        DimensionMismatch: a candidate has another width than the query.

    Example:
        >>> import numpy as np
        >>> rerank([["a", "b"]], np.array([[1.0, 0.0]]), [[np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]])]])
        [[{'id': 'b', 'score': 1.0}, {'id': 'a', 'score': 0.5}]]
    """
    accelerator = _accelerator(device, queries_embeddings, documents_embeddings)
    queries = read_queries(queries_embeddings, dim=None)
    for name, lists in (("documents_ids", documents_ids), ("documents_embeddings", documents_embeddings)):
        if len(lists) != len(queries):
            raise InvalidInput(f"{name} has {len(lists)} lists for {len(queries)} queries, expected one list per query")
    rankings = []
    for number, (ids, embeddings) in enumerate(zip(documents_ids, documents_embeddings, strict=True)):
        candidates = read_ids(ids)
        documents = _candidates(number, candidates, embeddings, dim=queries.dim)
        rankings.append(_ranking(candidates, _scores(queries[number : number + 1], documents, accelerator)))
    return rankings


def _candidates(number: int, ids: list[DocumentId], embeddings: Embeddings, *, dim: int) -> TokenMatrix:
    """The vectors of one query's candidates; in float16 only if all of them are, so that none is rounded."""
    with np.errstate(over="ignore"):
        arrays = [to_numpy(embedding) for embedding in embeddings]
    if len(arrays) != len(ids):
        raise InvalidInput(f"query {number} has {len(ids)} candidate ids and {len(arrays)} embeddings, expected as many")
    for document_id, array in zip(ids, arrays, strict=True):
        if array.ndim != 2 or array.shape[1] != dim:
            raise DimensionMismatch(
                f"query {number}, document {document_id!r} has shape {array.shape}, expected (num_tokens, {dim})"
            )
    dtype = np.float16 if arrays and all(array.dtype == np.float16 for array in arrays) else np.float32
    documents = TokenMatrix.from_arrays(arrays, dim=dim, dtype=dtype)
    check_finite(documents, lambda position: f"query {number}, document {ids[position]!r}")
    return documents
