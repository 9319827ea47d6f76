"""Proves what every index promises about valid input: each test runs for each index, in memory and on disk."""

from __future__ import annotations

import numpy as np
import pytest

from serotine.errors import InvalidInput
from serotine.indexes import Index
from serotine.types import TokenMatrix
from tests.indexes.samples import assert_ranked, expected, state, texts

LENGTHS = [3, 1, 7, 2, 5, 4, 6, 2, 9, 1]
IDS = [f"d{number}" for number in range(len(LENGTHS))]
# Values that float16 holds, so that no index rounds them.
DOCUMENTS = [document.astype(np.float16).astype(np.float32) for document in texts(LENGTHS)]
QUERIES = texts([4, 1, 3], seed=1)


@pytest.fixture
def make_index(make_any_index):
    return make_any_index


def test_it_is_an_index_that_ranks_documents(index):
    assert isinstance(index, Index)
    assert index.is_end_to_end_index is True


def test_the_k_best_documents_are_returned_best_first(index):
    index.add_documents(IDS, DOCUMENTS)
    assert_ranked(index(QUERIES, k=4), expected(IDS, DOCUMENTS, QUERIES, 4))


def test_k_beyond_the_number_of_documents_returns_all(index):
    index.add_documents(IDS, DOCUMENTS)
    assert_ranked(index(QUERIES, k=1000), expected(IDS, DOCUMENTS, QUERIES, 1000))


def test_hits_are_plain_dicts_of_the_id_and_a_python_float(index):
    hit = index.add_documents("a", DOCUMENTS[0])(QUERIES[0])[0][0]
    assert type(hit) is dict
    assert type(hit["score"]) is float
    assert list(hit) == ["id", "score"]


def test_documents_of_equal_score_come_in_the_order_of_their_insertion(index):
    for number in (5, 3, 9, 1, 7, 2, 8):
        index.add_documents([number], [DOCUMENTS[0]])
    index.update_documents(9, DOCUMENTS[0]).remove_documents(1)
    assert [hit["id"] for hit in index(QUERIES[0])[0]] == [5, 3, 7, 2, 8, 9]
    assert [hit["id"] for hit in index(QUERIES[0], k=3)[0]] == [5, 3, 7]


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(lambda docs: docs, id="list of arrays"),
        pytest.param(tuple, id="tuple"),
        pytest.param(TokenMatrix.from_arrays, id="TokenMatrix"),
        pytest.param(lambda docs: (doc for doc in docs), id="generator"),
        pytest.param(lambda docs: [doc.tolist() for doc in docs], id="nested lists"),
        pytest.param(lambda docs: [doc.astype(np.float64) for doc in docs], id="float64"),
        pytest.param(lambda docs: [doc.astype(">f4") for doc in docs], id="big-endian"),
        pytest.param(lambda docs: [np.asfortranarray(doc) for doc in docs], id="Fortran order"),
        pytest.param(lambda docs: [doc.repeat(2, axis=0)[::2] for doc in docs], id="strided"),
        pytest.param(lambda docs: [pytest.importorskip("torch").tensor(doc) for doc in docs], id="torch tensors"),
    ],
)
def test_documents_are_taken_in_any_form(index, form):
    index.add_documents(IDS, form(DOCUMENTS))
    for stored, given in zip(index.get_documents_embeddings(IDS), DOCUMENTS, strict=True):
        np.testing.assert_array_equal(stored, given)


def test_rows_of_zeros_in_a_padded_array_are_no_tokens(index):
    padded = np.zeros((2, 5, 8), dtype=np.float32)
    padded[0, :3], padded[1, :2] = DOCUMENTS[0], DOCUMENTS[3]
    index.add_documents(["a", "b"], padded)
    assert [len(vectors) for vectors in index.get_documents_embeddings(["a", "b"])] == [3, 2]


@pytest.mark.parametrize("form", [list, TokenMatrix.from_arrays, lambda q: [text.astype(np.float16) for text in q]])
def test_queries_are_taken_in_any_form(index, form):
    index.add_documents(IDS, DOCUMENTS)
    ids = [[hit["id"] for hit in hits] for hits in index(form(QUERIES), k=1)]
    assert ids == [[i for i, _ in hits] for hits in expected(IDS, DOCUMENTS, QUERIES, 1)]


def test_one_2d_array_is_one_query_and_one_document(index):
    index.add_documents("only", DOCUMENTS[2])
    assert len(index(QUERIES[0])) == 1
    assert index.documents_ids() == ["only"]


def test_the_number_1_and_the_string_1_are_two_documents(index):
    index.add_documents([1, "1"], DOCUMENTS[:2]).remove_documents("1")
    assert 1 in index
    assert "1" not in index
    assert [type(i) for i in index.documents_ids()] == [int]


def test_ids_of_numpy_come_back_as_plain_ones(index):
    index.add_documents(np.arange(3), DOCUMENTS[:3]).add_documents(np.array(["x"]), DOCUMENTS[3:4])
    assert [type(i) for i in index.documents_ids()] == [int, int, int, str]


@pytest.mark.parametrize(
    "strange", ["../../x", "é", "e\u0301", "🦇", "\u202eabc", " ", "a/b", "1.0", "null", "a" * 1024]
)
def test_any_other_text_is_just_a_name(index, strange):
    index.add_documents(["é?", strange], DOCUMENTS[:2])
    assert index.documents_ids() == ["é?", strange]


def test_texts_that_only_look_alike_are_two_documents(index):
    assert len(index.add_documents(["é", "e\u0301"], DOCUMENTS[:2])) == 2


def test_add_update_and_remove_return_the_index(index):
    assert index.add_documents("a", DOCUMENTS[0]) is index
    assert index.update_documents("a", DOCUMENTS[1]) is index
    assert index.remove_documents("a") is index


def test_update_replaces_what_is_there_and_adds_what_is_not(index):
    index.add_documents(["a", "b"], DOCUMENTS[:2]).update_documents(["a", "c"], DOCUMENTS[2:4])
    assert index.documents_ids() == ["b", "a", "c"]
    np.testing.assert_array_equal(index.get_documents_embeddings("a")[0], DOCUMENTS[2])


def test_removed_documents_are_gone_and_may_come_back(index):
    index.add_documents(IDS, DOCUMENTS).remove_documents(IDS[:7])
    assert_ranked(index(QUERIES), expected(IDS[7:], DOCUMENTS[7:], QUERIES, 10))
    index.add_documents(IDS[0], DOCUMENTS[0])
    assert index.documents_ids() == [*IDS[7:], IDS[0]]


def test_an_index_can_lose_every_document_and_be_filled_again(index):
    index.add_documents(IDS, DOCUMENTS).remove_documents(IDS)
    assert len(index) == 0
    assert index(QUERIES) == [[], [], []]
    assert len(index.add_documents(IDS, DOCUMENTS)) == len(IDS)


def test_a_document_without_tokens_is_counted_but_never_returned(index):
    index.add_documents(["empty", "a"], [np.empty((0, 8)), DOCUMENTS[0]])
    assert len(index) == 2
    assert [hit["id"] for hit in index(-QUERIES[0])[0]] == ["a"]
    assert index(QUERIES[0], subset=["empty"]) == [[]]
    assert index.get_documents_embeddings("empty")[0].shape == (0, 8)


def test_an_index_of_documents_without_tokens_returns_nothing(index):
    index.add_documents(["x", "y"], [np.empty((0, 8)), np.empty((0, 8))])
    assert index(QUERIES) == [[], [], []]


SUBSETS = [
    (["d1", "d2"], [["d1", "d2"]] * 3),
    (("d1", "unknown"), [["d1"]] * 3),
    ({"d3"}, [["d3"]] * 3),
    (np.array(["d4", "d5"]), [["d4", "d5"]] * 3),
    ({"d4": 0}.keys(), [["d4"]] * 3),
    ("d6", [["d6"]] * 3),
    ([], [[]] * 3),
    (set(), [[]] * 3),
    (["unknown", 7], [[]] * 3),
    ([["d1"], [], ("d2", "d3", "d2")], [["d1"], [], ["d2", "d3"]]),
    ([{"d1"}, ["unknown"], {"d2": None}.keys()], [["d1"], [], ["d2"]]),
    ([[], [], []], [[]] * 3),
]


@pytest.mark.parametrize(("subset", "allowed"), SUBSETS, ids=[str(subset) for subset, _ in SUBSETS])
def test_a_search_returns_nothing_outside_its_subset(index, subset, allowed):
    index.add_documents(IDS[:4], DOCUMENTS[:4]).add_documents(IDS[4:], DOCUMENTS[4:])
    rankings = index(QUERIES, subset=subset)
    for hits, query, ids in zip(rankings, QUERIES, allowed, strict=True):
        documents = [DOCUMENTS[IDS.index(i)] for i in ids]
        assert_ranked([hits], expected(ids, documents, [query], 10))


def test_a_subset_of_numbers_holds_numbers(index):
    index.add_documents([1, "1", 2], DOCUMENTS[:3])
    assert {hit["id"] for hit in index(QUERIES[0], subset=[1, 2])[0]} == {1, 2}
    assert [hit["id"] for hit in index(QUERIES[0], subset=1)[0]] == [1]


def test_embeddings_come_in_the_form_of_the_ids(index):
    index.add_documents(IDS, DOCUMENTS)
    flat = index.get_documents_embeddings(["d3", "d1"])
    nested = index.get_documents_embeddings([["d3"], [], ["d1", "d3"]])
    assert [len(vectors) for vectors in flat] == [2, 1]
    assert [[len(vectors) for vectors in part] for part in nested] == [[2], [], [1, 2]]


def test_stored_vectors_can_be_changed_neither_through_a_result_nor_through_the_argument(index):
    given = [DOCUMENTS[0].copy()]
    index.add_documents(["a"], given)
    given[0][:] = 7
    stored = index.get_documents_embeddings("a")[0]
    np.testing.assert_array_equal(stored, DOCUMENTS[0])
    with pytest.raises(ValueError, match="read-only"):
        stored[0, 0] = 7


def test_a_result_stays_valid_when_its_document_is_removed(index):
    stored = index.add_documents(IDS, DOCUMENTS).get_documents_embeddings("d2")[0]
    index.remove_documents(IDS)
    np.testing.assert_array_equal(stored, DOCUMENTS[2])


def test_no_queries_give_no_rankings(index):
    index.add_documents(IDS, DOCUMENTS)
    assert index([]) == []
    assert index(np.empty((0, 4, 8))) == []
    assert index([], subset=[["d1"]][:0]) == []


def test_a_search_of_an_empty_index_finds_nothing(index):
    assert index(QUERIES, k=3) == [[], [], []]


def test_an_empty_index_is_still_true(index):
    assert len(index) == 0
    assert index


def test_membership_is_false_for_what_can_be_no_id(index):
    index.add_documents([1, "a"], DOCUMENTS[:2])
    assert [value in index for value in (1, "a", True, 1.0, None, b"a", [1], "b")] == [True, True] + [False] * 6


def test_no_documents_change_nothing(index):
    index.add_documents("a", DOCUMENTS[0])
    before = state(index)
    index.add_documents([], []).update_documents([], iter([])).remove_documents([]).add_documents(
        [], np.empty((0, 2, 8))
    )
    assert state(index) == before


def test_a_closed_index_refuses_every_use_but_another_close(index):
    with index as opened:
        opened.add_documents("a", DOCUMENTS[0])
    index.close()
    assert repr(index).startswith(f"{type(index).__name__}(closed")
    for use in (lambda: index(QUERIES), lambda: len(index), lambda: index.add_documents("b", DOCUMENTS[1])):
        with pytest.raises(InvalidInput, match="closed"):
            use()


def test_check_passes_on_an_index_that_is_whole(index):
    index.add_documents(IDS, DOCUMENTS).remove_documents("d1").check()
