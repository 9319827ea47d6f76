"""How is MaxSim differentiated without keeping a similarity per pair of tokens?

MaxSim reads only the best document token of each query token. So the forward pass computes similarities in
blocks that fit a cache, keeps their maxima and the int32 position of each maximum, and drops the block; the
backward pass sums the winning rows. Nothing of the size queries x documents x query tokens x document tokens
exists at any time. The rules for masks, empty documents and sums over query tokens are in `tensors`.

On CUDA both passes are kernels (`triton_maxima`). Where these cannot run - an older device, no package triton, no C
compiler, which triton needs - the code here does the same there, slower.
"""

from __future__ import annotations

import importlib.util
import itertools
import logging
import os
import shutil
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor

from serotine.errors import SerotineError

__all__ = ["is_cpu", "known_maxima", "token_maxima"]

logger = logging.getLogger(__name__)

# Similarities held at once. On a CPU 2**21 float32 are 8 MiB, and twice that for two threads or more: small enough to
# stay near the cores between the matrix product and the maximum. Half of it is some percent faster on idle cores, and
# three times slower where other programs share them, because threads then wait for each other at every operation.
# On other devices 2**25 (128 MiB) need few launches.
_CPU_BLOCK_ELEMENTS = 2**21
_DEVICE_BLOCK_ELEMENTS = 2**25

# Embedding values (tokens x dim) that one step of the backward pass handles: 8 MiB of float32, or 64 MiB.
_CPU_BACKWARD_VALUES = 2**21
_DEVICE_BACKWARD_VALUES = 2**24

# Rows that the first level of the two-level maximum splits a document into; see _first_maximum.
_MAXIMUM_GROUPS = 16


def token_maxima(
    queries: Tensor, documents: Tensor, documents_mask: Tensor | None = None, *, chunk_elements: int | None = None
) -> Tensor:
    """Return the largest similarity that each query token finds in each document of its group.

    queries: ``(groups, query_tokens, dim)``. documents: ``(groups, num_documents, document_tokens, dim)``, at
    least one token, same device. documents_mask: bool ``(groups, num_documents, document_tokens)``, True where
    the token counts. chunk_elements: similarities held at once (None: a default for the device).

    Returns ``(groups, num_documents, query_tokens)``, float64 if an input is float64, else float32. A document
    without a token that counts gives ``-inf``. NaN propagates, but from no token that does not count. Of equal maxima
    the first token wins and takes the whole gradient.

    Differentiable once, in both inputs; twice raises SerotineError. Saved for the backward pass: the inputs
    themselves and one int32 per result.
    Autocast is off inside: scores are sums of many terms, and rounding them to 8 bits would merge close documents.
    """
    with torch.autocast(queries.device.type, enabled=False):
        if torch.is_grad_enabled() and (queries.requires_grad or documents.requires_grad):
            maxima: Tensor = _TokenMaxima.apply(queries, documents, documents_mask, chunk_elements)  # type: ignore[no-untyped-call]
            return maxima
        return _forward(queries, documents, documents_mask, chunk_elements, with_winners=False)[0]


def known_maxima(queries: Tensor, documents: Tensor, maxima: Tensor, winners: Tensor) -> Tensor:
    """Return maxima that were found elsewhere, differentiable in both inputs as `token_maxima` is.

    maxima: `token_maxima` of the inputs. winners: int32, the document token that gave each; saved with the inputs.
    """
    result: Tensor = _KnownMaxima.apply(queries, documents, maxima, winners)  # type: ignore[no-untyped-call]
    return result


class _TokenMaxima(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, documents: Tensor, documents_mask: Tensor | None, chunk_elements: int | None
    ) -> Tensor:
        maxima, winners = _forward(queries, documents, documents_mask, chunk_elements, with_winners=True)
        ctx.save_for_backward(queries, documents, winners)
        return maxima

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Send each gradient to the winning pair of tokens."""
        queries, documents, winners = ctx.saved_tensors
        with torch.no_grad():
            grads = _backward(queries, documents, winners, gradient, wanted=ctx.needs_input_grad[:2])
        if torch.is_grad_enabled():
            # The caller asked for a graph of the gradients. torch's own once_differentiable would treat them as
            # constants where ``gradient`` is one, and a gradient penalty would silently train nothing.
            grads = _RefuseSecondDerivative.apply(queries, documents, gradient, *grads)  # type: ignore[no-untyped-call]
        return *grads, None, None


class _KnownMaxima(_TokenMaxima):
    """The same backward pass; the forward pass was done by the caller."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, documents: Tensor, maxima: Tensor, winners: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(queries, documents, winners)
        return maxima.clone()


class _RefuseSecondDerivative(torch.autograd.Function):
    """Pass gradients on; raise when they are differentiated in turn. The first three inputs only make the edges."""

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor | None, ...]:
        return tuple(None if gradient is None else gradient.clone() for gradient in inputs[-2:])

    @staticmethod
    def setup_context(*_: Any) -> None:
        """Save nothing."""

    @staticmethod
    def backward(*_: Any) -> Any:
        raise SerotineError(
            "MaxSim was differentiated twice; Serotine computes its first derivative only. For a second one, "
            "score with torch.einsum(...).max(...) on this batch"
        )


def _backward(
    queries: Tensor, documents: Tensor, winners: Tensor, gradient: Tensor, *, wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of the sides that are wanted, each in the shape and dtype of its side."""
    kernels = _kernels_for(queries, documents)
    if kernels is not None:
        grads: tuple[Tensor | None, Tensor | None] = kernels.maxima_gradients(
            queries, documents, winners, gradient, wanted=wanted
        )
        return grads
    grad_queries = torch.zeros(queries.shape, dtype=gradient.dtype, device=queries.device) if wanted[0] else None
    grad_documents = torch.empty_like(documents) if wanted[1] else None
    groups, num_documents, document_tokens, dim = documents.shape
    limit = _CPU_BACKWARD_VALUES if is_cpu(documents) else _DEVICE_BACKWARD_VALUES
    for group, document, _ in _blocks((groups, num_documents, 1), document_tokens * dim, limit):
        block = _Block(queries[group], documents[group, document], winners[group, document])
        weights = gradient[group, document]
        if grad_queries is not None:
            grad_queries[group] += _query_gradient(block, weights)
        if grad_documents is not None:
            grad_documents[group, document] = _document_gradient(block, weights)
    return None if grad_queries is None else grad_queries.to(queries.dtype), grad_documents


def _forward(
    queries: Tensor,
    documents: Tensor,
    documents_mask: Tensor | None,
    chunk_elements: int | None,
    *,
    with_winners: bool,
) -> tuple[Tensor, Tensor | None]:
    """Fill maxima and, if asked, winners (int32, same shape), block by block."""
    kernels = _kernels_for(queries, documents)
    if kernels is not None:
        filled: tuple[Tensor, Tensor | None] = kernels.maxima(
            queries, documents, documents_mask, with_winners=with_winners
        )
        return filled
    on_cpu = is_cpu(queries)
    product_dtype = _product_dtype(queries, documents)
    shape = (queries.shape[0], documents.shape[1], queries.shape[1])
    result_dtype = torch.float64 if product_dtype is torch.float64 else torch.float32
    maxima = queries.new_empty(shape, dtype=result_dtype)
    winners = queries.new_empty(shape, dtype=torch.int32) if with_winners else None
    default = _CPU_BLOCK_ELEMENTS * min(2, torch.get_num_threads()) if on_cpu else _DEVICE_BLOCK_ELEMENTS
    columns = queries.detach().to(product_dtype).transpose(1, 2)
    for group, document, token in _blocks(shape, documents.shape[2], chunk_elements or default):
        mask = None if documents_mask is None else documents_mask[group, document]
        rows = documents[group, document].detach()
        # The block of similarities lives inside this call only: one at a time, not the last one beside the next.
        value, position = _block_maximum(columns[group, :, token], rows, mask, with_position=winners is not None)
        maxima[group, document, token] = value
        if winners is not None:
            winners[group, document, token] = position
    return maxima, winners


def _block_maximum(
    columns: Tensor, documents: Tensor, mask: Tensor | None, *, with_position: bool
) -> tuple[Tensor, Tensor]:
    """Return maxima over the document tokens and, if asked (else nothing useful), their first positions."""
    on_cpu = is_cpu(columns)
    similarities = (_similarities_on_cpu if on_cpu else _similarities)(columns, documents, mask)
    if not with_position:
        maxima = similarities.amax(dim=2)
        return maxima, maxima
    if on_cpu:
        return _first_maximum(similarities)
    value, position = similarities.max(dim=2)
    return value, position


def _product_dtype(queries: Tensor, documents: Tensor) -> torch.dtype:
    """float32 on a CPU and on CUDA, which rounds no similarity of 16-bit inputs; elsewhere the wider, for speed.

    On CUDA this path stands in where the kernels are missing, and must not give another result than they do.
    """
    wider = torch.promote_types(queries.dtype, documents.dtype)
    return torch.float32 if (is_cpu(queries) or queries.is_cuda) and wider is not torch.float64 else wider


def _kernels_for(queries: Tensor, documents: Tensor) -> ModuleType | None:
    """Return the kernels for these tensors, None where the code here does the work."""
    if not queries.is_cuda or torch.float64 in (queries.dtype, documents.dtype):
        return None
    return _triton_kernels() if _device_takes_kernels(queries.device) else None


@cache
def _device_takes_kernels(device: torch.device) -> bool:
    # Ampere is the first whose matrix units multiply bfloat16.
    return torch.cuda.get_device_capability(device) >= (8, 0)


@cache
def _triton_kernels() -> ModuleType | None:
    # torch for CUDA brings triton with it on Linux; on other systems it may be missing.
    if importlib.util.find_spec("triton") is None:
        return None
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        logger.warning("triton finds no C compiler: MaxSim on CUDA takes a slower path. Install gcc, or set CC")
        return None
    return importlib.import_module("serotine.scores.triton_maxima")


def is_cpu(tensor: Tensor) -> bool:
    """Tell where reading a value costs no synchronisation. Both sides of each choice run anywhere, and tests do so."""
    return tensor.device.type == "cpu"


def _blocks(shape: tuple[int, int, int], size: int, limit: int) -> Iterator[tuple[slice, slice, slice]]:
    """Divide ``shape`` into boxes of slices, each of whose cells costs ``size``, of at most ``limit`` or one cell.

    Inner axes are divided only where one index of the next outer axis already exceeds the limit.
    """
    steps = [0, 0, 0]
    available = max(1, limit // max(1, size))
    for axis in (2, 1, 0):
        steps[axis] = max(1, min(shape[axis], available))
        # An axis that is divided leaves nothing for those outside it.
        available = available // shape[axis] if steps[axis] == shape[axis] else 1
    for corner in itertools.product(*(range(0, length, step) for length, step in zip(shape, steps, strict=True))):
        first, second, third = (slice(start, start + step) for start, step in zip(corner, steps, strict=True))
        yield first, second, third


def _similarities(columns: Tensor, documents: Tensor, mask: Tensor | None) -> Tensor:
    """Return ``(groups, num_documents, document_tokens, query_tokens)``, ``-inf`` where a token does not count."""
    groups, num_documents, document_tokens, dim = documents.shape
    rows = documents.reshape(groups, num_documents * document_tokens, dim).to(columns.dtype)
    similarities = torch.bmm(rows, columns).view(groups, num_documents, document_tokens, columns.shape[2])
    return similarities if mask is None else similarities.masked_fill_(~mask.unsqueeze(3), -torch.inf)


def _similarities_on_cpu(columns: Tensor, documents: Tensor, mask: Tensor | None) -> Tensor:
    """Do the same with less work where reading the mask costs no synchronisation.

    Tokens after the last one that counts are cut off; the rest is filled up to a multiple of _MAXIMUM_GROUPS,
    and only rows that do not count are overwritten.
    """
    groups, num_documents, document_tokens, dim = documents.shape
    length = document_tokens
    if mask is not None:
        counting = mask.reshape(-1, document_tokens).any(dim=0).nonzero()
        length = int(counting[-1]) + 1 if len(counting) else 1
        mask = mask[:, :, :length]
    filled = -(-length // _MAXIMUM_GROUPS) * _MAXIMUM_GROUPS
    rows = documents[:, :, :length].to(columns.dtype)
    if filled != length:
        rows = functional.pad(rows, (0, 0, 0, filled - length))
    similarities = torch.bmm(rows.reshape(groups, num_documents * filled, dim), columns)
    if filled != length or mask is not None:
        counts = torch.zeros((groups, num_documents, filled), dtype=torch.bool)
        counts[:, :, :length] = True if mask is None else mask
        excluded = (~counts.view(-1)).nonzero().view(-1)
        similarities.view(-1, columns.shape[2]).index_fill_(0, excluded, -torch.inf)
    return similarities.view(groups, num_documents, filled, columns.shape[2])


def _first_maximum(similarities: Tensor) -> tuple[Tensor, Tensor]:
    """Return maximum and its first position over dim 2, whose size is a multiple of _MAXIMUM_GROUPS.

    ``Tensor.max`` with positions is not vectorised on a CPU and costs as much as the matrix product. So: the
    maximum of each group of rows (``amax``, vectorised), then the first best group, then the first best row of
    that group: positions are tracked for 16 + rows / 16 values instead of all. Measured 7 times faster at 256 rows.
    """
    groups, num_documents, rows, query_tokens = similarities.shape
    depth = rows // _MAXIMUM_GROUPS
    split = similarities.view(groups, num_documents, _MAXIMUM_GROUPS, depth, query_tokens)
    best = split.amax(dim=3).max(dim=2, keepdim=True).indices
    candidates = split.gather(2, best.unsqueeze(3).expand(-1, -1, -1, depth, -1)).squeeze(2)
    value, position = candidates.max(dim=2)
    return value, position + best.squeeze(2) * depth


class _Block(NamedTuple):
    """Part of the inputs and of their winners: groups and documents of one step of the backward pass."""

    queries: Tensor  # (groups, query_tokens, dim)
    documents: Tensor  # (groups, num_documents, document_tokens, dim)
    winners: Tensor  # int32 (groups, num_documents, query_tokens)

    def winning_rows(self) -> Tensor:
        """Return winners as int32 rows of the block's document tokens laid end to end."""
        groups, num_documents, document_tokens, _ = self.documents.shape
        first = torch.arange(groups * num_documents, dtype=torch.int32, device=self.winners.device) * document_tokens
        return self.winners + first.view(groups, num_documents, 1)


def _query_gradient(block: _Block, weights: Tensor) -> Tensor:
    """Sum, for each query token, its winner in each document times the weight: ``(groups, query_tokens, dim)``.

    ``embedding_bag`` is a weighted sum of selected rows that never writes the selected rows out.
    """
    groups, num_documents, query_tokens = block.winners.shape
    table = _without_unused(block.documents, weights).reshape(-1, block.documents.shape[-1]).to(weights.dtype)
    rows = block.winning_rows().transpose(1, 2).reshape(groups * query_tokens, num_documents)
    summed = functional.embedding_bag(
        rows, table, per_sample_weights=weights.transpose(1, 2).reshape(rows.shape), mode="sum"
    )
    return summed.view(groups, query_tokens, -1)


def _without_unused(documents: Tensor, weights: Tensor) -> Tensor:
    """Return the documents with zeros for those that get no gradient, among them all that have no token that counts.

    A NaN in one, whose first token stands as the winner, would survive its weight of 0. Nothing is copied where there
    is none and asking costs no synchronisation.
    """
    unused = ~weights.any(dim=2)
    if is_cpu(documents) and not bool(unused.any()):
        return documents
    return documents.masked_fill(unused[:, :, None, None], 0)


def _document_gradient(block: _Block, weights: Tensor) -> Tensor:
    """Sum, for each document token, the query tokens that it won times the weight: the shape of the documents.

    Sorting by winner turns a scatter with collisions into a sum over ranges: parallel, and the same bits each time.
    """
    groups, num_documents, query_tokens = block.winners.shape
    table = block.queries.reshape(groups * query_tokens, -1).to(weights.dtype)
    rows, order = block.winning_rows().view(-1).sort(stable=True)
    num_rows = block.documents.shape[:3].numel()
    starts = torch.searchsorted(rows, torch.arange(num_rows, dtype=torch.int32, device=rows.device))
    # Results lie as (group, document, query token): the query row is the group's base plus the query token.
    sources = order % query_tokens
    if groups > 1:
        sources += order.div(num_documents * query_tokens, rounding_mode="floor") * query_tokens
    summed = functional.embedding_bag(sources, table, starts, per_sample_weights=weights.reshape(-1)[order], mode="sum")
    return summed.view(block.documents.shape)
