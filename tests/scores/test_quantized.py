"""Int8 token vectors keep the documented error bound, and the engine scores their codes exactly in integers."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serotine import _engine
from serotine.errors import InvalidInput
from serotine.scores.packed import maxsim_packed
from serotine.scores.quantized import Int8TokenMatrix, dequantize, quantize
from serotine.types import TokenMatrix


def random_matrix(lengths: list[int], dim: int, *, seed: int = 0) -> TokenMatrix:
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    values = np.random.default_rng(seed).standard_normal((int(offsets[-1]), dim)).astype(np.float32)
    return TokenMatrix(values, offsets)


def integer_scores(queries: TokenMatrix, documents: Int8TokenMatrix) -> npt.NDArray[np.float64]:
    """MaxSim of quantised queries in int64 and float64: the definition, in the plainest code."""
    quantized = quantize(queries)
    dots = quantized.codes.astype(np.int64) @ documents.codes.astype(np.int64).T
    similarities = dots * quantized.scales.astype(np.float64)[:, None] * documents.scales.astype(np.float64)
    scores = np.full((len(queries), len(documents)), -np.inf)
    for i in range(len(queries)):
        for j in range(len(documents)):
            rows = slice(*queries.offsets[i : i + 2])
            columns = slice(*documents.offsets[j : j + 2])
            if columns.start < columns.stop:
                scores[i, j] = similarities[rows, columns].max(axis=1).sum()
    return scores


@settings(deadline=None, max_examples=60)
@given(dim=st.integers(1, 70), exponent=st.integers(-44, 37), seed=st.integers(0, 2**32 - 1))
def test_no_component_is_off_by_more_than_half_a_step(dim: int, exponent: int, seed: int) -> None:
    matrix = random_matrix([4, 0, 3], dim, seed=seed)
    matrix.values *= np.float32(10.0) ** np.float32(exponent)
    quantized = quantize(matrix)
    restored = dequantize(quantized)
    error = np.abs(restored.values.astype(np.float64) - matrix.values)
    # 127 * 2^-149: what rounding a subnormal scale can add, for 127 codes.
    bound = quantized.scales.astype(np.float64)[:, None] * 0.5 * (1 + 1e-4) + 127 * 2.0**-149
    assert (error <= bound).all()
    assert restored.offsets.tolist() == matrix.offsets.tolist()


def test_the_largest_component_gets_the_largest_code_and_its_exact_value_back() -> None:
    matrix = TokenMatrix.from_arrays([np.array([[0.25, -127.0], [254.0, 1.0]], dtype=np.float32)])
    quantized = quantize(matrix)
    assert quantized.codes.tolist() == [[0, -127], [127, 0]]  # 0.25 rounds to 0, 0.5 to the even 0
    assert quantized.scales.tolist() == [1.0, 2.0]


def test_a_zero_vector_has_scale_zero_and_scores_zero() -> None:
    matrix = TokenMatrix.from_arrays([np.zeros((2, 3), dtype=np.float32)])
    quantized = quantize(matrix)
    assert quantized.scales.tolist() == [0.0, 0.0]
    assert maxsim_packed(random_matrix([2], 3), quantized).tolist() == [[0.0]]
    assert maxsim_packed(matrix, quantize(random_matrix([2], 3))).tolist() == [[0.0]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_refused_by_its_number(value: float) -> None:
    matrix = random_matrix([20_000], 2)  # more rows than are converted at once
    matrix.values[19_999, 1] = value
    with pytest.raises(InvalidInput, match="token 19999"):
        quantize(matrix)


def test_16_bit_floats_are_quantised_like_their_float32_values() -> None:
    for dtype in (np.float16, ml_dtypes.bfloat16):
        matrix = random_matrix([5, 2], 9).astype(dtype)
        direct, widened = quantize(matrix), quantize(matrix.astype(np.float32))
        assert np.array_equal(direct.codes, widened.codes)
        assert np.array_equal(direct.scales, widened.scales)


@pytest.mark.parametrize("dim", [1, 3, 4, 15, 16, 17, 128, 131, 768])
def test_the_engine_equals_integer_arithmetic_on_the_codes(dim: int) -> None:
    queries, documents = random_matrix([3, 0, 40], dim, seed=1), quantize(random_matrix([5, 0, 13, 30], dim, seed=2))
    np.testing.assert_allclose(maxsim_packed(queries, documents), integer_scores(queries, documents), rtol=3e-6)


@pytest.mark.parametrize("instruction_set", _engine.instruction_sets())
@pytest.mark.parametrize("code", [127, -127, -128])
@pytest.mark.parametrize("dim", [2, 128, 1001])
def test_the_worst_codes_neither_saturate_nor_wrap(instruction_set: str, code: int, dim: int) -> None:
    codes = np.full((13, dim), code, dtype=np.int8)
    one = np.ones(13, dtype=np.float32)
    documents = Int8TokenMatrix(codes, one, [0, 13])
    for sign in (1.0, -1.0):
        query = np.full((17, dim), 127.0 * sign, dtype=np.float32)  # quantises to codes +-127 with scale 1
        scores = _engine.maxsim(
            query,
            "float32",
            np.array([0, 17]),
            codes,
            "int8",
            documents.offsets,
            document_scales=one,
            instruction_set=instruction_set,
        )
        assert scores[0, 0] == np.float32(17.0 * 127 * sign * code * dim)


def test_scores_of_unit_vectors_are_close_to_the_float_scores() -> None:
    queries, documents = random_matrix([32] * 4, 128, seed=1), random_matrix([100] * 30, 128, seed=2)
    for matrix in (queries, documents):
        matrix.values /= np.linalg.norm(matrix.values, axis=1, keepdims=True)
    difference = maxsim_packed(queries, quantize(documents)) - maxsim_packed(queries, documents)
    assert np.abs(difference).max() < 32 * 0.002


def test_the_matrix_reports_its_shape_and_its_bytes() -> None:
    quantized = quantize(random_matrix([2, 0, 3], 8))
    assert (len(quantized), quantized.dim, quantized.num_tokens) == (3, 8, 5)
    assert quantized.lengths.tolist() == [2, 0, 3]
    assert quantized.nbytes == 5 * 8 + 5 * 4 + 4 * 8
    assert repr(quantized) == "Int8TokenMatrix(3 texts, 5 tokens, dim=8)"


def test_parts_that_do_not_fit_together_are_refused() -> None:
    codes, scales = np.zeros((3, 2), dtype=np.int8), np.ones(3, dtype=np.float32)
    with pytest.raises(InvalidInput, match="int8 and scales float32, got float32"):
        Int8TokenMatrix(codes.astype(np.float32), scales, [0, 3])
    with pytest.raises(InvalidInput, match=r"shape \(3,\)"):
        Int8TokenMatrix(codes, scales[:2], [0, 3])
    with pytest.raises(InvalidInput, match="rise from 0"):
        Int8TokenMatrix(codes, scales, [0, 4])
    for bad in (-1.0, np.nan, np.inf):
        scales[1] = bad
        with pytest.raises(InvalidInput, match=r"scales\[1\]"):
            Int8TokenMatrix(codes, scales, [0, 3])
