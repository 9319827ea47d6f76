"""README, "Retrieve": a model, an index, documents under ids, and the best of them for each query."""

import pytest

from serotine import indexes, models, retrieve

INDEXES = [name for name in ("Voyager", "PLAID", "Exact") if name in indexes.__all__]


@pytest.mark.parametrize("index_class", INDEXES)
def test_readme_retrieve(model_name_or_path, tmp_path, capsys, index_class):
    if index_class == "Voyager":
        pytest.importorskip("voyager", reason="the extra 'voyager' is not installed")
    model = models.ColBERT(
        model_name_or_path=model_name_or_path,
    )

    index = getattr(indexes, index_class)(
        index_folder=str(tmp_path / "pylate-index"),
        index_name="index",
        override=True,
    )

    retriever = retrieve.ColBERT(index=index)

    documents_ids = ["1", "2", "3"]
    documents = ["bats fly at night", "bread is baked from dough", "the tide follows the moon"]

    # Encode the documents
    documents_embeddings = model.encode(
        documents,
        batch_size=32,
        is_query=False,  # Encoding documents
        show_progress_bar=True,
    )

    # Add the documents ids and embeddings to the index
    index.add_documents(
        documents_ids=documents_ids,
        documents_embeddings=documents_embeddings,
    )

    queries_embeddings = model.encode(
        ["what moves the sea", "which animals fly in the dark"],
        batch_size=32,
        is_query=True,  # Encoding queries
        show_progress_bar=True,
    )

    scores = retriever.retrieve(
        queries_embeddings=queries_embeddings,
        k=10,
    )

    print(scores)  # noqa: T201 - part of the program

    assert [ranking[0]["id"] for ranking in scores] == ["3", "1"]
    assert [{result["id"] for result in ranking} for ranking in scores] == [{"1", "2", "3"}] * 2
    assert "'id': '3', 'score': " in capsys.readouterr().out
