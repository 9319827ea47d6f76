"""Proves that MTEB, asked about a real task with local data, computes what `evaluate` computes, reranking included."""

import numpy as np
import pytest

from serotine import evaluation, indexes, rank, retrieve
from serotine.errors import InvalidInput
from serotine.evaluation.mteb import SearchModel, use_local_data

from .bats import DATASET, QRELS, QUERIES, TEXTS

mteb = pytest.importorskip("mteb", reason="the extra 'mteb' is not installed")

METRICS = {"ndcg_at_10": "ndcg@10", "recall_at_3": "recall@3", "mrr_at_10": "mrr@10"}
CANDIDATES = {query: sorted({*judged, "salt", "waves", "cave"}) for query, judged in QRELS.items()}


def measured(model, task):
    """Return MTEB's scores of the only split of a task."""
    result = mteb.evaluate(model, task, cache=None, show_progress_bar=False, encode_kwargs={"batch_size": 8})
    return result.task_results[0].scores["test"][0]


@pytest.fixture(scope="module")
def embeddings(bundled_model):
    """The vectors of the documents and the queries."""
    return (
        bundled_model.encode(list(TEXTS.values()), is_query=False),
        bundled_model.encode(list(QUERIES.values()), is_query=True),
    )


@pytest.mark.parametrize("new_index", [indexes.Exact, lambda: indexes.PLAID(None), None])
def test_a_retrieval_task_gives_the_figures_of_evaluate(bundled_model, embeddings, new_index):
    model = SearchModel(bundled_model, new_index, name="serotine/bundled")
    scores = measured(model, use_local_data(mteb.get_task("SciFact"), DATASET))

    documents, queries = embeddings
    index = (new_index or indexes.Exact)()
    index.add_documents(list(TEXTS), documents)
    results = retrieve.ColBERT(index).retrieve(queries, k=1000)
    ours = evaluation.evaluate(results, QRELS, QUERIES, list(METRICS.values()))
    assert 0.5 < ours["ndcg@10"] < 1
    for theirs, name in METRICS.items():
        assert scores[theirs] == pytest.approx(ours[name], abs=1e-5), name  # MTEB rounds to 5 digits here
    model.close()


def test_a_reranking_task_ranks_its_candidates_and_makes_no_index(bundled_model, embeddings):
    def no_index():
        raise AssertionError("an index was made")

    task = use_local_data(mteb.get_task("AskUbuntuDupQuestions"), DATASET, top_ranked=CANDIDATES)
    scores = measured(SearchModel(bundled_model, no_index), task)

    documents, queries = dict(zip(TEXTS, embeddings[0], strict=True)), embeddings[1]
    results = rank.rerank(
        list(CANDIDATES.values()), queries, [[documents[key] for key in keys] for keys in CANDIDATES.values()]
    )
    ours = evaluation.evaluate(results, QRELS, QUERIES, list(METRICS.values()))
    for theirs, name in METRICS.items():
        assert scores[theirs] == pytest.approx(ours[name], abs=1e-5), name


def search(model, **options):
    """Index the bats and search them as MTEB does."""
    task = use_local_data(mteb.get_task("SciFact"), DATASET)
    data = task.dataset["default"]["test"]
    common = {"task_metadata": task.metadata, "hf_split": "test", "hf_subset": "default", "encode_kwargs": {}}
    model.index(data["corpus"], num_proc=None, **common)
    return model.search(data["queries"], **{"top_k": 5, "num_proc": None, "future": 1, **common, **options})


def test_before_rounding_ndcg_agrees_to_a_millionth(bundled_model, embeddings):
    from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores

    found = search(SearchModel(bundled_model, indexes.Exact), top_k=1000)
    per_query = calculate_retrieval_scores(found, QRELS, [10]).all_scores
    documents, queries = embeddings
    results = retrieve.ColBERT(indexes.Exact().add_documents(list(TEXTS), documents)).retrieve(queries, k=1000)
    ours = evaluation.evaluate(results, QRELS, QUERIES, "ndcg@10")["ndcg@10"]
    assert np.mean([each["ndcg_cut_10"] for each in per_query.values()]) == pytest.approx(ours, abs=1e-6)


def test_results_are_python_floats_of_the_best_documents(bundled_model):
    found = search(SearchModel(bundled_model, indexes.Exact), top_k=3)
    assert list(found) == list(QUERIES)
    for ranking in found.values():
        assert len(ranking) == 3
        assert all(type(score) is float for score in ranking.values())
    assert next(iter(found["soft"])) == "crust"


def test_equal_scores_keep_their_order_in_what_mteb_compares(bundled_model):
    texts = {"b": "a bat", "a": "a bat", "c": "a bat", "z": "bread"}
    documents = [{"id": key, "text": text} for key, text in texts.items()]
    dataset = evaluation.Dataset(documents, {"q": "a bat"}, {"q": {"c": 1}})
    task = use_local_data(mteb.get_task("SciFact"), dataset)
    assert measured(SearchModel(bundled_model, indexes.Exact), task)["mrr_at_10"] == pytest.approx(1 / 3, abs=1e-5)
    found = search(SearchModel(bundled_model, indexes.Exact))
    for ranking in found.values():
        scores = np.array(list(ranking.values()), dtype=np.float32)
        assert (np.diff(scores) < 0).all()


def test_queries_without_candidates_have_no_results(bundled_model):
    found = search(SearchModel(bundled_model), top_ranked={"late": ["neap", "serotine"]})
    assert list(found["late"]) == ["serotine", "neap"]
    assert found["rise"] == {}
    assert not any(search(SearchModel(bundled_model), top_ranked={}).values())


def test_what_cannot_be_evaluated_is_refused(bundled_model):
    with pytest.raises(InvalidInput, match="not in the corpus, such as 'absent'"):
        search(SearchModel(bundled_model), top_ranked={"late": ["absent", "neap"]})
    with pytest.raises(InvalidInput, match="holds 1 documents"):
        search(SearchModel(bundled_model, lambda: indexes.Exact().add_documents(["x"], [np.eye(128, dtype="f4")])))
    with pytest.raises(InvalidInput, match="call index before search"):
        SearchModel(bundled_model).search(
            {"id": []}, task_metadata=None, hf_split="test", hf_subset="default", top_k=1, encode_kwargs={}
        )
    with pytest.raises(InvalidInput, match="ModelMeta, got str"):
        SearchModel(bundled_model, meta="me/bats")
    images = mteb.get_task("CIRRIT2IRetrieval").metadata
    with pytest.raises(InvalidInput, match="takes text"):
        SearchModel(bundled_model).index(None, task_metadata=images)
    with pytest.raises(InvalidInput, match="retrieval or reranking task of mteb, got STS12"):
        use_local_data(mteb.get_task("STS12"), DATASET)
    with pytest.raises(InvalidInput, match=r"evaluated on \['test'\], not on 'dev'"):
        use_local_data(mteb.get_task("SciFact"), DATASET, split="dev")


def test_the_name_under_which_results_are_filed_can_be_chosen(bundled_model):
    meta = SearchModel(bundled_model, name="me/bats", revision="2").mteb_model_meta
    assert (meta.name, meta.revision) == ("me/bats", "2")
    assert isinstance(SearchModel(bundled_model), mteb.models.SearchProtocol)
