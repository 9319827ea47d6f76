"""`Contrastive`: the positive document of a query against every other document of the batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from serotine.errors import InvalidInput
from serotine.losses.distributed import gather_documents, process_number
from serotine.losses.embedding import Documents, Features, Texts, embed, read_columns
from serotine.losses.scoring import Metric, choose_metric, cross_scores, metric_name, row_slices
from serotine.losses.watching import StepWatch
from serotine.scores import ColBERTScores

__all__ = ["Contrastive"]

View = tuple[int | None, float]
"""Leading dimensions to score with, None for all, and the weight of that loss."""


class Contrastive(nn.Module):
    """Cross-entropy of each query's positive among all documents of the batch.

    Batches have the columns (query, positive), (query, positive, negative) or with any number of negatives, in this
    order; a column may hold a list per query, also of different lengths. Only the first document of a row is its
    positive: all others of the row, whatever their column is called, are negatives, as is every document of another.

    Args:
        model: a `serotine.models.ColBERT` or another `MultiVectorEncoder`.
        score_metric: scores of shape ``(A, Q * N)``; None for the learnt score that the model has (`ColBERT.scorer`),
            `ColBERTScores` if it has none. See `scoring`.
        score_mini_batch_size: queries scored together; None for all.
        size_average: the mean over queries, else the sum.
        gather_across_devices: documents of all processes are negatives. Gradients are those of one process with the
            whole batch: no factor of the number of processes.
        temperature: divides scores. MaxSim grows with the number of query tokens; a score that is an average
            (``ColBERTScores(length_normalize=True)``, `XTRScores`) wants a small one, around 1 / query tokens.

    A batch of one query with one document has no negatives: its loss and gradients are 0. As the last batch of an epoch
    that is logged once; if training begins so, it is an error.

    Raises:
        InvalidInput: a column is missing or its rows do not match, or batches have no negatives; the column or batch is
            named. SerotineError: the loss is not finite; the batch, column and row are named.

    Source: Khattab & Zaharia 2020, section 3.3; PyLate's arguments.
    """

    def __init__(
        self,
        model: Any,
        score_metric: Metric | None = None,
        *,
        score_mini_batch_size: int | None = None,
        size_average: bool = True,
        gather_across_devices: bool = False,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.score_metric = choose_metric(
            model, score_metric, default=ColBERTScores(), score_mini_batch_size=score_mini_batch_size, own=False
        )
        self.score_mini_batch_size = score_mini_batch_size
        self.size_average = size_average
        self.gather_across_devices = gather_across_devices
        self.temperature = positive(temperature, "temperature")
        self._views: tuple[View, ...] = ((None, 1.0),)
        self._watch = StepWatch(every_document=False)

    def forward(self, sentence_features: Iterable[Features], labels: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return the loss of a batch, a scalar. labels are not used."""
        queries, own = embed(self.model, read_columns(sentence_features, loss=type(self).__name__))
        documents = gather_documents(own) if self.gather_across_devices else own
        self._check_negatives(documents)
        loss = torch.stack(list(self._part_losses(queries, documents))).sum()
        return self._watch(loss, queries, own)

    def _part_losses(self, queries: Texts, documents: Documents, *, share_gradients: bool = True) -> Iterator[Tensor]:
        """Yield the losses of a few queries after another; their sum is the loss."""
        number, columns = len(queries.tokens), documents.mask.shape[1]
        first = process_number() * number if self.gather_across_devices else 0
        targets = (torch.arange(number, device=queries.tokens.device) + first) * columns
        for rows in row_slices(number, self.score_mini_batch_size):
            losses = []
            for dim, weight in self._views:
                some = Texts(queries.tokens[rows], queries.mask[rows]).cut(dim)
                scores = cross_scores(self.score_metric, some, documents.cut(dim), share_gradients=share_gradients)
                loss = functional.cross_entropy(scores / self.temperature, targets[rows], reduction="sum")
                losses.append(weight * loss)
            total = torch.stack(losses).sum()
            yield total / number if self.size_average else total

    def _check_negatives(self, documents: Documents) -> None:
        """Raise InvalidInput if there is one document in this batch and were no more before."""
        self._watch.check_lesson(
            documents.mask.shape[0] * documents.mask.shape[1] > 1,
            f"{type(self).__name__} got a batch of one query with one document, which without negatives has a loss of "
            "0 and teaches nothing",
            advice="Use per_device_train_batch_size=2 or more, or add a column of negatives",
            later="If it is the last of an epoch, dataloader_drop_last=True leaves it out",
        )

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for model cards."""
        return {
            "score_metric": metric_name(self.score_metric),
            "score_mini_batch_size": self.score_mini_batch_size,
            "size_average": self.size_average,
            "gather_across_devices": self.gather_across_devices,
            "temperature": self.temperature,
        }


def positive(value: float, name: str) -> float:
    """Return a temperature or weight; raise InvalidInput unless it is a positive finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise InvalidInput(f"{name} must be a positive finite number, got {value!r}")
    return float(value)
