"""Proves that `rerank` orders candidates by their own MaxSim with the query, and what it does with bad input."""

from __future__ import annotations

import numpy as np
import pytest

from serotine import rank
from serotine.errors import DimensionMismatch, InvalidInput
from serotine.indexes import chunks
from serotine.rank import RerankResult, rerank
from serotine.scores.reference import maxsim_reference
from serotine.types import TokenMatrix
from tests.indexes.samples import assert_ranked, expected, texts

DOCUMENTS = texts([3, 1, 7, 2, 5])
QUERIES = texts([4, 2], seed=1)


def test_candidates_come_best_first_with_their_scores():
    lists = [["a", "b", "c"], [1, "1"]]
    rankings = rerank(lists, QUERIES, [DOCUMENTS[:3], DOCUMENTS[3:]])
    for ranking, ids, query, documents in zip(rankings, lists, QUERIES, [DOCUMENTS[:3], DOCUMENTS[3:]], strict=True):
        assert_ranked([ranking], expected(ids, documents, [query], 9))
        assert all(type(hit["score"]) is float for hit in ranking)


def test_the_result_type_is_exported():
    assert rank.RerankResult is RerankResult
    assert rerank([["a"]], QUERIES[0], [DOCUMENTS[:1]])[0][0].keys() == RerankResult.__annotations__.keys()


def test_a_score_does_not_depend_on_the_other_candidates():
    """Negative similarities and a much longer neighbour: zero padding would raise the score to 0."""
    query, short, long = np.array([[1.0, 0.0]]), np.array([[-0.5, 0.1]]), np.ones((50, 2))
    alone = rerank([["short"]], query, [[short]])[0][0]["score"]
    beside = rerank([["long", "short"]], query, [[long, short]])[0][1]
    assert beside == {"id": "short", "score": alone}
    assert alone == -0.5


def test_a_score_is_the_same_bits_beside_candidates_of_another_dtype():
    half = DOCUMENTS[0].astype(np.float16)
    alone = rerank([["x"]], QUERIES[0], [[DOCUMENTS[1]]])[0][0]["score"]
    beside = {hit["id"]: hit["score"] for hit in rerank([["h", "x"]], QUERIES[0], [[half, DOCUMENTS[1]]])[0]}
    assert beside["x"] == alone
    assert beside["h"] == pytest.approx(maxsim_reference(*map(one, (QUERIES[0], half)))[0, 0], rel=1e-5)


def one(text) -> TokenMatrix:
    return TokenMatrix.from_arrays([text])


def test_equal_scores_stay_in_the_order_given():
    ids = [5, "b", 1, "a", 3]
    assert [hit["id"] for hit in rerank([ids], QUERIES[0], [[DOCUMENTS[0]] * 5])[0]] == ids


def test_an_id_may_be_a_candidate_twice():
    assert [hit["id"] for hit in rerank([["a", "a"]], QUERIES[0], [[DOCUMENTS[0]] * 2])[0]] == ["a", "a"]


def test_no_candidates_and_no_queries_give_empty_lists():
    assert rerank([[], ["a"]], QUERIES, [[], DOCUMENTS[:1]])[0] == []
    assert rerank([], [], []) == []


def test_a_candidate_without_tokens_comes_last():
    ranking = rerank([["empty", "a"]], -np.abs(QUERIES[0]), [[np.empty((0, 8)), np.abs(DOCUMENTS[0])]])[0]
    assert ranking[0]["id"] == "a"
    assert ranking[1] == {"id": "empty", "score": -np.inf}


@pytest.mark.parametrize(
    "form",
    [
        TokenMatrix.from_arrays,
        tuple,
        lambda docs: [doc.tolist() for doc in docs],
        lambda docs: [doc.astype(np.float64) for doc in docs],
        lambda docs: [pytest.importorskip("torch").tensor(doc, requires_grad=True) for doc in docs],
    ],
)
def test_embeddings_are_taken_in_any_form(form):
    usual = rerank([["a", "b", "c"]], QUERIES[0], [DOCUMENTS[:3]])
    assert rerank([["a", "b", "c"]], form([QUERIES[0]]), [form(DOCUMENTS[:3])]) == usual


def test_a_padded_array_of_candidates_is_one_candidate_per_row_without_its_padding():
    padded = np.zeros((2, 7, 8), dtype=np.float32)
    padded[0, :3], padded[1] = DOCUMENTS[0], DOCUMENTS[2]
    assert rerank([["a", "c"]], QUERIES[0], [padded]) == rerank(
        [["a", "c"]], QUERIES[0], [[DOCUMENTS[0], DOCUMENTS[2]]]
    )


def test_candidates_are_scored_in_pieces_of_bounded_size(monkeypatch):
    usual = rerank([list("abcde")], QUERIES[0], [DOCUMENTS])
    monkeypatch.setattr(chunks, "CHUNK_VALUES", 8)
    assert rerank([list("abcde")], QUERIES[0], [DOCUMENTS]) == usual


NAN = np.full((2, 8), np.nan)
BAD = {
    "fewer lists of ids": (
        [["a"]], QUERIES, [DOCUMENTS[:1]] * 2, InvalidInput, "documents_ids has 1 lists for 2 queries"),
    "more lists of embeddings": (
        [["a"]] * 2, QUERIES, [DOCUMENTS[:1]] * 3, InvalidInput, "documents_embeddings has 3 lists for 2 queries"),
    "fewer embeddings than ids": (
        [["a"], ["b", "c"]], QUERIES, [DOCUMENTS[:1], DOCUMENTS[:1]], InvalidInput, "query 1: got 2 .* and 1 emb"),
    "more embeddings than ids": (
        [["a"], ["b"]], QUERIES, [DOCUMENTS[:1], DOCUMENTS[:2]], InvalidInput, "query 1: got 1 document ids and 2"),
    "no candidates but embeddings": (
        [["a"], []], QUERIES, [DOCUMENTS[:1], DOCUMENTS[:1]], InvalidInput, "query 1: got 0 document ids and 1"),
    "another width": (
        [["a"], ["b"]], QUERIES, [DOCUMENTS[:1], [np.ones((2, 9))]], DimensionMismatch, r"query 1: .*'b'.*\(2, 9\)"),
    "NaN in a candidate": (
        [["a", "b"]], QUERIES[0], [[DOCUMENTS[0], NAN]], InvalidInput, "query 0: document 'b', token row 0"),
    "NaN in a query": ([["a"]], NAN, [DOCUMENTS[:1]], InvalidInput, "query 0, token row 0"),
    "a query without tokens": ([["a"]], np.empty((0, 8)), [DOCUMENTS[:1]], InvalidInput, "query 0 has no tokens"),
    "an id that is none": ([[None]], QUERIES[0], [DOCUMENTS[:1]], InvalidInput, "query 0: a document id must be"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_the_query_named(name):
    ids, queries, documents, error, message = BAD[name]
    with pytest.raises(error, match=message):
        rerank(ids, queries, documents)


def test_the_cpu_as_device_is_the_usual_path():
    assert rerank([["a"]], QUERIES[0], [DOCUMENTS[:1]], device="cpu") == rerank([["a"]], QUERIES[0], [DOCUMENTS[:1]])
