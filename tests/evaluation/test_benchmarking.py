"""Proves that a benchmark's figures are those of its parts, that its table and file hold them, and what it refuses."""

import json

import numpy as np
import pytest

from serotine import evaluation, indexes, retrieve
from serotine.errors import InvalidInput, StorageError
from serotine.evaluation import Benchmark, BrightDataset, benchmark, bootstrap

from .bats import DATASET, QRELS, QUERIES, TEXTS

SETTINGS = {"few": {"recall": 0.5}, "all": {"recall": 1}}


@pytest.fixture(scope="module")
def result(bundled_model, tmp_path_factory):
    """The benchmark of a PLAID in memory with two settings, set against exact search."""
    file = tmp_path_factory.mktemp("benchmark") / "bats.json"
    index = indexes.PLAID(None)
    return benchmark(
        bundled_model, index, DATASET, name="bats", settings=SETTINGS, exact=indexes.Exact(), k=10, output=file
    ), file


def test_quality_is_that_of_evaluate_with_bootstrap_intervals(bundled_model, result):
    index = indexes.PLAID(None).add_documents(list(TEXTS), bundled_model.encode(list(TEXTS.values()), is_query=False))
    queries = bundled_model.encode(list(QUERIES.values()))
    run = evaluation.Run.from_results(retrieve.ColBERT(index).retrieve(queries, k=10), QUERIES)
    values = evaluation.evaluate_run(run, QRELS, evaluation.DEFAULT_BENCHMARK_METRICS).values
    last = result[0].settings[-1]
    assert last.metrics == {metric: bootstrap(each) for metric, each in values.items()}
    assert result[0].runs["all"].rankings.keys() == QUERIES.keys()
    assert last.recall_against_exact == {1: 1.0, 10: 1.0}


def test_recall_is_told_at_the_depths_that_were_searched(bundled_model, capsys):
    for k, depths in ((2, [1]), (100, [1, 10, 100])):
        figures = benchmark(
            bundled_model, indexes.Exact(), DATASET, metrics="mrr", k=k, exact=indexes.Exact(), output=None
        )
        assert list(figures.settings[0].recall_against_exact) == depths
        header = capsys.readouterr().out.splitlines()[-2].split()
        assert [column for column in header if column.startswith("exact@")] == [f"exact@{depth}" for depth in depths]


def test_times_sizes_and_counts_are_measured(bundled_model, result):
    figures = result[0]
    assert (figures.num_documents, figures.num_queries, figures.k) == (12, 6, 10)
    encoded = bundled_model.encode(list(TEXTS.values()), is_query=False, packed=True)
    assert figures.times["num_tokens"] == encoded.num_tokens
    assert figures.index_bytes > encoded.num_tokens * 128
    for setting in figures.settings:
        assert 0 < setting.latency_ms["p50"] <= setting.latency_ms["p95"]
        assert setting.queries_per_s > 0
    assert figures.times["encode_documents_s"] > 0
    assert figures.times["index_s"] > 0
    assert figures.machine["serotine"]


def test_the_file_gives_the_figures_back(result):
    figures, file = result
    assert Benchmark.read(file) == figures
    content = json.loads(file.read_text())
    assert content["settings"][0]["options"] == {"recall": 0.5}
    assert "runs" not in content


def test_the_table_has_a_row_for_each_setting(bundled_model, capsys, tmp_path):
    figures = benchmark(bundled_model, indexes.Exact(), DATASET, name="bats", metrics="mrr", output=None)
    lines = capsys.readouterr().out.splitlines()
    assert lines == str(figures).splitlines()
    assert lines[0].startswith("bats: 12 documents, 6 queries, Exact(12 documents")
    assert lines[-2].split() == ["setting", "mrr", "p50", "ms", "p95", "ms", "queries/s"]
    assert lines[-1].split()[:2] == ["default", f"{figures.settings[0].metrics['mrr'].mean:.4f}"]
    assert f"{figures.index_bytes:,} bytes, 512 a token" in str(figures)


def test_an_index_that_is_filled_is_searched_as_it_is(bundled_model):
    vectors = bundled_model.encode(list(TEXTS.values()), is_query=False)
    index = indexes.Exact().add_documents(list(TEXTS), vectors)
    figures = benchmark(bundled_model, index, DATASET, output=None)
    assert figures.times["num_tokens"] is figures.times["index_s"] is None
    assert len(index) == 12
    assert "tokens, encoded" not in str(figures)


def test_the_time_of_filling_the_exact_index_is_not_that_of_the_other(bundled_model):
    vectors = bundled_model.encode(list(TEXTS.values()), is_query=False)
    index = indexes.Exact().add_documents(list(TEXTS), vectors)
    figures = benchmark(bundled_model, index, DATASET, metrics="mrr", exact=indexes.Exact(), output=None)
    assert figures.times["num_tokens"] == sum(map(len, vectors))
    assert figures.times["encode_documents_s"] > 0
    assert figures.times["index_s"] is None
    assert "tokens, encoded in" in str(figures)
    assert "indexed in" not in str(figures)


def test_excluded_documents_and_self_matches_are_left_out(bundled_model):
    dataset = BrightDataset(*DATASET, excluded={"late": ["serotine"]})
    figures = benchmark(bundled_model, indexes.Exact(), dataset, metrics="mrr", k=2, output=None)
    late = list(figures.runs["default"].rankings["late"])
    assert "serotine" not in late
    assert len(late) >= 2
    documents = [{"id": key, "text": text} for key, text in QUERIES.items()]
    selves = evaluation.Dataset([*DATASET.documents, *documents], QUERIES, QRELS)
    figures = benchmark(
        bundled_model, indexes.Exact(), selves, metrics="mrr", k=2, output=None, remove_self_matches=True
    )
    assert all(query not in ranking for query, ranking in figures.runs["default"].rankings.items())
    assert {len(ranking) for ranking in figures.runs["default"].rankings.values()} == {2}


def test_what_cannot_be_measured_is_refused(bundled_model, tmp_path):
    other = indexes.Exact().add_documents(["other"], [np.ones((1, 128), dtype=np.float32)])
    with pytest.raises(InvalidInput, match="holds other documents than the 12 of the dataset"):
        benchmark(bundled_model, other, DATASET)
    with pytest.raises(InvalidInput, match="settings is empty"):
        benchmark(bundled_model, indexes.Exact(), DATASET, settings={})
    for name in ("latency_queries", "k"):
        untouched = indexes.Exact()
        with pytest.raises(InvalidInput, match=f"{name} must be a whole number >= 1, got 0"):
            benchmark(bundled_model, untouched, DATASET, **{name: 0})
        assert len(untouched) == 0
    with pytest.raises(StorageError, match="cannot write into the folder"):
        benchmark(bundled_model, indexes.Exact(), DATASET, output=tmp_path / "absent" / "x.json")


def test_a_file_that_is_no_benchmark_is_refused(tmp_path, result):
    with pytest.raises(InvalidInput, match="no benchmark at"):
        Benchmark.read(tmp_path / "absent.json")
    for text in ("{", "[]", "{}", '{"format": 1, "settings": []}', '{"format": 1, "settings": [{}]}'):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(InvalidInput, match=r"other\.json is no file of a benchmark"):
            Benchmark.read(tmp_path / "other.json")
    content = json.loads(result[1].read_text())
    (tmp_path / "newer.json").write_text(json.dumps({**content, "format": 2}))
    with pytest.raises(InvalidInput, match="has the format 2, this version reads 1"):
        Benchmark.read(tmp_path / "newer.json")
