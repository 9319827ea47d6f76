"""Proves that triples hold texts, that negatives are never relevant, and that the seed decides them."""

import numpy as np
import pytest

from serotine.errors import InvalidInput
from serotine.evaluation import get_beir_triples

DOCUMENTS = [{"id": f"d{number}", "text": f"text {number}"} for number in range(6)]
QUERIES = {"q1": "first question", "q2": "second question"}
QRELS = {"q2": {"d0": 2, "d1": 1, "d2": 1, "d3": 1, "d4": 0}, "q1": {"d5": 1}}


def test_a_triple_is_the_query_text_a_relevant_text_and_a_text_that_is_not_relevant():
    relevant = {"first question": {"text 5"}, "second question": {f"text {number}" for number in range(4)}}
    for seed in range(20):
        triples = get_beir_triples(DOCUMENTS, QUERIES, QRELS, seed=seed)
        assert [triple[:2] for triple in triples] == [
            ("second question", "text 0"),
            ("second question", "text 1"),
            ("second question", "text 2"),
            ("second question", "text 3"),
            ("first question", "text 5"),
        ]
        assert all(negative not in relevant[query] for query, _, negative in triples)


def test_the_seed_decides_the_negatives():
    assert get_beir_triples(DOCUMENTS, QUERIES, QRELS, seed=1) == get_beir_triples(DOCUMENTS, QUERIES, QRELS, seed=1)
    drawn = {tuple(get_beir_triples(DOCUMENTS, QUERIES, QRELS, seed=seed)) for seed in range(20)}
    assert len(drawn) > 1


def test_every_document_that_is_not_relevant_can_be_drawn():
    negatives = {get_beir_triples(DOCUMENTS, QUERIES, {"q1": {"d5": 1}}, seed=seed)[0][2] for seed in range(100)}
    assert negatives == {f"text {number}" for number in range(5)}


def test_a_list_of_texts_is_taken_in_the_order_of_the_qrels_and_integer_ids_meet_strings():
    documents = [{"id": np.int64(1), "text": "one"}, {"id": 2, "text": "two"}]
    assert get_beir_triples(documents, ["asked"], {7: {"1": 1}}) == [("asked", "one", "two")]


def test_a_relevant_document_outside_the_corpus_gives_no_triple():
    assert get_beir_triples(DOCUMENTS, QUERIES, {"q1": {"elsewhere": 1}}) == []


def test_what_cannot_give_a_triple_is_refused():
    with pytest.raises(InvalidInput, match="query 'q3' has judgements but no text"):
        get_beir_triples(DOCUMENTS, QUERIES, {"q3": {"d0": 1}})
    with pytest.raises(InvalidInput, match="all 1 documents are relevant"):
        get_beir_triples(DOCUMENTS[:1], QUERIES, {"q1": {"d0": 1, "elsewhere": 1}})
    with pytest.raises(InvalidInput, match="one text for each of the 2 judged queries"):
        get_beir_triples(DOCUMENTS, ["only one"], QRELS)
