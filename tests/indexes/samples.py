"""Random embeddings and the ranking that the reference scorer gives them, for tests to compare with."""

from __future__ import annotations

import numpy as np

from serotine.scores.reference import maxsim_reference
from serotine.types import TokenMatrix


def texts(lengths, *, dim=8, seed=0, dtype=np.float32) -> list[np.ndarray]:
    """Random token vectors of texts of the given lengths."""
    generator = np.random.default_rng(seed)
    return [generator.standard_normal((length, dim)).astype(dtype) for length in lengths]


def expected(ids, documents, queries, k) -> list[list[tuple]]:
    """``(id, score)`` of the k best documents of each query by the reference, ties in the order given."""
    if not ids:
        return [[] for _ in queries]
    scores = maxsim_reference(TokenMatrix.from_arrays(queries), TokenMatrix.from_arrays(documents))
    orders = np.argsort(-scores, axis=1, kind="stable")
    return [
        [(ids[i], row[i]) for i in order if np.isfinite(row[i])][:k] for row, order in zip(scores, orders, strict=True)
    ]


def assert_ranked(rankings, expectation) -> None:
    """The same documents in the same order, scores equal to the rounding of float32."""
    assert [[hit["id"] for hit in hits] for hits in rankings] == [[i for i, _ in hits] for hits in expectation]
    for hits, known in zip(rankings, expectation, strict=True):
        np.testing.assert_allclose([hit["score"] for hit in hits], [score for _, score in known], rtol=1e-5, atol=1e-5)


def state(index) -> list[tuple]:
    """Everything an index holds, comparable with ``==``: ids in order, with their vectors."""
    return [
        (document_id, type(document_id), vectors.tolist())
        for document_id, vectors in zip(
            index.documents_ids(), index.get_documents_embeddings(index.documents_ids()), strict=True
        )
    ]
