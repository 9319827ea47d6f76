"""Which documents does a model rank first?  The corpus comes in chunks of vectors; the best documents are kept.

No tensor of all similarities is made: a chunk is searched by an index, `Exact` unless another one is asked for, and a
learnt score is computed for the documents that MaxSim has found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from serotine._arrays import to_numpy
from serotine.errors import InvalidInput
from serotine.indexes import Exact
from serotine.indexes.base import Index
from serotine.rank import rerank
from serotine.retrieve import ColBERT as Retriever
from serotine.scores import Scorer, TokenWeights
from serotine.types import RerankResult, TokenMatrix

__all__ = ["Chunk", "Rankings", "rank_corpus", "rank_corpus_by_functions"]

Chunk: TypeAlias = tuple[Sequence[str], TokenMatrix]
"""Ids of documents and their vectors."""

Rankings: TypeAlias = list[list[RerankResult]]
"""For each query the best documents, best first; equal scores in the order of the corpus."""


def rank_corpus(
    queries: TokenMatrix,
    chunks: Iterable[Chunk],
    depth: int,
    *,
    scorer: Scorer | None = None,
    num_candidates: int = 100,
    make_index: Callable[[], Index] | None = None,
) -> Rankings:
    """Return the ``depth`` best documents of each query, by MaxSim or by a learnt score.

    scorer: `TokenWeights` are folded into the vectors, so that all documents are ranked by them. Any other score orders
    the ``num_candidates`` (at least ``depth``) documents that MaxSim finds.
    make_index: returns an empty index, to which all chunks are added; it is closed at the end. None: each chunk is
    searched exactly and dropped, so that only one is in memory.

    Raises:
        InvalidInput: the index holds documents already; what indexes and scores raise.
    """
    if isinstance(scorer, TokenWeights):
        queries, chunks, scorer = scorer.fold(queries, is_query=True), _folded(chunks, scorer), None
    keep = depth if scorer is None else max(depth, num_candidates)
    best: Rankings = [[] for _ in range(len(queries))]
    learnt: list[dict[Any, float]] = [{} for _ in range(len(queries))]
    for index in _filled_indexes(chunks, make_index):
        found = Retriever(index).retrieve(queries, k=keep)
        best = [_merged(held, new, keep) for held, new in zip(best, found, strict=True)]
        if scorer is not None:
            # Now, and a query at a time: vectors are gone with the chunk, and those of all queries are many.
            for number, ranking in enumerate(best):
                ids = [hit["id"] for hit in ranking if hit["id"] in index]
                vectors = index.get_documents_embeddings(ids)
                [scored] = rerank([ids], queries[number : number + 1], [vectors], score_metric=scorer)
                learnt[number].update({hit["id"]: hit["score"] for hit in scored})
    if scorer is None:
        return best
    return [
        _merged([], [{"id": hit["id"], "score": scores[hit["id"]]} for hit in ranking], depth)
        for ranking, scores in zip(best, learnt, strict=True)
    ]


def rank_corpus_by_functions(
    functions: Mapping[str, Callable[..., Any]], queries: TokenMatrix, chunks: Iterable[Chunk], depth: int
) -> dict[str, Rankings]:
    """Return the ``depth`` best documents of each query by each of several scores.

    A function takes all queries and the documents of a chunk, as lists of tensors ``(num_tokens, dim)``, and returns
    ``(num_queries, num_documents)``; its memory is its own.

    Raises:
        InvalidInput: a function returns another shape, or NaN.
    """
    best: dict[str, Rankings] = {name: [[] for _ in range(len(queries))] for name in functions}
    query_tensors = _tensors(queries)
    for ids, documents in chunks:
        document_tensors = _tensors(documents)
        for name, function in functions.items():
            with torch.no_grad():
                scores = to_numpy(function(query_tensors, document_tensors))
            if scores.shape != (len(queries), len(documents)) or np.isnan(scores).any():
                raise InvalidInput(
                    f"score function {name!r} must return {(len(queries), len(documents))} numbers, got shape "
                    f"{scores.shape}{' with NaN' if np.isnan(scores).any() else ''}"
                )
            best[name] = [
                _merged(held, _hits(row, ids, depth), depth) for held, row in zip(best[name], scores, strict=True)
            ]
    return best


def _filled_indexes(chunks: Iterable[Chunk], make_index: Callable[[], Index] | None) -> Iterator[Index]:
    if make_index is None:
        for ids, documents in chunks:
            with Exact() as index:
                yield index.add_documents(ids, documents)
        return
    with make_index() as index:
        if len(index):
            raise InvalidInput(
                f"the index for an evaluation must be empty, but {index!r} holds documents: make it with override=True"
            )
        for ids, documents in chunks:
            index.add_documents(ids, documents)
        yield index


def _folded(chunks: Iterable[Chunk], scorer: TokenWeights) -> Iterator[Chunk]:
    for ids, documents in chunks:
        yield ids, scorer.fold(documents, is_query=False)


def _merged(held: list[RerankResult], new: list[RerankResult], depth: int) -> list[RerankResult]:
    """Return the best of both, best first. sorted() is stable: what is held precedes what is new at equal scores."""
    return sorted([*held, *new], key=lambda hit: -hit["score"])[:depth]


def _hits(scores: npt.NDArray[Any], ids: Sequence[str], depth: int) -> list[RerankResult]:
    order = np.argsort(-scores, kind="stable")[:depth].tolist()
    return [{"id": ids[position], "score": float(scores[position])} for position in order]


def _tensors(matrix: TokenMatrix) -> list[torch.Tensor]:
    return list(torch.split(torch.as_tensor(matrix.values), matrix.lengths.tolist()))
