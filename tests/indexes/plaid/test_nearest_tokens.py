"""Proves that a coded index finds, through its cells, nearly all of the tokens that a look at everything finds."""

from __future__ import annotations

import numpy as np
import pytest

from serotine.errors import DimensionMismatch, InvalidInput
from serotine.indexes import PLAID, Exact
from serotine.retrieve import XTR
from tests.indexes.tokens.conftest import unit_texts

LENGTHS = [int(length) for length in np.random.default_rng(4).integers(0, 90, 3_000)]
DOCUMENTS = unit_texts(LENGTHS, dim=32, num_words=2_000)
QUERIES = unit_texts([6] * 8, seed=1, dim=32, num_words=2_000)


@pytest.fixture(scope="module")
def coded():
    """A coded segment with postings, a small one without, and documents removed from both."""
    index = PLAID(None).add_documents(range(2_900), DOCUMENTS[:2_900])
    return index.add_documents(range(2_900, 3_000), DOCUMENTS[2_900:]).remove_documents(range(0, 3_000, 10))


@pytest.fixture(scope="module")
def exact(coded):
    """Brute force over what the codes stand for."""
    ids = coded.documents_ids()
    return Exact().add_documents(ids, coded.get_documents_embeddings(ids))


def share_of(found, known) -> float:
    """Share of the hits that are among the nearest by brute force, up to what quantising a query costs."""
    return float(
        np.mean([
            mine.similarities >= its.similarities.min(axis=1, keepdims=True) - 0.01
            for mine, its in zip(found.hits, known.hits, strict=True)
        ])
    )  # fmt: skip


SUBSETS = [None, list(range(0, 3_000, 4)), list(range(1, 30))]


@pytest.mark.parametrize("subset", SUBSETS, ids=["all", "a quarter", "few"])
@pytest.mark.parametrize("k", [1, 50, 1_000])
def test_hits_are_nearly_all_of_the_nearest(coded, exact, k, subset):
    assert coded.stats().num_codebooks == 1
    found, known = coded.nearest_tokens(QUERIES, k, subset), exact.nearest_tokens(QUERIES, k, subset)
    for mine, its in zip(found.hits, known.hits, strict=True):
        assert mine.documents.shape == its.documents.shape
        assert mine.distances is None
        assert (np.diff(mine.similarities, axis=1) <= 0).all()
        ids = set(found.ids_of(mine.documents.ravel()))
        assert ids <= set(coded.documents_ids()) & set(range(3_000) if subset is None else subset)
    assert share_of(found, known) > 0.9


def test_recall_1_looks_at_everything(coded, exact):
    coded.recall = 1
    try:
        found = coded.nearest_tokens(QUERIES, 300)
    finally:
        coded.recall = None
    assert share_of(found, exact.nearest_tokens(QUERIES, 300)) == 1.0


def test_a_similarity_is_that_of_a_stored_token(coded):
    (hits,) = coded.nearest_tokens(QUERIES[0], 5).hits
    for token, documents, similarities in zip(QUERIES[0], hits.documents, hits.similarities, strict=True):
        for vectors, similarity in zip(
            coded.get_documents_embeddings(coded.nearest_tokens(QUERIES[0], 1).ids_of(documents)),
            similarities,
            strict=True,
        ):
            assert np.abs(vectors @ token - similarity).min() < 0.01


def test_rankings_by_hits_are_nearly_those_of_brute_force(coded, exact):
    mine = XTR(coded, trained_for_xtr=True).retrieve(QUERIES, k=10, k_token=2_000)
    its = XTR(exact, trained_for_xtr=True).retrieve(QUERIES, k=10, k_token=2_000)
    same = [len({h["id"] for h in a} & {h["id"] for h in b}) for a, b in zip(mine, its, strict=True)]
    assert np.mean(same) >= 8


def test_queries_together_and_alone_find_the_same(coded):
    together = coded.nearest_tokens(QUERIES, 40, SUBSETS[1]).hits
    for query, mine in zip(QUERIES, together, strict=True):
        (alone,) = coded.nearest_tokens(query, 40, [SUBSETS[1]]).hits
        np.testing.assert_array_equal(mine.documents, alone.documents)
        np.testing.assert_array_equal(mine.similarities, alone.similarities)


def test_hits_as_a_dict_have_no_distances_where_the_index_has_none(coded, exact):
    found = coded.nearest_tokens(QUERIES, 3)
    told = found.to_dict()
    assert set(told) == {"documents_ids", "similarities"}
    for query, hits in enumerate(found.hits):
        assert told["documents_ids"][query] == [found.ids_of(row) for row in hits.documents]
        np.testing.assert_array_equal(told["similarities"][query], hits.similarities)
    assert set(exact.nearest_tokens(QUERIES, 3).to_dict()) == {"documents_ids", "distances", "similarities"}


@pytest.mark.parametrize("make", [PLAID, Exact])
def test_an_empty_index_has_no_hits_for_each_token(make):
    found = make(None).nearest_tokens([QUERIES[0], QUERIES[1][:2]], 5)
    assert [hits.documents.shape for hits in found.hits] == [(6, 0), (2, 0)]
    assert [hits.similarities.shape for hits in found.hits] == [(6, 0), (2, 0)]
    told = found.to_dict()
    assert told["documents_ids"] == [[[]] * 6, [[]] * 2]
    assert [[len(row) for row in rows] for rows in told["similarities"]] == [[0] * 6, [0] * 2]


def test_a_query_token_without_direction_finds_nothing(coded):
    query = np.stack([np.zeros(32, np.float32), QUERIES[0][0]])
    (hits,) = coded.nearest_tokens(query, 7).hits
    assert hits.documents[0].tolist() == [-1] * 7
    assert (hits.documents[1] >= 0).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"k": 0}, InvalidInput, "k must be a whole number"),
        ({"queries_embeddings": [np.ones((2, 3))]}, DimensionMismatch, "32"),
        ({"subset": [None]}, InvalidInput, "got None"),
        ({"queries_embeddings": np.ones((5_000, 32))}, InvalidInput, "5000 tokens, at most 4096"),
    ],
)
def test_bad_input_is_refused(coded, arguments, error, message):
    with pytest.raises(error, match=message):
        coded.nearest_tokens(**{"queries_embeddings": QUERIES, **arguments})
