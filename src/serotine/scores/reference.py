"""What is MaxSim, in the plainest code?  The float32 reference that every fast path is tested against.

Not for use in production: it is one matrix product per query and holds all of its similarities at once.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serotine.types import TokenMatrix

__all__ = ["maxsim_reference"]


def maxsim_reference(queries: TokenMatrix, documents: TokenMatrix) -> npt.NDArray[np.float32]:
    """Score every query against every document: ``S(Q, D) = sum_i max_j q_i . d_j``.

    Returns float32 ``(num_queries, num_documents)``. A document without tokens scores ``-inf`` (there is
    nothing to match), a query without tokens 0 (an empty sum) against every document that has tokens.
    NaN in a query or document makes their score NaN.

    Source: Khattab & Zaharia 2020, equation 3. Cost O(query tokens * document tokens * dim).
    """
    scores = np.full((len(queries), len(documents)), -np.inf, dtype=np.float32)
    has_tokens = documents.lengths > 0
    starts = documents.offsets[:-1][has_tokens]
    if not has_tokens.any():
        return scores
    tokens = documents.values.astype(np.float32)
    for row, query in enumerate(queries):
        similarities = tokens @ query.astype(np.float32).T
        scores[row, has_tokens] = np.maximum.reduceat(similarities, starts, axis=0).sum(axis=1)
    return scores
