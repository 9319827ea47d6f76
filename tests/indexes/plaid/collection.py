"""A random collection whose documents and queries lie in clusters, as real token vectors do."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

DIM = 32


class Collection(NamedTuple):
    """Unit vectors that float16 holds. ids are numbers; query ``i`` is a noisy part of document ``sources[i]``."""

    ids: list[int]
    documents: list[np.ndarray]
    queries: list[np.ndarray]
    sources: list[int]


def collection(num_documents=900, num_queries=40, *, mean_length=44, seed=7) -> Collection:
    """Some 40,000 tokens by default: just enough for an index to code them."""
    generator = np.random.default_rng(seed)
    centers = unit(generator.standard_normal((400, DIM)))
    lengths = generator.integers(mean_length // 2, mean_length * 3 // 2, size=num_documents)
    documents = []
    for length in lengths:
        topics = generator.integers(len(centers), size=6)  # a document is about few things
        chosen = centers[generator.choice(topics, size=length)]
        documents.append(unit(chosen + 0.6 / np.sqrt(DIM) * generator.standard_normal((length, DIM))))
    sources = generator.integers(num_documents, size=num_queries).tolist()
    queries = []
    for source in sources:
        tokens = documents[source][generator.choice(lengths[source], size=12)]
        queries.append(unit(tokens + 0.5 / np.sqrt(DIM) * generator.standard_normal(tokens.shape)))
    return Collection(list(range(num_documents)), documents, queries, sources)


def unit(vectors) -> np.ndarray:
    """Rows of length 1, rounded to what float16 holds."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)


def ids_of(rankings) -> list[list]:
    """The ids of each ranking."""
    return [[hit["id"] for hit in hits] for hits in rankings]


def overlap(rankings, truth) -> float:
    """Mean share of each true ranking that was found."""
    pairs = zip(ids_of(rankings), ids_of(truth), strict=True)
    return float(np.mean([len(set(found) & set(known)) / len(known) for found, known in pairs]))
