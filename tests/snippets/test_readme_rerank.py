"""README, "Rerank": the candidates of another first stage, a list for each query, in the order of their MaxSim."""

from serotine import models, rank


def test_readme_rerank(model_name_or_path):
    model = models.ColBERT(
        model_name_or_path=model_name_or_path,
    )

    queries = [
        "which animals fly in the dark",
        "what moves the sea",
    ]
    documents = [
        ["bread is baked from dough", "bats fly at night"],
        ["bread is baked from dough", "the tide follows the moon", "bats fly at night"],
    ]
    documents_ids = [
        [1, 2],
        [1, 3, 2],
    ]

    queries_embeddings = model.encode(
        queries,
        is_query=True,
    )
    documents_embeddings = model.encode(
        documents,
        is_query=False,
    )

    reranked_documents = rank.rerank(
        documents_ids=documents_ids,
        queries_embeddings=queries_embeddings,
        documents_embeddings=documents_embeddings,
    )

    assert [result["id"] for result in reranked_documents[0]] == [2, 1]
    assert reranked_documents[1][0]["id"] == 3
    assert {result["id"] for result in reranked_documents[1]} == {1, 2, 3}
    assert all(ranking == sorted(ranking, key=lambda result: -result["score"]) for ranking in reranked_documents)
