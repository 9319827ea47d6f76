"""Proves the forms that ids, numbers and subsets may have; what is refused is in `test_bad_inputs`."""

from __future__ import annotations

import enum

import numpy as np
import pytest

from serotine.errors import InvalidInput
from serotine.indexes.checks import (
    MAX_MAGNITUDE,
    float_dtype,
    new_ids,
    positive_int,
    read_ids,
    read_queries,
    read_subset,
)


class Color(str, enum.Enum):
    """A string that prints as another."""

    RED = "red"


class Number(enum.IntEnum):
    """A whole number that prints as another."""

    ONE = 1


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        ("ab", ["ab"]),
        (7, [7]),
        (np.int64(7), [7]),
        (range(3), [0, 1, 2]),
        ((i for i in "ab"), ["a", "b"]),
        ([Color.RED, Number.ONE, np.str_("x"), np.uint8(3)], ["red", 1, "x", 3]),
        ([-(2**63), 2**63 - 1], [-(2**63), 2**63 - 1]),
        (["é" * 512], ["é" * 512]),
        ([], []),
    ],
    ids=str,
)
def test_ids_become_plain_python_ones(given, ids):
    found = new_ids(given)
    assert found == ids
    assert {type(i) for i in found} <= {str, int}


def test_ids_to_look_up_may_be_any_text():
    assert read_ids(["", "a\0", "\ud800", "x" * 9999]) == ["", "a\0", "\ud800", "x" * 9999]


def test_numbers_of_numpy_are_whole_numbers():
    assert positive_int(np.int32(3), name="k") == 3


@pytest.mark.parametrize(("given", "dtype"), [("f4", "float32"), (">f2", "float16"), (np.float16, "float16")])
def test_dtypes_are_taken_in_any_spelling_and_byte_order(given, dtype):
    assert float_dtype(given) == np.dtype(dtype)
    assert float_dtype(given).isnative


@pytest.mark.parametrize(
    ("given", "ids", "is_shared"),
    [
        (["a", 1], [["a", 1]], True),
        ("a", [["a"]], True),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]], False),
        ([{"a"}, range(2)], [["a"], [0, 1]], False),
        ([], [[]], True),
    ],
    ids=str,
)
def test_a_subset_is_shared_or_one_per_query(given, ids, is_shared):
    assert read_subset(given, 2) == (ids, is_shared)


def test_the_largest_vectors_that_are_accepted_have_a_finite_score():
    queries = read_queries(np.full((4096, 768), MAX_MAGNITUDE, dtype=np.float32) * 0.999, dim=None)
    assert np.isfinite(np.float32(np.float64(queries.values[0, 0]) ** 2 * 768 * 4096))


def test_a_value_just_above_the_limit_is_refused():
    with pytest.raises(InvalidInput, match="magnitude"):
        read_queries(np.full((1, 2), -1.01 * MAX_MAGNITUDE), dim=None)
