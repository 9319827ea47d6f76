"""How do padded tensors and their masks become scores?  Sums over query tokens, masks, empty documents.

The differentiable maximum that all of it rests on is `autograd.token_maxima`; here is ordinary torch code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from serotine.errors import DimensionMismatch
from serotine.scores._padding import Padded
from serotine.scores.autograd import is_cpu, token_maxima

__all__ = ["check_dims", "nothing", "score_cross", "score_own", "without_masked"]


def score_cross(
    queries: Padded,
    documents: Padded,
    *,
    masked_as_zero: bool = False,
    length_normalize: bool = False,
    chunk_elements: int | None = None,
) -> Tensor:
    """Score every query against every document: ``(A, S, dim)``, ``(B, T, dim)`` -> ``(A, B)``.

    Options and result: see `serotine.scores.maxsim`.
    """
    check_dims(queries, documents)
    if min(len(queries.tokens), len(documents.tokens)) == 0:
        return nothing(queries, documents).expand(len(queries.tokens), len(documents.tokens))
    num_queries, query_tokens, dim = queries.tokens.shape
    counting = None
    if queries.mask is not None and is_cpu(queries.mask):
        # Reading a mask is free on a CPU, so masked query tokens are left out of the matrix product.
        counting = queries.mask.reshape(-1).nonzero().view(-1)
        rows = queries.tokens.reshape(1, num_queries * query_tokens, dim).index_select(1, counting)
    else:
        rows = without_masked(queries).reshape(1, num_queries * query_tokens, dim)
    mask = None if documents.mask is None else documents.mask.unsqueeze(0)
    maxima = _maxima(rows, documents.tokens.unsqueeze(0), mask, masked_as_zero, chunk_elements).squeeze(0)
    if counting is not None:
        everywhere = maxima.new_zeros((len(maxima), num_queries * query_tokens))
        maxima = everywhere.index_copy(1, counting, maxima)
    maxima = maxima.view(len(documents.tokens), num_queries, query_tokens)
    if queries.mask is not None and counting is None:
        maxima = maxima.where(queries.mask, 0)
    scores = maxima.sum(dim=2).t()
    if length_normalize:
        scores = scores / _counts(queries).unsqueeze(1)
    return _exclude_empty(scores, documents.tokens, documents.mask, masked_as_zero)


def score_own(
    queries: Padded,
    documents: Padded,
    *,
    documents_per_query: int,
    masked_as_zero: bool = False,
    length_normalize: bool = False,
    chunk_elements: int | None = None,
) -> Tensor:
    """Score each query against its own documents: ``(A, S, dim)``, ``(A * B, T, dim)`` -> ``(A, B)``."""
    check_dims(queries, documents)
    num_queries = len(queries.tokens)
    if num_queries * documents_per_query == 0:
        return nothing(queries, documents).expand(num_queries, documents_per_query)
    tokens = documents.tokens.view(num_queries, documents_per_query, *documents.tokens.shape[1:])
    mask = None if documents.mask is None else documents.mask.view(tokens.shape[:3])
    maxima = _maxima(without_masked(queries), tokens, mask, masked_as_zero, chunk_elements)
    if queries.mask is not None:
        maxima = maxima.where(queries.mask.unsqueeze(1), 0)
    scores = maxima.sum(dim=2)
    if length_normalize:
        scores = scores / _counts(queries).unsqueeze(1)
    return _exclude_empty(scores, tokens, mask, masked_as_zero)


def without_masked(side: Padded) -> Tensor:
    """Return the tokens with zeros for masked ones: a NaN there would survive its gradient's weight of 0."""
    return side.tokens if side.mask is None else side.tokens.masked_fill(~side.mask.unsqueeze(-1), 0)


def _maxima(
    rows: Tensor, documents: Tensor, mask: Tensor | None, masked_as_zero: bool, chunk_elements: int | None
) -> Tensor:
    """`token_maxima` of any shape: ``(groups, num_documents, query_tokens)``; empty documents are settled later."""
    if documents.shape[2] == 0 or rows.shape[1] == 0:
        return nothing(Padded(rows, None), Padded(documents, None)).expand(*documents.shape[:2], rows.shape[1])
    maxima = token_maxima(rows, documents, mask, chunk_elements=chunk_elements)
    if mask is not None and masked_as_zero:
        # One similarity of 0 among the others raises a negative maximum to 0 and changes no other.
        return torch.where(mask.all(dim=2, keepdim=True), maxima, maxima.clamp_min(0))
    return maxima


def _exclude_empty(scores: Tensor, documents: Tensor, mask: Tensor | None, masked_as_zero: bool) -> Tensor:
    """Give ``-inf`` to documents without a token that counts, and no gradient. scores: ``(A, B)``; mask: ``(..., T)``.

    Sums alone would give 0 for queries without tokens, and send gradients to masked tokens.
    """
    if documents.shape[-2] == 0:
        return scores - torch.inf
    if mask is None or masked_as_zero:
        return scores
    return scores.masked_fill(~mask.any(dim=-1), -torch.inf)


def _counts(queries: Padded) -> Tensor:
    """Return ``(A,)``: query tokens that count, at least 1 because it divides."""
    num_queries, query_tokens, _ = queries.tokens.shape
    if queries.mask is None:
        return torch.full((num_queries,), max(1, query_tokens), device=queries.tokens.device)
    return queries.mask.sum(dim=1).clamp_min(1)


def nothing(queries: Padded, documents: Padded) -> Tensor:
    """Return a scalar 0 that depends on both sides, so that their gradients are zeros rather than missing."""
    wide = torch.float64 in (queries.tokens.dtype, documents.tokens.dtype)
    dtype = torch.float64 if wide else torch.float32
    return queries.tokens.flatten()[:0].sum(dtype=dtype) + documents.tokens.flatten()[:0].sum(dtype=dtype)


def check_dims(queries: Padded, documents: Padded) -> None:
    """Raise DimensionMismatch for sides of two widths."""
    found = queries.tokens.shape[-1], documents.tokens.shape[-1]
    # A side without texts may not know its dimension.
    if found[0] != found[1] and (len(queries.tokens) or found[0]) and (len(documents.tokens) or found[1]):
        raise DimensionMismatch(f"queries have dimension {found[0]}, documents {found[1]}; encode both with one model")
