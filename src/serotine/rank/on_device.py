"""How are candidates scored where their tensors are?  With torch, on an accelerator; `reranking` decides when.

torch is imported when a function is called, so that importing `serotine.rank` never needs it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from serotine._lazy import require
from serotine.errors import DimensionMismatch, InvalidInput
from serotine.scores import maxsim
from serotine.types import Array, DocumentId, Embeddings, TokenMatrix

__all__ = ["scores_on_device"]


def scores_on_device(
    query: Array, ids: list[DocumentId], embeddings: Embeddings, device: Any
) -> npt.NDArray[np.float32]:
    """Return the float32 MaxSim of one query with each candidate, computed in float32 on a device.

    query: ``(num_tokens, dim)``. embeddings: of the candidates, a list of 2-D arrays or tensors, anywhere; those that
    are not on the device are copied to it. All are on it together. One 2-D array is one candidate; the all-zero rows of
    a padded 3-D array are padding and left out, as in `document_chunks`.

    Raises:
        DimensionMismatch: a candidate has another width. InvalidInput: not one embedding per id, or a score is not
            finite because a vector holds NaN or infinity. MissingExtra: torch is not installed.
    """
    torch = require("torch", extra="models", purpose="Scoring on a device")
    documents = _documents(torch, embeddings, device)
    if len(documents) != len(ids):
        raise InvalidInput(
            f"got {len(ids)} document ids and {len(documents)} embeddings, expected one embedding per id"
        )
    for document_id, document in zip(ids, documents, strict=True):
        if document.ndim != 2 or document.shape[1] != query.shape[1]:
            raise DimensionMismatch(
                f"document {document_id!r} has shape {tuple(document.shape)}, expected (num_tokens, {query.shape[1]})"
            )
    if not documents:
        return np.empty(0, dtype=np.float32)
    scores: npt.NDArray[np.float32] = maxsim([_on_device(torch, query, device)], documents)[0].cpu().numpy()
    for document_id, document, score in zip(ids, documents, scores, strict=True):
        if len(document) and not np.isfinite(score):
            raise InvalidInput(f"document {document_id!r} has the score {score}: a vector holds NaN or infinity")
    return scores


def _documents(torch: Any, embeddings: Embeddings, device: Any) -> list[Any]:
    """The candidates one by one, on the device."""
    if not hasattr(embeddings, "ndim") or isinstance(embeddings, TokenMatrix):
        return [_on_device(torch, embedding, device) for embedding in embeddings]
    if embeddings.ndim not in (2, 3):
        raise DimensionMismatch(
            "documents must be 2-D (one document) or 3-D (padded documents), got shape " + str(tuple(embeddings.shape))
        )
    array = _on_device(torch, embeddings, device)
    return [array] if array.ndim == 2 else [text[text.any(dim=1)] for text in array]


def _on_device(torch: Any, embedding: Any, device: Any) -> Any:
    tensor = embedding.detach() if isinstance(embedding, torch.Tensor) else torch.tensor(np.asarray(embedding))
    return tensor.to(device=device, dtype=torch.float32)
