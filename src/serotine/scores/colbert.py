"""How are ColBERT models scored in training?  The three shapes of scores that losses ask for.

All take ``(queries_embeddings, documents_embeddings, queries_mask, documents_mask)`` and fit wherever a loss of
Sentence Transformers takes a ``similarity_fct`` or one of PyLate a ``score_metric``. Inputs, masks, options, dtypes,
errors and cost are those of `serotine.scores.maxsim`; here only the shapes differ.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from serotine.errors import DimensionMismatch
from serotine.scores._inputs import check_mask_shape
from serotine.scores.dispatch import maxsim, maxsim_own, maxsim_pairwise
from serotine.types import Embeddings

__all__ = [
    "ColBERTScores",
    "colbert_kd_scores",
    "colbert_scores",
    "colbert_scores_pairwise",
    "flatten_groups",
    "shape_in_words",
]


def colbert_scores(
    queries_embeddings: Embeddings,
    documents_embeddings: Embeddings,
    queries_mask: Any = None,
    documents_mask: Any = None,
    *,
    masked_as_zero: bool = False,
    length_normalize: bool = False,
    chunk_elements: int | None = None,
) -> Any:
    """Score every query against every document, for contrastive losses.

    queries_embeddings: ``(A, S, dim)``, mask ``(A, S)``. documents_embeddings: ``(B, T, dim)``, mask ``(B, T)``,
    giving ``(A, B)``; or, in groups of N per query, ``(Q, N, T, dim)``, mask ``(Q, N, T)``, giving ``(A, Q * N)``
    query-major: column ``j * N + n`` is document n of query j, so that query i finds its positive at ``i * N``.

    Example:
        >>> import numpy as np
        >>> colbert_scores(np.ones((2, 1, 4)), np.ones((2, 3, 5, 4))).shape
        (2, 6)
    """
    if getattr(documents_embeddings, "ndim", None) == 4:
        documents_embeddings, documents_mask = flatten_groups(documents_embeddings, documents_mask)
    return maxsim(
        queries_embeddings,
        documents_embeddings,
        queries_mask,
        documents_mask,
        masked_as_zero=masked_as_zero,
        length_normalize=length_normalize,
        chunk_elements=chunk_elements,
    )


def colbert_scores_pairwise(
    queries_embeddings: Embeddings,
    documents_embeddings: Embeddings,
    queries_mask: Any = None,
    documents_mask: Any = None,
    *,
    masked_as_zero: bool = False,
    length_normalize: bool = False,
    chunk_elements: int | None = None,
) -> Any:
    """Score query i against document i, for margin losses: ``(n, S, dim)``, ``(n, T, dim)`` -> ``(n,)``."""
    return maxsim_pairwise(
        queries_embeddings,
        documents_embeddings,
        queries_mask,
        documents_mask,
        masked_as_zero=masked_as_zero,
        length_normalize=length_normalize,
        chunk_elements=chunk_elements,
    )


def colbert_kd_scores(
    queries_embeddings: Embeddings,
    documents_embeddings: Any,
    queries_mask: Any = None,
    documents_mask: Any = None,
    *,
    masked_as_zero: bool = False,
    length_normalize: bool = False,
    chunk_elements: int | None = None,
) -> Any:
    """Score each query against its own documents, for distillation.

    queries_embeddings: ``(A, S, dim)``, mask ``(A, S)``. documents_embeddings: ``(A, B, T, dim)``, mask ``(A, B, T)``.
    Returns ``(A, B)``.

    Example:
        >>> import numpy as np
        >>> colbert_kd_scores(np.ones((2, 1, 4)), np.ones((2, 3, 5, 4))).shape
        (2, 3)
    """
    if getattr(documents_embeddings, "ndim", None) != 4:
        raise DimensionMismatch(
            "documents_embeddings must be 4-D (num_queries, documents_per_query, num_tokens, dim), got "
            f"{shape_in_words(documents_embeddings)}"
        )
    documents, documents_mask = flatten_groups(documents_embeddings, documents_mask)
    return maxsim_own(
        queries_embeddings,
        documents,
        queries_mask,
        documents_mask,
        documents_per_query=documents_embeddings.shape[1],
        masked_as_zero=masked_as_zero,
        length_normalize=length_normalize,
        chunk_elements=chunk_elements,
    )


@dataclass(frozen=True)
class ColBERTScores:
    """`colbert_scores` with its options bound: a configured ``score_metric`` or ``similarity_fct`` for a loss.

    Example:
        >>> import numpy as np
        >>> ColBERTScores(length_normalize=True)(np.ones((1, 2, 4)), np.ones((1, 3, 5, 4))).tolist()
        [[4.0, 4.0, 4.0]]
    """

    masked_as_zero: bool = False
    length_normalize: bool = False
    chunk_elements: int | None = None

    def __call__(
        self,
        queries_embeddings: Embeddings,
        documents_embeddings: Embeddings,
        queries_mask: Any = None,
        documents_mask: Any = None,
    ) -> Any:
        """Return ``(A, Q * N)`` or ``(A, B)``: see `colbert_scores`."""
        return colbert_scores(
            queries_embeddings, documents_embeddings, queries_mask, documents_mask, **self.get_config_dict()
        )

    def get_config_dict(self) -> dict[str, Any]:
        """Return the options, as Sentence Transformers writes them into a model card."""
        return asdict(self)


def shape_in_words(embeddings: Any) -> str:
    """Say, for a message, what came instead of the expected array."""
    return f"shape {tuple(embeddings.shape)}" if hasattr(embeddings, "shape") else type(embeddings).__name__


def flatten_groups(documents: Any, mask: Any) -> tuple[Any, Any]:
    """Lay groups end to end: ``(Q, N, T, dim)`` -> ``(Q * N, T, dim)``, and the mask likewise. Views where possible."""
    num_queries, num_documents, num_tokens, dim = documents.shape
    flat = documents.reshape(num_queries * num_documents, num_tokens, dim)
    if mask is None:
        return flat, None
    mask = mask if hasattr(mask, "reshape") else np.asarray(mask)
    check_mask_shape(tuple(mask.shape), tuple(documents.shape[:3]), name="documents_mask")
    return flat, mask.reshape(num_queries * num_documents, num_tokens)
