"""Contract with LlamaIndex: nodes in the order of ours with our scores, and nodes of others reranked."""

import asyncio

import pytest

from serotine.errors import InvalidInput

from ..evaluation.bats import QUERIES, TEXTS
from .conftest import CANDIDATES

pytest.importorskip("llama_index.core", reason="the extra 'llama-index' is not installed")
from llama_index.core.schema import NodeWithScore, TextNode

from serotine.integrations.llama_index import LateInteractionRerank, LateInteractionRetriever


@pytest.fixture
def retriever(bundled_model, index):
    """A retriever of three nodes."""
    return LateInteractionRetriever(bundled_model, index, TEXTS, similarity_top_k=3)


def test_nodes_have_ids_texts_and_scores_in_the_order_of_ours(retriever, expected):
    nodes = retriever.retrieve(QUERIES["hunt"])
    assert [(node.node_id, node.score) for node in nodes] == expected("hunt", 3)
    assert [node.get_content() for node in nodes] == [TEXTS[node.node_id] for node in nodes]
    again = asyncio.run(retriever.aretrieve(QUERIES["hunt"]))
    assert [node.node_id for node in again] == [node.node_id for node in nodes]


def test_a_subset_bounds_what_is_returned(bundled_model, index):
    retriever = LateInteractionRetriever(bundled_model, index, TEXTS, subset=["bread", "salt"])
    assert {node.node_id for node in retriever.retrieve(QUERIES["hunt"])} == {"bread", "salt"}


def test_nodes_of_another_retriever_are_reranked(bundled_model, reranked):
    nodes = [NodeWithScore(node=TextNode(id_=name, text=TEXTS[name]), score=0.5) for name in CANDIDATES]
    reranker = LateInteractionRerank(model=bundled_model, top_n=2)
    best = reranker.postprocess_nodes(nodes, query_str=QUERIES["hunt"])
    assert [(node.node_id, node.score) for node in best] == reranked("hunt")[:2]
    assert [node.score for node in nodes] == [0.5] * 5
    assert len(LateInteractionRerank(model=bundled_model, top_n=None).postprocess_nodes(nodes, query_str="q")) == 5
    assert reranker.postprocess_nodes([], query_str="q") == []
    assert asyncio.run(reranker.apostprocess_nodes(nodes, query_str=QUERIES["hunt"])) == best
    with pytest.raises(InvalidInput, match="a reranker needs the query"):
        reranker.postprocess_nodes(nodes)


def test_the_reranker_serialises_without_the_model(bundled_model):
    content = LateInteractionRerank(model=bundled_model, top_n=4).to_dict()
    assert content["class_name"] == "LateInteractionRerank"
    assert content["top_n"] == 4
    assert "model" not in content
