"""Contract with rerankers: documents come back permuted with their own scores, ids and metadata."""

import asyncio

import pytest

from serotine.errors import InvalidInput

from ..evaluation.bats import QUERIES, TEXTS
from .conftest import CANDIDATES

pytest.importorskip("rerankers", reason="the extra 'rerankers' is not installed")
from rerankers import Document
from rerankers.models.ranker import BaseRanker

from serotine.integrations.rerankers import LateInteractionRanker


@pytest.fixture
def ranker(bundled_model):
    """The ranker around the bundled model."""
    return LateInteractionRanker(bundled_model)


def test_documents_are_ordered_with_their_own_scores_and_ids(ranker, reranked):
    results = ranker.rank(QUERIES["hunt"], [TEXTS[name] for name in CANDIDATES], doc_ids=CANDIDATES)
    assert isinstance(ranker, BaseRanker)
    assert [(result.doc_id, result.score) for result in results] == reranked("hunt")
    assert [result.text for result in results] == [TEXTS[result.doc_id] for result in results]
    assert [result.rank for result in results] == [1, 2, 3, 4, 5]
    assert results.has_scores
    assert [result.doc_id for result in results.top_k(2)] == [name for name, _ in reranked("hunt")[:2]]
    assert results.get_score_by_docid("echoes") == dict(reranked("hunt"))["echoes"]


def test_ids_are_positions_unless_documents_have_their_own(ranker, reranked):
    texts = [TEXTS[name] for name in CANDIDATES]
    positions = [CANDIDATES.index(name) for name, _ in reranked("hunt")]
    assert [result.doc_id for result in ranker.rank(QUERIES["hunt"], texts)] == positions
    documents = [Document(text=TEXTS[name], doc_id=name, metadata={"of": name}) for name in CANDIDATES]
    results = ranker.rank(QUERIES["hunt"], documents)
    assert [(result.doc_id, result.metadata["of"]) for result in results] == [(n, n) for n, _ in reranked("hunt")]
    assert ranker.rank("q", texts[0], metadata=[{"a": 1}])[0].metadata == {"a": 1}
    assert documents[0].doc_id == "salt"


def test_one_pair_has_the_score_that_ranking_gives_it(ranker, reranked):
    assert ranker.score(QUERIES["hunt"], TEXTS["echoes"]) == dict(reranked("hunt"))["echoes"]


def test_ranking_also_runs_asynchronously_and_of_nothing(ranker, reranked):
    texts = [TEXTS[name] for name in CANDIDATES]

    async def ask():
        return await ranker.rank_async(QUERIES["hunt"], texts, CANDIDATES)

    assert [result.doc_id for result in asyncio.run(ask())] == [name for name, _ in reranked("hunt")]
    assert ranker.rank("q", []).results_count() == 0


def test_it_becomes_a_compressor_of_langchain(ranker):
    pytest.importorskip("langchain_core", reason="the extra 'langchain' is not installed")
    assert ranker.as_langchain_compressor(k=2).top_n == 2


def test_counts_that_do_not_fit_and_images_are_refused(ranker):
    with pytest.raises(InvalidInput, match="there are 1 doc_ids for 2 docs"):
        ranker.rank("q", ["a", "b"], doc_ids=["a"])
    with pytest.raises(InvalidInput, match="document 0 has no text"):
        ranker.rank("q", [Document(document_type="image", image_path="x.png")])
