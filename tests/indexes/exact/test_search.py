"""Proves that a search in blocks returns what one over everything would, within its memory."""

from __future__ import annotations

import numpy as np
import pytest

from serotine.indexes import Exact
from serotine.indexes.exact import search as search_module
from tests.indexes.samples import assert_ranked, expected, texts

LENGTHS = np.random.default_rng(3).integers(0, 12, size=60).tolist()
DOCUMENTS = texts(LENGTHS)
IDS = list(range(len(DOCUMENTS)))
QUERIES = texts([3, 1, 6, 2, 4], seed=1)


@pytest.fixture
def sizes(monkeypatch):
    """A function that makes blocks small."""

    def set_sizes(*, tokens, documents, scores):
        monkeypatch.setattr(search_module, "BLOCK_TOKENS", tokens)
        monkeypatch.setattr(search_module, "BLOCK_DOCUMENTS", documents)
        monkeypatch.setattr(search_module, "MAX_SCORES", scores)

    return set_sizes


@pytest.mark.parametrize("tokens", [1, 7, 1000])
@pytest.mark.parametrize("documents", [1, 3, 1000])
@pytest.mark.parametrize("k", [1, 7, 100])
def test_the_size_of_the_blocks_does_not_matter(sizes, tokens, documents, k):
    sizes(tokens=tokens, documents=documents, scores=8)
    index = Exact().add_documents(IDS, DOCUMENTS)
    whole = expected(IDS, DOCUMENTS, QUERIES, k)
    assert_ranked(index(QUERIES, k=k), whole)
    assert_ranked(index(QUERIES, k=k, subset=IDS), whole)
    assert_ranked(index(QUERIES, k=k, subset=[IDS] * len(QUERIES)), whole)


def test_scores_are_the_same_bits_whatever_is_searched_beside_them(sizes):
    index = Exact().add_documents(IDS, DOCUMENTS)
    together = [{hit["id"]: hit["score"] for hit in hits} for hits in index(QUERIES, k=100)]
    sizes(tokens=5, documents=2, scores=4)
    for number, query in enumerate(QUERIES):
        for document in IDS[::7]:
            for hit in index(query, subset=[document])[0]:
                assert hit["score"] == together[number][document]


def test_no_block_of_scores_exceeds_the_limit(sizes, monkeypatch):
    sizes(tokens=40, documents=10, scores=20)
    real, shapes = search_module.maxsim_packed, []

    def watched(*args, **kwargs):
        scores = real(*args, **kwargs)
        shapes.append(scores.shape)
        return scores

    monkeypatch.setattr(search_module, "maxsim_packed", watched)
    index = Exact().add_documents(IDS, DOCUMENTS)
    index(QUERIES, k=3)
    assert max(rows * columns for rows, columns in shapes) <= 20
    assert max(rows for rows, _ in shapes) > 1


def test_a_subset_scores_only_its_documents(monkeypatch):
    real, scored = search_module.maxsim_packed, []

    def watched(*args, **kwargs):
        scores = real(*args, **kwargs)
        scored.append(scores.size)
        return scores

    monkeypatch.setattr(search_module, "maxsim_packed", watched)
    index = Exact().add_documents(IDS, DOCUMENTS)
    with_tokens = [i for i in IDS if LENGTHS[i]]
    index(QUERIES[0], subset=with_tokens[:4])
    assert sum(scored) == 4


def test_the_number_of_threads_changes_nothing():
    rankings = [Exact(num_threads=n).add_documents(IDS, DOCUMENTS)(QUERIES, k=9) for n in (1, 2, None)]
    assert rankings[0] == rankings[1] == rankings[2]
