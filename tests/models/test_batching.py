"""Batches hold every text once, in rows of similar length, within both bounds."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serotine.models.batching import chunks, padding_share, plan_batches

LENGTHS = st.lists(st.integers(0, 600), max_size=200)


@given(LENGTHS, st.integers(1, 64), st.none() | st.integers(1, 5000))
def test_a_plan_is_a_permutation_within_its_bounds(lengths: list[int], rows: int, tokens: int | None) -> None:
    batches = plan_batches(lengths, batch_size=rows, batch_tokens=tokens)
    assert sorted(np.concatenate(batches).tolist() if batches else []) == list(range(len(lengths)))
    widths = [max(lengths[position] for position in batch) for batch in batches]
    assert widths == sorted(widths, reverse=True)
    for batch, width in zip(batches, widths, strict=True):
        assert len(batch) <= rows
        assert tokens is None or len(batch) == 1 or len(batch) * width <= tokens


@given(LENGTHS, st.integers(1, 64))
def test_equal_lengths_keep_their_order(lengths: list[int], rows: int) -> None:
    order = [int(position) for batch in plan_batches(lengths, batch_size=rows) for position in batch]
    assert order == sorted(range(len(lengths)), key=lambda position: -lengths[position])


def test_sorting_saves_the_padding_that_the_given_order_would_cost() -> None:
    lengths = np.random.default_rng(0).integers(10, 300, size=2000)
    planned = padding_share(lengths, plan_batches(lengths, batch_size=32))
    given_order = padding_share(lengths, [np.arange(start, start + 32) for start in range(0, 1984, 32)])
    assert planned < 0.02
    assert given_order > 0.4


def test_chunks_cover_the_items_and_read_lazily() -> None:
    source = iter(range(10))
    pieces = chunks(source, 4)
    assert next(pieces) == [0, 1, 2, 3]
    assert next(source) == 4
    assert list(pieces) == [[5, 6, 7, 8], [9]]
    assert list(chunks([], 3)) == []
