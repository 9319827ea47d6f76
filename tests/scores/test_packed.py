"""Packed MaxSim equals the plain reference, with the same bits on every instruction set and for any thread count."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serotine import _engine
from serotine.errors import DimensionMismatch, InvalidInput
from serotine.scores.packed import available_threads, maxsim_packed, maxsim_packed_pairwise
from serotine.scores.quantized import Int8TokenMatrix, quantize
from serotine.scores.reference import maxsim_reference
from serotine.types import TokenMatrix

INSTRUCTION_SETS = _engine.instruction_sets()
FLOAT_DTYPES = [np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]
AWKWARD_DIMS = [1, 2, 3, 5, 15, 16, 17, 64, 128, 131, 768]


def random_matrix(
    lengths: npt.ArrayLike, dim: int, *, seed: int = 0, dtype: npt.DTypeLike = np.float32, scale: float = 1.0
) -> TokenMatrix:
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    values = np.random.default_rng(seed).standard_normal((int(offsets[-1]), dim)) * scale
    return TokenMatrix(values.astype(dtype), offsets)


def engine_scores(
    queries: TokenMatrix, documents: TokenMatrix | Int8TokenMatrix, instruction_set: str, **options: Any
) -> npt.NDArray[np.float32]:
    """Call the engine as maxsim_packed does, with one instruction set."""

    def parts(matrix: TokenMatrix | Int8TokenMatrix) -> tuple[Any, str, Any]:
        if isinstance(matrix, Int8TokenMatrix):
            return matrix.codes, "int8", matrix.offsets
        name = matrix.dtype.name
        return (matrix.values if name == "float32" else matrix.values.view(np.uint16)), name, matrix.offsets

    if isinstance(documents, Int8TokenMatrix):
        options["document_scales"] = documents.scales
    return _engine.maxsim(*parts(queries), *parts(documents), instruction_set=instruction_set, **options)


def assert_same_bits(actual: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(actual.view(np.uint32), expected.view(np.uint32))


def assert_every_instruction_set_agrees(
    queries: TokenMatrix, documents: TokenMatrix | Int8TokenMatrix, **options: Any
) -> npt.NDArray[np.float32]:
    scores = engine_scores(queries, documents, "scalar", **options)
    for instruction_set in INSTRUCTION_SETS:
        assert_same_bits(engine_scores(queries, documents, instruction_set, **options), scores)
    return scores


@pytest.mark.parametrize("dim", AWKWARD_DIMS)
@pytest.mark.parametrize("dtype", FLOAT_DTYPES, ids=str)
def test_scores_equal_the_reference_for_every_dtype_and_dimension(dim: int, dtype: np.dtype[Any]) -> None:
    queries = random_matrix([5, 0, 32, 17, 1], dim, seed=dim, dtype=dtype)
    documents = random_matrix([3, 0, 12, 1, 40, 11, 13, 0, 25], dim, seed=dim + 1, dtype=dtype)
    scores = assert_every_instruction_set_agrees(queries, documents)
    np.testing.assert_allclose(scores, maxsim_reference(queries, documents), rtol=2e-5, atol=2e-5 * dim)
    assert_same_bits(maxsim_packed(queries, documents), scores)


@pytest.mark.parametrize(("query_dtype", "document_dtype"), itertools.product(FLOAT_DTYPES, FLOAT_DTYPES), ids=str)
def test_queries_and_documents_may_have_different_dtypes(
    query_dtype: np.dtype[Any], document_dtype: np.dtype[Any]
) -> None:
    queries = random_matrix([4, 30], 20, seed=1, dtype=query_dtype)
    documents = random_matrix([9, 2, 30], 20, seed=2, dtype=document_dtype)
    widened = maxsim_packed(queries.astype(np.float32), documents.astype(np.float32))
    assert_same_bits(maxsim_packed(queries, documents), widened)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_every_16_bit_pattern_is_widened_exactly(kind: str) -> None:
    dtype = np.float16 if kind == "float16" else ml_dtypes.bfloat16
    bits = np.arange(2**16, dtype=np.uint16)[:, None]
    documents = TokenMatrix(bits.view(dtype), np.arange(2**16 + 1))
    one = TokenMatrix.from_arrays([np.ones((1, 1), dtype=np.float32)])
    scores = assert_every_instruction_set_agrees(one, documents)
    # A sum of scores starts at +0, which turns -0 into +0: compare values, NaN for NaN.
    np.testing.assert_array_equal(scores[0], bits[:, 0].view(dtype).astype(np.float32))


@settings(deadline=None, max_examples=60)
@given(
    query_lengths=st.lists(st.integers(0, 40), max_size=6),
    document_lengths=st.lists(st.integers(0, 60), max_size=12),
    dim=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["float32", "float16", "bfloat16", "int8"]),
)
def test_any_ragged_shapes_agree_on_every_instruction_set(
    query_lengths: list[int], document_lengths: list[int], dim: int, seed: int, kind: str
) -> None:
    queries = random_matrix(query_lengths, dim, seed=seed)
    documents = random_matrix(document_lengths, dim, seed=seed + 1)
    if kind == "int8":
        assert_every_instruction_set_agrees(queries, quantize(documents))
        return
    documents = documents.astype(ml_dtypes.bfloat16 if kind == "bfloat16" else kind)
    scores = assert_every_instruction_set_agrees(queries, documents)
    np.testing.assert_allclose(scores, maxsim_reference(queries, documents), rtol=2e-5, atol=2e-5 * dim)


@pytest.mark.parametrize("num_query_tokens", [1, 15, 16, 17, 31, 32, 33, 48, 1000, 4096])
def test_queries_of_any_length_fill_panels_correctly(num_query_tokens: int) -> None:
    queries = random_matrix([num_query_tokens, 3, num_query_tokens], 8, seed=num_query_tokens)
    documents = random_matrix([1, 30, 12], 8, seed=7)
    scores = assert_every_instruction_set_agrees(queries, documents)
    np.testing.assert_allclose(scores, maxsim_reference(queries, documents), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_long_documents_that_span_blocks_keep_their_maximum(dtype: str) -> None:
    # 9,000 tokens of 131 dimensions are many blocks, and the best token is in the first, a middle and the last one.
    documents = random_matrix([9000, 9000, 9000, 5], 131, seed=3, scale=0.01)
    for document, token in enumerate([0, 4321, 8999]):
        documents[document][token] = 1.0
    queries = TokenMatrix.from_arrays([np.ones((40, 131), dtype=np.float32), np.ones((1, 131), dtype=np.float32)])
    packed = quantize(documents) if dtype == "int8" else documents.astype(dtype)
    for instruction_set in set(INSTRUCTION_SETS[1:]) or {"scalar"}:  # the scalar kernels take minutes at this size
        scores = engine_scores(queries, packed, instruction_set)
        np.testing.assert_allclose(scores[:, :3], [[40 * 131] * 3, [131] * 3], rtol=1e-2)


def test_thousands_of_one_token_documents_score_like_one_dot_product_each() -> None:
    documents = random_matrix(np.ones(5000, dtype=np.int64), 4, seed=1)
    queries = random_matrix([1], 4, seed=2)
    expected = documents.values.astype(np.float64) @ queries.values[0].astype(np.float64)
    for queries_at_once in (1, 3000):  # many queries: their tokens are scored in batches
        repeated = TokenMatrix.from_arrays([queries[0]] * queries_at_once)
        scores = maxsim_packed(repeated, documents)
        np.testing.assert_allclose(scores[0], expected, rtol=1e-5, atol=1e-5)
        assert_same_bits(scores[-1], scores[0])


@pytest.mark.parametrize("num_threads", [1, 2, 3, 8])
@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
def test_the_number_of_threads_does_not_change_a_bit(num_threads: int, kind: str) -> None:
    rng = np.random.default_rng(5)
    documents = random_matrix(rng.integers(0, 200, size=700), 48, seed=5)  # enough work for 8 threads
    queries = random_matrix([32, 7, 40, 0, 64], 48, seed=6)
    packed = quantize(documents) if kind == "int8" else documents.astype(kind)
    alone = maxsim_packed(queries, packed, num_threads=1)
    assert_same_bits(maxsim_packed(queries, packed, num_threads=num_threads), alone)


def test_concurrent_calls_from_python_threads_do_not_disturb_each_other() -> None:
    queries = [random_matrix([32], 64, seed=seed) for seed in range(8)]
    documents = random_matrix([50] * 200, 64, seed=99)
    expected = [maxsim_packed(query, documents, num_threads=1) for query in queries]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda query: maxsim_packed(query, documents, num_threads=2), queries))
    for scores, alone in zip(together, expected, strict=True):
        assert_same_bits(scores, alone)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("token", [0, 5, 11, 12, 17])
def test_nan_and_infinity_in_a_document_behave_as_in_the_reference(value: float, token: int) -> None:
    documents = random_matrix([6, 12, 7, 0, 30], 19, seed=4)
    documents.values[token, 7] = value
    queries = random_matrix([3, 33, 0], 19, seed=5)
    scores = assert_every_instruction_set_agrees(queries, documents)
    with np.errstate(invalid="ignore"):
        expected = maxsim_reference(queries, documents)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_nan_in_a_query_token_makes_the_scores_of_its_query_alone_nan(kind: str) -> None:
    queries = random_matrix([3, 3, 3], 10, seed=1)
    queries.values[4, 9] = np.nan
    documents = random_matrix([5, 0, 20], 10, seed=2)
    scores = assert_every_instruction_set_agrees(queries, quantize(documents) if kind == "int8" else documents)
    assert np.isnan(scores[1, [0, 2]]).all()
    assert scores[1, 1] == -np.inf  # there is nothing to compare the NaN with
    assert not np.isnan(scores[[0, 2]]).any()


def test_nan_that_is_not_the_last_token_of_its_document_is_not_forgotten() -> None:
    documents = TokenMatrix.from_arrays([np.ones((30, 2), dtype=np.float32)])
    queries = random_matrix([1, 20], 2)
    for token in range(30):
        documents.values[:] = 1.0
        documents.values[token, 1] = np.nan
        assert np.isnan(assert_every_instruction_set_agrees(queries, documents)).all()


def test_huge_values_overflow_to_infinity_as_in_the_reference() -> None:
    huge = np.full((13, 4), 3e38, dtype=np.float32)
    documents = TokenMatrix.from_arrays([huge, -huge])
    queries = TokenMatrix.from_arrays([np.full((2, 4), 3e38, dtype=np.float32)])
    assert assert_every_instruction_set_agrees(queries, documents).tolist() == [[np.inf, -np.inf]]


def test_subnormal_values_are_not_flushed_to_zero() -> None:
    tiny = np.full((1, 1), 1e-40, dtype=np.float32)
    one = np.ones((1, 1), dtype=np.float32)
    scores = assert_every_instruction_set_agrees(TokenMatrix.from_arrays([one]), TokenMatrix.from_arrays([tiny]))
    assert scores[0, 0] == tiny[0, 0] != 0


def test_signed_zeros_and_ties_have_one_result() -> None:
    zeros = np.array([[0.0], [-0.0], [0.0], [-0.0]] * 5, dtype=np.float32)
    documents = TokenMatrix(zeros, [0, 1, 2, 7, 20])
    queries = TokenMatrix(np.array([[1.0], [-1.0], [0.0]], dtype=np.float32), [0, 1, 3])
    scores = assert_every_instruction_set_agrees(queries, documents)
    assert not np.signbit(scores).any()


def test_an_empty_document_scores_minus_infinity_and_an_empty_query_zero() -> None:
    documents = random_matrix([0, 4, 0], 3)
    queries = random_matrix([0, 2], 3)
    scores = maxsim_packed(queries, documents)
    assert scores[0].tolist() == [-np.inf, 0.0, -np.inf]
    assert scores[1, 0] == scores[1, 2] == -np.inf
    assert np.isfinite(scores[1, 1])


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
def test_a_selection_scores_those_documents_in_that_order(kind: str) -> None:
    documents = random_matrix(np.random.default_rng(0).integers(0, 40, size=60), 24, seed=8)
    packed = quantize(documents) if kind == "int8" else documents.astype(kind)
    queries = random_matrix([32, 5], 24, seed=9)
    every = maxsim_packed(queries, packed)
    for selection in ([], [59], [3, 4, 5], [7, 7, 0, 7], np.random.default_rng(1).permutation(60)):
        scores = assert_every_instruction_set_agrees(queries, packed, selection=np.array(selection, dtype=np.int64))
        assert_same_bits(maxsim_packed(queries, packed, selection=selection), scores)
        assert_same_bits(scores, every[:, np.array(selection, dtype=np.int64)])


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_weights_multiply_the_best_match_of_each_query_token(kind: str) -> None:
    queries = random_matrix([20, 33, 1], 16, seed=1)
    documents = random_matrix([5, 40, 13], 16, seed=2)
    packed = quantize(documents) if kind == "int8" else documents
    weights = np.random.default_rng(3).standard_normal(54).astype(np.float32)
    scores = assert_every_instruction_set_agrees(queries, packed, weights=weights)
    assert_same_bits(maxsim_packed(queries, packed, weights=weights.tolist()), scores)
    single_tokens = TokenMatrix(queries.values, np.arange(55))
    best = maxsim_packed(single_tokens, packed)
    bounds = zip(queries.offsets[:-1], queries.offsets[1:], strict=True)
    expected = np.stack([weights[start:stop] @ best[start:stop] for start, stop in bounds])
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16", "int8"])
def test_pairs_have_the_bits_of_the_diagonal(kind: str) -> None:
    queries = random_matrix([3, 0, 40, 17, 33] * 9, 12, seed=1)
    documents = random_matrix([4, 8, 0, 40, 12] * 9, 12, seed=2)
    packed = quantize(documents) if kind == "int8" else documents.astype(getattr(ml_dtypes, kind, kind))
    weights = np.linspace(-1, 1, queries.num_tokens, dtype=np.float32)
    diagonal = np.diag(maxsim_packed(queries, packed, weights=weights)).copy()
    for num_threads in (1, 3):
        pairs = maxsim_packed_pairwise(queries, packed, weights=weights, num_threads=num_threads)
        assert_same_bits(pairs, diagonal)


def test_read_only_unaligned_and_strided_arrays_are_scored_alike() -> None:
    documents = random_matrix([5, 9], 7, seed=1)
    queries = random_matrix([4], 7, seed=2)
    expected = maxsim_packed(queries, documents)
    read_only = documents.values.copy()
    read_only.flags.writeable = False
    shifted = np.frombuffer(b"\0" + documents.values.tobytes(), dtype=np.uint8)[1:].view(np.float32).reshape(14, 7)
    assert not shifted.flags.aligned
    wide = np.zeros((14, 14), dtype=np.float32)
    wide[:, ::2] = documents.values
    for values in (read_only, shifted, wide[:, ::2]):
        assert_same_bits(maxsim_packed(queries, TokenMatrix(values, documents.offsets)), expected)
    mapped = TokenMatrix(documents.values, documents.offsets)
    mapped.values = wide[:, ::2]  # an array that became strided after the matrix was made
    assert_same_bits(maxsim_packed(queries, mapped), expected)


def test_uint16_bits_are_refused_unless_the_caller_says_what_they_are() -> None:
    documents = random_matrix([5, 9], 7, seed=1, dtype=ml_dtypes.bfloat16)
    bits = TokenMatrix(documents.values.view(np.uint16), documents.offsets)
    queries = random_matrix([4], 7, seed=2)
    assert_same_bits(maxsim_packed(queries, bits, uint16_kind="bfloat16"), maxsim_packed(queries, documents))
    with pytest.raises(InvalidInput, match="documents have dtype uint16"):
        maxsim_packed(queries, bits)


def test_zero_queries_or_documents_give_empty_results_of_the_right_shape() -> None:
    some = random_matrix([2, 3], 4)
    none = TokenMatrix.from_arrays([], dim=4)
    unknown_width = TokenMatrix.from_arrays([])
    for empty in (none, unknown_width):
        assert maxsim_packed(empty, some).shape == (0, 2)
        assert maxsim_packed(some, empty).shape == (2, 0)
        assert maxsim_packed_pairwise(empty, empty).shape == (0,)
    assert maxsim_packed(some, some, selection=[]).shape == (2, 0)
    assert maxsim_packed(unknown_width, some, selection=[1]).shape == (0, 1)


def test_bad_arguments_get_typed_errors_that_name_the_value() -> None:
    queries, documents = random_matrix([2], 4), random_matrix([3, 3], 4)
    with pytest.raises(DimensionMismatch, match="dimension 4, documents 5"):
        maxsim_packed(queries, random_matrix([3], 5))
    with pytest.raises(InvalidInput, match="float64"):
        maxsim_packed(queries, documents.astype(np.float64))
    with pytest.raises(InvalidInput, match=">f4"):
        maxsim_packed(queries, documents.astype(">f4"))
    with pytest.raises(InvalidInput, match=r"selection\[1\] is 2"):
        maxsim_packed(queries, documents, selection=[0, 2])
    with pytest.raises(InvalidInput, match="is -1"):
        maxsim_packed(queries, documents, selection=[-1])
    with pytest.raises(InvalidInput, match="flatnonzero"):
        maxsim_packed(queries, documents, selection=[True, False])
    with pytest.raises(InvalidInput, match="weights has 3 values"):
        maxsim_packed(queries, documents, weights=[1, 2, 3])
    with pytest.raises(InvalidInput, match=r"num_threads .* got 0"):
        maxsim_packed(queries, documents, num_threads=0)
    with pytest.raises(InvalidInput, match=r"num_threads must be a whole number from 1 to 1024, or None, got 2000"):
        maxsim_packed(queries, documents, num_threads=2000)
    with pytest.raises(InvalidInput, match="1 and 2"):
        maxsim_packed_pairwise(queries, documents)
    with pytest.raises(InvalidInput, match="dimension 0"):
        maxsim_packed(random_matrix([2], 0), random_matrix([2], 0))


def test_the_engine_itself_checks_what_it_is_given() -> None:
    values, offsets = np.zeros((4, 2), dtype=np.float32), np.array([0, 4])
    good = (values, "float32", offsets)
    for bad, message in [
        ((values, "float64", offsets), "float64"),
        ((values, "float16", offsets), "16-bit"),
        ((values, "float32", np.array([0, 5])), "number of tokens 4"),
        ((values, "float32", np.array([0, 3, 2, 4])), "decrease at 2"),
        ((values, "float32", np.array([1, 4])), "rise from 0"),
        ((values, "float32", np.empty(0, dtype=np.int64)), "rise from 0"),
        ((values.astype(np.int8), "int8", offsets), "need scales"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            _engine.maxsim(*good, *bad)
    with pytest.raises(InvalidInput, match="4 tokens but 3 scales"):
        _engine.maxsim(*good, values.astype(np.int8), "int8", offsets, document_scales=np.ones(3, dtype=np.float32))
    with pytest.raises(InvalidInput, match="unknown instruction set 'sse9'"):
        _engine.maxsim(*good, *good, instruction_set="sse9")
    with pytest.raises(InvalidInput, match="32-bit"):
        _engine.maxsim(values.astype(np.float64), "float32", offsets, *good)
    with pytest.raises(TypeError):
        _engine.maxsim(values, "float32", offsets.astype(np.int32), *good)
    with pytest.raises(TypeError):
        _engine.maxsim(values[:, ::2], "float32", offsets, *good)


def test_the_thread_count_defaults_to_the_processors_of_this_process() -> None:
    expected = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert available_threads() == expected


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_the_environment_variable_forces_an_instruction_set(instruction_set: str) -> None:
    result = run_python("import serotine._engine as e; print(e.instruction_set())", SEROTINE_ISA=instruction_set)
    assert result.stdout.strip() == instruction_set, result.stderr


def test_an_unknown_instruction_set_in_the_environment_is_an_import_error_that_lists_the_choices() -> None:
    result = run_python("import serotine.scores.packed", SEROTINE_ISA="avx9000")
    assert result.returncode != 0
    assert "ImportError" in result.stderr
    assert "SEROTINE_ISA: unknown instruction set 'avx9000'; expected one of: scalar" in result.stderr


def test_a_missing_engine_is_an_import_error_that_says_how_to_build_it() -> None:
    result = run_python("import sys; sys.modules['serotine._engine'] = None; import serotine.scores.packed")
    assert "ImportError: serotine's native engine is not built" in result.stderr
    assert "pip install -e ." in result.stderr


def test_the_process_may_fork_between_calls() -> None:
    result = run_python(
        "import os, numpy as np\n"
        "from serotine.scores.packed import maxsim_packed\n"
        "from serotine.types import TokenMatrix\n"
        "m = TokenMatrix(np.ones((60000, 32), dtype=np.float32), np.arange(0, 60001, 100))\n"
        "before = maxsim_packed(m[:1], m, num_threads=4)\n"
        "child = os.fork()\n"
        "same = np.array_equal(maxsim_packed(m[:1], m, num_threads=4), before)\n"
        "if child == 0: os._exit(0 if same else 1)\n"
        "assert same and os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0\n"
    )
    assert result.returncode == 0, result.stderr
