"""A packed matrix is a list of arrays without the list: same texts, same order, checked shapes."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serotine.errors import DimensionMismatch, InvalidInput
from serotine.types import TokenMatrix

LENGTHS = st.lists(st.integers(0, 5), max_size=12)


def arrays_of(lengths: list[int], dim: int = 3) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.normal(size=(length, dim)).astype(np.float32) for length in lengths]


@given(LENGTHS)
def test_packing_and_reading_back_changes_nothing(lengths: list[int]) -> None:
    arrays = arrays_of(lengths)
    matrix = TokenMatrix.from_arrays(arrays, dim=3)
    assert len(matrix) == len(arrays)
    assert matrix.lengths.tolist() == lengths
    assert matrix.num_tokens == sum(lengths)
    for position, (left, right) in enumerate(zip(matrix, arrays, strict=True)):
        assert np.array_equal(left, right)
        assert np.array_equal(matrix[position], right)
        assert np.array_equal(matrix[position - len(arrays)], right)


@given(LENGTHS, st.integers(-14, 14), st.integers(-14, 14), st.integers(-3, 3).filter(bool))
def test_slices_are_those_of_a_list(lengths: list[int], start: int, stop: int, step: int) -> None:
    arrays = arrays_of(lengths)
    part = TokenMatrix.from_arrays(arrays, dim=3)[start:stop:step]
    expected = arrays[start:stop:step]
    assert len(part) == len(expected)
    assert all(np.array_equal(left, right) for left, right in zip(part, expected, strict=True))
    assert part.dim == 3


@given(st.lists(LENGTHS, min_size=1, max_size=4))
def test_concatenation_joins_in_order(groups: list[list[int]]) -> None:
    parts = [TokenMatrix.from_arrays(arrays_of(lengths), dim=3) for lengths in groups]
    joined = TokenMatrix.concatenate(parts)
    assert joined.lengths.tolist() == [length for lengths in groups for length in lengths]
    assert np.array_equal(joined.values, np.concatenate([part.values for part in parts]))


def test_slices_are_views() -> None:
    matrix = TokenMatrix.from_arrays(arrays_of([2, 3, 4]))
    assert np.shares_memory(matrix[1:3].values, matrix.values)
    assert np.shares_memory(matrix[1], matrix.values)


def test_dtypes() -> None:
    matrix = TokenMatrix.from_arrays(arrays_of([2]), dtype=np.float16)
    assert matrix.dtype == np.float16
    assert matrix.astype(np.float16) is matrix
    assert matrix.astype(np.float32).dtype == np.float32
    assert matrix.nbytes == 2 * 3 * 2 + 2 * 8
    assert repr(matrix) == "TokenMatrix(1 texts, 2 tokens, dim=3, float16)"


@pytest.mark.parametrize(
    ("values", "offsets", "message"),
    [
        (np.zeros(3), [0, 3], "values must be 2-D"),
        ([[0.0, 1.0]], [0, 1], "values must be a numpy array, got list"),
        (np.zeros((3, 2)), [0, 2], "from 0 to the number of tokens 3"),
        (np.zeros((3, 2)), [1, 3], "from 0 to"),
        (np.zeros((3, 2)), [0, 4, 3], "decreasing somewhere"),
        (np.zeros((3, 2)), [], "non-empty 1-D integer"),
        (np.zeros((3, 2)), [0.0, 3.0], "non-empty 1-D integer"),
        (np.zeros((3, 2)), [[0, 3]], "non-empty 1-D integer"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(values: np.ndarray, offsets: list, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        TokenMatrix(values, np.array(offsets) if offsets else np.array([], dtype=np.int64))


def test_arrays_of_two_widths_are_refused_by_position() -> None:
    with pytest.raises(DimensionMismatch, match=r"embedding 1 has shape \(1, 4\), expected \(num_tokens, 3\)"):
        TokenMatrix.from_arrays([np.zeros((2, 3)), np.zeros((1, 4))])
    with pytest.raises(DimensionMismatch, match=r"dimensions \[2, 3\]"):
        TokenMatrix.concatenate([TokenMatrix(np.zeros((0, 2)), [0]), TokenMatrix(np.zeros((0, 3)), [0])])
    with pytest.raises(InvalidInput, match="zero matrices"):
        TokenMatrix.concatenate([])


def test_an_index_beyond_the_end_is_an_index_error() -> None:
    with pytest.raises(IndexError, match="text 2 of a TokenMatrix of 2"):
        TokenMatrix.from_arrays(arrays_of([1, 1]))[2]


@pytest.mark.parametrize("positions", [[True, False], [0.0, 1.5], [[0, 1]], 0, ["a"]])
def test_positions_that_are_no_integers_are_refused(positions: object) -> None:
    with pytest.raises(InvalidInput, match=r"positions must be 1-D integers.*np\.flatnonzero"):
        TokenMatrix.from_arrays(arrays_of([1, 2])).take(positions)


def test_texts_are_taken_in_the_given_order() -> None:
    matrix = TokenMatrix.from_arrays(arrays_of([1, 2, 3]))
    assert matrix.take(np.array([2, 0, -1], dtype=np.int8)).lengths.tolist() == [3, 1, 3]
    assert matrix.take(np.array([1], dtype=np.uint64)).lengths.tolist() == [2]
    empty = matrix.take([])
    assert (len(empty), empty.dim, empty.dtype) == (0, 3, np.float32)
    with pytest.raises(IndexError):
        matrix.take([3])


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        ([np.float16, np.float32], np.float32),
        ([np.float32, np.float64, np.float16], np.float64),
        ([ml_dtypes.bfloat16, np.float32], np.float32),
        ([np.float16, ml_dtypes.bfloat16], np.float32),
        ([ml_dtypes.bfloat16, np.float16, np.float64], np.float64),
        ([ml_dtypes.bfloat16, ml_dtypes.bfloat16], ml_dtypes.bfloat16),
        ([np.int8, np.int8], np.int8),
    ],
)
def test_arrays_of_several_dtypes_are_packed_without_rounding(dtypes: list, expected: type) -> None:
    arrays = [np.array([[1.0, 3.0 + position]]).astype(dtype) for position, dtype in enumerate(dtypes)]
    for order in (arrays, arrays[::-1]):
        matrix = TokenMatrix.from_arrays(order)
        assert matrix.dtype == expected
        assert all(np.array_equal(left, right) for left, right in zip(matrix, order, strict=True))


def test_dtypes_that_cannot_be_joined_are_named() -> None:
    with pytest.raises(InvalidInput, match=r"bfloat16.*int32.*have no common dtype"):
        TokenMatrix.from_arrays([np.ones((1, 2), dtype=ml_dtypes.bfloat16), np.ones((1, 2), dtype=np.int32)])
    matrix = TokenMatrix.from_arrays(arrays_of([1]))
    with pytest.raises(InvalidInput, match=r"dtypes \['float16', 'float32'\].*astype"):
        TokenMatrix.concatenate([matrix, matrix.astype(np.float16)])


def test_what_is_no_array_of_two_dimensions_is_refused_by_position() -> None:
    with pytest.raises(DimensionMismatch, match=r"embedding 0 has shape \(\), expected \(num_tokens, dim\)"):
        TokenMatrix.from_arrays([np.array(1.0)])
    with pytest.raises(DimensionMismatch, match=r"embedding 1 has shape \(3,\), expected \(num_tokens, 3\)"):
        TokenMatrix.from_arrays([np.zeros((2, 3)), np.zeros(3)])
    with pytest.raises(InvalidInput, match="embedding 0 must be a 2-D numpy array, got list"):
        TokenMatrix.from_arrays([[[1.0, 2.0]]])


def test_texts_are_found_by_their_vectors() -> None:
    arrays = arrays_of([2, 2, 3])
    matrix = TokenMatrix.from_arrays([*arrays, arrays[1]])
    assert arrays[1] in matrix
    assert arrays[1][:1] not in matrix
    assert "text" not in matrix
    assert (matrix.index(arrays[1]), matrix.index(arrays[1], 2), matrix.count(arrays[1])) == (1, 3, 2)
    with pytest.raises(ValueError, match="none of the 4 texts"):
        matrix.index(arrays[2], 3)
