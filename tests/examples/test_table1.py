"""The script that reproduces the paper's table runs on local folders, averages forums, and judges by its tolerance."""

import json
import statistics

import pytest

from serotine import evaluation, indexes, retrieve
from serotine.evaluation import CQADUPSTACK_FORUMS, Dataset, has_self_matches

from ..evaluation.bats import DATASET, QRELS, QUERIES, TEXTS
from ..evaluation.beir_folder import write_beir
from .scripts import load


@pytest.fixture
def table1(bundled_model, monkeypatch):
    """The script, with the bundled model loaded once."""
    script = load("evaluation/table1.py")
    monkeypatch.setattr(script.models, "bundled", lambda: bundled_model)
    return script


def test_local_folders_are_measured_and_the_figures_are_those_of_evaluate(table1, bundled_model, tmp_path, capsys):
    write_beir(tmp_path / "data" / "scifact", DATASET)
    write_beir(tmp_path / "data" / "bats", DATASET)
    output = tmp_path / "table1.json"
    words = ["--model", "bundled", "--data", str(tmp_path / "data"), "--output", str(output)]
    assert table1.main(words) == 0
    index = indexes.PLAID(None).add_documents(list(TEXTS), bundled_model.encode(list(TEXTS.values()), is_query=False))
    results = retrieve.ColBERT(index).retrieve(bundled_model.encode(list(QUERIES.values())), k=20)
    expected = 100 * evaluation.evaluate(results, QRELS, QUERIES, "ndcg@10")["ndcg@10"]
    content = json.loads(output.read_text())
    assert content["figures"] == {"scifact": pytest.approx(expected)}
    assert content["paper"] == {}
    assert f"| SciFact | {expected:.2f} | | | |" in capsys.readouterr().out
    assert table1.main([*words, "--collections", "bats", "--index", "exact"]) == 0
    assert json.loads(output.read_text())["figures"] == {"bats": pytest.approx(expected)}


def test_cqadupstack_is_the_mean_of_its_twelve_forums(table1, tmp_path, monkeypatch):
    forums = []

    def measure(model, name, data, *, exact):
        forums.append(name)
        return float(len(forums))

    monkeypatch.setattr(table1, "measure", measure)
    (tmp_path / "cqadupstack").mkdir()
    figures = table1.measure_all("bundled", ["cqadupstack"], tmp_path, exact=False)
    assert tuple(forums) == CQADUPSTACK_FORUMS
    assert figures == {"cqadupstack": statistics.mean(range(1, 13))}


def test_a_forum_is_read_below_its_collection(table1, bundled_model, tmp_path):
    small = Dataset(DATASET.documents[:3], {"hunt": QUERIES["hunt"]}, {"hunt": {"echoes": 1}})
    write_beir(tmp_path / "cqadupstack" / "android", small)
    assert table1.measure(bundled_model, "cqadupstack/android", tmp_path, exact=True) == pytest.approx(100)


@pytest.mark.parametrize("model", ["colbert-small", "gte-modern"])
def test_the_papers_own_figures_agree_with_the_paper_and_average_to_its_average(table1, model):
    column = table1.COLUMN[model]
    figures = {name: values[column] for name, values in table1.COLLECTIONS.items()}
    assert statistics.mean(figures.values()) == pytest.approx(table1.AVERAGES[model], abs=0.05)
    paper = table1.paper_figures(model, figures)
    table, outside = table1.compare(figures, paper)
    assert outside == []
    assert table.count("agrees") == 16
    assert len(figures) == 15


def test_a_figure_beyond_the_tolerance_is_told(table1):
    paper = table1.paper_figures("gte-modern", {"scifact": 0, "nfcorpus": 0, "mine": 0})
    assert paper == {"scifact": 76.34, "nfcorpus": 37.93}
    table, outside = table1.compare({"scifact": 75.33, "nfcorpus": 38.92, "mine": 50.0}, paper)
    assert outside == ["scifact"]
    assert "| SciFact | 75.33 | 76.34 | -1.01 | outside the tolerance |" in table
    assert "| mine | 50.00 | | | |" in table


def test_what_cannot_be_run_is_said_in_a_sentence(table1, tmp_path, capsys):
    for words, message in (
        (["--collections", "absent"], "'absent' is none of: fiqa, nfcorpus"),
        (["--data", str(tmp_path)], "holds none of: fiqa"),
        (["--data", str(tmp_path), "--collections", "scifact"], "has no folder 'scifact'"),
    ):
        with pytest.raises(SystemExit) as stopped:
            table1.main(["--model", "bundled", *words])
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err


def test_collections_with_self_matches_are_among_those_of_the_table(table1):
    assert {name for name in table1.COLLECTIONS if has_self_matches(name)} == {"arguana", "quora"}
