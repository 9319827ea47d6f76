"""Proves that MaxSim gives the reference's scores for every form of input, on the native and on the torch path."""

import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import torch

from serotine.errors import DimensionMismatch, InvalidInput
from serotine.scores import _padding as padding
from serotine.scores import autograd, maxsim, maxsim_pairwise, maxsim_reference, tensors
from serotine.scores._inputs import pack_side
from serotine.scores.dispatch import maxsim_own
from serotine.scores.quantized import quantize
from serotine.types import TokenMatrix

DIM = 24
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def texts(lengths, seed):
    generator = np.random.default_rng(seed)
    return [generator.standard_normal((length, DIM)).astype(np.float32) for length in lengths]


@pytest.fixture
def queries():
    return texts([5, 1, 0, 8], seed=1)


@pytest.fixture
def documents():
    return texts([3, 17, 0, 1, 40, 16], seed=2)


def packed(arrays):
    return TokenMatrix.from_arrays(arrays, dim=DIM)


def padded(arrays, fill=0.0):
    """Pad to one longer than the longest; the padding holds ``fill``."""
    longest = max(len(array) for array in arrays) + 1
    values = np.full((len(arrays), longest, DIM), fill, dtype=np.float32)
    mask = np.zeros((len(arrays), longest), dtype=bool)
    for row, array in enumerate(arrays):
        values[row, : len(array)] = array
        mask[row, : len(array)] = True
    return values, mask


def with_gradient(value):
    return torch.as_tensor(value).clone().requires_grad_()


FORMS = {
    "list of arrays": lambda arrays: (arrays, None),
    "packed": lambda arrays: (packed(arrays), None),
    "generator": lambda arrays: (iter(arrays), None),
    "padded array and mask": lambda arrays: padded(arrays, fill=7.0),
    "padded array with zero rows": lambda arrays: (padded(arrays)[0], None),
    "list of tensors": lambda arrays: ([torch.from_numpy(array) for array in arrays], None),
    "padded tensor and mask": lambda arrays: tuple(torch.from_numpy(part) for part in padded(arrays, fill=7.0)),
    "padded tensor with zero rows": lambda arrays: (torch.from_numpy(padded(arrays)[0]), None),
    "list with gradients": lambda arrays: ([with_gradient(array) for array in arrays], None),
    "padded with gradients": lambda arrays: (with_gradient(padded(arrays)[0]), None),
    "padded with gradients and integer mask": lambda arrays: (
        with_gradient(padded(arrays, fill=7.0)[0]),
        torch.from_numpy(padded(arrays)[1]).long(),
    ),
    "float64 tensor": lambda arrays: (torch.from_numpy(padded(arrays)[0]).double(), None),
}


def as_numpy(scores):
    return scores.detach().numpy() if isinstance(scores, torch.Tensor) else scores


@pytest.mark.parametrize("document_form", FORMS)
@pytest.mark.parametrize("query_form", FORMS)
def test_every_form_of_input_scores_as_the_reference_does(queries, documents, query_form, document_form):
    expected = maxsim_reference(packed(queries), packed(documents))
    query_side, queries_mask = FORMS[query_form](queries)
    document_side, documents_mask = FORMS[document_form](documents)
    scores = maxsim(query_side, document_side, queries_mask, documents_mask)
    np.testing.assert_allclose(as_numpy(scores), expected, **TOLERANCE)


@pytest.mark.parametrize("form", FORMS)
def test_pairs_are_the_diagonal(queries, documents, form):
    documents = documents[:4]
    expected = np.diagonal(maxsim_reference(packed(queries), packed(documents)))
    query_side, queries_mask = FORMS[form](queries)
    document_side, documents_mask = FORMS[form](documents)
    scores = maxsim_pairwise(query_side, document_side, queries_mask, documents_mask)
    np.testing.assert_allclose(as_numpy(scores), expected, **TOLERANCE)


@pytest.mark.parametrize("form", FORMS)
def test_a_query_scores_the_documents_that_follow_in_its_group(queries, form):
    documents = texts([4, 0, 9, 2, 1, 6, 3, 8], seed=3)
    full = maxsim_reference(packed(queries), packed(documents))
    expected = np.stack([full[row, 2 * row : 2 * row + 2] for row in range(4)])
    query_side, queries_mask = FORMS[form](queries)
    document_side, documents_mask = FORMS[form](documents)
    scores = maxsim_own(query_side, document_side, queries_mask, documents_mask, documents_per_query=2)
    np.testing.assert_allclose(as_numpy(scores), expected, **TOLERANCE)


@pytest.mark.parametrize("form", FORMS)
def test_one_2d_text_is_a_batch_of_one(queries, documents, form):
    expected = maxsim_reference(packed(queries[:1]), packed(documents))
    document_side, documents_mask = FORMS[form](documents)
    np.testing.assert_allclose(as_numpy(maxsim(queries[0], document_side, None, documents_mask)), expected, **TOLERANCE)
    mask = np.array([True, False, True, False, True])
    expected = maxsim_reference(packed([queries[0][mask]]), packed(documents))
    document_side, documents_mask = FORMS[form](documents)
    np.testing.assert_allclose(as_numpy(maxsim(queries[0], document_side, mask, documents_mask)), expected, **TOLERANCE)


@pytest.mark.parametrize("gradients", [False, True])
def test_masked_tokens_take_no_part_whatever_they_hold(gradients):
    generator = np.random.default_rng(4)
    query, document = generator.standard_normal((3, 6, DIM)), -np.abs(generator.standard_normal((5, 20, DIM)))
    query_mask, document_mask = generator.random((3, 6)) < 0.6, generator.random((5, 20)) < 0.5
    document_mask[4] = False
    expected = maxsim_reference(
        packed([row[mask] for row, mask in zip(query, query_mask, strict=True)]),
        packed([row[mask] for row, mask in zip(document, document_mask, strict=True)]),
    )
    query[~query_mask], document[~document_mask] = np.nan, np.nan
    query, document = (torch.from_numpy(part).float().requires_grad_(gradients) for part in (query, document))
    scores = maxsim(query, document, torch.from_numpy(query_mask), torch.from_numpy(document_mask))
    np.testing.assert_allclose(as_numpy(scores), expected, **TOLERANCE)
    assert np.isneginf(as_numpy(scores)[:, 4]).all()


def test_the_branches_for_devices_score_as_the_reference_does(queries, documents, monkeypatch):
    for module in (autograd, tensors):
        monkeypatch.setattr(module, "is_cpu", lambda tensor: False)
    expected = maxsim_reference(packed(queries), packed(documents))
    (query_side, queries_mask), (document_side, documents_mask) = padded(queries, 7.0), padded(documents, 7.0)
    query_side[~queries_mask] = np.nan
    query = with_gradient(query_side)
    scores = maxsim(query, document_side, queries_mask, documents_mask)
    np.testing.assert_allclose(as_numpy(scores), expected, **TOLERANCE)
    scores[:, 0].sum().backward()
    assert query.grad.isfinite().all()


@pytest.mark.parametrize("function", [maxsim, maxsim_pairwise])
def test_masked_tokens_get_no_gradient_and_spoil_no_other(function):
    generator = torch.Generator().manual_seed(11)
    sides, masks = [], []
    for num_tokens in (6, 20):
        mask = torch.rand(3, num_tokens, generator=generator) < 0.6
        mask[:, 0] = True
        side = torch.randn(3, num_tokens, DIM, generator=generator)
        sides.append(side.masked_fill(~mask.unsqueeze(-1), torch.nan).requires_grad_())
        masks.append(mask)
    function(*sides, *masks).sum().backward()
    for side, mask in zip(sides, masks, strict=True):
        assert side.grad.isfinite().all()
        assert not side.grad[~mask].any()
        assert side.grad[mask].any()


@pytest.mark.parametrize("gradients", [False, True])
def test_masked_as_zero_multiplies_masked_similarities_by_zero(gradients):
    generator = torch.Generator().manual_seed(5)
    query = torch.randn(3, 6, DIM, generator=generator)
    document = -torch.randn(5, 20, DIM, generator=generator).abs() * query[0, 0].sign()
    query_mask = torch.rand(3, 6, generator=generator) < 0.6
    document_mask = torch.rand(5, 20, generator=generator) < 0.5
    document_mask[3], document_mask[4] = True, False
    similarities = torch.einsum("ash,bth->abst", query, document)
    similarities = similarities * query_mask[:, None, :, None] * document_mask[None, :, None, :]
    expected = similarities.max(dim=-1).values.sum(dim=-1)
    assert not torch.allclose(maxsim(query, document, query_mask, document_mask)[:, :4], expected[:, :4])
    scores = maxsim(query.requires_grad_(gradients), document, query_mask, document_mask, masked_as_zero=True)
    np.testing.assert_allclose(as_numpy(scores), expected.numpy(), **TOLERANCE)


@pytest.mark.parametrize("form", ["list of arrays", "padded array and mask", "list with gradients"])
def test_length_normalize_divides_by_the_query_tokens_that_count(queries, documents, form):
    expected = maxsim_reference(packed(queries), packed(documents)) / np.array([5, 1, 1, 8])[:, None]
    query_side, queries_mask = FORMS[form](queries)
    scores = maxsim(query_side, documents, queries_mask, length_normalize=True)
    np.testing.assert_allclose(as_numpy(scores), expected, **TOLERANCE)
    pairs = maxsim_pairwise(FORMS[form](queries)[0], documents[:4], queries_mask, length_normalize=True)
    np.testing.assert_allclose(as_numpy(pairs), np.diagonal(expected), **TOLERANCE)


@pytest.mark.parametrize("masks", ["list", "padded"])
@pytest.mark.parametrize("gradients", [False, True])
def test_ragged_texts_take_one_mask_each_or_one_padded_mask(documents, masks, gradients):
    generator = np.random.default_rng(6)
    each = [generator.random(len(document)) < 0.5 for document in documents]
    kept = [document[mask] for document, mask in zip(documents, each, strict=True)]
    query = texts([4], seed=7)
    expected = maxsim_reference(packed(query), packed(kept))
    documents_mask = each
    if masks == "padded":
        documents_mask = np.ones((6, 40), dtype=np.uint8)  # what lies beyond a text is not read
        for row, mask in enumerate(each):
            documents_mask[row, : len(mask)] = mask
    query = [with_gradient(query[0])] if gradients else query
    np.testing.assert_allclose(as_numpy(maxsim(query, documents, None, documents_mask)), expected, **TOLERANCE)


@pytest.mark.parametrize("gradients", [False, True])
def test_the_sides_may_differ_in_dtype(queries, documents, gradients):
    halves = [document.astype(np.float16) for document in documents]
    expected = maxsim_reference(packed(queries), packed(halves))
    query_side = FORMS["list with gradients"](queries)[0] if gradients else queries
    np.testing.assert_allclose(as_numpy(maxsim(query_side, halves)), expected, **TOLERANCE)
    bfloats = [torch.from_numpy(document).bfloat16() for document in documents]
    expected = maxsim_reference(packed(queries), packed([document.float().numpy() for document in bfloats]))
    np.testing.assert_allclose(as_numpy(maxsim(query_side, bfloats)), expected, **TOLERANCE)
    mixed = [bfloats[0], *documents[1:]]
    expected = maxsim_reference(packed(queries), packed([bfloats[0].float().numpy(), *documents[1:]]))
    np.testing.assert_allclose(as_numpy(maxsim(query_side, mixed)), expected, **TOLERANCE)


@pytest.mark.parametrize("gradients", [False, True])
def test_numpy_bfloat16_and_float64_and_integers_are_read(gradients):
    query = torch.randn(2, 3, DIM).requires_grad_(gradients)
    for dtype in (ml_dtypes.bfloat16, np.float64, np.int64):
        document = (np.random.default_rng(8).standard_normal((4, 5, DIM)) * 3).astype(dtype)
        expected = maxsim_reference(packed(list(query.detach().numpy())), packed(list(document.astype(np.float32))))
        np.testing.assert_allclose(as_numpy(maxsim(query, document)), expected, **TOLERANCE)


def test_negative_zeros_of_bfloat16_are_padding():
    document = torch.zeros(1, 3, DIM, dtype=torch.bfloat16)
    document[0, 1:] = -0.0
    document[0, 0] = 1
    assert maxsim(-torch.ones(1, DIM), document).tolist() == [[-float(DIM)]]


def test_results_belong_to_the_library_of_the_input(queries, documents):
    tensors = [torch.from_numpy(document) for document in documents]
    assert isinstance(maxsim(queries, documents), np.ndarray)
    assert maxsim(queries, documents).dtype == np.float32
    assert maxsim(queries, tensors).dtype == torch.float32
    assert maxsim(tensors, queries).dtype == torch.float32
    assert maxsim([tensor.double() for tensor in tensors], queries).dtype == torch.float64
    assert maxsim([tensor.bfloat16().requires_grad_() for tensor in tensors], queries).dtype == torch.float32


def test_gradients_are_not_recorded_where_they_are_off(documents):
    query = with_gradient(documents[0])
    assert maxsim(query, documents).requires_grad
    with torch.no_grad():
        assert not maxsim(query, documents).requires_grad


@pytest.mark.parametrize("gradients", [False, True])
def test_nothing_to_score_gives_an_empty_matrix(documents, gradients):
    some = [with_gradient(document) for document in documents] if gradients else documents
    assert tuple(maxsim([], some).shape) == (0, 6)
    assert tuple(maxsim(some, []).shape) == (6, 0)
    assert tuple(maxsim(torch.zeros(0, 3, DIM), some).shape) == (0, 6)
    assert tuple(maxsim_pairwise([], torch.zeros(0, 2, DIM, requires_grad=gradients)).shape) == (0,)
    assert tuple(maxsim([], []).shape) == (0, 0)


@pytest.mark.parametrize("gradients", [False, True])
def test_texts_without_any_token_score_as_the_contract_says(gradients):
    some, none = torch.ones(2, 3, DIM, requires_grad=gradients), torch.zeros(2, 0, DIM, requires_grad=gradients)
    assert maxsim(some, none).tolist() == [[-np.inf] * 2] * 2
    assert maxsim(none, some).tolist() == [[0.0] * 2] * 2
    assert maxsim(none, none).tolist() == [[-np.inf] * 2] * 2
    if gradients:
        maxsim(some, none).nan_to_num(neginf=0).sum().backward()
        assert some.grad.tolist() == torch.zeros_like(some).tolist()


@pytest.mark.parametrize("gradients", [False, True])
def test_nan_propagates_to_the_scores_it_enters_and_no_others(documents, gradients):
    query = texts([4], seed=9)[0]
    documents[4][33, 5] = np.nan
    scores = as_numpy(maxsim(with_gradient(query) if gradients else query, documents))
    assert np.isnan(scores[0]).tolist() == [False, False, False, False, True, False]
    query[2, 0] = np.nan
    scores = as_numpy(maxsim(with_gradient(query) if gradients else query, documents))
    assert np.isnan(scores[0]).tolist() == [True, True, False, True, True, True]


def test_ragged_documents_are_padded_in_pieces(documents, monkeypatch):
    query = with_gradient(texts([4], seed=10)[0])
    whole = maxsim(query, documents)
    lengths = np.array([len(document) for document in documents])
    assert list(padding._pieces(lengths, 40)) == [(0, 2), (2, 4), (4, 5), (5, 6)]
    assert list(padding._pieces(lengths, None)) == [(0, 6)]
    pieces = list(padding.pad_in_pieces(documents, None, what="documents", device=query.device, max_tokens=40))
    assert [tuple(piece.tokens.shape[:2]) for piece in pieces] == [(2, 17), (2, 1), (1, 40), (1, 16)]
    monkeypatch.setattr(padding.pad_in_pieces, "__kwdefaults__", {"max_tokens": 40})
    assert torch.equal(maxsim(query, documents), whole)


def test_int8_documents_go_to_the_native_engine(queries, documents):
    exact = maxsim(queries[:2], documents)
    finite = np.isfinite(exact)
    approximate = maxsim(queries[:2], quantize(packed(documents)))
    np.testing.assert_allclose(approximate[finite], exact[finite], rtol=0.02, atol=0.5)
    with pytest.raises(InvalidInput, match="int8 documents"):
        maxsim(with_gradient(queries[0]), quantize(packed(documents)))
    with pytest.raises(InvalidInput, match="only documents may be int8"):
        maxsim(quantize(packed(documents)), documents)
    with pytest.raises(InvalidInput, match="mask before quantize"):
        maxsim(queries, quantize(packed(documents)), None, np.ones((6, 40), dtype=bool))


def test_input_that_fits_is_not_copied(documents):
    matrix = packed(documents)
    assert pack_side(matrix, None, what="documents") is matrix
    for array in (
        np.ones((2, 3, DIM), np.float32),
        torch.ones(2, 3, DIM),
        torch.ones(2, 3, DIM, dtype=torch.bfloat16),
    ):
        before = array.view(torch.int16).numpy() if getattr(array, "dtype", None) is torch.bfloat16 else array
        assert np.shares_memory(pack_side(array, None, what="documents").values, np.asarray(before))


def test_numpy_input_never_imports_torch():
    code = (
        "import sys, numpy as np; from serotine.scores import align, colbert_kd_scores, colbert_scores, maxsim;"
        "maxsim(np.ones((2, 3, 4)), [np.ones((2, 4))]); colbert_scores(np.ones((2, 3, 4)), np.ones((2, 2, 5, 4)));"
        "colbert_kd_scores(np.ones((2, 3, 4)), np.ones((2, 2, 5, 4))); align(np.ones((3, 4)), np.ones((2, 4)));"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


BAD_INPUT = {
    "two widths": (lambda one: (one, np.ones((2, 3, DIM + 1))), DimensionMismatch, "dimension 24, documents 25"),
    "rank 1": (lambda one: (one, np.ones(DIM)), DimensionMismatch, r"documents must be 2-D .* got shape \(24,\)"),
    "rank 4": (lambda one: (one, np.ones((1, 1, 2, DIM))), DimensionMismatch, "documents must be 2-D"),
    "ragged widths": (lambda one: (one, [np.ones((2, DIM)), np.ones((2, 3))]), DimensionMismatch, "documents"),
    "a list of vectors": (lambda one: (one, [np.ones(DIM)]), DimensionMismatch, "documents"),
    "text": (lambda one: (one, "bats"), InvalidInput, "documents must be an array or a list of arrays, got str"),
    "a number": (lambda one: (3, one), InvalidInput, "queries must be an array or a list of arrays, got int"),
    "strings": (lambda one: (one, [["bats"]]), InvalidInput, "numbers"),
    "narrow mask": (
        lambda one: (one, np.ones((2, 3, DIM)), None, np.ones((2, 2), bool)),
        InvalidInput,
        r"documents_mask has shape \(2, 2\), expected \(2, 3\)",
    ),
    "weights as mask": (
        lambda one: (one, np.ones((2, 3, DIM)), None, np.ones((2, 3))),
        InvalidInput,
        "documents_mask has dtype .*float64, expected bool or integers",
    ),
    "weights as tensor mask": (
        lambda one: (one, np.ones((2, 3, DIM)), None, torch.ones(2, 3)),
        InvalidInput,
        "documents_mask has dtype .*float32, expected bool or integers",
    ),
    "wide tensor mask": (
        lambda one: (one, np.ones((2, 3, DIM)), None, torch.ones(2, 4).bool()),
        InvalidInput,
        r"documents_mask has shape \(2, 4\), expected \(2, 3\)",
    ),
    "too few masks": (
        lambda one: (one, [np.ones((2, DIM))] * 2, None, [np.ones(2, bool)]),
        InvalidInput,
        "documents_mask has 1 masks for 2 texts",
    ),
    "one short mask": (
        lambda one: (one, [np.ones((2, DIM))] * 2, None, [np.ones(2, bool), np.ones(1, bool)]),
        InvalidInput,
        r"documents_mask\[1\] has shape \(1,\), expected \(2,\)",
    ),
}


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_raises_an_error_that_names_the_value(case, gradients):
    arguments, error, message = BAD_INPUT[case]
    with pytest.raises(error, match=message):
        maxsim(*arguments(torch.ones(1, 3, DIM, requires_grad=gradients)))


def test_pairs_and_groups_need_matching_numbers(documents):
    with pytest.raises(InvalidInput, match="as many queries as documents, got 6 and 5"):
        maxsim_pairwise(documents, documents[:5])
    with pytest.raises(InvalidInput, match="1 queries with 2 documents each need 2 documents, got 6"):
        maxsim_own(documents[0], documents, documents_per_query=2)


@pytest.mark.parametrize("option", ["chunk_elements", "num_threads"])
def test_an_option_that_is_not_positive_is_refused(documents, option):
    with pytest.raises(InvalidInput, match=f"{option} must be .* got 0"):
        maxsim(documents, documents, **{option: 0})


def test_training_needs_no_engine():
    script = """
import sys
sys.modules["serotine._engine"] = None
import torch
from serotine.losses import Contrastive
from serotine.scores import colbert_scores
queries, documents = torch.ones(2, 3, 4, requires_grad=True), torch.ones(2, 1, 5, 4)
colbert_scores(queries, documents).sum().backward()
print(queries.grad.sum().item())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "48.0", done.stderr
