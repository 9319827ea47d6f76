"""Proves that no batch holds a false negative that can be seen, and that every row is trained on."""

from __future__ import annotations

import random
from itertools import combinations

import pytest
from datasets import Dataset

from serotine.errors import InvalidInput
from serotine.utils import NoDuplicatesSampler


def exclude_each_other(one: dict, other: dict) -> bool:
    """The rule, written again."""
    positives = {one["positive"], other["positive"]}
    return (
        len(positives) == 1
        or one["query"] == other["query"]
        or one["positive"] in (other["query"], *other["negatives"])
        or other["positive"] in (one["query"], *one["negatives"])
    )


@pytest.fixture
def rows() -> Dataset:
    """Rows with many repetitions: of positives, of queries, of negatives, and across columns."""
    draw = random.Random(0)
    return Dataset.from_list(
        [
            {
                "negatives": [f"text {draw.randrange(60)}" for _ in range(draw.randrange(3))],
                "query": f"text {draw.randrange(400)}",
                "positive": f"text {int(draw.paretovariate(0.5)) % 400} ",
                "row_id": number,
            }
            for number in range(500)
        ]
    ).map(lambda row: {"positive": row["positive"].strip()})


@pytest.mark.parametrize("batch_size", [2, 8, 32])
def test_no_two_rows_of_a_batch_exclude_each_other_and_each_row_comes_once(rows, batch_size):
    batches = list(NoDuplicatesSampler(rows, batch_size, drop_last=False))
    for batch in batches:
        assert 1 <= len(batch) <= batch_size
        for one, other in combinations(batch, 2):
            assert not exclude_each_other(rows[one], rows[other])
    assert sorted(row for batch in batches for row in batch) == list(range(500))
    # The rows do exclude each other: the order alone would not do.
    assert any(exclude_each_other(rows[one], rows[other]) for one, other in combinations(range(40), 2))


def test_short_batches_are_left_out_on_demand_and_the_length_is_exact(rows):
    everything, full = (NoDuplicatesSampler(rows, 16, drop_last=drop) for drop in (False, True))
    assert len(everything) == len(list(everything)) > len(full)
    assert len(full) == len(list(full)) > 15
    assert all(len(batch) == 16 for batch in full)


def test_epochs_differ_and_seeds_repeat(rows):
    first, again = (NoDuplicatesSampler(rows, 8, drop_last=False, seed=3) for _ in range(2))
    assert list(first) == list(again)
    first.set_epoch(1)
    assert list(first) != list(again)
    again.set_epoch(1)
    assert list(first) == list(again)
    assert list(NoDuplicatesSampler(rows, 8, drop_last=False, seed=9)) != list(first)


def test_rows_without_repetitions_fill_every_batch():
    rows = Dataset.from_dict({"query": [f"q{i}" for i in range(64)], "positive": [f"p{i}" for i in range(64)]})
    assert [len(batch) for batch in NoDuplicatesSampler(rows, 8, drop_last=True)] == [8] * 8


def test_a_shared_negative_excludes_nothing_and_spaces_at_the_ends_make_no_difference():
    rows = Dataset.from_dict({"query": ["a", "b"], "positive": ["x", "y"], "negative": ["n", "n"]})
    assert len(NoDuplicatesSampler(rows, 2, drop_last=False)) == 1
    rows = Dataset.from_dict({"query": ["a", "b"], "positive": ["x", " x\n"]})
    assert len(NoDuplicatesSampler(rows, 2, drop_last=False)) == 2


def test_many_rows_with_the_same_positive_take_no_quadratic_time():
    # Each row alone in a batch; looking at all batches for each row would take minutes.
    rows = Dataset.from_dict({"query": [str(number) for number in range(20_000)], "positive": ["same"] * 20_000})
    assert len(NoDuplicatesSampler(rows, 64, drop_last=False)) == 20_000


def test_labels_are_no_text_and_columns_that_cannot_be_told_apart_are_named():
    rows = Dataset.from_dict({"sentence1": ["a", "b"], "sentence2": ["x", "x"], "label": [1.0, 1.0]})
    with pytest.raises(InvalidInput, match=r"\['sentence1', 'sentence2', 'label'\]"):
        len(NoDuplicatesSampler(rows, 2, drop_last=False))
    assert len(NoDuplicatesSampler(rows, 2, drop_last=False, router_mapping={"sentence1": "query"})) == 2
    lists = Dataset.from_dict({"query": ["a", "b"], "documents": [["x", "y"], ["y", "x"]], "scores": [[1, 0]] * 2})
    assert len(NoDuplicatesSampler(lists, 2, drop_last=False)) == 2
