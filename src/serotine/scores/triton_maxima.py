"""How does a CUDA device take maxima over tokens without writing a similarity to its memory?  In Triton.

Three kernels stand behind `autograd.token_maxima`: maxima with their positions, and the gradients of both sides. A
program keeps a tile of similarities in registers, so that no tensor of similarities exists, in blocks or otherwise.
Documents end where their last counting token does; no size is read back from the device.

`autograd` imports this module for CUDA tensors only. Products are summed in float32 and not rounded before the maximum,
as in torch's path for that device. Every sum has one order: the same input gives the same bits.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["maxima", "maxima_gradients"]

# Query rows and document tokens of one tile. 64 x 64 float32 similarities are 32 registers a thread with 4 warps.
_TILE = 64

# Query rows of one tile of their gradient, which gathers and multiplies no matrices: few, so that many programs wait.
_GATHER_TILE = 16

# Programs that keep a device busy. The queries' gradient divides the documents among so many, and at least
# _DOCUMENTS_PER_PROGRAM to each, since every part is written out and added up.
_PROGRAMS = 2048
_DOCUMENTS_PER_PROGRAM = 16

# How the float32 weights of the documents' gradient are multiplied. "tf32x3" was slower there: 0.29 ms against 0.20.
_GRADIENT_PRECISION = "ieee"


def maxima(
    queries: Tensor, documents: Tensor, documents_mask: Tensor | None, *, with_winners: bool
) -> tuple[Tensor, Tensor | None]:
    """Return float32 maxima and, if asked, their int32 positions: ``(groups, num_documents, query_tokens)``.

    Shapes and rules: `serotine.scores.autograd.token_maxima`; one device, no float64. With TF32 chosen in
    ``torch.backends.cuda.matmul``, float32 products use it, as torch's own do.
    """
    dtype = torch.promote_types(queries.dtype, documents.dtype)
    rows, tokens = (side.detach().to(dtype).contiguous() for side in (queries, documents))
    groups, query_tokens, dim = rows.shape
    _, num_documents, document_tokens, _ = tokens.shape
    shape = (groups, num_documents, query_tokens)
    best = torch.empty(shape, dtype=torch.float32, device=rows.device)
    winners = torch.empty(shape, dtype=torch.int32, device=rows.device) if with_winners else None
    mask, lengths = _mask_and_lengths(documents_mask)
    query_tiles = triton.cdiv(query_tokens, _TILE)
    with _on(rows):
        # One axis: the second axis of a grid ends at 65,535. Neighbours share a document, which stays in the cache.
        _maxima_kernel[(query_tiles * groups * num_documents,)](
            rows,
            tokens,
            mask if mask is not None else rows,
            lengths if lengths is not None else rows,
            best,
            winners if winners is not None else best,
            query_tokens,
            num_documents,
            document_tokens,
            dim,
            query_tiles,
            HAS_MASK=mask is not None,
            WITH_WINNERS=with_winners,
            PRECISION=_product_precision(),
            TILE=_TILE,
            BLOCK_DIM=_block_dim(dim, 64 if dtype is torch.float32 else 128),
            num_stages=2,
        )
    return best, winners


def maxima_gradients(
    queries: Tensor, documents: Tensor, winners: Tensor, gradient: Tensor, *, wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of the sides that are wanted, each in the shape and dtype of its side.

    winners: of `maxima`. gradient: of the maxima, float32. Sums are made in float32 and rounded once, at the end.
    """
    rows, tokens, weights = queries.detach().contiguous(), documents.detach().contiguous(), gradient.contiguous()
    groups, query_tokens, dim = rows.shape
    _, num_documents, document_tokens, _ = tokens.shape
    sizes = (query_tokens, num_documents, document_tokens, dim)
    block_dim = _block_dim(dim, 64)
    column_tiles = triton.cdiv(dim, block_dim)
    of_queries = None
    of_documents = torch.empty_like(tokens) if wanted[1] else None
    with _on(rows):
        if wanted[0]:
            tiles = triton.cdiv(query_tokens, _GATHER_TILE)
            parts = min(_PROGRAMS // (tiles * groups * column_tiles), num_documents // _DOCUMENTS_PER_PROGRAM)
            parts = max(1, min(parts, 65_535))  # the longest third axis of a grid
            partial = torch.empty((parts, *rows.shape), dtype=torch.float32, device=rows.device)
            _queries_gradient_kernel[(tiles * groups, column_tiles, parts)](
                tokens,
                winners,
                weights,
                partial,
                *sizes,
                groups,
                triton.cdiv(num_documents, parts),
                tiles,
                TILE=_GATHER_TILE,
                BLOCK_DIM=block_dim,
            )
            of_queries = partial.sum(dim=0).to(rows.dtype)
        if of_documents is not None:
            tiles = triton.cdiv(document_tokens, _TILE)
            _documents_gradient_kernel[(tiles * groups * num_documents, column_tiles)](
                rows,
                winners,
                weights,
                of_documents,
                *sizes,
                tiles,
                PRECISION=_GRADIENT_PRECISION,
                TILE=_TILE,
                BLOCK_DIM=block_dim,
                num_stages=2,
            )
    return of_queries, of_documents


def _mask_and_lengths(mask: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Return the mask as bytes, and for each document its tokens up to the last that counts, int32 and flat."""
    if mask is None:
        return None, None
    ends = torch.arange(1, mask.shape[-1] + 1, dtype=torch.int32, device=mask.device)
    return mask.contiguous().view(torch.uint8), (mask * ends).amax(dim=-1).to(torch.int32).reshape(-1)


def _product_precision() -> str:
    """Return how products of float32 are made: as torch was told, TF32, or three of TF32, which keep float32's digits.

    Three products of the matrix units take half the time of one without them, and similarities of unit vectors differ
    by 3e-7 (benchmarks/gpu_scoring.py). Reading the older name of torch's setting raises where the newer was set.
    """
    matmul = torch.backends.cuda.matmul
    told = matmul.fp32_precision == "tf32" if hasattr(matmul, "fp32_precision") else matmul.allow_tf32
    if told:
        return "tf32"
    return "tf32x3" if torch.version.hip is None else "ieee"


def _block_dim(dim: int, largest: int) -> int:
    """Columns that a tile takes at once; matrix units want at least 16."""
    return max(16, min(largest, int(triton.next_power_of_2(dim))))


def _on(tensor: Tensor) -> AbstractContextManager[Any]:
    # Triton launches on the current device. (The CPU is for its interpreter, in tests.)
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _maxima_kernel(  # type: ignore[no-untyped-def]  # noqa: ANN202
    queries,  # noqa: ANN001
    documents,  # noqa: ANN001
    mask,  # noqa: ANN001
    lengths,  # noqa: ANN001
    maxima,  # noqa: ANN001
    winners,  # noqa: ANN001
    query_tokens,  # noqa: ANN001
    num_documents,  # noqa: ANN001
    document_tokens,  # noqa: ANN001
    dim,  # noqa: ANN001
    query_tiles,  # noqa: ANN001
    HAS_MASK: tl.constexpr,  # noqa: N803
    WITH_WINNERS: tl.constexpr,  # noqa: N803
    PRECISION: tl.constexpr,  # noqa: N803
    TILE: tl.constexpr,  # noqa: N803
    BLOCK_DIM: tl.constexpr,  # noqa: N803
):
    """One program: a tile of query rows against one document, token tile after token tile."""
    program = tl.program_id(0)
    rows = program % query_tiles * TILE + tl.arange(0, TILE)
    # 64 bits: documents x tokens x dim passes 2**31 in batches that fit a device.
    text = (program // query_tiles).to(tl.int64)
    group = text // num_documents
    length = document_tokens
    if HAS_MASK:
        length = tl.load(lengths + text)
    best = tl.full((TILE,), float("-inf"), tl.float32)
    position = tl.zeros((TILE,), tl.int32)
    met_nan = tl.zeros((TILE,), tl.int32)
    for start in range(0, length, TILE):
        tokens = start + tl.arange(0, TILE)
        similarities = tl.zeros((TILE, TILE), tl.float32)
        for offset in range(0, dim, BLOCK_DIM):
            columns = offset + tl.arange(0, BLOCK_DIM)
            query_tile = tl.load(
                queries + (group * query_tokens + rows)[:, None] * dim + columns[None, :],
                mask=(rows < query_tokens)[:, None] & (columns < dim)[None, :],
                other=0.0,
            )
            document_tile = tl.load(
                documents + (text * document_tokens + tokens)[None, :] * dim + columns[:, None],
                mask=(tokens < length)[None, :] & (columns < dim)[:, None],
                other=0.0,
            )
            similarities = tl.dot(query_tile, document_tile, similarities, input_precision=PRECISION)
        counts = tokens < length
        if HAS_MASK:
            counts = counts & (tl.load(mask + text * document_tokens + tokens, mask=counts, other=0) != 0)
        similarities = tl.where(counts[None, :], similarities, float("-inf"))
        # A comparison with NaN is false, so NaN would be passed over: it is counted apart.
        is_nan = similarities != similarities
        met_nan = tl.maximum(met_nan, tl.max(is_nan.to(tl.int32), axis=1))
        similarities = tl.where(is_nan, float("inf"), similarities)
        value, index = tl.max(similarities, axis=1, return_indices=True)
        better = value > best  # not >=: of equal maxima the first wins
        position = tl.where(better, start + index, position)
        best = tl.where(better, value, best)
    best = tl.where(met_nan > 0, float("nan"), best)
    tl.store(maxima + text * query_tokens + rows, best, mask=rows < query_tokens)
    if WITH_WINNERS:
        tl.store(winners + text * query_tokens + rows, position, mask=rows < query_tokens)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _queries_gradient_kernel(  # type: ignore[no-untyped-def]  # noqa: ANN202
    documents,  # noqa: ANN001
    winners,  # noqa: ANN001
    weights,  # noqa: ANN001
    gradient,  # noqa: ANN001
    query_tokens,  # noqa: ANN001
    num_documents,  # noqa: ANN001
    document_tokens,  # noqa: ANN001
    dim,  # noqa: ANN001
    groups,  # noqa: ANN001
    documents_per_part,  # noqa: ANN001
    query_tiles,  # noqa: ANN001
    TILE: tl.constexpr,  # noqa: N803
    BLOCK_DIM: tl.constexpr,  # noqa: N803
):
    """One program: the sum, for a tile of query rows, of what each won in some documents times its weight."""
    program = tl.program_id(0)
    rows = program % query_tiles * TILE + tl.arange(0, TILE)
    columns = tl.program_id(1) * BLOCK_DIM + tl.arange(0, BLOCK_DIM)
    part = tl.program_id(2)
    group = (program // query_tiles).to(tl.int64)
    first = part * documents_per_part
    inside = (rows < query_tokens)[:, None] & (columns < dim)[None, :]
    total = tl.zeros((TILE, BLOCK_DIM), tl.float32)
    for document in range(first, tl.minimum(first + documents_per_part, num_documents)):
        text = group * num_documents + document
        place = text * query_tokens + rows
        winner = tl.load(winners + place, mask=rows < query_tokens, other=0)
        weight = tl.load(weights + place, mask=rows < query_tokens, other=0.0)
        # Without weight nothing is read: a document of masked tokens has its first for a winner, and it may be NaN.
        vectors = tl.load(
            documents + (text * document_tokens + winner)[:, None] * dim + columns[None, :],
            mask=inside & (weight != 0.0)[:, None],
            other=0.0,
        )
        total += weight[:, None] * vectors.to(tl.float32)
    place = (part * groups + group) * query_tokens + rows
    tl.store(gradient + place[:, None] * dim + columns[None, :], total, mask=inside)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _documents_gradient_kernel(  # type: ignore[no-untyped-def]  # noqa: ANN202
    queries,  # noqa: ANN001
    winners,  # noqa: ANN001
    weights,  # noqa: ANN001
    gradient,  # noqa: ANN001
    query_tokens,  # noqa: ANN001
    num_documents,  # noqa: ANN001
    document_tokens,  # noqa: ANN001
    dim,  # noqa: ANN001
    document_tiles,  # noqa: ANN001
    PRECISION: tl.constexpr,  # noqa: N803
    TILE: tl.constexpr,  # noqa: N803
    BLOCK_DIM: tl.constexpr,  # noqa: N803
):
    """One program: the sum, for a tile of one document's tokens, of the query rows that each won times the weight.

    Who won what is a matrix of weights with one entry a column, so the sum is a matrix product: as many operations as
    the forward pass, but without atomic additions, whose order, and so whose result, would change from run to run.
    """
    program = tl.program_id(0)
    tokens = program % document_tiles * TILE + tl.arange(0, TILE)
    columns = tl.program_id(1) * BLOCK_DIM + tl.arange(0, BLOCK_DIM)
    text = (program // document_tiles).to(tl.int64)
    group = text // num_documents
    total = tl.zeros((TILE, BLOCK_DIM), tl.float32)
    for start in range(0, query_tokens, TILE):
        rows = start + tl.arange(0, TILE)
        place = text * query_tokens + rows
        winner = tl.load(winners + place, mask=rows < query_tokens, other=-1)
        weight = tl.load(weights + place, mask=rows < query_tokens, other=0.0)
        won = tl.where(winner[None, :] == tokens[:, None], weight[None, :], 0.0)
        vectors = tl.load(
            queries + (group * query_tokens + rows)[:, None] * dim + columns[None, :],
            mask=(rows < query_tokens)[:, None] & (columns < dim)[None, :],
            other=0.0,
        )
        # Gradients of 16-bit inputs are rounded once, at the end.
        total = tl.dot(won, vectors.to(tl.float32), total, input_precision=PRECISION)
    tl.store(
        gradient + (text * document_tokens + tokens)[:, None] * dim + columns[None, :],
        total,
        mask=(tokens < document_tokens)[:, None] & (columns < dim)[None, :],
    )
