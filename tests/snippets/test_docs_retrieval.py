"""Documentation, "Retrieval": an index is opened again, searched within a subset, filled with pooled documents."""

import pytest

from serotine import indexes, models, retrieve

DOCUMENTS_IDS = ["doc_001", "doc_002", "doc_003"]
DOCUMENTS = [
    "The serotine is a large bat with broad wings that leaves its roost late in the evening.",
    "Yeast turns the sugar of the flour into gas, and so the dough rises until it is baked.",
    "Twice a day the moon pulls the sea up against the walls of the harbour.",
]


@pytest.fixture
def model(model_name_or_path):
    """The model of the page."""
    return models.ColBERT(model_name_or_path=model_name_or_path)


def built(model, folder, **options):
    """Build the page's index."""
    index = indexes.PLAID(
        index_folder=str(folder),
        index_name="my_documents",
        override=True,
    )
    documents_embeddings = model.encode(
        DOCUMENTS,
        batch_size=32,
        is_query=False,
        show_progress_bar=True,
        **options,
    )
    index.add_documents(
        documents_ids=DOCUMENTS_IDS,
        documents_embeddings=documents_embeddings,
    )
    return index


def test_docs_loading_an_index_and_adding_to_it(model, tmp_path):
    built(model, tmp_path)
    loaded_index = indexes.PLAID(
        index_folder=str(tmp_path),
        index_name="my_documents",
        override=False,
    )
    loaded_index.add_documents(
        documents_ids=["doc_004"],
        documents_embeddings=model.encode(["Owls turn their heads to look behind."], is_query=False),
    )
    retriever = retrieve.ColBERT(index=loaded_index)
    queries_embeddings = model.encode(
        ["animals of the night", "baking", "owls"],
        batch_size=32,
        is_query=True,
        show_progress_bar=True,
    )
    search_results = retriever.retrieve(
        queries_embeddings=queries_embeddings,
        k=2,
    )
    assert [len(results) for results in search_results] == [2, 2, 2]
    assert [results[0]["id"] for results in search_results[1:]] == ["doc_002", "doc_004"]


def test_docs_filtering(model, tmp_path):
    retriever = retrieve.ColBERT(index=built(model, tmp_path))
    queries_embeddings = model.encode(["animals of the night", "baking"], is_query=True)
    scores = retriever.retrieve(queries_embeddings=queries_embeddings, k=10, subset=["doc_001", "doc_003"])
    assert [{result["id"] for result in results} for results in scores] == [{"doc_001", "doc_003"}] * 2
    scores = retriever.retrieve(
        queries_embeddings=queries_embeddings,
        k=10,
        subset=[
            ["doc_001", "doc_002"],  # Filter for the first query
            ["doc_003"],  # Filter for the second query
        ],
    )
    assert [{result["id"] for result in results} for results in scores] == [{"doc_001", "doc_002"}, {"doc_003"}]


def test_docs_pooling(model, tmp_path):
    whole = built(model, tmp_path / "whole").stats().num_tokens
    pooled = built(model, tmp_path / "pooled", pool_factor=2)
    assert 0.4 * whole < pooled.stats().num_tokens < 0.65 * whole
    scores = retrieve.ColBERT(index=pooled).retrieve(queries_embeddings=model.encode(["baking"], is_query=True), k=1)
    assert scores[0][0]["id"] == "doc_002"
