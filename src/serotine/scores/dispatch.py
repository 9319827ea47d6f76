"""Which path scores these embeddings?  `maxsim` and `maxsim_pairwise` over anything that holds token vectors.

numpy arrays, and CPU tensors without gradients, go to the native engine, which shares their memory and computes no
padding; tensors with gradients, on another device or in float64 go through torch. Both keep one contract. Each path is
imported when it is first taken: training needs no engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from serotine.errors import InvalidInput
from serotine.scores._inputs import find_tensors, listed, needs_tensor_path, pack_side
from serotine.scores.quantized import Int8TokenMatrix
from serotine.types import Array, Embeddings

if TYPE_CHECKING:
    import torch

__all__ = ["maxsim", "maxsim_own", "maxsim_pairwise"]


def maxsim(
    queries: Embeddings,
    documents: Embeddings,
    queries_mask: Any = None,
    documents_mask: Any = None,
    *,
    masked_as_zero: bool = False,
    length_normalize: bool = False,
    chunk_elements: int | None = None,
    num_threads: int | None = None,
) -> Any:
    """Score every query against every document: ``S(Q, D) = sum_i max_j q_i . d_j``.

    Args:
        queries: a list of ``(num_tokens_i, dim)`` arrays or tensors, a `TokenMatrix`, a padded
            ``(n, num_tokens, dim)`` array or tensor, or one 2-D ``(num_tokens, dim)``, which is one text.
        documents: the same, or an `Int8TokenMatrix`. The sides may differ in form, dtype and library.
        queries_mask: bool or integers, nonzero where a token counts: ``(n, num_tokens)``; for a list also one 1-D
            mask per text, for one text 1-D. A masked token takes no part, whatever it holds. None: all count, except
            the all-zero rows of padded 3-D input: those are padding, since a normalised token is never zero,
            and their similarity 0 would beat every negative one.
        documents_mask: the same for documents.
        masked_as_zero: count a masked document token as similarity 0, as PyLate does, to reproduce its numbers.
            A document's score then depends on how far its batch was padded.
        length_normalize: divide by the number of query tokens that count (MeanMaxSim).
        chunk_elements: similarities that the torch path holds at once; None: 2**21 on a CPU (2**22 for many threads),
            2**25 elsewhere.
        num_threads: of the native path; None: all processors. The torch path follows ``torch.set_num_threads``.

    Returns:
        ``(num_queries, num_documents)``, higher is better: a numpy array if neither side holds a tensor, else a tensor
        on the device of the documents (of the queries if the documents are arrays). float32; float64 if a side is a
        float64 tensor. ``-inf`` for a document without tokens, else 0 for a query without tokens. NaN propagates.
        Of equal maxima the first document token takes the gradient.

    Raises:
        DimensionMismatch: a wrong rank, or sides of two widths.
        InvalidInput: not numbers, a mask of another shape or dtype, or an option that is no positive whole number.

    Cost: ``query tokens * document tokens * dim`` multiply-adds. Extra memory of the torch path: ``chunk_elements``
    similarities and, for gradients, 8 bytes per query token and document; never a similarity per pair of tokens.

    Source: Khattab & Zaharia 2020, equation 3.

    Example:
        >>> import numpy as np
        >>> query = np.array([[1.0, 0.0], [0.0, 1.0]])
        >>> documents = [np.array([[1.0, 0.0]]), np.array([[0.25, 0.5], [0.5, 0.25], [0.0, -1.0]])]
        >>> maxsim(query, documents).tolist()
        [[1.0, 1.0]]
    """
    options = _Options(masked_as_zero, length_normalize, chunk_elements, num_threads)
    return _score(queries, documents, queries_mask, documents_mask, None, options)


def maxsim_pairwise(
    queries: Embeddings,
    documents: Embeddings,
    queries_mask: Any = None,
    documents_mask: Any = None,
    *,
    masked_as_zero: bool = False,
    length_normalize: bool = False,
    chunk_elements: int | None = None,
    num_threads: int | None = None,
) -> Any:
    """Score query ``i`` against document ``i``: ``(n,)``; everything else as `maxsim`.

    Raises:
        InvalidInput: the sides have different numbers of texts; also what `maxsim` raises.

    Example:
        >>> import numpy as np
        >>> maxsim_pairwise([np.eye(2), np.ones((1, 2))], [np.eye(2), np.eye(2)]).tolist()
        [2.0, 1.0]
    """
    options = _Options(masked_as_zero, length_normalize, chunk_elements, num_threads)
    return _score(queries, documents, queries_mask, documents_mask, 1, options)[:, 0]


def maxsim_own(
    queries: Embeddings,
    documents: Embeddings,
    queries_mask: Any = None,
    documents_mask: Any = None,
    *,
    documents_per_query: int,
    masked_as_zero: bool = False,
    length_normalize: bool = False,
    chunk_elements: int | None = None,
    num_threads: int | None = None,
) -> Any:
    """Score each query against its own ``documents_per_query`` documents, which follow each other in ``documents``.

    Returns ``(num_queries, documents_per_query)``; everything else as `maxsim`.

    Raises:
        InvalidInput: there are not ``num_queries * documents_per_query`` documents; also what `maxsim` raises.
    """
    options = _Options(masked_as_zero, length_normalize, chunk_elements, num_threads)
    return _score(queries, documents, queries_mask, documents_mask, documents_per_query, options)


class _Options(NamedTuple):
    masked_as_zero: bool
    length_normalize: bool
    chunk_elements: int | None
    num_threads: int | None


def _score(
    queries: Embeddings,
    documents: Embeddings,
    queries_mask: Any,
    documents_mask: Any,
    documents_per_query: int | None,
    options: _Options,
) -> Any:
    """Choose the path. documents_per_query: None scores every pair, a number each query's own documents."""
    if options.chunk_elements is not None and options.chunk_elements < 1:
        raise InvalidInput(f"chunk_elements must be at least 1, or None, got {options.chunk_elements}")
    queries, documents = listed(queries, what="queries"), listed(documents, what="documents")
    if documents_per_query is not None:
        _check_counts(_num_texts(queries), _num_texts(documents), documents_per_query)
    tensors = find_tensors(queries, documents)
    if needs_tensor_path(tensors):
        device = (find_tensors(documents) or tensors)[0].device
        return _score_tensors(queries, documents, queries_mask, documents_mask, documents_per_query, options, device)
    scores = _score_packed(queries, documents, queries_mask, documents_mask, documents_per_query, options)
    if not tensors:
        return scores
    import torch

    return torch.from_numpy(scores)


def _num_texts(embeddings: Embeddings) -> int:
    return 1 if getattr(embeddings, "ndim", None) == 2 else len(embeddings)


def _check_counts(num_queries: int, num_documents: int, documents_per_query: int) -> None:
    if num_documents == num_queries * documents_per_query:
        return
    if documents_per_query == 1:
        raise InvalidInput(f"pairs need as many queries as documents, got {num_queries} and {num_documents}")
    raise InvalidInput(
        f"{num_queries} queries with {documents_per_query} documents each need "
        f"{num_queries * documents_per_query} documents, got {num_documents}"
    )


def _score_tensors(
    queries: Embeddings,
    documents: Embeddings,
    queries_mask: Any,
    documents_mask: Any,
    documents_per_query: int | None,
    options: _Options,
    device: torch.device,
) -> Any:
    import torch

    from serotine.scores._padding import pad_in_pieces, pad_side
    from serotine.scores.tensors import score_cross, score_own

    keywords: dict[str, Any] = {
        "masked_as_zero": options.masked_as_zero,
        "length_normalize": options.length_normalize,
        "chunk_elements": options.chunk_elements,
    }
    query_side = pad_side(queries, queries_mask, what="queries", device=device)
    if documents_per_query is not None:
        document_side = pad_side(documents, documents_mask, what="documents", device=device)
        return score_own(query_side, document_side, documents_per_query=documents_per_query, **keywords)
    pieces = pad_in_pieces(documents, documents_mask, what="documents", device=device)
    scores = [score_cross(query_side, piece, **keywords) for piece in pieces]
    return scores[0] if len(scores) == 1 else torch.cat(scores, dim=1)


def _score_packed(
    queries: Embeddings,
    documents: Embeddings,
    queries_mask: Any,
    documents_mask: Any,
    documents_per_query: int | None,
    options: _Options,
) -> Array:
    from serotine.scores.packed import maxsim_packed, maxsim_packed_pairwise

    query_side = pack_side(queries, queries_mask, what="queries")
    document_side = pack_side(documents, documents_mask, what="documents", masked_as_zero=options.masked_as_zero)
    if isinstance(query_side, Int8TokenMatrix):
        raise InvalidInput("queries must be floating-point numbers, got an Int8TokenMatrix; only documents may be int8")
    counts = np.maximum(query_side.lengths, 1).astype(np.float32)[:, None]
    if documents_per_query is None:
        scores = maxsim_packed(query_side, document_side, num_threads=options.num_threads, uint16_kind="bfloat16")
    else:
        if documents_per_query != 1:
            query_side = query_side.take(np.repeat(np.arange(len(query_side)), documents_per_query))
        scores = maxsim_packed_pairwise(
            query_side, document_side, num_threads=options.num_threads, uint16_kind="bfloat16"
        ).reshape(len(counts), documents_per_query)
    return scores / counts if options.length_normalize else scores
