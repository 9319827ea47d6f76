"""Proves that `retrieve.XTR` ranks by imputed scores over every kind of index, within a subset, and warns."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from serotine.errors import DimensionMismatch, InvalidInput
from serotine.indexes import PLAID, Exact
from serotine.indexes.tokens import scann, search
from serotine.retrieve import XTR
from tests.indexes.tokens.conftest import opener, unit_texts

LENGTHS = [int(length) for length in np.random.default_rng(3).integers(0, 9, 60)]
DOCUMENTS = unit_texts(LENGTHS)
IDS = [number if number % 2 else f"id {number}" for number in range(60)]
QUERIES = unit_texts([4, 1, 3, 5], seed=1)
SUBSETS = [None, IDS[::3], [IDS[1], "unknown"], []]


def by_definition(ids, documents, queries, k, k_token):
    """Ids and scores: retrieve by sorting all similarities, then add up document by document."""
    rankings = []
    for query in queries:
        totals = dict.fromkeys(ids, 0.0)
        retrieved = set()
        for token in query:
            pairs = [(float(v @ token), i) for i, d in zip(ids, documents, strict=True) for v in d]
            found = sorted(pairs, key=lambda pair: -pair[0])[:k_token]
            best = {}
            for similarity, document_id in found:
                best[document_id] = max(similarity, best.get(document_id, -np.inf))
            retrieved |= set(best)
            for document_id in ids:
                totals[document_id] += best.get(document_id, min((s for s, _ in found), default=0.0))
        order = sorted(retrieved, key=lambda document_id: (-totals[document_id], ids.index(document_id)))[:k]
        rankings.append([(document_id, totals[document_id]) for document_id in order])
    return rankings


def assert_same(found, expected, *, tolerance=1e-5):
    for hits, known in zip(found, expected, strict=True):
        assert len(hits) == len(known)
        np.testing.assert_allclose([hit["score"] for hit in hits], [score for _, score in known], atol=tolerance)
        if tolerance < 1e-3:
            assert [hit["id"] for hit in hits] == [document_id for document_id, _ in known]


@pytest.fixture(params=["Exact", "PLAID", "Voyager", "ScaNN", "PLAID's snapshot", "another token index"])
def index(request, monkeypatch):
    """Every kind of index, where it finds exactly."""
    monkeypatch.setattr(search, "SCAN_TOKENS", 30)
    if request.param in ("Voyager", "ScaNN"):
        made = opener(request.param, None)()
        monkeypatch.setattr(scann, "LEAST_CANDIDATES", 1_000)
    else:
        made = Exact() if request.param in ("Exact", "another token index") else PLAID(None)
    made.add_documents(IDS, DOCUMENTS)
    return {"PLAID's snapshot": lambda: made.snapshot(), "another token index": lambda: Foreign(made)}.get(
        request.param, lambda: made
    )()


class Foreign:
    """A token index of another library that gives similarities."""

    is_end_to_end_index = False

    def __init__(self, index, names=("documents_ids", "similarities")):
        self._index, self._names = index, names

    def __call__(self, queries, k):
        nearest = self._index.nearest_tokens(queries, k)
        found = {
            "documents_ids": [[nearest.ids_of(row) for row in hits.documents] for hits in nearest.hits],
            "similarities": [list(hits.similarities) for hits in nearest.hits],
        }
        return {name: found.get(name) for name in self._names}


def xtr(index):
    return XTR(index, trained_for_xtr=True)


@pytest.mark.parametrize("k_token", [1, 5, 40, 10_000])
@pytest.mark.parametrize("subset", SUBSETS, ids=["all", "a third", "one", "none"])
def test_documents_are_ranked_by_their_imputed_scores(index, subset, k_token):
    if isinstance(index, Foreign) and subset is not None:
        with pytest.raises(InvalidInput, match="Foreign cannot search within a subset"):
            xtr(index).retrieve(QUERIES, subset=subset)
        return
    allowed = [(i, d) for i, d in zip(IDS, DOCUMENTS, strict=True) if subset is None or i in subset]
    ids, documents = [i for i, _ in allowed], [d for _, d in allowed]
    found = xtr(index).retrieve(QUERIES, k=6, k_token=max(6, k_token), subset=subset)
    exact = not hasattr(index, "snapshot") and not hasattr(index, "generation")  # PLAID stores float16
    expected = by_definition(ids, documents, QUERIES, 6, max(6, k_token))
    assert_same(found, expected, tolerance=1e-5 if exact else 5e-3)


def test_a_subset_per_query_and_batches_change_nothing(index):
    if isinstance(index, Foreign):
        pytest.skip("knows no subsets")
    subsets = [IDS[:20], [], IDS[30:], ["unknown", IDS[1]]]
    together = xtr(index).retrieve(QUERIES, k=5, subset=subsets)
    for batch_size in (1, 2, 3):
        assert xtr(index).retrieve(QUERIES, k=5, subset=subsets, batch_size=batch_size) == together
    for query, subset, ranking in zip(QUERIES, subsets, together, strict=True):
        assert_same(xtr(index).retrieve(query, k=5, subset=subset), [[(h["id"], h["score"]) for h in ranking]])
        assert {hit["id"] for hit in ranking} <= set(subset)


@pytest.mark.parametrize("trained", [None, False])
def test_a_model_that_was_not_trained_for_it_is_warned_of(trained):
    with pytest.warns(UserWarning, match="needs a model that was trained with its scores"):
        XTR(Exact(), trained_for_xtr=trained)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        XTR(Exact(), trained_for_xtr=True).retrieve(QUERIES, device="cpu")


def test_a_device_has_no_effect_and_says_so(index):
    with pytest.warns(UserWarning, match="device='cuda' has no effect"):
        xtr(index).retrieve(QUERIES[0], device="cuda")


def test_distances_alone_are_refused():
    index = Foreign(Exact().add_documents(IDS, DOCUMENTS), names=("documents_ids",))
    with pytest.raises(InvalidInput, match="returns no similarities, and distances cannot be added up"):
        xtr(index).retrieve(QUERIES)


@pytest.mark.parametrize("index", [None, "index", object(), len])
def test_what_finds_no_tokens_is_refused(index):
    with pytest.raises(InvalidInput, match=r"must be one of serotine\.indexes"):
        xtr(index)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"k": 0}, InvalidInput, "k must be a whole number"),
        ({"k_token": 0}, InvalidInput, "k_token must be a whole number"),
        ({"batch_size": 0}, InvalidInput, "batch_size must be a whole number"),
        ({"subset": [["a"]]}, InvalidInput, "1 lists of ids for 4 queries"),
        ({"queries_embeddings": [np.full((1, 16), np.nan)]}, InvalidInput, "query 0, token row 0"),
        ({"queries_embeddings": [np.ones((1, 3))]}, DimensionMismatch, "16"),
    ],
)
def test_bad_input_is_refused(index, arguments, error, message):
    if isinstance(index, Foreign) and "queries_embeddings" in arguments and error is DimensionMismatch:
        pytest.skip("that index's own business")
    with pytest.raises(error, match=message):
        xtr(index).retrieve(**{"queries_embeddings": QUERIES, **arguments})


def test_an_empty_index_and_no_queries_rank_nothing():
    assert xtr(PLAID(None)).retrieve(QUERIES[:2]) == [[], []]
    assert xtr(Exact()).retrieve(QUERIES[:2]) == [[], []]
    assert xtr(PLAID(None).add_documents(IDS, DOCUMENTS)).retrieve([]) == []
