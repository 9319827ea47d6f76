"""Is the loss a number, and can a batch teach anything?  If not, say in which batch, column and row, and why.

On a CPU the answer comes at once. Elsewhere reading a value waits for the device, so that a batch's answer is read at
the next one, when it is there.

Batches of training are counted, not the trainer's steps: one step takes several with gradient_accumulation_steps.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

import torch
from torch import Tensor

from serotine.errors import InvalidInput, SerotineError
from serotine.losses.embedding import Documents, Texts

__all__ = ["StepWatch"]

logger = logging.getLogger(__name__)


class _Batch(NamedTuple):
    name: str
    loss: Tensor
    bad_queries: Tensor  # bool (num_queries,): a scored vector is not finite
    bad_documents: Tensor  # bool (num_queries, num_documents)
    empty_documents: Tensor  # bool, the same or only the first column: no token is scored where one must be


class StepWatch:
    """Counts the batches that a loss trains on, and raises at a loss that is NaN or infinite.

    number: of batches so far that had gradients; an evaluation in between does not count.

    every_document: a document without a scored token makes the loss infinite, and not only the first of a row.
    """

    def __init__(self, *, every_document: bool) -> None:
        self.number = 0
        self._every_document = every_document
        self._pending: _Batch | None = None
        self._has_taught = self._warned = False

    def next_name(self) -> str:
        """Return what messages call the batch that comes now, before its loss is watched."""
        if torch.is_grad_enabled():
            return f"training batch {self.number + 1}"
        return f"an evaluation after training batch {self.number}"

    def check_lesson(self, teaches: bool, problem: str, *, advice: str, later: str | None = None) -> None:
        """Refuse a batch that teaches nothing if none before did; else log it, once.

        problem: what is wrong. advice: what to do; later: what to do about one among others, if it is something else.

        Raises:
            InvalidInput: training begins so.
        """
        if teaches:
            self._has_taught = True
            return
        said = f"{self.next_name()}: {problem}"
        if torch.is_grad_enabled() and not self._has_taught:
            raise InvalidInput(f"{said}. {advice}")
        if not self._warned:
            self._warned = True
            logger.warning("%s. %s", said, later or advice)

    def __call__(self, loss: Tensor, queries: Texts, documents: Documents) -> Tensor:
        """Return the loss.

        Raises:
            SerotineError: it, or on a device that of the batch before, is not finite.
        """
        name = self.next_name()
        self.number += torch.is_grad_enabled()
        loss_now = loss.detach()
        pending, self._pending = self._pending, None
        if pending is not None:
            _raise_unless_finite(pending)
        if loss_now.device.type != "cpu":
            self._pending = self._observed(name, loss_now, queries, documents)
        elif not bool(loss_now.isfinite()):
            _raise_unless_finite(self._observed(name, loss_now, queries, documents))
        return loss

    @torch.no_grad()
    def _observed(self, name: str, loss: Tensor, queries: Texts, documents: Documents) -> _Batch:
        empty = documents.existing() & ~documents.mask.any(dim=-1)
        return _Batch(name, loss, _bad(queries), _bad(documents), empty if self._every_document else empty[:, :1])


def _bad(side: Texts | Documents) -> Tensor:
    """Tell for each text whether a scored vector of it is not finite."""
    return ~side.tokens.sum(dim=-1).where(side.mask, 0).sum(dim=-1).isfinite()


def _raise_unless_finite(batch: _Batch) -> None:
    if bool(batch.loss.isfinite()):
        return
    raise SerotineError(f"the loss is {float(batch.loss)} in {batch.name}: {_cause(batch)}")


def _cause(batch: _Batch) -> str:
    if bool(batch.bad_queries.any()):
        row = int(batch.bad_queries.nonzero()[0])
        return f"column 0 (queries), row {row} has a token vector that is NaN or infinite. {_ADVICE}"
    if bool(batch.bad_documents.any()):
        row, number = batch.bad_documents.nonzero()[0].tolist()
        return f"document {number} of row {row} has a token vector that is NaN or infinite. {_ADVICE}"
    if bool(batch.empty_documents.any()):
        row, number = batch.empty_documents.nonzero()[0].tolist()
        return f"document {number} of row {row} has no token that is scored. Remove the row, or its skiplist words"
    return (
        "all token vectors are finite, so a score or a label is not. Check score_metric, the labels and the temperature"
    )


_ADVICE = "Weights diverged before: lower the learning rate, or train in bfloat16 or float32 instead of float16"
