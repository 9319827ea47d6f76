"""Contract with PyTerrier: frames in and out, pipelines, and an experiment with the figures of `evaluate`."""

import pytest

from serotine import evaluation, indexes

from ..evaluation.bats import QRELS, QUERIES, TEXTS
from .conftest import CANDIDATES

pt = pytest.importorskip("pyterrier", reason="the extra 'pyterrier' is not installed")
import pandas as pd  # noqa: E402 - after the check

from serotine.integrations.pyterrier import LateIndexer, LateReranker, LateRetriever  # noqa: E402

TOPICS = pd.DataFrame([{"qid": query, "query": text} for query, text in QUERIES.items()])
JUDGED = pd.DataFrame(
    [{"qid": q, "docno": d, "label": grade} for q, judged in QRELS.items() for d, grade in judged.items()]
)


def test_queries_become_ranked_documents_in_the_order_of_ours(bundled_model, index, expected):
    results = LateRetriever(bundled_model, index, num_results=3).transform(TOPICS)
    assert list(results.columns) == ["qid", "query", "docno", "score", "rank"]
    for query in QUERIES:
        rows = results[results.qid == query]
        assert list(zip(rows.docno, rows.score, strict=True)) == expected(query, 3)
        assert list(rows["rank"]) == [0, 1, 2]


def test_an_indexer_adds_documents_in_batches_and_returns_a_retriever(bundled_model, expected):
    index = indexes.Exact()
    documents = ({"docno": name, "text": text} for name, text in TEXTS.items())
    retriever = LateIndexer(bundled_model, index, batch_docs=5).index(documents)
    assert index.documents_ids() == list(TEXTS)
    best = retriever.search(QUERIES["late"]).iloc[0]
    assert best.docno == expected("late", 1)[0][0]


def test_documents_of_earlier_stages_are_reranked(bundled_model, reranked):
    frame = pd.DataFrame(
        [
            {"qid": query, "query": QUERIES[query], "docno": name, "text": TEXTS[name], "score": 1.0, "rank": number}
            for query in ("weak", "hunt")
            for number, name in enumerate(CANDIDATES)
        ]
    )
    results = LateReranker(bundled_model).transform(frame)
    for query in ("weak", "hunt"):
        rows = results[results.qid == query]
        assert list(zip(rows.docno, rows.score, strict=True)) == reranked(query)
        assert list(rows["rank"]) == [0, 1, 2, 3, 4]
    assert list(frame.score.unique()) == [1.0]


def test_a_pipeline_of_both_has_the_figures_of_evaluate_in_an_experiment(bundled_model, index):
    retriever = LateRetriever(bundled_model, index, num_results=12)
    texts = pt.apply.text(lambda row: TEXTS[row["docno"]])
    pipeline = retriever % 5 >> texts >> LateReranker(bundled_model)
    table = pt.Experiment(
        [retriever, pipeline], TOPICS, JUDGED, eval_metrics=["ndcg_cut_10"], names=["late", "late, reranked"]
    )
    queries = bundled_model.encode(list(QUERIES.values()))
    ours = evaluation.evaluate(index(queries, k=12), QRELS, QUERIES, "ndcg@10")["ndcg@10"]
    assert table["ndcg_cut_10"][0] == pytest.approx(ours, abs=1e-6)
    assert 0.5 < table["ndcg_cut_10"][1] <= 1


def test_empty_frames_pass_and_other_frames_are_refused(bundled_model, index):
    assert len(LateRetriever(bundled_model, index).transform(TOPICS[:0])) == 0
    empty = pd.DataFrame(columns=["qid", "query", "docno", "text", "score", "rank"])
    assert len(LateReranker(bundled_model).transform(empty)) == 0
    with pytest.raises(pt.validate.InputValidationError):
        LateRetriever(bundled_model, index).transform(pd.DataFrame([{"docno": "bats"}]))
    with pytest.raises(pt.validate.InputValidationError):
        LateReranker(bundled_model).transform(TOPICS)
