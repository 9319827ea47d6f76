"""What do losses share that learn from a teacher's scores of documents?  All up to the student's scores."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from serotine.errors import InvalidInput
from serotine.losses.contrastive import View, positive
from serotine.losses.embedding import Documents, Features, Texts, embed, read_columns
from serotine.losses.labels import counts_of, padded_labels
from serotine.losses.scoring import Metric, choose_metric, metric_name, own_scores, row_slices
from serotine.losses.watching import StepWatch
from serotine.scores import colbert_kd_scores

__all__ = ["Taught", "TeacherLoss"]


class Taught(NamedTuple):
    """The student's scores of each query's documents, ``-inf`` where there is none, and which exist."""

    scores: Tensor  # (num_queries, num_documents)
    exist: Tensor  # bool, the same


class TeacherLoss(nn.Module):
    """Base of losses over each query's own documents. Subclasses define `_loss`.

    No query sees another's documents, so there is nothing to gather across devices: averaging gradients, as
    DistributedDataParallel does, is all.
    """

    def __init__(
        self,
        model: Any,
        score_metric: Metric | None,
        *,
        score_mini_batch_size: int | None,
        size_average: bool,
        temperature: float,
    ) -> None:
        super().__init__()
        self.model = model
        self.score_metric = choose_metric(
            model, score_metric, default=colbert_kd_scores, score_mini_batch_size=score_mini_batch_size, own=True
        )
        self.score_mini_batch_size = score_mini_batch_size
        self.size_average = size_average
        self.temperature = positive(temperature, "temperature")
        self._views: tuple[View, ...] = ((None, 1.0),)
        self._watch = StepWatch(every_document=True)

    def forward(self, sentence_features: Iterable[Features], labels: Any = None) -> Tensor:
        """Return the loss of a batch, a scalar. labels: see `labels.padded_labels`."""
        name = type(self).__name__
        teacher = padded_labels(labels, loss=name)
        columns = read_columns(sentence_features, loss=name, num_documents=self._document_counts(teacher))
        most = max(map(sum, zip(*columns.counts, strict=True)))
        if most < 2:
            raise InvalidInput(
                f"{name} needs two documents per query at least, got {most}: there is nothing to compare"
            )
        self._check_longest(most)
        queries, documents = embed(self.model, columns)
        losses = [
            weight * self._loss(self._student(queries.cut(dim), documents.cut(dim)), teacher)
            for dim, weight in self._views
        ]
        return self._watch(torch.stack(losses).sum(), queries, documents)

    def _check_longest(self, most: int) -> None:
        """Raise InvalidInput if a batch whose longest list has so many documents, two or more, teaches nothing."""

    def _document_counts(self, teacher: Tensor) -> list[int] | None:
        """Return how many documents each query has if the labels differ in length."""
        return counts_of(teacher)

    def _student(self, queries: Texts, documents: Documents) -> Taught:
        parts = [
            own_scores(
                self.score_metric,
                Texts(queries.tokens[rows], queries.mask[rows]),
                Documents(*(None if part is None else part[rows] for part in documents)),  # type: ignore[arg-type]
            )
            for rows in row_slices(len(queries.tokens), self.score_mini_batch_size)
        ]
        return Taught(torch.cat(parts), documents.existing())

    def _loss(self, student: Taught, teacher: Tensor) -> Tensor:
        raise NotImplementedError

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for model cards."""
        return {
            "score_metric": metric_name(self.score_metric),
            "score_mini_batch_size": self.score_mini_batch_size,
            "size_average": self.size_average,
            "temperature": self.temperature,
        }
