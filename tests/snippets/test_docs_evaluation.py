"""Documentation, "Evaluation": a collection from a folder, retrieval, and the whole list of metrics.

The page passes the dict of queries to ``encode``, which fails in PyLate as here: the texts are ``queries.values()``.
"""

from serotine import evaluation, indexes, models, retrieve

from ..evaluation.bats import DATASET
from ..evaluation.beir_folder import write_beir


def test_docs_evaluation(model_name_or_path, tmp_path):
    custom_dataset = write_beir(tmp_path / "custom_dataset", DATASET, split="dev")
    model = models.ColBERT(
        model_name_or_path=model_name_or_path,
        device="cpu",
    )
    index = indexes.PLAID(
        index_folder=str(tmp_path / "pylate-index"),
        index_name="custom",
        override=True,  # Overwrite any existing index
    )
    documents, queries, qrels = evaluation.load_custom_dataset(str(custom_dataset), split="dev")

    documents_embeddings = model.encode(
        [document["text"] for document in documents],
        batch_size=32,
        is_query=False,  # Indicate that these are documents
        show_progress_bar=True,
    )
    index.add_documents(
        documents_ids=[document["id"] for document in documents],
        documents_embeddings=documents_embeddings,
    )
    queries_embeddings = model.encode(
        list(queries.values()),
        batch_size=32,
        is_query=True,  # Indicate that these are queries
        show_progress_bar=True,
    )
    retriever = retrieve.ColBERT(index=index)
    scores = retriever.retrieve(
        queries_embeddings=queries_embeddings,
        k=100,  # Retrieve the top 100 matches for each query
    )
    metrics = (
        [f"ndcg@{k}" for k in [1, 3, 5, 10, 100]]  # NDCG for different k values
        + [f"hits@{k}" for k in [1, 3, 5, 10, 100]]  # Hits at different k values
        + ["map"]  # Mean Average Precision (MAP)
        + ["recall@10", "recall@100"]  # Recall at k
        + ["precision@10", "precision@100"]  # Precision at k
    )
    results = evaluation.evaluate(
        scores=scores,
        qrels=qrels,
        queries=queries,
        metrics=metrics,
    )

    assert list(results) == metrics
    assert results["recall@100"] == 1
    assert 0.5 < results["ndcg@10"] <= 1
    assert results["hits@1"] <= results["hits@3"] <= results["hits@10"]
