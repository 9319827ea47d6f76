"""Proves that bootstrap intervals are seeded, paired, of the right width and cover as often as they say."""

import numpy as np
import pytest

from serotine.errors import InvalidInput
from serotine.evaluation import bootstrap, significance
from serotine.evaluation.significance import Interval, holm, randomization_test


def test_the_interval_of_a_mean_agrees_with_the_normal_one_on_many_queries():
    values = np.random.default_rng(1).normal(0.4, 0.2, size=2_000)
    interval = bootstrap(values)
    half_width = 1.96 * values.std() / np.sqrt(len(values))
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half_width, abs=0.03 * half_width * 2)
    assert interval.high == pytest.approx(values.mean() + half_width, abs=0.03 * half_width * 2)


def test_a_95_percent_interval_covers_the_true_mean_about_95_times_in_100():
    generator = np.random.default_rng(2)
    intervals = [bootstrap(generator.exponential(size=100), num_samples=1_000, seed=trial) for trial in range(300)]
    covered = np.mean([interval.low <= 1.0 <= interval.high for interval in intervals])
    assert 0.90 <= covered <= 0.98


def test_pairing_removes_what_both_runs_share():
    generator = np.random.default_rng(3)
    difficulty = generator.uniform(size=300)
    baseline, better = difficulty, difficulty + 0.01 + generator.normal(0, 0.01, size=300)
    paired = bootstrap(better, baseline)
    assert paired.excludes_zero
    assert paired.mean == pytest.approx((better - baseline).mean())
    assert not bootstrap(better, generator.permutation(baseline)).excludes_zero


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values = np.random.default_rng(4).uniform(size=50)
    assert bootstrap(values, seed=5) == bootstrap(values, seed=5)
    assert bootstrap(values, seed=5) != bootstrap(values, seed=6)


def test_blocks_of_samples_do_not_change_the_kind_of_result(monkeypatch):
    values = np.random.default_rng(6).uniform(size=100)
    whole = bootstrap(values)
    monkeypatch.setattr(significance, "_DRAWS_AT_ONCE", 130)
    blocks = bootstrap(values)
    assert blocks == whole


def test_a_higher_confidence_gives_a_wider_interval_and_swapped_runs_the_mirrored_sign():
    values, baseline = np.random.default_rng(7).uniform(size=(2, 80))
    narrow, wide = bootstrap(values, baseline, confidence=0.5), bootstrap(values, baseline, confidence=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high
    assert bootstrap(baseline, values).mean == -narrow.mean


def test_an_interval_that_touches_zero_does_not_exclude_it():
    assert not Interval(0.1, 0.0, 0.2, 0.95, 10).excludes_zero
    assert not Interval(0.1, -0.1, 0.2, 0.95, 10).excludes_zero
    assert Interval(-0.1, -0.2, -0.05, 0.95, 10).excludes_zero


def test_one_query_gives_an_interval_without_width():
    assert bootstrap([0.5]) == Interval(0.5, 0.5, 0.5, 0.95, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "values must be a non-empty 1-D array"),
        (([[0.1]],), r"got shape \(1, 1\)"),
        (([0.1, float("nan")],), "values must be finite, got nan at position 1"),
        (([0.1], [float("inf")]), "baseline must be finite, got inf at position 0"),
        (([0.1, 0.2], [0.1]), "values are of 2 queries and baseline of 1"),
    ],
)
def test_values_that_cannot_be_paired_are_refused(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        bootstrap(*arguments)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, float("nan")])
def test_a_confidence_outside_zero_and_one_is_refused(confidence):
    with pytest.raises(InvalidInput, match="confidence must lie between 0 and 1"):
        bootstrap([0.1, 0.2], confidence=confidence)


def test_too_few_samples_are_refused():
    with pytest.raises(InvalidInput, match="num_samples must be at least 100, got 10"):
        bootstrap([0.1, 0.2], num_samples=10)


def test_the_randomization_test_counts_every_change_of_signs():
    differences = np.array([0.3, 0.1, 0.25, -0.05, 0.4, 0.15])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 6)).reshape(6, -1).T
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12)
    assert randomization_test(differences, np.zeros(6), num_samples=100_000) == pytest.approx(exact, abs=0.003)


def test_the_randomization_test_agrees_with_those_of_ranx_and_students_on_many_queries():
    generator = np.random.default_rng(6)
    baseline = generator.uniform(size=400)
    values = baseline + generator.normal(0.012, 0.1, size=400)
    ours = randomization_test(values, baseline)
    statistical_tests = pytest.importorskip("ranx.statistical_tests", reason="the extra 'eval' is not installed")
    theirs, _ = statistical_tests.fisher_randomization_test(baseline, values, 10_000)
    assert 0.005 < ours < 0.2
    assert ours == pytest.approx(theirs, abs=0.02)
    assert ours == pytest.approx(statistical_tests.paired_student_t_test(baseline, values)[0], abs=0.02)


def test_p_values_of_systems_that_are_alike_are_uniform():
    generator = np.random.default_rng(7)
    pairs = generator.normal(size=(300, 2, 50))
    p_values = [randomization_test(a, b, num_samples=400, seed=trial) for trial, (a, b) in enumerate(pairs)]
    assert np.mean(np.array(p_values) < 0.1) == pytest.approx(0.1, abs=0.05)
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.06)


def test_the_randomization_test_is_seeded_never_zero_and_one_without_a_difference(monkeypatch):
    values = np.linspace(0.5, 1, 40)
    p_value = randomization_test(values, np.zeros(40), num_samples=200)
    assert p_value == 1 / 201
    assert randomization_test(values, values) == 1.0
    close = values + np.random.default_rng(8).normal(0.01, 0.1, size=40)
    monkeypatch.setattr(significance, "_DRAWS_AT_ONCE", 1_000)
    assert 0 < randomization_test(close, values, seed=5) == randomization_test(close, values, seed=5) < 1
    with pytest.raises(InvalidInput, match="same queries"):
        randomization_test(values, values[1:])
    with pytest.raises(InvalidInput, match="at least 100"):
        randomization_test(values, values, num_samples=99)


def test_adjusted_p_values_keep_their_order_and_are_at_most_one():
    assert holm([]) == []
    assert holm([0.02]) == [0.02]
    assert holm([0.5, 0.01, 0.6]) == [1.0, 0.03, 1.0]
    assert holm([0.04, 0.01]) == [0.04, 0.02]
