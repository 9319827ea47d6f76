"""Models for evaluators: the tiny one of the model tests, and one whose vectors are looked up, for exact ties."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.models.conftest import backbone, model

__all__ = ["backbone", "model"]


class LookupModel:
    """Vectors of texts from two dicts; the interface that evaluators use of a `MultiVectorEncoder`."""

    similarity_fn_name = "maxsim"

    def __init__(self, queries: dict[str, np.ndarray], documents: dict[str, np.ndarray]) -> None:
        self.queries, self.documents = queries, documents
        self.model_card_data = SimpleNamespace(set_evaluation_metrics=lambda *arguments: None)
        self.calls: list[tuple[str, int, dict[str, Any]]] = []

    def encode_query(self, texts: list[str], **options: Any) -> list[np.ndarray]:
        self.calls.append(("query", len(texts), options))
        return [self.queries[text] for text in texts]

    def encode_document(self, texts: list[str], **options: Any) -> list[np.ndarray]:
        self.calls.append(("document", len(texts), options))
        return [self.documents[text] for text in texts]


def random_collection(seed: int) -> tuple[LookupModel, dict[str, str], dict[str, str], dict[str, dict[str, int]]]:
    """A model with vectors of 0 and 1, so that many scores are equal, and graded judgements; ids are unlike texts."""
    rng = np.random.default_rng(seed)
    queries = {f"query {n}": rng.integers(0, 2, (2, 2)).astype(np.float32) for n in range(6)}
    documents = {f"text {n}": rng.integers(0, 2, (rng.integers(1, 4), 2)).astype(np.float32) for n in range(40)}
    query_texts = {f"q{n}": text for n, text in enumerate(queries)}
    corpus = {f"d{n}": text for n, text in enumerate(documents)}
    qrels = {
        query: {document: int(rng.integers(0, 3)) for document in rng.choice(list(corpus), 5, replace=False)}
        for query in query_texts
    }
    return LookupModel(queries, documents), query_texts, corpus, qrels


TEXTS = {
    "d1": "Bats fly at night.",
    "d2": "moth",
    "d3": "the river and the sound of wings that fly to the tree at night in the cave",
    "d4": "insects, insects, insects",
    "d5": "sound of wings, of a species",
    "d6": "it is late!",
    "d7": "a small cave; under the tree; it is long",
}
QUESTIONS = {"q1": "where is the bat", "q2": "a moth?", "q3": "which river, at night"}
RELEVANT = {"q1": {"d1"}, "q2": {"d2", "d4"}, "q3": {"d3"}}


@pytest.fixture
def collection() -> tuple[dict[str, str], dict[str, str], dict[str, set[str]]]:
    """Seven texts about bats, three questions, and which answer them."""
    return dict(QUESTIONS), dict(TEXTS), {query: set(ids) for query, ids in RELEVANT.items()}
