"""Proves that the metrics equal ir-measures (trec_eval) on graded judgements, and that awkward input has its rule."""

import importlib
import subprocess
import sys

import ir_measures
import numpy as np
import pytest
from hypothesis import assume, given, settings
from ir_measures import AP, RR, P, R, Rprec, Success, nDCG

from serotine.errors import InvalidInput, MissingExtra
from serotine.evaluation import DEFAULT_METRICS, SELF_MATCH_DATASETS, Run, evaluate, evaluate_run, has_self_matches

from . import strategies

PAIRS = {
    "ndcg": nDCG,
    "ndcg@10": nDCG @ 10,
    "ndcg@3": nDCG @ 3,
    "map": AP,
    "map@5": AP @ 5,
    "mrr": RR,
    "recall@1": R @ 1,
    "recall@10": R @ 10,
    "recall@100": R @ 100,
    "precision@1": P @ 1,
    "precision@5": P @ 5,
    "precision@100": P @ 100,
    "r-precision": Rprec,
    "hit_rate@3": Success @ 3,
    "map-l2": AP(rel=2),
    "recall@5-l2": R(rel=2) @ 5,
}


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(strategies.qrels, strategies.runs())
def test_every_metric_equals_ir_measures_for_every_query_on_graded_judgements_with_ties(qrels, run):
    assume(run.rankings.keys() & qrels.keys())
    ours = evaluate_run(run, qrels, list(PAIRS))
    theirs = {(value.query_id, value.measure): value.value for value in _ir_measures(PAIRS.values(), qrels, run)}
    for metric, measure in PAIRS.items():
        expected = [theirs.get((query, measure), 0.0) for query in ours.query_ids]
        np.testing.assert_allclose(ours.values[metric], expected, atol=1e-9, err_msg=metric)


def _ir_measures(measures, qrels, run):
    # by_rank: trec_eval would order equal scores by document id.
    return ir_measures.iter_calc(list(measures), qrels, run.by_rank().rankings)


def test_a_grade_below_zero_counts_as_zero():
    run = Run("r", {"q": {"bad": 2.0, "good": 1.0}})
    below, zero = ({"q": {"bad": grade, "good": 2}} for grade in (-1, 0))
    assert evaluate_run(run, below, list(PAIRS)).means() == evaluate_run(run, zero, list(PAIRS)).means()


def test_the_mean_equals_the_mean_of_ir_measures_where_queries_are_missing_on_either_side():
    qrels = {"a": {"x": 3, "y": 1}, "b": {"x": 2}, "c": {"z": 0}}
    run = Run("r", {"a": {"y": 2.0, "x": 1.0}, "unjudged": {"x": 1.0}})
    expected = ir_measures.calc_aggregate([nDCG @ 10, AP], qrels, run.rankings)
    values = evaluate_run(run, qrels, ["ndcg@10", "map"]).means()
    assert values["ndcg@10"] == pytest.approx(expected[nDCG @ 10], abs=1e-9)
    assert values["map"] == pytest.approx(expected[AP], abs=1e-9)


def test_ndcg_has_linear_gains_and_ndcg_burges_exponential_ones():
    scores = [[{"id": "low", "score": 2.0}, {"id": "high", "score": 1.0}]]
    values = evaluate(scores, {"q": {"high": 3, "low": 1}}, ["q"], ["ndcg@10", "ndcg_burges@10"])
    discount = 1 / np.log2(3)
    assert values["ndcg@10"] == pytest.approx((1 + 3 * discount) / (3 + 1 * discount))
    assert values["ndcg_burges@10"] == pytest.approx((1 + 7 * discount) / (7 + 1 * discount))


def test_hits_counts_relevant_documents_and_f1_is_the_harmonic_mean():
    scores = [[{"id": name, "score": -rank} for rank, name in enumerate("axb")]]
    values = evaluate(scores, {"q": {"a": 1, "b": 1, "c": 1, "d": 1}}, ["q"], ["hits@2", "hits@3", "f1@3", "dcg@3"])
    assert values["hits@2"] == 1.0
    assert values["hits@3"] == 2.0
    assert values["f1@3"] == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))
    assert values["dcg@3"] == pytest.approx(1 + 1 / 2)


@pytest.mark.parametrize("metrics", ["mrr", ["mrr"]])
def test_one_metric_still_gives_a_dict(metrics):
    assert evaluate([[{"id": "a", "score": 1.0}]], {"q": {"a": 1}}, ["q"], metrics) == {"mrr": 1.0}


def test_no_metrics_means_the_default_ones():
    values = evaluate([[{"id": "a", "score": 1.0}]], {"q": {"a": 1}}, ["q"])
    assert tuple(values) == DEFAULT_METRICS
    assert DEFAULT_METRICS == ("ndcg@10", "hits@1", "hits@2", "hits@3", "hits@4", "hits@5", "hits@10")
    assert all(type(value) is float for value in values.values())


def test_integer_ids_on_either_side_meet_string_ids():
    assert evaluate([[{"id": 7, "score": 1.0}]], {"1": {"7": 1}}, [1], "mrr") == {"mrr": 1.0}
    assert evaluate([[{"id": np.int64(7), "score": 1.0}]], {1: {7: 1}}, ["1"], "mrr") == {"mrr": 1.0}


def test_equal_scores_keep_the_order_of_the_list_and_unsorted_lists_are_sorted_by_score():
    tied = [{"id": "a", "score": 1.0}, {"id": "b", "score": 1.0}]
    assert evaluate([tied], {"q": {"b": 1}}, ["q"], "mrr")["mrr"] == 0.5
    assert evaluate([tied[::-1]], {"q": {"b": 1}}, ["q"], "mrr")["mrr"] == 1.0
    rising = [{"id": "a", "score": 1.0}, {"id": "b", "score": 5.0}]
    assert evaluate([rising], {"q": {"b": 1}}, ["q"], "mrr")["mrr"] == 1.0


def test_a_judged_query_without_results_counts_zero_and_an_unjudged_one_not_at_all():
    hit = [{"id": "a", "score": 1.0}]
    qrels = {"q": {"a": 1}, "empty": {"a": 1}, "missing": {"a": 1}, "without judgement": {}}
    assert evaluate([hit, [], hit], qrels, ["q", "empty", "unjudged"], "mrr")["mrr"] == pytest.approx(1 / 3)


def test_a_run_without_any_query_scores_zero():
    assert evaluate([], {"q": {"a": 1}}, [], ["mrr", "ndcg@10", "precision"]) == {
        "mrr": 0.0,
        "ndcg@10": 0.0,
        "precision": 0.0,
    }


def test_a_cutoff_beyond_the_ranking_divides_precision_by_the_cutoff():
    assert evaluate([[{"id": "a", "score": 1.0}]], {"q": {"a": 1}}, ["q"], "precision@10")["precision@10"] == 0.1


@pytest.mark.parametrize("queries", [["a", "a", "b"], ["a", "b"]])
def test_a_query_listed_twice_counts_once(queries):
    rankings = {"a": [{"id": "x", "score": 1.0}], "b": []}
    qrels = {"a": {"x": 1}, "b": {"x": 1}}
    assert evaluate([rankings[query] for query in queries], qrels, queries, "mrr")["mrr"] == 0.5
    assert evaluate(list(rankings.values()), qrels, ["a", "a", "b"], "mrr")["mrr"] == 0.5


def test_the_queries_may_be_the_mapping_of_ids_to_texts():
    assert evaluate([[{"id": "a", "score": 1.0}]], {"q": {"a": 1}}, {"q": "a text"}, "mrr") == {"mrr": 1.0}


def test_query_texts_in_place_of_ids_are_refused():
    with pytest.raises(InvalidInput, match=r"none of the 1 queries.*'what flies late\?'"):
        evaluate([[{"id": "a", "score": 1.0}]], {"q1": {"a": 1}}, ["what flies late?"])


@pytest.mark.parametrize(
    "metric",
    ["nope", "ndcg@0", "ndcg@-1", "ndcg@ten", "NDCG@10", "", "bpref", "rbp.95", "r-precision@5", "map-l0", "1", 3],
)
def test_an_unknown_metric_is_refused_by_name(metric):
    with pytest.raises(InvalidInput, match=repr(metric).replace(".", r"\.")):
        evaluate([[]], {"q": {"a": 1}}, ["q"], [metric])


def test_an_empty_list_of_metrics_and_empty_qrels_are_refused():
    with pytest.raises(InvalidInput, match="metrics is empty"):
        evaluate([[]], {"q": {"a": 1}}, ["q"], [])
    with pytest.raises(InvalidInput, match="no judgement"):
        evaluate([[]], {}, ["q"])


def test_a_self_match_is_removed_only_when_asked_for():
    scores = [[{"id": "q", "score": 2.0}, {"id": "a", "score": 1.0}]]
    assert evaluate(scores, {"q": {"a": 1}}, ["q"], "mrr") == {"mrr": 0.5}
    assert evaluate(scores, {"q": {"a": 1}}, ["q"], "mrr", remove_self_matches=True) == {"mrr": 1.0}


def test_the_self_match_rule_names_its_datasets():
    assert {"arguana", "quora"} == SELF_MATCH_DATASETS
    assert has_self_matches("ArguAna")
    assert not has_self_matches("fiqa")


def test_values_per_query_follow_the_order_of_the_qrels():
    values = evaluate_run(Run("r", {"b": {"x": 1.0}}), {"a": {"x": 1}, "b": {"x": 1}}, "mrr")
    assert values.num_queries == 2
    assert values.per_query("mrr") == {"a": 0.0, "b": 1.0}
    with pytest.raises(InvalidInput, match=r"'map' was not computed; there are: mrr"):
        values.per_query("map")


def test_a_missing_ranx_names_the_pip_command(monkeypatch):
    def refuse(name, *args):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name.split(".")[0])

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(MissingExtra, match=r"pip install 'serotine\[eval\]'"):
        evaluate_run(Run("r", {}), {"q": {"a": 1}})


@pytest.mark.slow
def test_several_threads_may_evaluate_at_the_same_time():
    # In a process of its own: without the lock, numba's workqueue layer ends the process here.
    program = """
import threading
from serotine.evaluation import evaluate
scores, qrels = [[{"id": "a", "score": 1.0}]] * 3000, {query: {"a": 1} for query in range(3000)}
results = []
def work():
    for _ in range(5):
        results.append(evaluate(scores, qrels, range(3000), ["mrr", "map"])["mrr"])
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(results == [1.0] * 20)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr


def test_the_first_call_shows_no_compiler_warning(recwarn):
    evaluate([[{"id": "a", "score": 1.0}]], {"q": {"a": 1}}, ["q"], ["f1@7"])
    assert not recwarn.list
