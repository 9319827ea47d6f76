"""Proves that recall against exact search counts what was found, forgives rounding, and nothing else."""

import pytest

from serotine.errors import InvalidInput
from serotine.evaluation import Run, recall_against_exact

EXACT = Run("exact", {"q1": {"a": 3.0, "b": 2.0, "c": 1.0, "d": 0.5}, "q2": {"a": 1.0}})


def test_the_share_of_the_best_that_was_found_is_averaged_over_queries():
    run = Run("fast", {"q1": {"a": 2.9, "d": 2.0, "b": 1.9}, "q2": {"b": 1.0, "a": 0.9}})
    assert recall_against_exact(run, EXACT, [1, 2, 3]) == {1: 0.5, 2: (0.5 + 1) / 2, 3: (2 / 3 + 1) / 2}


def test_the_exact_run_finds_all_of_itself_and_an_empty_one_nothing():
    assert recall_against_exact(EXACT, EXACT) == {1: 1.0, 10: 1.0, 100: 1.0}
    assert recall_against_exact(Run("none", {"q1": {}, "q2": {}}), EXACT, [5]) == {5: 0.0}


def test_documents_within_the_tolerance_of_the_last_count_as_the_best():
    exact = Run("exact", {"q": {"a": 2.0, "b": 1.00001, "c": 1.0, "d": 0.9}})
    run = Run("fast", {"q": {"a": 2.0, "c": 1.0}})
    assert recall_against_exact(run, exact, [2]) == {2: 1.0}
    assert recall_against_exact(run, exact, [2], tolerance=0.0) == {2: 0.5}
    everything = Run("all", {"q": {"a": 2.0, "c": 1.0, "b": 1.0}})
    assert recall_against_exact(everything, exact, [2]) == {2: 1.0}


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InvalidInput, match="1 queries of the exact run are not in 'fast', such as 'q2'"):
        recall_against_exact(Run("fast", {"q1": {}}), EXACT)
    with pytest.raises(InvalidInput, match="has no result"):
        recall_against_exact(EXACT, Run("exact", {"q1": {}}))
    for depths in ([], [0], [1.5]):
        with pytest.raises(InvalidInput, match="depths must be positive integers"):
            recall_against_exact(EXACT, EXACT, depths)
