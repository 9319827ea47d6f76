"""Contract with Haystack: documents of a store in the order of ours, in a pipeline, written to a file and back."""

import pytest

from serotine import indexes
from serotine.errors import InvalidInput, UnknownDocument

from ..evaluation.bats import QUERIES, TEXTS
from .conftest import CANDIDATES

pytest.importorskip("haystack", reason="the extra 'haystack' is not installed")
from haystack import Document, Pipeline
from haystack.document_stores.in_memory import InMemoryDocumentStore

from serotine.integrations.haystack import LateInteractionRanker, LateInteractionRetriever


@pytest.fixture(scope="module")
def folder(bundled_model, tmp_path_factory):
    """The folder of the documents' index."""
    place = tmp_path_factory.mktemp("haystack")
    with indexes.PLAID(str(place), "bats") as index:
        index.add_documents(list(TEXTS), bundled_model.encode(list(TEXTS.values()), is_query=False))
    return str(place)


@pytest.fixture(scope="module")
def model_folder(bundled_model, tmp_path_factory):
    """The model, saved, since a pipeline's file names it."""
    place = tmp_path_factory.mktemp("model")
    bundled_model.save_pretrained(str(place), create_model_card=False)
    return str(place)


@pytest.fixture
def store():
    """The documents, by the ids that they have in the index."""
    filled = InMemoryDocumentStore()
    filled.write_documents(
        [Document(id=name, content=text, meta={"number": number}) for number, (name, text) in enumerate(TEXTS.items())]
    )
    return filled


def test_documents_of_the_store_come_in_the_order_of_ours(bundled_model, store, folder, expected):
    retriever = LateInteractionRetriever(bundled_model, store, folder, "bats", top_k=3)
    documents = retriever.run(query=QUERIES["hunt"])["documents"]
    assert [(document.id, document.score) for document in documents] == expected("hunt", 3)
    assert [document.content for document in documents] == [TEXTS[document.id] for document in documents]
    assert len(retriever.run(query=QUERIES["hunt"], top_k=1)["documents"]) == 1


def test_filters_of_the_store_bound_what_is_returned(bundled_model, store, folder):
    retriever = LateInteractionRetriever(bundled_model, store, folder, "bats")
    filters = {"field": "meta.number", "operator": "<", "value": 2}
    assert {each.id for each in retriever.run(QUERIES["high"], filters=filters)["documents"]} == {"serotine", "noctule"}
    nothing = {"field": "meta.number", "operator": ">", "value": 99}
    assert retriever.run(QUERIES["high"], filters=nothing)["documents"] == []


def test_documents_of_another_retriever_are_reranked(bundled_model, reranked):
    documents = [Document(id=name, content=TEXTS[name], score=0.5) for name in CANDIDATES]
    best = LateInteractionRanker(bundled_model, top_k=2).run(query=QUERIES["hunt"], documents=documents)["documents"]
    assert [(document.id, document.score) for document in best] == reranked("hunt")[:2]
    assert {document.score for document in documents} == {0.5}


def test_a_pipeline_is_written_read_and_run(model_folder, store, folder, expected):
    pipeline = Pipeline()
    pipeline.add_component("retriever", LateInteractionRetriever(model_folder, store, folder, "bats", top_k=5))
    pipeline.add_component("ranker", LateInteractionRanker(model_folder, top_k=2))
    pipeline.connect("retriever.documents", "ranker.documents")
    again = Pipeline.loads(pipeline.dumps(), allowed_modules=["serotine.integrations.haystack"])
    query = QUERIES["late"]
    documents = again.run({"retriever": {"query": query}, "ranker": {"query": query}})["ranker"]["documents"]
    assert [document.id for document in documents] == [name for name, _ in expected("late", 2)]


def test_what_cannot_be_written_or_found_is_told(bundled_model, folder):
    with pytest.raises(InvalidInput, match="a model in memory cannot be written"):
        LateInteractionRanker(bundled_model).to_dict()
    retriever = LateInteractionRetriever(bundled_model, InMemoryDocumentStore(), folder, "bats", top_k=2)
    with pytest.raises(UnknownDocument, match="the document store lacks 2 documents of the index, as 'serotine'"):
        retriever.run(QUERIES["late"])


def test_a_top_k_of_0_and_an_empty_index_are_refused(bundled_model, store, folder, tmp_path):
    retriever, ranker = (
        LateInteractionRetriever(bundled_model, store, folder, "bats"),
        LateInteractionRanker(bundled_model),
    )
    for call in (
        lambda: retriever.run(QUERIES["late"], top_k=0),
        lambda: ranker.run(QUERIES["late"], documents=[Document(content="bats")], top_k=0),
        lambda: LateInteractionRetriever(bundled_model, store, folder, "bats", top_k=0),
        lambda: LateInteractionRanker(bundled_model, top_k=0),
    ):
        with pytest.raises(InvalidInput, match="top_k must be a whole number >= 1, got 0"):
            call()
    late = LateInteractionRetriever(bundled_model, store, str(tmp_path), "bats", top_k=1)
    with pytest.raises(InvalidInput, match=r"there is no index, or an empty one, at .*/bats"):
        late.run(QUERIES["late"])
    indexes.PLAID(tmp_path, "bats").add_documents(["bats"], [bundled_model.encode(TEXTS["serotine"], is_query=False)])
    store.write_documents([Document(id="bats", content="text")])
    assert [each.id for each in late.run(QUERIES["late"])["documents"]] == ["bats"]
