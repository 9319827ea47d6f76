"""Proves that the kernels for CUDA do what torch does: values, winners and gradients, in each dtype.

They run on a CUDA device, or, where triton is installed and TRITON_INTERPRET=1 is set, in triton's interpreter, which
runs the same kernels on the CPU and shows that their arithmetic is right, not that they compile.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from serotine.scores import autograd

HAS_TRITON = importlib.util.find_spec("triton") is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu"

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not HAS_TRITON, reason="the package triton is not installed"),
    pytest.mark.skipif(DEVICE == "cpu" and not INTERPRETED, reason="no CUDA device, and TRITON_INTERPRET=1 is not set"),
]

SHAPES = {
    "one of each": (1, 1, 1, 1, 16),
    "tiles that fit": (1, 2, 64, 128, 64),
    "tiles that do not fit": (2, 3, 70, 131, 40),
    "several blocks of dimensions": (1, 2, 5, 7, 200),
    "many documents, short ones": (3, 17, 9, 5, 32),
    "documents in parts of unequal sizes": (1, 50, 3, 4, 16),
}
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


def inputs(shape, dtype=torch.float32, *, masked=True):
    groups, num_documents, query_tokens, document_tokens, dim = shape
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(groups, query_tokens, dim, generator=generator).to(dtype)
    documents = torch.randn(groups, num_documents, document_tokens, dim, generator=generator).to(dtype)
    mask = torch.rand(groups, num_documents, document_tokens, generator=generator) < 0.6
    mask[..., 0] = True
    mask[-1, -1, document_tokens // 2 :] = False
    mask[-1, -1, 0] = True
    return queries, documents, mask if masked else None


def moved(*tensors):
    return [None if tensor is None else tensor.to(DEVICE) for tensor in tensors]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("masked", [True, False], ids=["masked", "unmasked"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_maxima_and_winners_are_those_of_torch(shape, masked, dtype):
    from serotine.scores import triton_maxima

    if dtype is torch.bfloat16 and INTERPRETED:
        pytest.skip("triton's interpreter multiplies the bits of bfloat16, not their values")
    queries, documents, mask = inputs(shape, dtype, masked=masked)
    expected, winners = autograd._forward(queries, documents, mask, None, with_winners=True)
    found, positions = triton_maxima.maxima(*moved(queries, documents, mask), with_winners=True)
    assert found.dtype is torch.float32
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-4)
    assert torch.equal(positions.cpu(), winners)
    alone, none = triton_maxima.maxima(*moved(queries, documents, mask), with_winners=False)
    assert none is None
    assert torch.equal(alone, found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_gradients_are_those_of_torch(shape, dtype):
    from serotine.scores import triton_maxima

    queries, documents, mask = inputs(shape, dtype)
    maxima, winners = autograd._forward(queries, documents, mask, None, with_winners=True)
    gradient = torch.cos(torch.arange(maxima.numel())).view(maxima.shape)
    expected = autograd._backward(queries, documents, winners, gradient, wanted=(True, True))
    found = triton_maxima.maxima_gradients(*moved(queries, documents, winners, gradient), wanted=(True, True))
    for one, other in zip(found, expected, strict=True):
        assert one.dtype is dtype
        torch.testing.assert_close(one.cpu(), other, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    only = triton_maxima.maxima_gradients(*moved(queries, documents, winners, gradient), wanted=(False, True))
    assert only[0] is None
    assert torch.equal(only[1], found[1])


def test_of_equal_maxima_the_first_wins_across_tiles():
    from serotine.scores import triton_maxima

    queries, documents = torch.ones(1, 1, 16), torch.zeros(1, 1, 200, 16)
    documents[0, 0, [90, 91, 150]] = 1.0
    assert triton_maxima.maxima(*moved(queries, documents, None), with_winners=True)[1].item() == 90


def test_nan_propagates_and_a_document_without_tokens_gives_minus_infinity():
    from serotine.scores import triton_maxima

    queries, documents, mask = inputs((2, 3, 5, 80, 16))
    documents[0, 0, 70] = torch.nan
    mask[0, 0, 70] = True
    mask[0, 1, :] = False
    documents[1, 2, 3] = torch.nan
    mask[1, 2, 3] = False
    found, positions = triton_maxima.maxima(*moved(queries, documents, mask), with_winners=True)
    assert found[0, 0].isnan().all()
    assert found[0, 1].isneginf().all()
    assert (positions[0, 1] == 0).all()
    assert found[1, 2].isfinite().all()


def test_nan_in_a_document_without_tokens_reaches_no_gradient():
    from serotine.scores import triton_maxima

    queries, documents, mask = inputs((2, 3, 5, 80, 16))
    mask[0, 1] = False
    weights = torch.ones(2, 3, 5)
    weights[0, 1] = 0
    _, winners = autograd._forward(queries, documents, mask, None, with_winners=True)
    expected = triton_maxima.maxima_gradients(*moved(queries, documents, winners, weights), wanted=(True, True))
    documents[0, 1] = torch.nan
    found = triton_maxima.maxima_gradients(*moved(queries, documents, winners, weights), wanted=(True, True))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_sides_of_two_dtypes_get_gradients_of_their_own_dtype():
    from serotine.scores import triton_maxima

    queries, documents, mask = inputs((1, 2, 5, 7, 16))
    halves = documents.half()
    maxima, winners = triton_maxima.maxima(*moved(queries, halves, mask), with_winners=True)
    found = triton_maxima.maxima_gradients(*moved(queries, halves), winners, maxima, wanted=(True, True))
    assert [gradient.dtype for gradient in found] == [torch.float32, torch.float16]


@pytest.mark.parametrize(
    ("set_precision", "expected"),
    [
        ("pass", "tf32x3" if torch.version.hip is None else "ieee"),
        ("torch.set_float32_matmul_precision('high')", "tf32"),
        ("torch.backends.cuda.matmul.allow_tf32 = True", "tf32"),
        pytest.param(
            "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
            "tf32",
            marks=pytest.mark.skipif(
                not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="torch before 2.9 has no such setting"
            ),
        ),
    ],
)
def test_products_are_made_as_torch_was_told_by_any_of_its_names(set_precision, expected):
    # In a process of its own: torch refuses to mix the names.
    script = "import torch; from serotine.scores.triton_maxima import _product_precision as told; "
    done = subprocess.run(
        [sys.executable, "-c", f"{script}{set_precision}; print(told())"], capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip() == expected, done.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_cuda_tensor_takes_the_kernels_without_being_asked(monkeypatch):
    from serotine.scores import triton_maxima

    called = []
    original = triton_maxima.maxima
    monkeypatch.setattr(triton_maxima, "maxima", lambda *a, **k: called.append(1) or original(*a, **k))
    queries, documents, mask = (part.cuda() for part in inputs((1, 2, 5, 7, 16)))
    autograd.token_maxima(queries, documents, mask)
    assert called
