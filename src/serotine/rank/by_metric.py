"""How are candidates scored by something else than MaxSim?  By calling it, and looking at what it returns.

torch is used only if the caller has imported it, as every score with parameters has.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from serotine._arrays import to_numpy
from serotine.errors import InvalidInput
from serotine.indexes.chunks import document_chunks
from serotine.types import DocumentId, Embeddings, TokenMatrix

__all__ = ["scores_by_metric"]


def scores_by_metric(
    metric: Callable[..., Any], query: TokenMatrix, ids: list[DocumentId], embeddings: Embeddings
) -> npt.NDArray[np.float32]:
    """Return the float32 scores of one query with each candidate. Candidates are passed in chunks of bounded size.

    Raises:
        InvalidInput: not one embedding per id, a vector or a score that is not finite, or not one score per candidate.
    """
    scores = np.full(len(ids), -np.inf, dtype=np.float32)
    done = 0
    for chunk in document_chunks(ids, embeddings, dim=query.dim, dtype=np.dtype(np.float32)):
        with _without_gradients():
            found = to_numpy(metric([query[0]], [chunk[number] for number in range(len(chunk))]))
        if found.shape != (1, len(chunk)):
            raise InvalidInput(f"score_metric returned shape {found.shape}, expected {(1, len(chunk))}")
        scores[done : done + len(chunk)] = found[0]
        for document_id, score, length in zip(ids[done:], found[0], chunk.lengths, strict=False):
            if length and not np.isfinite(score):
                raise InvalidInput(f"score_metric gives document {document_id!r} the score {score}")
        done += len(chunk)
    return scores


def _without_gradients() -> AbstractContextManager[Any]:
    torch = sys.modules.get("torch")
    return nullcontext() if torch is None else torch.no_grad()
