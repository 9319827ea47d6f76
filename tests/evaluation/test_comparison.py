"""Proves that a table shows the means of evaluate and the paired intervals of bootstrap, and renders both ways."""

import numpy as np
import pytest

from serotine.errors import InvalidInput
from serotine.evaluation import Run, bootstrap, compare, evaluate_run
from serotine.evaluation.significance import holm, randomization_test

QRELS = {f"q{number}": {f"d{number}": 1} for number in range(40)}


def ranked(name, *, good):
    """Make a run that ranks the answer first for the first ``good`` queries, and second for the others."""
    rankings = {}
    for number, query in enumerate(QRELS):
        answer, other = (2.0, 1.0) if number < good else (1.0, 2.0)
        rankings[query] = {"other": other, f"d{number}": answer}
        rankings[query] = dict(sorted(rankings[query].items(), key=lambda item: -item[1]))
    return Run(name, rankings)


def test_each_row_has_the_mean_of_evaluate_and_the_paired_interval_of_bootstrap():
    runs = [ranked("weak", good=10), ranked("strong", good=30)]
    table = compare(runs, QRELS, ["mrr", "hits@1"], seed=3, num_samples=500)
    weak, strong = (evaluate_run(run, QRELS, ["mrr", "hits@1"]) for run in runs)
    assert [(row.metric, row.run_name, row.num_queries) for row in table.rows] == [
        ("mrr", "weak", 40),
        ("mrr", "strong", 40),
        ("hits@1", "weak", 40),
        ("hits@1", "strong", 40),
    ]
    assert [row.mean for row in table.rows] == [0.625, 0.875, 0.25, 0.75]
    assert table.rows[0].difference is None
    assert table.rows[1].difference == bootstrap(strong.values["mrr"], weak.values["mrr"], seed=3, num_samples=500)
    assert np.isclose(table.rows[3].difference.mean, 0.5)


def test_p_values_are_those_of_the_randomization_test_adjusted_over_the_table():
    runs = [ranked("weak", good=10), ranked("as weak", good=11), ranked("strong", good=30)]
    rows = compare(runs, QRELS, "mrr", seed=4).rows
    values = [evaluate_run(run, QRELS, "mrr").values["mrr"] for run in runs]
    p_values = [randomization_test(each, values[0], seed=4) for each in values[1:]]
    assert rows[0].p_value is rows[0].p_adjusted is None
    assert [row.p_value for row in rows[1:]] == p_values
    assert [row.p_adjusted for row in rows[1:]] == holm(p_values)
    assert rows[1].p_adjusted > 0.5
    assert rows[2].p_adjusted < 0.001


def test_a_run_compares_itself_with_others():
    weak, strong = ranked("weak", good=10), ranked("strong", good=30)
    assert weak.compare(strong, QRELS, "mrr") == weak.compare([strong], QRELS, "mrr")
    assert weak.compare(strong, QRELS, "mrr", seed=1) == compare([weak, strong], QRELS, "mrr", seed=1)


def test_the_named_baseline_comes_first_and_is_what_the_others_are_set_against():
    table = compare([ranked("a", good=10), ranked("b", good=30)], QRELS, "hits@1", baseline="b")
    assert table.baseline_name == "b"
    assert [row.run_name for row in table.rows] == ["b", "a"]
    assert table.rows[1].difference.mean == pytest.approx(-0.5)


def test_a_table_renders_as_text_and_as_markdown():
    table = compare([ranked("weak", good=0), ranked("a|b", good=40)], QRELS, "mrr", confidence=0.9)
    assert table.to_text().splitlines() == [
        "metric  run    n    mean  difference       90 % interval  p, Holm",
        "mrr     weak  40  0.5000    baseline",
        "mrr     a|b   40  1.0000     +0.5000  [+0.5000, +0.5000]   0.0001",
    ]
    assert table.to_markdown().splitlines() == [
        "| metric | run  |  n |   mean | difference |      90 % interval | p, Holm |",
        "| ------ | ---- | -: | -----: | ---------: | -----------------: | ------: |",
        "| mrr    | weak | 40 | 0.5000 |   baseline |                    |         |",
        "| mrr    | a\\|b | 40 | 1.0000 |    +0.5000 | [+0.5000, +0.5000] |  0.0001 |",
    ]
    assert str(table) == table.to_text()


def test_self_matches_are_removed_from_every_run():
    qrels = {"q": {"a": 1}}
    runs = [Run("x", {"q": {"q": 2.0, "a": 1.0}}), Run("y", {"q": {"a": 2.0, "q": 1.0}})]
    assert [row.mean for row in compare(runs, qrels, "mrr").rows] == [0.5, 1.0]
    assert [row.mean for row in compare(runs, qrels, "mrr", remove_self_matches=True).rows] == [1.0, 1.0]


def test_runs_that_cannot_be_told_apart_are_refused():
    run = ranked("same", good=1)
    with pytest.raises(InvalidInput, match=r"different name for each, got \['same', 'same'\]"):
        compare([run, run], QRELS)
    with pytest.raises(InvalidInput, match="at least one run"):
        compare([], QRELS)
    with pytest.raises(InvalidInput, match="baseline 'other' is not the name of a run: same"):
        compare([run], QRELS, baseline="other")
