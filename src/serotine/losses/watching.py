"""Is the loss a number?  If not, say at which step, in which column and row, and why.

On a CPU the answer comes at once. Elsewhere reading a value waits for the device, so that a step's answer is read at
the next one, when it is there.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from serotine.errors import SerotineError
from serotine.losses.embedding import Documents, Texts

__all__ = ["StepWatch"]


class _Step(NamedTuple):
    number: int
    loss: Tensor
    bad_queries: Tensor  # bool (num_queries,): a scored vector is not finite
    bad_documents: Tensor  # bool (num_queries, num_documents)
    empty_positives: Tensor  # bool (num_queries,): the first document has no token that is scored


class StepWatch:
    """Counts the calls of a loss, and raises at one that is NaN or infinite."""

    def __init__(self) -> None:
        self.number = 0
        self._pending: _Step | None = None

    def __call__(self, loss: Tensor, queries: Texts, documents: Documents) -> Tensor:
        """Return the loss.

        Raises:
            SerotineError: it, or on a device that of the step before, is not finite.
        """
        self.number += 1
        loss_now = loss.detach()
        pending, self._pending = self._pending, None
        if pending is not None:
            _raise_unless_finite(pending)
        if loss_now.device.type != "cpu":
            self._pending = self._observed(loss_now, queries, documents)
        elif not bool(loss_now.isfinite()):
            _raise_unless_finite(self._observed(loss_now, queries, documents))
        return loss

    @torch.no_grad()
    def _observed(self, loss: Tensor, queries: Texts, documents: Documents) -> _Step:
        positives = ~documents.mask[:, 0].any(dim=-1)
        return _Step(self.number, loss, _bad(queries), _bad(documents), positives)


def _bad(side: Texts | Documents) -> Tensor:
    """Tell for each text whether a scored vector of it is not finite."""
    return ~side.tokens.sum(dim=-1).where(side.mask, 0).sum(dim=-1).isfinite()


def _raise_unless_finite(step: _Step) -> None:
    if bool(step.loss.isfinite()):
        return
    raise SerotineError(f"the loss is {float(step.loss)} at step {step.number}: {_cause(step)}")


def _cause(step: _Step) -> str:
    if bool(step.bad_queries.any()):
        row = int(step.bad_queries.nonzero()[0])
        return f"column 0 (queries), row {row} has a token vector that is NaN or infinite. {_ADVICE}"
    if bool(step.bad_documents.any()):
        row, number = step.bad_documents.nonzero()[0].tolist()
        return f"document {number} of row {row} has a token vector that is NaN or infinite. {_ADVICE}"
    if bool(step.empty_positives.any()):
        row = int(step.empty_positives.nonzero()[0])
        return f"the positive document of row {row} has no token that is scored. Remove the row, or its skiplist words"
    return (
        "all token vectors are finite, so a score or a label is not. Check score_metric, the labels and the temperature"
    )


_ADVICE = "Weights diverged before: lower the learning rate, or train in bfloat16 or float32 instead of float16"
