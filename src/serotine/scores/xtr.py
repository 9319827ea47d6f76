"""What does a document score when only retrieved tokens count?  XTR's training scores.

A query token retrieves the ``k`` most similar document tokens of the whole batch, as it would from an index. A document
gets, for each query token, the largest similarity among its tokens that were retrieved, 0 if none was; the sum is
divided by Z. The source of all of it: Lee et al. 2023, "Rethinking the Role of Token Retrieval in Multi-Vector
Retrieval", section 3.

Two normalisations are published, and ``normalization`` chooses:

* ``"retrieved"``, the paper's equation 5: Z is the number of query tokens that retrieved a token of the document.
* ``"positive"``, PyLate's and PrimeQA's: similarities of tokens that were not retrieved count as 0 beside those that
  were, so a negative one never counts, and Z is the number of query tokens with a positive maximum. (PyLate lets a
  negative one count where every token of the document was retrieved.)

They agree while everything that is retrieved has a positive similarity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from serotine.errors import DimensionMismatch, InvalidInput
from serotine.scores._inputs import find_tensors, listed
from serotine.scores.colbert import flatten_groups, shape_in_words
from serotine.types import Embeddings

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Normalization", "XTRKDScores", "XTRScores", "xtr_kd_scores", "xtr_scores"]

Normalization = Literal["retrieved", "positive"]

# Similarities held at once: 64 MiB of float32. Fewer would make the matrix product thin, since a query token's row of
# similarities to all document tokens is at hand together: its k-th largest is what decides.
_BLOCK_ELEMENTS = 2**24


def xtr_scores(
    queries_embeddings: Embeddings,
    documents_embeddings: Embeddings,
    queries_mask: Any = None,
    documents_mask: Any = None,
    *,
    k: int = 256,
    document_chunk_size: int | None = None,
    normalization: Normalization = "retrieved",
) -> Any:
    """Score every query against every document, for contrastive losses.

    Args:
        queries_embeddings: ``(A, S, dim)``, or a list of ``(num_tokens_i, dim)``.
        documents_embeddings: ``(B, T, dim)`` or a list, giving ``(A, B)``; or in groups of N per query
            ``(Q, N, T, dim)``, giving ``(A, Q * N)`` query-major, as in `colbert_scores`.
        queries_mask: see `serotine.scores.maxsim`.
        documents_mask: the same for documents.
        k: document tokens that each query token retrieves, at most all that count. Tokens as similar as the k-th are
            retrieved, too.
        document_chunk_size: documents whose similarities are computed together; None: as many as there are.
        normalization: see the head of this file.

    Returns:
        float32 (float64 if a side is float64), a tensor if a side is one. ``-inf`` for a document without tokens that
        count. Differentiable once; what was retrieved, and Z, are constants.

    Raises:
        InvalidInput: k or document_chunk_size is no positive whole number, or normalization is unknown.
        DimensionMismatch: a wrong rank, or sides of two widths.

    Cost: that of MaxSim plus one selection of the k largest per query token. Extra memory 2**24 similarities or one
    query token's, and for gradients 8 bytes per query token and document; never a similarity per pair of tokens.

    Example:
        >>> import numpy as np
        >>> documents = np.array([[[1.0, 0.0]], [[0.5, 0.5]], [[0.0, 1.0]]])
        >>> xtr_scores(np.array([[[1.0, 0.0]]]), documents, k=2).tolist()
        [[1.0, 0.5, 0.0]]
    """
    _check_options(k, document_chunk_size, normalization)
    import torch

    if getattr(documents_embeddings, "ndim", None) == 4:
        documents_embeddings, documents_mask = flatten_groups(documents_embeddings, documents_mask)
    queries, documents = listed(queries_embeddings, what="queries"), listed(documents_embeddings, what="documents")
    tensors = find_tensors(documents) or find_tensors(queries)
    device = tensors[0].device if tensors else torch.device("cpu")
    from serotine.scores._padding import pad_side
    from serotine.scores.tensors import check_dims

    sides = (
        pad_side(queries, queries_mask, what="queries", device=device),
        pad_side(documents, documents_mask, what="documents", device=device),
    )
    check_dims(*sides)
    with torch.autocast(device.type, enabled=False):
        scores = _scores(*sides, k, document_chunk_size, normalization)
    return scores if tensors else scores.numpy()


def xtr_kd_scores(
    queries_embeddings: Embeddings,
    documents_embeddings: Any,
    queries_mask: Any = None,
    documents_mask: Any = None,
    *,
    k: int = 256,
    document_chunk_size: int | None = None,
    normalization: Normalization = "retrieved",
) -> Any:
    """Score each query against its own documents, for distillation; tokens are retrieved from all of the batch.

    documents_embeddings: ``(A, N, T, dim)``, mask ``(A, N, T)``. Returns ``(A, N)``. Else as `xtr_scores`.
    """
    if getattr(documents_embeddings, "ndim", None) != 4:
        raise DimensionMismatch(
            "documents_embeddings must be 4-D (num_queries, documents_per_query, num_tokens, dim), got "
            f"{shape_in_words(documents_embeddings)}"
        )
    if len(documents_embeddings) != len(queries_embeddings):
        raise InvalidInput(
            f"got documents for {len(documents_embeddings)} queries, expected them for {len(queries_embeddings)}"
        )
    scores = xtr_scores(
        queries_embeddings,
        documents_embeddings,
        queries_mask,
        documents_mask,
        k=k,
        document_chunk_size=document_chunk_size,
        normalization=normalization,
    )
    num_queries, num_documents = documents_embeddings.shape[:2]
    return scores.reshape(num_queries, num_queries, num_documents)[list(range(num_queries)), list(range(num_queries))]


@dataclass(frozen=True)
class XTRScores:
    """`xtr_scores` with its options bound: a ``score_metric`` for contrastive losses.

    Example:
        >>> import numpy as np
        >>> XTRScores(k=2)(np.ones((1, 2, 4)), np.ones((1, 3, 5, 4))).tolist()
        [[4.0, 4.0, 4.0]]
    """

    pools_documents: ClassVar[bool] = True
    """A score depends on the other documents of the batch, so that they must be scored together."""

    k: int = 256
    document_chunk_size: int | None = None
    normalization: Normalization = "retrieved"

    def __post_init__(self) -> None:
        _check_options(self.k, self.document_chunk_size, self.normalization)

    def __call__(
        self,
        queries_embeddings: Embeddings,
        documents_embeddings: Embeddings,
        queries_mask: Any = None,
        documents_mask: Any = None,
    ) -> Any:
        """Return ``(A, Q * N)`` or ``(A, B)``: see `xtr_scores`."""
        return xtr_scores(queries_embeddings, documents_embeddings, queries_mask, documents_mask, **asdict(self))

    def get_config_dict(self) -> dict[str, Any]:
        """Return the options, as Sentence Transformers writes them into a model card."""
        return asdict(self)


class XTRKDScores(XTRScores):
    """`xtr_kd_scores` with its options bound: a ``score_metric`` for distillation."""

    def __call__(
        self,
        queries_embeddings: Embeddings,
        documents_embeddings: Embeddings,
        queries_mask: Any = None,
        documents_mask: Any = None,
    ) -> Any:
        """Return ``(A, N)``: see `xtr_kd_scores`."""
        return xtr_kd_scores(queries_embeddings, documents_embeddings, queries_mask, documents_mask, **asdict(self))


def _check_options(k: Any, document_chunk_size: Any, normalization: Any) -> None:
    for name, value in (("k", k), ("document_chunk_size", document_chunk_size)):
        if value is None and name != "k":
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidInput(f"{name} must be a positive whole number, got {value!r}")
    if normalization not in ("retrieved", "positive"):
        raise InvalidInput(f"normalization must be 'retrieved' or 'positive', got {normalization!r}")


def _scores(queries: Any, documents: Any, k: int, chunk_size: int | None, normalization: Normalization) -> Tensor:
    """Score padded sides: ``(A, S, dim)``, ``(B, T, dim)`` -> ``(A, B)``."""
    import torch

    from serotine.scores.autograd import known_maxima
    from serotine.scores.tensors import nothing

    num_queries, query_tokens, dim = queries.tokens.shape
    num_documents, document_tokens, _ = documents.tokens.shape
    if documents.tokens.numel() == 0 or queries.tokens.numel() == 0:
        return nothing(queries, documents).expand(num_queries, num_documents) - (0.0 if document_tokens else torch.inf)
    tokens = queries.tokens
    if queries.mask is not None:
        # A NaN in a masked token would survive its weight of 0.
        tokens = tokens.masked_fill(~queries.mask.unsqueeze(-1), 0)
    rows = tokens.reshape(num_queries * query_tokens, dim)
    found = _retrieve(rows.detach(), documents.tokens.detach(), documents.mask, k, chunk_size)
    maxima = known_maxima(
        rows.unsqueeze(0), documents.tokens.unsqueeze(0), found.maxima.unsqueeze(0), found.winners.unsqueeze(0)
    ).squeeze(0)
    # Not "maxima >= threshold": NaN must go through, and is not at least anything.
    retrieved = ~(maxima.detach() < found.thresholds)
    if normalization == "positive":
        retrieved &= ~(maxima.detach() <= 0)
    if queries.mask is not None:
        retrieved &= queries.mask.reshape(-1)
    if documents.mask is not None:
        counting = documents.mask.any(dim=1)
        retrieved &= counting.unsqueeze(1)
    kept = maxima.where(retrieved, 0).view(num_documents, num_queries, query_tokens).sum(dim=2)
    number = retrieved.view(num_documents, num_queries, query_tokens).sum(dim=2)
    scores = (kept / number.clamp_min(1)).t()
    return scores if documents.mask is None else scores.masked_fill(~counting, -torch.inf)


class _Retrieved(NamedTuple):
    maxima: Tensor  # (num_documents, rows): the largest similarity in each document, retrieved or not
    winners: Tensor  # int32, the same: the token that gave it
    thresholds: Tensor  # (rows,): the k-th largest similarity of all


def _retrieve(rows: Tensor, documents: Tensor, mask: Tensor | None, k: int, chunk_size: int | None) -> _Retrieved:
    """Find, without gradients, maxima and thresholds in one pass over the similarities.

    One pass, because a similarity that is the threshold must compare equal to itself: another matrix product of other
    shape may round it differently.
    """
    import torch

    wide = torch.float64 in (rows.dtype, documents.dtype)
    rows, dtype = rows.to(torch.float64 if wide else torch.float32), torch.float64 if wide else torch.float32
    num_documents, document_tokens, _ = documents.shape
    maxima = rows.new_empty((num_documents, len(rows)))
    winners = rows.new_empty((num_documents, len(rows)), dtype=torch.int32)
    thresholds = rows.new_empty(len(rows))
    chunk_size = min(chunk_size or num_documents, num_documents)
    for some in _slices(len(rows), max(1, _BLOCK_ELEMENTS // (chunk_size * document_tokens))):
        best = rows.new_empty((len(rows[some]), 0))
        for chunk in _slices(num_documents, chunk_size):
            table = documents[chunk].reshape(-1, documents.shape[2]).to(dtype)
            similarities = rows[some] @ table.t()
            if mask is not None:
                similarities.masked_fill_(~mask[chunk].reshape(1, -1), -torch.inf)
            best = torch.cat([best, similarities], dim=1) if best.shape[1] else similarities
            best = best.topk(min(k, best.shape[1]), dim=1, sorted=False).values
            split = similarities.view(len(similarities), -1, document_tokens)
            value, position = split.max(dim=2)
            maxima[chunk, some], winners[chunk, some] = value.t(), position.t()
        thresholds[some] = best.amin(dim=1)
    return _Retrieved(maxima, winners, thresholds)


def _slices(length: int, step: int) -> Iterator[slice]:
    for start in range(0, length, step):
        yield slice(start, start + step)
