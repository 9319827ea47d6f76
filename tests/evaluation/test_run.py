"""Proves that a run keeps order and scores through results, files and other tools, and refuses what has no order."""

import gzip
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serotine.errors import InvalidInput, StorageError
from serotine.evaluation import Run

one_word = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text.split() == [text])
float32 = st.floats(width=32, allow_nan=False)
rankings = st.dictionaries(one_word, st.dictionaries(one_word, float32, min_size=1, max_size=8), max_size=4)


def from_rankings(drawn, name="run"):
    results = [[{"id": document, "score": score} for document, score in ranking.items()] for ranking in drawn.values()]
    return Run.from_results(results, list(drawn), name=name)


@settings(max_examples=200, deadline=None)
@example(drawn={"\ufeffq": {"d": 0.1}, "q2": {"a": 1.0, "b": 1.0}})
@given(rankings)
def test_a_written_run_is_read_back_equal_in_order_and_float32_scores(tmp_path_factory, drawn):
    run = from_rankings(drawn)
    path = tmp_path_factory.mktemp("runs") / "run.trec"
    run.write(path)
    read = Run.read(path, name="run")
    assert list(read.rankings) == list(run.rankings)
    for query, ranking in run.rankings.items():
        assert list(read.rankings[query]) == list(ranking)
        assert [np.float32(score) for score in read.rankings[query].values()] == list(ranking.values())


def test_float64_scores_closer_than_nine_digits_keep_their_order(tmp_path):
    run = from_rankings({"q": {"z": 1.0 + 2e-12, "m": 1.0 + 1e-12, "a": 1.0}})
    run.write(tmp_path / "run.trec")
    assert (tmp_path / "run.trec").read_text() == "q Q0 z 1 1 run\nq Q0 m 2 1 run\nq Q0 a 3 1 run\n"
    assert list(Run.read(tmp_path / "run.trec").rankings["q"]) == ["z", "m", "a"]


def test_a_file_is_ordered_by_score_then_rank_whatever_the_order_of_its_lines(tmp_path):
    lines = ["q Q0 c 3 1.0 t", "q Q0 b 2 1.0 t", "q Q0 a 9 7.5 t", "", "p Q0 x 1 -inf t"]
    (tmp_path / "run.trec").write_text("\n".join(lines) + "\n")
    run = Run.read(tmp_path / "run.trec")
    assert run == Run("t", {"q": {"a": 7.5, "b": 1.0, "c": 1.0}, "p": {"x": -math.inf}})


def test_a_compressed_run_is_read_back_and_equal_runs_give_equal_bytes(tmp_path):
    run = from_rankings({"q": {"a": 0.5}}, name="tag")
    run.write(tmp_path / "run.trec.gz")
    first = (tmp_path / "run.trec.gz").read_bytes()
    run.write(tmp_path / "run.trec.gz")
    assert (tmp_path / "run.trec.gz").read_bytes() == first
    assert gzip.decompress(first) == b"q Q0 a 1 0.5 tag\n"
    assert Run.read(tmp_path / "run.trec.gz") == run


def test_the_name_of_an_empty_file_is_its_stem(tmp_path):
    Run("anything", {"q": {}}).write(tmp_path / "empty.trec")
    assert Run.read(tmp_path / "empty.trec") == Run("empty", {})


@pytest.mark.parametrize("bad", ["two words", "tab\tbed", "line\nend", "no\xa0break", "\u2028", " "])
def test_an_id_or_name_with_whitespace_is_refused_and_the_old_file_stays(tmp_path, bad):
    path = tmp_path / "run.trec"
    path.write_text("precious")
    for run in (Run("t", {bad: {"a": 1.0}}), Run("t", {"q": {bad: 1.0}}), Run(bad, {"q": {"a": 1.0}})):
        with pytest.raises(InvalidInput, match="contains whitespace"):
            run.write(path)
    assert path.read_text() == "precious"
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.trec"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q Q0 a 1 0.5", "line 2: expected 6 columns"),
        ("q Q0 a 1 high tag", "line 2: .*no number: 'high'"),
        ("q Q0 a first 0.5 tag", "line 2: .*'first'"),
        ("q Q0 a 1 nan tag", "line 2: .*NaN"),
        ("q Q0 first 1 0.5 tag", "line 2: document 'first' is listed twice"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path, line, message):
    path = tmp_path / "bad.trec"
    path.write_text(f"q Q0 first 1 9.0 tag\n{line}\n")
    with pytest.raises(InvalidInput, match=f"bad.trec, {message}"):
        Run.read(path)


def test_a_missing_file_and_a_missing_folder_are_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"no run file at .*absent\.trec"):
        Run.read(tmp_path / "absent.trec")
    with pytest.raises(StorageError, match=r"cannot write into the folder .*absent"):
        Run("t", {}).write(tmp_path / "absent" / "run.trec")


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([[{"id": "a", "score": math.nan}]], "score of document 'a' is NaN"),
        ([[{"id": "a", "score": None}]], "score of document 'a' is no number: None"),
        ([[{"id": "a", "score": 1.0}, {"id": "a", "score": 2.0}]], "document 'a' is listed twice"),
        ([[{"id": 1, "score": 1.0}, {"id": "1", "score": 2.0}]], "document '1' is listed twice"),
        ([[{"id": None, "score": 1.0}]], "must be a string or an integer, got None"),
        ([[{"id": True, "score": 1.0}]], "must be a string or an integer, got True"),
        ([[{"id": "", "score": 1.0}]], "empty string"),
        ([[{"document": "a"}]], r"must be \{'id'"),
        ([{"id": "a", "score": 1.0}], r"must be \{'id'"),
        ([], "scores has 0 rankings for 1 queries"),
        ([[], []], "scores has 2 rankings for 1 queries"),
    ],
)
def test_results_that_are_no_ranking_are_refused(results, message):
    with pytest.raises(InvalidInput, match=message):
        Run.from_results(results, ["q"])


def test_a_query_listed_twice_with_different_results_is_refused():
    with pytest.raises(InvalidInput, match="query 'q' occurs twice"):
        Run.from_results([[{"id": "a", "score": 1.0}], []], ["q", "q"])
    with pytest.raises(InvalidInput, match="list of query ids, got 'q1'"):
        Run.from_results([[]], "q1")


def test_results_come_back_in_rank_order():
    run = from_rankings({"q": {"a": 1.0, "b": 2.0}, "empty": {}})
    assert run.to_results() == [[{"id": "b", "score": 2.0}, {"id": "a", "score": 1.0}], []]
    assert len(run) == 2


def test_by_rank_keeps_the_order_and_makes_every_score_different():
    run = from_rankings({"q": {"z": 1.0, "a": 1.0, "m": 1.0}}).by_rank()
    assert run.rankings == {"q": {"z": 3.0, "a": 2.0, "m": 1.0}}


@pytest.mark.slow
def test_a_run_goes_to_ranx_and_back():
    run = from_rankings({"q": {"a": 1.5, "b": 2.5}, "empty": {}}, name="mine")
    ranx_run = run.to_ranx()
    assert ranx_run.name == "mine"
    assert dict(ranx_run.to_dict()) == {"q": {"b": 2.5, "a": 1.5}}
    assert len(Run("none", {}).to_ranx().run) == 0


def test_excluded_ids_are_compared_as_text():
    run = Run.from_results([[{"id": 1, "score": 2.0}, {"id": "a", "score": 1.0}]] * 2, [7, "q"])
    left = run.without({7: [np.int64(1)], "q": ("a", "absent"), "absent": ["a"]})
    assert left.rankings == {"7": {"a": 1.0}, "q": {"1": 2.0}}
    assert run.without({7: {1}, "7": {"a"}}).rankings["7"] == {}
    assert run.without({}).rankings == run.rankings


def test_excluded_ids_that_are_none_are_refused():
    run = Run.from_results([[{"id": "a", "score": 1.0}]], ["q"])
    with pytest.raises(InvalidInput, match="query id in excluded must be a string or an integer, got None"):
        run.without({None: ["a"]})
    with pytest.raises(InvalidInput, match=r"document id that query 'q' excludes must be .*, got 1\.5"):
        run.without({"q": [1.5]})
    with pytest.raises(InvalidInput, match="query 'q': excluded must be a list of document ids, got 'abc'"):
        run.without({"q": "abc"})
