"""Proves that a running top k is the first k of a stable sort, however the scores are cut into blocks."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serotine.indexes import top_k
from serotine.indexes.top_k import TopK


@given(
    scores=st.lists(st.sampled_from([-1.5, 0.0, 0.5, 2.0]), min_size=1, max_size=30),
    k=st.integers(1, 8),
    step=st.integers(1, 9),
)
@settings(max_examples=200, deadline=None)
def test_the_running_top_k_is_the_first_k_of_a_stable_sort(scores, k, step):
    values = np.array([scores], dtype=np.float32)
    best = TopK(1, min(k, len(scores)))
    for start in range(0, len(scores), step):
        block = values[:, start : start + step]
        best.update(0, block, np.arange(start, start + block.shape[1]))
    order = np.argsort(-values[0], kind="stable")[:k]
    found_scores, found_ordinals = best.of(0)
    assert found_scores.tolist() == values[0][order].tolist()
    assert found_ordinals.tolist() == order.tolist()


@given(values=st.lists(st.sampled_from([-1.0, 0.0, 1.0, 3.0]), min_size=1, max_size=20), data=st.data())
@settings(max_examples=200, deadline=None)
def test_the_largest_values_are_taken_from_the_left(values, data):
    k = data.draw(st.integers(1, len(values)))
    array = np.array(values, dtype=np.float32)
    assert top_k._largest(array, k).tolist() == sorted(np.argsort(-array, kind="stable")[:k].tolist())
