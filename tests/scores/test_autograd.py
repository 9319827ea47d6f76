"""Proves that the fused maximum has the values and gradients of plain torch and saves no tensor of similarities."""

import pytest
import torch

from serotine.errors import SerotineError
from serotine.scores import autograd
from serotine.scores.autograd import token_maxima


def inputs(groups=2, documents=3, query_tokens=5, document_tokens=21, dim=8, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(groups, query_tokens, dim, generator=generator, dtype=torch.float32).to(dtype)
    rows = torch.randn(groups, documents, document_tokens, dim, generator=generator, dtype=torch.float32).to(dtype)
    mask = torch.rand(groups, documents, document_tokens, generator=generator) < 0.6
    mask[..., 3] = True
    return queries.requires_grad_(), rows.requires_grad_(), mask


def plain(queries, documents, mask=None):
    """Compute the same with every similarity in memory, in float32 at least."""
    queries, documents = (part if part.dtype is torch.float64 else part.float() for part in (queries, documents))
    similarities = torch.einsum("gqh,gdth->gdqt", queries, documents)
    if mask is not None:
        similarities = similarities.masked_fill(~mask.unsqueeze(2), -torch.inf)
    return similarities.max(dim=-1).values


def gradients(function, queries, documents, *arguments, **keywords):
    result = function(queries, documents, *arguments, **keywords)
    weights = torch.sin(torch.arange(result.numel(), dtype=result.dtype)).view(result.shape)
    return result.detach(), *torch.autograd.grad((result * weights).sum(), (queries, documents))


def assert_same(found, expected, tolerance=1e-5):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.fixture(params=[True, False], ids=["cpu branch", "device branch"])
def _branch(request, monkeypatch):
    """Run both branches of the code on the CPU: the one for devices is plain torch, too."""
    monkeypatch.setattr(autograd, "is_cpu", lambda tensor: request.param)


@pytest.mark.usefixtures("_branch")
@pytest.mark.parametrize("document_tokens", [1, 2, 15, 16, 17, 100])
@pytest.mark.parametrize("masked", [False, True])
def test_values_and_gradients_are_those_of_plain_torch(document_tokens, masked):
    queries, documents, mask = inputs(document_tokens=max(4, document_tokens))
    mask = mask if masked else None
    if document_tokens < 4:
        documents = documents.detach()[:, :, :document_tokens].requires_grad_()
        mask = None
    assert_same(gradients(token_maxima, queries, documents, mask), gradients(plain, queries, documents, mask))


@pytest.mark.usefixtures("_branch")
@pytest.mark.parametrize("chunk_elements", [1, 7, 40, 105, 300, 10_000])
def test_the_size_of_a_block_changes_nothing(chunk_elements):
    queries, documents, mask = inputs()
    expected = gradients(plain, queries, documents, mask)
    assert_same(gradients(token_maxima, queries, documents, mask, chunk_elements=chunk_elements), expected)


def test_blocks_cover_everything_once_within_their_limit():
    for limit in (1, 6, 20, 60, 1000):
        seen = torch.zeros(3, 4, 5)
        for box in autograd._blocks((3, 4, 5), 6, limit):
            seen[box] += 1
            assert seen[box].numel() * 6 <= max(6, limit)
        assert (seen == 1).all()


def test_the_backward_pass_in_many_blocks_gives_the_same(monkeypatch):
    queries, documents, mask = inputs()
    expected = gradients(token_maxima, queries, documents, mask)
    for values in (1, 200, 600):
        monkeypatch.setattr(autograd, "_CPU_BACKWARD_VALUES", values)
        assert_same(gradients(token_maxima, queries, documents, mask), expected)


@pytest.mark.usefixtures("_branch")
def test_gradients_agree_with_finite_differences():
    queries, documents, mask = inputs(query_tokens=3, document_tokens=18, dim=4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda q, d: token_maxima(q, d, mask), (queries, documents))


@pytest.mark.usefixtures("_branch")
def test_of_equal_maxima_the_first_token_takes_the_whole_gradient():
    queries = torch.ones(1, 1, 2, requires_grad=True)
    documents = torch.zeros(1, 1, 40, 2)
    documents[0, 0, [17, 18, 30]] = 1.0
    documents.requires_grad_()
    token_maxima(queries, documents).sum().backward()
    assert documents.grad.nonzero()[:, 2].unique().tolist() == [17]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_inputs_accumulate_in_32_bits(dtype):
    queries, documents, mask = inputs(dtype=dtype, document_tokens=50, dim=64)
    maxima, grad_queries, grad_documents = gradients(token_maxima, queries, documents, mask)
    expected = gradients(plain, queries, documents, mask)
    assert maxima.dtype is torch.float32
    torch.testing.assert_close(maxima, expected[0], rtol=1e-6, atol=1e-5)
    assert grad_queries.dtype is grad_documents.dtype is dtype
    # The only rounding is the last one, to the dtype of the input.
    torch.testing.assert_close(grad_queries, expected[1])
    torch.testing.assert_close(grad_documents, expected[2])


def test_autocast_does_not_round_similarities():
    queries, documents, mask = inputs()
    expected = gradients(token_maxima, queries, documents, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradients(token_maxima, queries, documents, mask)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_sides_of_two_dtypes_get_gradients_of_their_own_dtype():
    queries, documents, mask = inputs()
    halves = documents.detach().half().requires_grad_()
    _, grad_queries, grad_documents = gradients(token_maxima, queries, halves, mask)
    assert (grad_queries.dtype, grad_documents.dtype) == (torch.float32, torch.float16)


def test_only_the_side_that_asks_gets_a_gradient():
    queries, documents, mask = inputs()
    token_maxima(queries, documents.detach(), mask).sum().backward()
    only_queries = queries.grad.clone()
    queries.grad = None
    token_maxima(queries, documents, mask).sum().backward()
    assert torch.equal(queries.grad, only_queries)
    token_maxima(queries.detach(), documents, mask).sum().backward()


def test_inputs_that_are_not_contiguous_are_read_correctly():
    queries, documents, mask = inputs(groups=1)
    turned = documents.detach().transpose(2, 3).contiguous().transpose(2, 3).requires_grad_()
    wide = queries.detach().repeat(1, 1, 2)[:, :, :8].requires_grad_()
    assert_same(gradients(token_maxima, wide, turned, mask), gradients(token_maxima, queries, documents, mask))


def test_documents_are_copied_for_the_backward_pass_only_where_one_gets_no_gradient():
    _, documents, _ = inputs()
    weights = torch.ones(2, 3, 5)
    assert autograd._without_unused(documents, weights) is documents
    weights[0, 1] = 0
    assert not autograd._without_unused(documents, weights)[0, 1].any()


def test_the_same_input_gives_the_same_bits():
    queries, documents, mask = inputs(groups=1, documents=8, query_tokens=64, document_tokens=64, dim=32)
    first = gradients(token_maxima, queries, documents, mask)
    for _ in range(3):
        for one, other in zip(gradients(token_maxima, queries, documents, mask), first, strict=True):
            assert torch.equal(one, other)


def test_saved_for_the_backward_pass_are_the_inputs_and_one_int32_per_maximum():
    queries, documents, mask = inputs(groups=1, documents=16, query_tokens=64, document_tokens=32)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        token_maxima(queries, documents, mask)
    others = [tensor for tensor in saved if tensor.data_ptr() not in (queries.data_ptr(), documents.data_ptr())]
    assert [(tensor.dtype, tuple(tensor.shape)) for tensor in others] == [(torch.int32, (1, 16, 64))]


def test_nothing_is_saved_without_gradients():
    queries, documents, mask = inputs()
    with torch.no_grad():
        assert not token_maxima(queries, documents, mask).requires_grad
    torch.testing.assert_close(
        token_maxima(queries.detach(), documents.detach(), mask), plain(queries, documents, mask)
    )


def test_a_second_derivative_is_refused():
    queries, documents, mask = inputs()
    expected = torch.autograd.grad(token_maxima(queries, documents, mask).sum(), (queries, documents))
    found = torch.autograd.grad(token_maxima(queries, documents, mask).sum(), (queries, documents), create_graph=True)
    assert_same([gradient.detach() for gradient in found], expected)
    with pytest.raises(SerotineError, match="differentiated twice"):
        found[0].square().sum().backward()


@pytest.mark.usefixtures("_branch")
def test_nan_propagates_and_a_document_without_tokens_gives_minus_infinity():
    queries, documents, mask = inputs()
    with torch.no_grad():
        mask[1, 2] = False
        mask[0, 0, 7] = True
        documents[0, 0, 7] = torch.nan
    maxima = token_maxima(queries, documents, mask)
    assert maxima[0, 0].isnan().all()
    assert maxima[1, 2].isneginf().all()
    assert maxima.isfinite().sum() == maxima.numel() - 2 * 5


@pytest.mark.usefixtures("_branch")
def test_nan_in_a_document_without_tokens_reaches_no_gradient():
    queries, documents, mask = inputs()
    mask[1, 2] = False
    weights = torch.ones(2, 3, 5)
    weights[1, 2] = 0

    def found():
        maxima = token_maxima(queries, documents, mask)
        return torch.autograd.grad(maxima, (queries, documents), weights)

    expected = found()
    with torch.no_grad():
        documents[1, 2] = torch.nan
    assert_same(found(), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_device_gives_what_the_cpu_gives(dtype):
    queries, documents, mask = inputs(groups=2, documents=9, query_tokens=33, document_tokens=70, dim=32, dtype=dtype)
    expected = gradients(token_maxima, queries, documents, mask)
    moved = [part.detach().cuda().requires_grad_() for part in (queries, documents)]
    result = token_maxima(*moved, mask.cuda())
    weights = torch.sin(torch.arange(result.numel(), dtype=result.dtype)).view(result.shape).cuda()
    found = [result.detach(), *torch.autograd.grad((result * weights).sum(), moved)]
    # Sums are made in float32 on both; gradients are rounded once, at the end.
    torch.testing.assert_close(found[0].cpu(), expected[0], rtol=1e-4, atol=1e-4)
    assert_same(
        [part.cpu() for part in found[1:]], expected[1:], {torch.float32: 1e-4, torch.float16: 4e-3}.get(dtype, 3e-2)
    )
