"""Proves that segments stay few and are copied seldom, and that joining them changes no document."""

from __future__ import annotations

import numpy as np
import pytest

from serotine.indexes.storage.compaction import compact, live_chunks, tail_to_merge
from serotine.indexes.storage.segment import Segment
from serotine.types import TokenMatrix
from tests.indexes.samples import texts


def add_one_by_one(weights) -> tuple[list[int], int]:
    """The segments that adds of the given weights leave, and how much they copied."""
    segments: list[int] = []
    copied = 0
    for weight in weights:
        segments.append(weight)
        start = tail_to_merge(segments)
        if start < len(segments) - 1:
            copied += sum(segments[start:])
            segments[start:] = [sum(segments[start:])]
    return segments, copied


@pytest.mark.parametrize("weight", [1, 2, 7, 100, 1000])
def test_a_thousand_equal_adds_leave_at_most_15_segments_and_copy_each_at_most_5_times(weight):
    segments, copied = add_one_by_one([weight] * 1000)
    assert len(segments) <= 15
    assert copied <= 5 * 1000 * weight


def test_adds_of_any_size_leave_few_segments_and_copy_each_seldom():
    weights = np.random.default_rng(0).integers(1, 3000, size=2000).tolist()
    segments, copied = add_one_by_one(weights)
    assert len(segments) <= 25
    assert copied <= 6 * sum(weights)


def test_a_large_segment_is_not_copied_for_a_small_add():
    assert tail_to_merge([10**6, 10]) == 1
    assert tail_to_merge([10**6, 10, 10, 10, 10]) == 1


def test_segments_stop_growing_at_the_limit(monkeypatch):
    monkeypatch.setattr("serotine.indexes.storage.compaction.MAX_MERGED_TOKENS", 100)
    assert max(add_one_by_one([9] * 1000)[0]) <= 100


@pytest.mark.parametrize("weights", [[], [5]])
def test_there_is_nothing_to_join_in_fewer_than_two_segments(weights):
    assert tail_to_merge(weights) == 0


def segment(prefix, lengths, removed=()) -> Segment:
    ids = [f"{prefix}{number}" for number in range(len(lengths))]
    whole = Segment.of(ids, TokenMatrix.from_arrays(texts(lengths, dim=4, seed=len(lengths))))
    return whole.without(list(removed)) if len(removed) else whole


def write(ids, chunks) -> Segment:
    return Segment.of(tuple(ids), TokenMatrix.concatenate(list(chunks)))


def documents(segments) -> dict:
    return {i: part.documents[part.row(i)].tolist() for part in segments for i in part.ids if part.row(i) is not None}


def test_joined_segments_hold_the_same_documents_in_the_same_order():
    before = [segment("a", [3, 0, 2], [0]), segment("b", [1, 2], [1]), segment("c", [4]), segment("d", [5])]
    joined = compact(before, write)
    assert [part.alive_ids() for part in joined] == [["a1", "a2", "b0", "c0", "d0"]]
    assert documents(joined) == documents(before)
    assert joined[0].num_alive == len(joined[0].ids)


def test_a_segment_without_living_documents_goes():
    assert compact([segment("a", [3, 1], [0, 1])], write) == ()


@pytest.mark.parametrize(("lengths", "removed"), [([9, 1, 1], [0]), ([1, 1, 9], [0, 1]), ([0, 0, 0], [0, 2])])
def test_a_segment_that_lost_more_than_half_of_its_tokens_or_documents_is_written_again(lengths, removed):
    before = [segment("a", lengths, removed)]
    (rewritten,) = compact(before, write)
    assert len(rewritten.ids) == len(lengths) - len(removed)
    assert documents([rewritten]) == documents(before)


def test_a_segment_that_lost_less_is_kept_as_it_is():
    before = segment("a", [3, 3, 3], [1])
    assert compact([before], write) == (before,)


def test_living_vectors_come_in_pieces_of_bounded_size(monkeypatch):
    monkeypatch.setattr("serotine.indexes.storage.compaction.CHUNK_VALUES", 5 * 4)
    pieces = list(live_chunks([segment("a", [2, 3, 1, 9, 1, 0], [2]), segment("b", [1])]))
    assert [piece.lengths.tolist() for piece in pieces] == [[2, 3], [9], [1, 0], [1]]
