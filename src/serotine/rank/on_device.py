"""How are candidates scored where their tensors are?  With torch, on an accelerator; `reranking` decides when."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from serotine.errors import DimensionMismatch, InvalidInput
from serotine.scores import maxsim
from serotine.types import Array, DocumentId, Embeddings

__all__ = ["scores_on_device"]


@torch.no_grad()
def scores_on_device(
    query: Array, ids: list[DocumentId], embeddings: Embeddings, device: Any
) -> npt.NDArray[np.float32]:
    """Return the float32 MaxSim of one query with each candidate, computed in float32 on a device.

    query: ``(num_tokens, dim)``. embeddings: of the candidates, a list of 2-D arrays or tensors or a padded 3-D one,
    anywhere; those that are not on the device are copied to it.

    Raises:
        DimensionMismatch: a candidate has another width. InvalidInput: not one embedding per id, or a score is not a
            number because a vector holds NaN or infinity.
    """
    documents = [_on_device(embedding, device) for embedding in embeddings]
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
    scores: npt.NDArray[np.float32] = maxsim([_on_device(query, device)], documents)[0].float().cpu().numpy()
    for document_id, document, score in zip(ids, documents, scores, strict=True):
        if len(document) and not np.isfinite(score):
            raise InvalidInput(f"document {document_id!r} has the score {score}: a vector holds NaN or infinity")
    return scores


def _on_device(embedding: Any, device: Any) -> torch.Tensor:
    tensor = embedding if isinstance(embedding, torch.Tensor) else torch.tensor(np.asarray(embedding))
    return tensor.detach().to(device=device, dtype=torch.float32)
