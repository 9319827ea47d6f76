"""Proves that texts are found and reranked as vectors are, whatever holds the texts, and that gaps are told."""

import pytest

from serotine.errors import InvalidInput, UnknownDocument
from serotine.integrations.texts import TextRanker, TextSearch

from ..evaluation.bats import QUERIES, TEXTS
from .conftest import CANDIDATES


@pytest.mark.parametrize("texts", [TEXTS, TEXTS.__getitem__])
def test_a_search_returns_ids_scores_and_texts(bundled_model, index, expected, texts):
    search = TextSearch(bundled_model, index, texts)
    found = search(list(QUERIES.values()), k=3)
    for query, hits in zip(QUERIES, found, strict=True):
        assert [(hit.id, hit.score) for hit in hits] == expected(query, 3)
        assert all(hit.text == TEXTS[hit.id] for hit in hits)
    assert search([]) == []
    assert [hit.id for hit in search(["bats"], subset=["tides"])[0]] == ["tides"]


def test_texts_are_reranked_as_by_rank(bundled_model, reranked):
    ranking = TextRanker(bundled_model)(QUERIES["hunt"], [TEXTS[name] for name in CANDIDATES])
    assert [(CANDIDATES[position], score) for position, score in ranking] == reranked("hunt")
    assert TextRanker(bundled_model)("anything", []) == []


def test_a_document_without_text_and_texts_that_are_none_are_told(bundled_model, index):
    with pytest.raises(UnknownDocument, match="there is no text for the document 'crust'"):
        TextSearch(bundled_model, index, {"bread": "..."})([QUERIES["soft"]], k=1)
    with pytest.raises(InvalidInput, match="texts must map ids to texts, or be a function of an id, got list"):
        TextSearch(bundled_model, index, list(TEXTS))
