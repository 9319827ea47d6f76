"""Contract with LangChain 1.x: its own suite for retrievers, and the order and scores of ours."""

import asyncio

import pytest

from ..evaluation.bats import QUERIES, TEXTS
from .conftest import CANDIDATES

pytest.importorskip("langchain_core", reason="the extra 'langchain' is not installed")
from langchain_core.documents import Document

from serotine.integrations.langchain import LateInteractionCompressor, LateInteractionRetriever

DOCUMENTS = [Document(page_content=TEXTS[name], metadata={"name": name}) for name in CANDIDATES]


@pytest.fixture
def retriever(bundled_model, index):
    """A retriever of three documents."""
    return LateInteractionRetriever(model=bundled_model, index=index, texts=TEXTS, k=3)


def test_documents_have_ids_texts_and_scores_in_the_order_of_ours(retriever, expected):
    documents = retriever.invoke(QUERIES["hunt"])
    assert [(document.id, document.metadata["score"]) for document in documents] == expected("hunt", 3)
    assert [document.page_content for document in documents] == [TEXTS[document.id] for document in documents]


def test_k_and_subset_can_be_given_with_the_call(retriever):
    assert len(retriever.invoke(QUERIES["hunt"], k=1)) == 1
    assert [document.id for document in retriever.invoke(QUERIES["hunt"], subset=["salt"])] == ["salt"]


def test_k_and_subset_can_be_given_with_an_asynchronous_call(retriever, expected):
    def found(**options):
        return [document.id for document in asyncio.run(retriever.ainvoke(QUERIES["hunt"], **options))]

    assert found(k=2) == [name for name, _ in expected("hunt", 2)]
    assert found(subset=["salt"]) == ["salt"]
    assert sorted(found(k=5, subset=["salt", "bread"])) == ["bread", "salt"]


def test_calls_also_run_asynchronously_and_in_batches(retriever, expected):
    assert [document.id for document in asyncio.run(retriever.ainvoke(QUERIES["late"]))] == [
        name for name, _ in expected("late", 3)
    ]
    assert [len(documents) for documents in retriever.batch(list(QUERIES.values()))] == [3] * 6


def test_a_compressor_keeps_the_best_and_leaves_the_given_documents_alone(bundled_model, reranked):
    best = LateInteractionCompressor(model=bundled_model, top_n=2).compress_documents(DOCUMENTS, QUERIES["hunt"])
    found = [(document.metadata["name"], document.metadata["relevance_score"]) for document in best]
    assert found == reranked("hunt")[:2]
    assert all("relevance_score" not in document.metadata for document in DOCUMENTS)
    everything = LateInteractionCompressor(model=bundled_model, top_n=None)
    assert len(everything.compress_documents(DOCUMENTS, QUERIES["hunt"])) == len(DOCUMENTS)
    assert everything.compress_documents([], "anything") == []


def test_retriever_and_compressor_work_in_langchains_compression_retriever(bundled_model, retriever):
    retrievers = pytest.importorskip("langchain_classic.retrievers", reason="langchain-classic is not installed")
    compression = retrievers.ContextualCompressionRetriever(
        base_retriever=retriever, base_compressor=LateInteractionCompressor(model=bundled_model, top_n=1)
    )
    assert [document.id for document in compression.invoke(QUERIES["late"])] == ["serotine"]


try:
    from langchain_tests.integration_tests import RetrieversIntegrationTests
except ImportError:

    @pytest.mark.skip(reason="langchain-tests is not installed: it brings plugins that change every pytest run")
    def test_langchains_own_suite():
        """Stands for the class below."""

else:

    class TestLangChainsOwnSuite(RetrieversIntegrationTests):
        """LangChain's standard tests of a retriever, none of which may be overridden."""

        # One is a coroutine and left to pytest-asyncio's automatic mode, which would be a setting of all tests here.
        pytestmark = pytest.mark.asyncio

        @pytest.fixture(autouse=True)
        def parts(self, bundled_model, index):
            type(self).params = {"model": bundled_model, "index": index, "texts": TEXTS}

        @property
        def retriever_constructor(self):
            return LateInteractionRetriever

        @property
        def retriever_constructor_params(self):
            return self.params

        @property
        def retriever_query_example(self):
            return QUERIES["hunt"]
