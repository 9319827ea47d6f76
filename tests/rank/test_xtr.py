"""Proves that `score_xtr` adds up the best found similarity per query token, else the smallest found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serotine.errors import InvalidInput
from serotine.rank import score_xtr

HITS = st.lists(st.tuples(st.sampled_from(["a", "b", 1, "1", "c"]), st.integers(-8, 8)), max_size=8)


def by_definition(ids, scores, k):
    """The rule, document by document."""
    seen = list(dict.fromkeys(document_id for row in ids for document_id in row))
    totals = []
    for document_id in seen:
        total = 0.0
        for row, values in zip(ids, scores, strict=True):
            own = [value for other, value in zip(row, values, strict=True) if other == document_id]
            total += max(own) if own else min(values) if values else 0.0
        totals.append(total)
    order = sorted(range(len(seen)), key=lambda position: -totals[position])[:k]
    return [{"id": seen[position], "score": totals[position]} for position in order]


@given(hits=st.lists(HITS, max_size=5), k=st.integers(1, 6))
@settings(max_examples=100, deadline=None)
def test_any_hits_are_ranked_as_the_rule_says(hits, k):
    ids = [[document_id for document_id, _ in row] for row in hits]
    scores = [[value / 4 for _, value in row] for row in hits]  # sums are exact, ties are ties
    assert score_xtr(ids, scores, k) == by_definition(ids, scores, k)


def test_arrays_and_their_types_are_taken():
    found = score_xtr([np.array(["a", "b"]), [2]], [np.float32([0.5, 0.25]), np.float16([1.0])], k=np.int64(9))
    assert found == [{"id": "a", "score": 1.5}, {"id": "b", "score": 1.25}, {"id": 2, "score": 1.25}]
    assert [type(hit["score"]) for hit in found] == [float] * 3


def test_nothing_found_ranks_nothing():
    assert score_xtr([], [], k=5) == []
    assert score_xtr([[], []], [[], []], k=5) == []


@pytest.mark.parametrize(
    ("ids", "scores", "k", "message"),
    [
        ([["a"]], [], 1, "query_doc_ids and query_scores must have the same number of query tokens"),
        ([["a"]], [[1.0, 2.0]], 1, "Each query token must have matching document IDs and scores lengths"),
        ([["a"]], [1.0], 1, "Each query token must have matching document IDs and scores lengths"),
        ([["a"]], [[np.nan]], 1, "query token 0 has a score that is not finite"),
        ([["a"]], [[np.inf]], 1, "not finite"),
        ([[None]], [[1.0]], 1, "got None"),
        ([["a"]], [[1.0]], 0, "k must be a whole number"),
    ],
)
def test_bad_input_is_refused(ids, scores, k, message):
    with pytest.raises(InvalidInput, match=message):
        score_xtr(ids, scores, k)


def test_a_device_has_no_effect_and_says_so():
    with pytest.warns(UserWarning, match="device='cuda' has no effect"):
        assert score_xtr([["a"]], [[1.0]], 1, device="cuda") == [{"id": "a", "score": 1.0}]
