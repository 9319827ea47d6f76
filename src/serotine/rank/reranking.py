"""`rerank`: order given candidates by their MaxSim with a query.

Embeddings in this process's memory are scored by the native engine; torch is neither needed nor imported. Only
tensors on an accelerator, or an explicit device, are scored by torch, there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serotine.errors import InvalidInput
from serotine.indexes.checks import read_ids, read_queries
from serotine.indexes.chunks import document_chunks
from serotine.scores.packed import maxsim_packed
from serotine.types import DocumentId, Embeddings, RerankResult, TokenMatrix

__all__ = ["rerank"]

Scores = npt.NDArray[np.float32]


def rerank(
    documents_ids: Sequence[Sequence[DocumentId]],
    queries_embeddings: Embeddings,
    documents_embeddings: Sequence[Embeddings],
    device: Any = None,
    *,
    score_metric: Callable[..., Any] | None = None,
) -> list[list[RerankResult]]:
    """Return for each query its candidates as ``{"id", "score"}``, best first; ties stay in the order given.

    documents_ids: for each query the ids of its candidates. An id may occur twice and is then returned twice.
    queries_embeddings: see `serotine.types.Embeddings`; one 2-D array is one query.
    documents_embeddings: for each query the ``(num_tokens, dim)`` vectors of its candidates, in the order of the ids.
    device: where torch computes, such as ``"cuda"``. None: where the tensors are. Numpy arrays and tensors on the
    CPU are scored without torch, as is everything if it is ``"cpu"``.

    score_metric: what scores instead of MaxSim, such as the learnt ``model.scorer``: called with one query and its
    candidates, as lists; see `serotine.scores`. It chooses where to compute.

    A candidate's score does not depend on the others: padding takes no part. (On an accelerator, up to rounding.)
    A candidate without tokens comes last, with ``-inf``.
    Cost per query O(query tokens * candidate tokens * dim); extra memory 32 MiB.

    Raises:
        InvalidInput: lists of different lengths, or a value that is NaN or infinite. DimensionMismatch: a candidate
            has another width than the query. Each names the query's position.

    Example:
        >>> import numpy as np
        >>> rerank([["a", "b"]], np.array([[1.0, 0.0]]), [[np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]])]])
        [[{'id': 'b', 'score': 1.0}, {'id': 'a', 'score': 0.5}]]
    """
    if score_metric is not None and device is not None:
        raise InvalidInput("give either device or score_metric: the latter computes where its parameters are")
    accelerator = None if score_metric else _accelerator(device, queries_embeddings, documents_embeddings)
    queries = read_queries(queries_embeddings, dim=None)
    for name, lists in (("documents_ids", documents_ids), ("documents_embeddings", documents_embeddings)):
        if len(lists) != len(queries):
            raise InvalidInput(f"{name} has {len(lists)} lists for {len(queries)} queries, expected one list per query")
    return [
        _ranked(number, queries[number : number + 1], candidates, embeddings, accelerator, score_metric)
        for number, (candidates, embeddings) in enumerate(zip(documents_ids, documents_embeddings, strict=True))
    ]


def _ranked(
    number: int, query: TokenMatrix, candidates: Any, embeddings: Embeddings, accelerator: Any, score_metric: Any
) -> list[RerankResult]:
    try:
        ids = read_ids(candidates)
        if score_metric is not None:
            from serotine.rank.by_metric import scores_by_metric

            scores = scores_by_metric(score_metric, query, ids, embeddings)
        elif accelerator is None:
            scores = _scores(query, ids, embeddings)
        else:
            from serotine.rank.on_device import scores_on_device

            scores = scores_on_device(query[0], ids, embeddings, accelerator)
    except InvalidInput as error:
        raise type(error)(f"query {number}: {error}") from error
    order = np.argsort(-scores, kind="stable").tolist()
    return [{"id": ids[position], "score": float(scores[position])} for position in order]


def _scores(query: TokenMatrix, ids: list[DocumentId], embeddings: Embeddings) -> Scores:
    # As float32, which holds float16 exactly: so a candidate is never rounded to the dtype of another.
    chunks = document_chunks(ids, embeddings, dim=query.dim, dtype=np.dtype(np.float32))
    parts = [maxsim_packed(query, chunk)[0] for chunk in chunks]
    return np.concatenate([np.empty(0, dtype=np.float32), *parts])


def _accelerator(device: Any, queries: Embeddings, documents: Sequence[Embeddings]) -> Any:
    """The device that is no CPU and was asked for, or that the first tensor on one is on; None if there is none."""
    if device is not None:
        return None if str(device).split(":")[0] == "cpu" else device
    for embedding in _each(queries, *documents):
        if hasattr(embedding, "detach") and embedding.device.type != "cpu":
            return embedding.device
    return None


def _each(*sides: Embeddings) -> Iterator[Any]:
    for side in sides:
        yield from side if isinstance(side, (list, tuple)) else [side]
