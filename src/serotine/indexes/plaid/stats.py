"""What is in a PLAID index?  Its facts, and what they suggest to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["CalibrationPoint", "Stats"]

LARGEST_DRIFT = 1.15
"""Above this, new vectors are coded noticeably worse than those that the codes were trained on: with 4 bits, 15 % more
residual energy moves scores by less than the coding itself does; beyond, the advice is to train again."""

LARGEST_DELETED_SHARE = 0.3
LEAST_DELETED_DOCUMENTS = 100
"""Deleted documents are worth a sentence if they are this part of all, and this many."""


class CalibrationPoint(NamedTuple):
    """One measured way to search, cheapest first in `Stats.calibration`.

    cells: probed per query token. candidates: documents kept for a closer look. rescored: documents scored from their
    codes. recall: share of an exhaustive scan's ten best that this found on queries made from documents.
    """

    cells: int
    candidates: int
    rescored: int
    recall: float


@dataclass(frozen=True)
class Stats:
    """The facts of one generation.

    num_documents, num_tokens: deleted ones not counted. num_documents_without_tokens: stored, never returned.
    num_deleted_documents: still in the files, until a merge drops them.
    num_bytes: of this generation's files. Those that only the generation before has are not counted; they stay on the
    disk, or in the memory of an index that lives there, until the next commit deletes them.
    num_segments: files of documents. num_codebooks, num_cells: 0 while everything is exact.
    generation: number of the commit. dim: 0 as long as no document told it. nbits: bits per coded component.
    drift: mean squared error of the stored vectors' cells over that of the vectors they were trained on; about 1 is
    good, None without codes.
    calibration: what `recall` chooses from.
    """

    num_documents: int
    num_documents_without_tokens: int
    num_deleted_documents: int
    num_tokens: int
    num_bytes: int
    num_segments: int
    num_codebooks: int
    num_cells: int
    generation: int
    dim: int
    nbits: int
    drift: float | None
    calibration: tuple[CalibrationPoint, ...]

    @property
    def bytes_per_token(self) -> float:
        """`num_bytes` for each token; 0 without tokens."""
        return self.num_bytes / self.num_tokens if self.num_tokens else 0.0

    @property
    def advice(self) -> str:
        """What to do about it, in a sentence; empty if nothing."""
        sentences = []
        if self.drift is not None and self.drift > LARGEST_DRIFT:
            sentences.append(
                f"The vectors differ from those that the codes were trained on (drift {self.drift:.2f}): with "
                "keep_originals, optimize(retrain=True) trains new codes; otherwise build the index again."
            )
        num_stored = self.num_documents + self.num_deleted_documents
        if self.num_deleted_documents > max(LEAST_DELETED_DOCUMENTS, LARGEST_DELETED_SHARE * num_stored):
            sentences.append(
                f"{self.num_deleted_documents} of {num_stored} stored documents are deleted: optimize() drops them."
            )
        return " ".join(sentences)
