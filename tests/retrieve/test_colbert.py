"""Proves that `retrieve.ColBERT` ranks by full MaxSim over both kinds of index, in batches and within a subset."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from serotine.errors import InvalidInput
from serotine.indexes import Exact
from serotine.indexes.tokens import search
from serotine.retrieve import ColBERT
from tests.indexes.samples import assert_ranked, expected, texts
from tests.indexes.tokens.conftest import opener

DOCUMENTS = texts([3, 1, 7, 2, 5, 4, 6, 2, 9, 1])
IDS = ["a", "b", 2, "2", "e", "f", "g", "h", "i", "j"]
QUERIES = texts([4, 1, 3, 2, 5], seed=1)


class TokenIndex:
    """Nearest token vectors by brute force, in the form in which an index of single vectors returns them."""

    is_end_to_end_index = False

    def __init__(self) -> None:
        self.tokens = np.concatenate(DOCUMENTS)
        self.owners = [i for i, document in zip(IDS, DOCUMENTS, strict=True) for _ in document]
        self.calls: list[tuple[int, int]] = []

    def __call__(self, queries_embeddings, k):
        self.calls.append((len(queries_embeddings), k))
        orders = [np.argsort(-query @ self.tokens.T, axis=1)[:, :k] for query in queries_embeddings]
        return {
            "documents_ids": [[[self.owners[i] for i in row] for row in order] for order in orders],
            "distances": [[np.zeros(len(row)) for row in order] for order in orders],
        }

    def get_documents_embeddings(self, documents_ids):
        return [[DOCUMENTS[IDS.index(i)] for i in part] for part in documents_ids]


class Recorder(Exact):
    """An exact index that notes how it was called."""

    calls: list

    def __call__(self, queries_embeddings, k=10, subset=None):
        self.calls.append((len(queries_embeddings), subset))
        return super().__call__(queries_embeddings, k=k, subset=subset)


@pytest.fixture
def exact():
    index = Recorder().add_documents(IDS, DOCUMENTS)
    index.calls = []
    return index


@pytest.fixture(params=["end-to-end", "token", "Voyager", "ScaNN"])
def retriever(request, exact):
    made = {"end-to-end": lambda: exact, "token": TokenIndex}.get(request.param)
    return ColBERT(made() if made else opener(request.param, None)().add_documents(IDS, DOCUMENTS))


@pytest.mark.parametrize("batch_size", [None, 1, 2, 5, 100])
@pytest.mark.parametrize("k", [1, 4, 100])
def test_the_k_best_documents_come_best_first_in_batches_of_any_size(retriever, k, batch_size):
    rankings = retriever.retrieve(QUERIES, k=k, batch_size=batch_size)
    assert_ranked(rankings, expected(IDS, DOCUMENTS, QUERIES, k))


def test_one_2d_array_is_one_query(retriever):
    assert_ranked(retriever.retrieve(QUERIES[0], k=3), expected(IDS, DOCUMENTS, QUERIES[:1], 3))


@pytest.mark.parametrize(
    ("subset", "allowed"),
    [
        (["a", "2", "unknown"], [["a", "2"]] * 5),
        ({2}, [[2]] * 5),
        ("g", [["g"]] * 5),
        ([], [[]] * 5),
        (["unknown"], [[]] * 5),
        ([["a"], [], ["2"], ("b", "e"), {2}], [["a"], [], ["2"], ["b", "e"], [2]]),
    ],
)
@pytest.mark.parametrize("batch_size", [None, 2])
def test_nothing_outside_the_subset_is_returned(retriever, subset, allowed, batch_size):
    rankings = retriever.retrieve(QUERIES, subset=subset, batch_size=batch_size)
    for ranking, ids, query in zip(rankings, allowed, QUERIES, strict=True):
        assert_ranked([ranking], expected(ids, [DOCUMENTS[IDS.index(i)] for i in ids], [query], 10))


def test_an_end_to_end_index_is_asked_once_or_in_the_batches_asked_for(exact):
    ColBERT(exact).retrieve(QUERIES)
    ColBERT(exact).retrieve(QUERIES, batch_size=2, subset=["a"])
    assert exact.calls == [(5, None), (2, ["a"]), (2, ["a"]), (1, ["a"])]


def test_a_token_index_is_asked_for_k_token_hits_but_for_at_least_k():
    index = TokenIndex()
    ColBERT(index).retrieve(QUERIES)
    ColBERT(index).retrieve(QUERIES[:1], k=200)
    ColBERT(index).retrieve(QUERIES, k_token=7, batch_size=3)
    assert index.calls == [(5, 100), (1, 200), (3, 10), (2, 10)]


def test_the_candidates_of_a_token_index_are_the_documents_of_its_hits():
    index = TokenIndex()
    rankings = ColBERT(index).retrieve(QUERIES, k=1, k_token=1)
    hits = index(QUERIES, 1)["documents_ids"]
    for ranking, query, hits_of_query in zip(rankings, QUERIES, hits, strict=True):
        ids = list(dict.fromkeys(i for row in hits_of_query for i in row))
        assert_ranked([ranking], expected(ids, [DOCUMENTS[IDS.index(i)] for i in ids], [query], 1))


@pytest.mark.parametrize("kind", ["Voyager", "ScaNN"])
@pytest.mark.parametrize("subset", [None, IDS[::2], ["a", "unknown"], []], ids=["all", "half", "one", "none"])
def test_a_token_index_of_ours_is_searched_within_the_subset(kind, subset, monkeypatch):
    monkeypatch.setattr(search, "SCAN_TOKENS", 10)  # so that its library is asked
    retriever = ColBERT(opener(kind, None)().add_documents(IDS, DOCUMENTS))
    allowed = [i for i in IDS if subset is None or i in subset]
    rankings = retriever.retrieve(QUERIES, k=2, k_token=30, subset=subset)
    assert_ranked(rankings, expected(allowed, [DOCUMENTS[IDS.index(i)] for i in allowed], QUERIES, 2))


@pytest.mark.parametrize("arguments", [{"k_token": 5}, {"device": "cpu"}])
def test_an_argument_without_effect_is_warned_of(exact, arguments):
    with pytest.warns(UserWarning, match=f"{next(iter(arguments))}=.* has no effect"):
        ColBERT(exact).retrieve(QUERIES, **arguments)


def test_nothing_is_warned_of_otherwise(retriever):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        retriever.retrieve(QUERIES, k=2, batch_size=3, subset=["a"])


def test_no_queries_give_no_rankings(retriever):
    assert retriever.retrieve([]) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k must be a whole number"),
        ({"batch_size": 0}, "batch_size must be a whole number"),
        ({"subset": [["a"]]}, "1 lists of ids for 5 queries"),
        ({"queries_embeddings": [np.full((1, 8), np.nan)]}, "query 0, token row 0"),
        ({"queries_embeddings": [np.empty((0, 8))]}, "query 0 has no tokens"),
    ],
)
def test_bad_input_is_refused(retriever, arguments, message):
    with pytest.raises(InvalidInput, match=message):
        retriever.retrieve(**{"queries_embeddings": QUERIES, **arguments})


def test_a_bad_k_token_is_refused_by_a_token_index():
    with pytest.raises(InvalidInput, match="k_token must be a whole number"):
        ColBERT(TokenIndex()).retrieve(QUERIES, k_token=0)


@pytest.mark.parametrize("index", [None, "index", object(), len])
def test_what_is_no_index_is_refused(index):
    with pytest.raises(InvalidInput, match=r"must be one of serotine\.indexes"):
        ColBERT(index)
