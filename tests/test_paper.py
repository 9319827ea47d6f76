"""The two programs that the PyLate paper prints run with the import changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from serotine import evaluation, indexes, models, retrieve


@pytest.mark.slow
def test_code_1_and_code_2(tmp_path: Path) -> None:
    model_folder = tmp_path / "model"
    models.bundled().save_pretrained(str(model_folder), create_model_card=False)
    model = models.ColBERT(model_name_or_path=str(model_folder))
    index = indexes.PLAID(index_folder=str(tmp_path / "pylate-index"), index_name="index", override=True)
    retriever = retrieve.ColBERT(index=index)
    documents_ids = ["1", "2"]
    documents = [
        "ColBERT's late-interaction keeps token-level embeddings",
        "PyLate is a library built on top of Sentence Transformers.",
    ]
    documents_embeddings = model.encode(documents, batch_size=32, is_query=False)
    index.add_documents(documents_ids=documents_ids, documents_embeddings=documents_embeddings)
    queries_embeddings = model.encode(["What is ColBERT?", "What is PyLate?"], batch_size=32, is_query=True)
    scores = retriever.retrieve(queries_embeddings=queries_embeddings, k=10)

    assert [[result["id"] for result in results] for results in scores] == [["1", "2"], ["2", "1"]]

    queries = {"q1": "What is ColBERT?", "q2": "What is PyLate?"}
    qrels = {"q1": {"1": 1}, "q2": {"1": 1}}
    evaluation_scores = evaluation.evaluate(
        scores=scores,
        qrels=qrels,
        queries=list(queries.keys()),
        metrics=["map", "ndcg@10", "ndcg@100", "recall@10", "recall@100"],
    )

    assert evaluation_scores["map"] == pytest.approx((1 + 1 / 2) / 2)
    assert evaluation_scores["recall@10"] == 1
