"""Which scores are learnt with a model?  Modules that take the place of MaxSim in losses and in reranking.

`TokenWeights` weighs tokens by their vectors and is still MaxSim: its weights fold into the vectors, so that any index
finds what it would. `SimilarityMLP` adds to MaxSim what a small network reads off the matrix of similarities: it ranks
again what MaxSim has found. Both begin as MaxSim itself, so that training starts where the model is.

They are called as every score is, ``(queries, documents, queries_mask, documents_mask)``. `scorer_files` stores them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from serotine.errors import DimensionMismatch, InvalidInput
from serotine.scores._inputs import listed
from serotine.scores._padding import Padded, pad_side
from serotine.scores.colbert import flatten_groups
from serotine.scores.tensors import check_dims, score_cross, score_own, without_masked
from serotine.types import Embeddings, TokenMatrix

__all__ = ["Scorer", "SimilarityMLP", "TokenWeights"]

# Similarities for which the network's activations exist at once: 16 MiB of float32 before the first layer.
_BLOCK_ELEMENTS = 2**22


class Scorer(nn.Module):
    """A score with parameters. Subclasses define `_score_sides` and `get_config_dict`, the constructor's arguments."""

    scores_own: ClassVar[bool] = True
    """``own=True`` is understood, so that distillation need not score every pair."""

    def forward(
        self,
        queries_embeddings: Embeddings,
        documents_embeddings: Embeddings,
        queries_mask: Any = None,
        documents_mask: Any = None,
        *,
        own: bool = False,
    ) -> Tensor:
        """Score every query against every document, or each query against its own.

        Inputs and masks: those of `serotine.scores.colbert_scores`. own=False: documents ``(B, T, dim)``, in groups
        ``(Q, N, T, dim)``, or a list; returns ``(A, B)`` or ``(A, Q * N)``, query-major. own=True: documents
        ``(A, N, T, dim)``, returns ``(A, N)``. float32, ``-inf`` for a document without tokens that count; on the
        device of the parameters, to which inputs are moved.

        Raises:
            DimensionMismatch: a wrong rank, or another width than the parameters have.
        """
        count = None
        if getattr(documents_embeddings, "ndim", None) == 4:
            count = documents_embeddings.shape[1]
            documents_embeddings, documents_mask = flatten_groups(documents_embeddings, documents_mask)
        elif own:
            raise DimensionMismatch("own=True needs documents of shape (num_queries, num_documents, num_tokens, dim)")
        queries = self._padded(queries_embeddings, queries_mask, what="queries")
        documents = self._padded(documents_embeddings, documents_mask, what="documents")
        return self._checked_scores(queries, documents, count if own else None)

    def pairwise(
        self,
        queries_embeddings: Embeddings,
        documents_embeddings: Embeddings,
        queries_mask: Any = None,
        documents_mask: Any = None,
    ) -> Tensor:
        """Score query i against document i: ``(n,)``; inputs are those of `serotine.scores.colbert_scores_pairwise`."""
        queries = self._padded(queries_embeddings, queries_mask, what="queries")
        documents = self._padded(documents_embeddings, documents_mask, what="documents")
        return self._checked_scores(queries, documents, 1)[:, 0]

    def _padded(self, embeddings: Embeddings, mask: Any, *, what: str) -> Padded:
        device = next(self.parameters()).device
        side = pad_side(listed(embeddings, what=what), mask, what=what, device=device)
        if side.mask is not None:
            return side
        return Padded(side.tokens, torch.ones(side.tokens.shape[:2], dtype=torch.bool, device=device))

    def _checked_scores(self, queries: Padded, documents: Padded, documents_per_query: int | None) -> Tensor:
        check_dims(queries, documents)
        if documents_per_query is not None and len(documents.tokens) != len(queries.tokens) * documents_per_query:
            raise InvalidInput(
                f"{len(queries.tokens)} queries with {documents_per_query} documents each need "
                f"{len(queries.tokens) * documents_per_query} documents, got {len(documents.tokens)}"
            )
        with torch.autocast(queries.tokens.device.type, enabled=False):
            return self._score_sides(queries, documents, documents_per_query)

    def _score_sides(self, queries: Padded, documents: Padded, documents_per_query: int | None) -> Tensor:
        """Score padded sides that have masks. documents_per_query: None scores every pair."""
        raise NotImplementedError

    def get_config_dict(self) -> dict[str, Any]:
        """Return the constructor's arguments, as `scorer_files` and model cards write them."""
        raise NotImplementedError


def _base_scores(queries: Padded, documents: Padded, documents_per_query: int | None) -> Tensor:
    if documents_per_query is None:
        return score_cross(queries, documents)
    return score_own(queries, documents, documents_per_query=documents_per_query)


class TokenWeights(Scorer):
    """MaxSim with an importance for each token: ``S = sum_i u(q_i) max_j w(d_j) q_i . d_j``.

    A token's importance is read off its vector: ``softplus(a . v + b)``, with an ``a`` and ``b`` for queries and others
    for documents; 1 for every token at the start. Positive factors may move into the vectors (`fold`): plain MaxSim of
    folded vectors, by any index or kernel here, is this score.

    dim: of the vectors. documents: whether documents' tokens have weights, too; without, only queries need folding.

    Example:
        >>> import numpy as np
        >>> scorer = TokenWeights(dim=4)
        >>> scorer(np.ones((1, 2, 4)), np.ones((3, 5, 4))).tolist()
        [[8.0, 8.0, 8.0]]
    """

    def __init__(self, dim: int, *, documents: bool = True) -> None:
        super().__init__()
        self.dim, self.documents = _positive(dim, "dim"), documents
        self.query_importance = _importance(dim)
        self.document_importance = _importance(dim) if documents else None

    def get_config_dict(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"dim": self.dim, "documents": self.documents}

    def _score_sides(self, queries: Padded, documents: Padded, documents_per_query: int | None) -> Tensor:
        return _base_scores(
            Padded(self._weighted(without_masked(queries), is_query=True), queries.mask),
            Padded(self._weighted(without_masked(documents), is_query=False), documents.mask),
            documents_per_query,
        )

    def _weighted(self, tokens: Tensor, *, is_query: bool) -> Tensor:
        layer = self.query_importance if is_query else self.document_importance
        if tokens.shape[-1] != self.dim:
            raise DimensionMismatch(f"vectors have dimension {tokens.shape[-1]}, TokenWeights {self.dim}")
        if layer is None:
            return tokens
        # In float32: the softplus of a 16-bit sum would round weights that are all near 1 onto each other.
        weights = functional.softplus(functional.linear(tokens.float(), layer.weight.float(), layer.bias.float()))
        return tokens * weights.to(torch.promote_types(tokens.dtype, layer.weight.dtype))

    @torch.no_grad()
    def fold(self, embeddings: Embeddings, *, is_query: bool) -> Any:
        """Multiply each vector by its token's importance: index and search the result with plain MaxSim.

        embeddings: a `TokenMatrix`, one array or tensor, or a list of them. Returns the same form, each in the dtype it
        had (float64 arrays become float32). The lengths of the vectors carry the weights: do not normalise again.
        """
        if isinstance(embeddings, TokenMatrix):
            return TokenMatrix(self._folded(embeddings.values, is_query=is_query), embeddings.offsets)
        if hasattr(embeddings, "ndim"):
            return self._folded(embeddings, is_query=is_query)
        return [self._folded(embedding, is_query=is_query) for embedding in listed(embeddings, what="embeddings")]

    def _folded(self, embedding: Any, *, is_query: bool) -> Any:
        device = next(self.parameters()).device
        if isinstance(embedding, Tensor):
            weighted = self._weighted(embedding.to(device), is_query=is_query)
            return weighted.to(device=embedding.device, dtype=embedding.dtype)
        flat = embedding.reshape(-1, embedding.shape[-1]) if embedding.ndim != 2 else embedding
        padded = pad_side(flat, None, what="embeddings", device=device).tokens[0]
        dtype = embedding.dtype if embedding.dtype.itemsize <= 4 else "float32"
        return self._weighted(padded, is_query=is_query).cpu().numpy().astype(dtype).reshape(embedding.shape)


class SimilarityMLP(Scorer):
    """MaxSim plus what a small network reads off the matrix of similarities, rows first and then columns.

    The matrix of a pair, cut or filled with zeros to ``query_tokens x document_tokens``, goes through a layer along the
    document tokens, a layer along the query tokens, and a sum: separable, hence few parameters. The sum's weights
    start at 0. Tokens beyond these lengths count in MaxSim only.

    row_width, column_width: outputs of the two layers.

    Cost: about ``row_width`` multiply-adds per similarity. Pairs are scored in blocks whose activations are computed
    again in the backward pass, so memory does not grow with their number. An index cannot search by it: rerank.

    Source: Ji et al. 2024, "Efficient Document Ranking with Learnable Late Interactions" (LITE, separable variant). The
    addition to MaxSim is not in the paper.
    """

    def __init__(
        self, *, query_tokens: int = 32, document_tokens: int = 180, row_width: int = 16, column_width: int = 16
    ) -> None:
        super().__init__()
        self.query_tokens, self.document_tokens = query_tokens, document_tokens
        self.row_width, self.column_width = row_width, column_width
        for name, value in self.get_config_dict().items():
            _positive(value, name)
        self.rows = nn.Sequential(nn.Linear(document_tokens, row_width), nn.LayerNorm(row_width), nn.ReLU())
        self.columns = nn.Sequential(nn.Linear(query_tokens, column_width), nn.LayerNorm(column_width), nn.ReLU())
        self.total = nn.Linear(row_width * column_width, 1, bias=False)
        nn.init.zeros_(self.total.weight)

    def get_config_dict(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        names = ("query_tokens", "document_tokens", "row_width", "column_width")
        return {name: getattr(self, name) for name in names}

    def _score_sides(self, queries: Padded, documents: Padded, documents_per_query: int | None) -> Tensor:
        scores = _base_scores(queries, documents, documents_per_query)
        if scores.numel() == 0:
            return scores
        query_side, document_side = _cut(queries, self.query_tokens), _cut(documents, self.document_tokens)
        if documents_per_query is not None:
            document_side = tuple(part.view(*scores.shape, *part.shape[1:]) for part in document_side)
        parts = [
            torch.cat(
                [
                    checkpoint(self._read, *(part[some] for part in query_side), *columns, use_reentrant=False)
                    for columns in self._columns_of(document_side, some, own=documents_per_query is not None)
                ],
                dim=1,
            )
            for some in _slices(len(scores), max(1, self._pairs_at_once() // scores.shape[1]))
        ]
        correction = torch.cat(parts)
        # Not through the sum: -inf of a document without tokens plus anything is -inf, but its gradient would be real.
        return scores + correction.masked_fill(scores.isneginf(), 0)

    def _pairs_at_once(self) -> int:
        return max(1, _BLOCK_ELEMENTS // (self.query_tokens * self.document_tokens))

    def _columns_of(self, side: tuple[Tensor, ...], some: slice, *, own: bool) -> Iterator[tuple[Tensor, ...]]:
        """Yield the documents that some queries are scored against, in blocks: ``(a | 1, b, tokens, ...)``."""
        side = tuple(part[some] if own else part.unsqueeze(0) for part in side)
        for block in _slices(side[0].shape[1], self._pairs_at_once()):
            yield tuple(part[:, block] for part in side)

    def _read(self, queries: Tensor, queries_mask: Tensor, documents: Tensor, documents_mask: Tensor) -> Tensor:
        """Run the network: ``(a, s, dim)``, ``(a | 1, b, t, dim)`` -> ``(a, b)``."""
        dtype = self.total.weight.dtype
        queries, documents = queries.to(dtype), documents.to(dtype)
        if len(documents) == 1:  # the same for all queries: one matrix product
            similarities = torch.einsum("ash,bth->abst", queries, documents[0])
        else:
            similarities = torch.einsum("ash,abth->abst", queries, documents)
        counts = queries_mask[:, None, :, None] & documents_mask[:, :, None, :]
        similarities = similarities.masked_fill(~counts, 0)
        missing = (self.document_tokens - similarities.shape[3], self.query_tokens - similarities.shape[2])
        filled = functional.pad(similarities, (0, missing[0], 0, missing[1]))
        by_row = self.rows(filled)  # (a, b, query_tokens, row_width)
        by_column = self.columns(by_row.transpose(2, 3))  # (a, b, row_width, column_width)
        corrections: Tensor = self.total(by_column.flatten(2)).squeeze(2)
        return corrections.float()


def _cut(side: Padded, num_tokens: int) -> tuple[Tensor, ...]:
    mask = side.mask[:, :num_tokens]  # type: ignore[index]
    # Zeros, so that a NaN in a masked token reaches neither a similarity nor a gradient.
    return side.tokens[:, :num_tokens].masked_fill(~mask.unsqueeze(-1), 0), mask


def _importance(dim: int) -> nn.Linear:
    layer = nn.Linear(dim, 1)
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, math.log(math.e - 1))  # softplus of it is 1
    return layer


def _positive(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInput(f"{name} must be a positive whole number, got {value!r}")
    return value


def _slices(length: int, step: int) -> list[slice]:
    return [slice(start, start + step) for start in range(0, length, step)]
