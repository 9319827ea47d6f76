"""How right is an engine?  Exact MaxSim in float32 over the same vectors, and what is counted against it.

overlap@10: share of the exact top 10 that is found; a document whose exact score is within 1e-4 of the tenth counts
as one of them. recall: the same of the exact top 10 within the first 100. nDCG@10: by the collection's own qrels, with
the same number for the exact ranking beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from embeddings import Collection, Qrels, Texts
from engines_growth import Block, replica_blocks
from serotine.evaluation import evaluate
from serotine.scores.packed import maxsim_packed
from serotine.types import TokenMatrix

DEPTH = 200
TIE = 1e-4


class Truth(NamedTuple):
    """The exact ranking: int64 and float32 ``(num_queries, depth)``, best first, ties by position."""

    positions: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]

    def accepted(self, query: int, k: int) -> set[int]:
        """Documents that count as the top k: those, and any that score within `TIE` of the last of them."""
        scores = self.scores[query]
        return set(self.positions[query][scores >= scores[min(k, len(scores)) - 1] - TIE].tolist())


def exact(queries: Texts, blocks: Iterable[Block], *, threads: int, depth: int = DEPTH) -> Truth:
    """Score every query against every document of a stream, keeping the best. Holds one block and the best."""
    asked = TokenMatrix(queries.values.astype(np.float32), queries.offsets)
    positions = np.empty((len(asked), 0), dtype=np.int64)
    scores = np.empty((len(asked), 0), dtype=np.float32)
    done = 0
    for values, lengths in blocks:
        block = TokenMatrix(values, np.concatenate([[0], np.cumsum(lengths)]))
        scores = np.concatenate([scores, maxsim_packed(asked, block, num_threads=threads)], axis=1)
        numbers = np.broadcast_to(np.arange(done, done + len(block)), (len(asked), len(block)))
        positions = np.concatenate([positions, numbers], axis=1)
        done += len(block)
        if scores.shape[1] > 2000:
            positions, scores = _best(positions, scores, depth)
    return Truth(*_best(positions, scores, depth))


def _best(
    positions: npt.NDArray[np.int64], scores: npt.NDArray[np.float32], depth: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    order = np.lexsort((positions, -scores), axis=1)[:, :depth]
    return np.take_along_axis(positions, order, axis=1), np.take_along_axis(scores, order, axis=1)


def cached_exact(folder: Path, documents: Texts, queries: Texts, *, copies: int = 1, threads: int) -> Truth:
    """Return the exact ranking, kept in the folder under the hash of the queries' vectors."""
    digest = hashlib.sha256(np.ascontiguousarray(queries.values).tobytes()).hexdigest()[:12]
    file = folder / f"exact-{digest}-{copies}.npz"
    if not file.exists():
        truth = exact(queries, replica_blocks(documents, copies), threads=threads)
        _check(truth, documents, queries)
        np.savez(file, positions=truth.positions, scores=truth.scores)
    with np.load(file) as arrays:
        return Truth(arrays["positions"], arrays["scores"])


def _check(truth: Truth, documents: Texts, queries: Texts, *, how_many: int = 20) -> None:
    """Score some of the found documents by numpy in float64: the yardstick must not rest on one kernel alone."""
    rng = np.random.default_rng(0)
    asked, rows = queries.rows(), documents.rows()
    for query in rng.integers(0, len(asked), how_many):
        for position, score in zip(truth.positions[query][:10], truth.scores[query][:10], strict=True):
            if position < len(rows):
                similarities = asked[query].astype(np.float64) @ rows[position].astype(np.float64).T
                difference = abs(similarities.max(axis=1).sum() - score)
                if difference > TIE:
                    raise AssertionError(f"query {query}, document {position}: {score} is off by {difference}")


def overlap(found: Sequence[Sequence[int]], truth: Truth, *, k: int = 10) -> float:
    """Mean share of the exact top k among the documents found, however deep the list is. Ties count."""
    shares = []
    for query, result in enumerate(found):
        wanted = min(k, truth.positions.shape[1])
        shares.append(min(len(truth.accepted(query, k).intersection(result)), wanted) / wanted)
    return float(np.mean(shares))


def ndcg(found: Sequence[Sequence[int]], collection: Collection) -> float | None:
    """Mean nDCG@10 over the queries that were asked, None where nothing is judged."""
    asked = collection.queries.ids[: len(found)]
    qrels: Qrels = {query: collection.qrels[query] for query in asked if query in collection.qrels}
    if not qrels:
        return None
    ids = collection.documents.ids
    results: list[list[dict[str, Any]]] = [
        [{"id": ids[position], "score": -float(rank)} for rank, position in enumerate(result[:10])] for result in found
    ]
    return float(evaluate(results, qrels, asked, metrics=["ndcg@10"])["ndcg@10"])
