"""Which score did the teacher give to which document?  Labels as collators make them, checked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from serotine.errors import InvalidInput

__all__ = ["counts_of", "match_labels", "padded_labels"]


def padded_labels(labels: Any, *, loss: str) -> Tensor:
    """Return labels as a float tensor ``(num_queries, most)``, NaN after the end of a shorter list.

    labels: a tensor of one number or one list per query, or a list of lists or 1-D tensors of any lengths.

    Raises:
        InvalidInput: there are none, they are no numbers, or a NaN stands before a number; the row is named.
    """
    if labels is None:
        raise InvalidInput(f"{loss} needs the teacher's scores, but the batch has no column label, scores or the like")
    if isinstance(labels, Tensor):
        padded = labels.detach().float() if not labels.is_floating_point() else labels.detach()
    else:
        try:
            rows = [torch.as_tensor(row, dtype=torch.float32).reshape(-1) for row in labels]
        except (TypeError, ValueError, RuntimeError) as error:
            raise InvalidInput(f"{loss}: the teacher's scores are no lists of numbers: {error}") from error
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=torch.nan)
    if padded.ndim == 1:
        padded = padded.unsqueeze(1)
    if padded.ndim != 2:
        raise InvalidInput(f"{loss}: the teacher's scores have shape {tuple(padded.shape)}, expected a list per query")
    missing = padded.isnan()
    gaps = (missing[:, :-1] & ~missing[:, 1:]).any(dim=1)
    if bool(gaps.any()) or bool(padded.isinf().any()):
        bad = gaps if bool(gaps.any()) else padded.isinf().any(dim=1)
        row = int(bad.nonzero()[0])
        raise InvalidInput(f"{loss}: the teacher's scores of row {row} hold NaN or infinity: {padded[row].tolist()}")
    return padded


def counts_of(labels: Tensor) -> list[int] | None:
    """Return how many labels each row has where the rows differ, else None."""
    counts = (~labels.isnan()).sum(dim=1).tolist()
    return counts if min(counts, default=0) != labels.shape[1] else None


def match_labels(labels: Tensor, exist: Tensor, *, loss: str) -> Tensor:
    """Return labels ``(num_queries, num_documents)``, 0 where no document exists.

    exist: bool ``(num_queries, num_documents)``. It has gaps where a column of lists is not the last one; the scores of
    a row go to its documents in their order, past the gaps.

    Raises:
        InvalidInput: a row has another number of scores than documents; both are named.
    """
    labels = labels.to(exist.device)
    if len(labels) != len(exist):
        raise InvalidInput(f"{loss}: got the teacher's scores for {len(labels)} queries, expected {len(exist)}")
    scores, documents = (~labels.isnan()).sum(dim=1), exist.sum(dim=1)
    wrong = (scores != documents).nonzero()
    if len(wrong):
        row = int(wrong[0])
        raise InvalidInput(f"{loss}: row {row} has {int(scores[row])} scores for {int(documents[row])} documents")
    # Both sides are read row by row, and each row has as many of one as of the other.
    matched = labels.new_zeros(exist.shape)
    matched[exist] = labels[~labels.isnan()]
    return matched
