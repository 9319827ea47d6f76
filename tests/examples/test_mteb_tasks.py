"""The script that runs MTEB's tasks works on local folders."""

import pytest

from serotine import evaluation, indexes, retrieve

from ..evaluation.bats import DATASET, QRELS, QUERIES, TEXTS
from ..evaluation.beir_folder import write_beir
from .scripts import load

pytest.importorskip("mteb", reason="the extra 'mteb' is not installed")


def test_a_local_task_has_the_score_of_evaluate(bundled_model, tmp_path, monkeypatch):
    script = load("evaluation/mteb_tasks.py")
    monkeypatch.setattr(script.models, "bundled", lambda: bundled_model)
    write_beir(tmp_path / "scifact", DATASET)
    scores = script.main(["--tasks", "SciFact", "--data", str(tmp_path), "--index", "exact"])
    index = indexes.Exact(dtype="float16")
    index.add_documents(list(TEXTS), bundled_model.encode(list(TEXTS.values()), is_query=False))
    results = retrieve.ColBERT(index).retrieve(bundled_model.encode(list(QUERIES.values())), k=12)
    expected = evaluation.evaluate(results, QRELS, QUERIES, "ndcg@10")["ndcg@10"]
    assert scores == {"SciFact": pytest.approx(expected, abs=1e-5)}
