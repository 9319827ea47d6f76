"""`Distillation`: the student's distribution over a query's documents against the teacher's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from serotine.losses.contrastive import positive
from serotine.losses.labels import match_labels
from serotine.losses.scoring import Metric
from serotine.losses.teaching import Taught, TeacherLoss

__all__ = ["Distillation"]

# Keeps the spread of equal scores from dividing by 0; PyLate's value.
_SMALLEST_SPREAD = 1e-8


class Distillation(TeacherLoss):
    """Kullback-Leibler divergence of the student's softmax over each query's documents from the teacher's.

    Batches have the columns (query, documents) with a list for each query, also of different lengths, or (query,
    document_1, document_2, ...); and the teacher's scores as labels, as many for each query as it has documents.

    Args:
        model: a `serotine.models.ColBERT` or another `MultiVectorEncoder`.
        score_metric: scores of shape ``(B, N)``, or of every pair; None for the learnt score that the model has
            (`ColBERT.scorer`), `colbert_kd_scores` if it has none.
        size_average: the mean over queries, else the sum.
        normalize_scores: move the student's scores of each query to [0, 1], lowest to highest, before the softmax. The
            teacher's are taken as they are: scale them to [0, 1], too, once, in the data.
        score_mini_batch_size: queries scored together; None for all.
        temperature: divides the scores of both before the softmax; the loss is multiplied by its square (Hinton et
            al. 2015), by the student's if they differ.
        student_temperature: instead of temperature.
        teacher_temperature: instead of temperature.

    A query with one document contributes 0. With normalize_scores one with two contributes no gradient either, whatever
    the teacher says: its scores are always moved to 0 and 1. If no row of a batch has three documents, its gradients
    are rounding errors, which an optimizer such as Adam makes steps of full size from: that is logged once; if training
    begins so, it is an error.

    Raises:
        InvalidInput: a column is missing, scores do not match the documents, or are not finite, or lists are too short
            to learn from; row and column are named. SerotineError: the loss is not finite; the batch, column and row
            are named.

    Source: Santhanam et al. 2022 (ColBERTv2), section 3.2; PyLate's arguments and normalisation.
    """

    def __init__(
        self,
        model: Any,
        score_metric: Metric | None = None,
        *,
        size_average: bool = True,
        normalize_scores: bool = True,
        score_mini_batch_size: int | None = None,
        temperature: float = 1.0,
        student_temperature: float | None = None,
        teacher_temperature: float | None = None,
    ) -> None:
        super().__init__(
            model,
            score_metric,
            score_mini_batch_size=score_mini_batch_size,
            size_average=size_average,
            temperature=temperature,
        )
        self.normalize_scores = normalize_scores
        self.student_temperature, self.teacher_temperature = (
            self.temperature if value is None else positive(value, name)
            for name, value in (
                ("student_temperature", student_temperature),
                ("teacher_temperature", teacher_temperature),
            )
        )

    def _check_longest(self, most: int) -> None:
        self._watch.check_lesson(
            most > 2 or not self.normalize_scores,
            f"{type(self).__name__} got {most} documents per query at most, whose scores normalize_scores=True always "
            "moves to 0 and 1, so that nothing is learnt from them",
            advice="Give three or more documents per query, or normalize_scores=False",
        )

    def _loss(self, student: Taught, teacher: Tensor) -> Tensor:
        labels = match_labels(teacher, student.exist, loss=type(self).__name__)
        scores = _normalized(student) if self.normalize_scores else student.scores
        log_student = _log_softmax(scores / self.student_temperature, student.exist)
        log_teacher = _log_softmax(labels.to(scores.dtype) / self.teacher_temperature, student.exist)
        terms = (log_teacher.exp() * (log_teacher - log_student)).where(student.exist, 0)
        loss = terms.sum() * self.student_temperature**2
        return loss / len(scores) if self.size_average else loss

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for model cards."""
        return {
            **super().get_config_dict(),
            "normalize_scores": self.normalize_scores,
            "student_temperature": self.student_temperature,
            "teacher_temperature": self.teacher_temperature,
        }


def _normalized(student: Taught) -> Tensor:
    """Move each row's scores to [0, 1]."""
    lowest = student.scores.masked_fill(~student.exist, torch.inf).amin(dim=1, keepdim=True)
    highest = student.scores.masked_fill(~student.exist, -torch.inf).amax(dim=1, keepdim=True)
    return (student.scores.where(student.exist, 0) - lowest) / (highest - lowest + _SMALLEST_SPREAD)


def _log_softmax(scores: Tensor, exist: Tensor) -> Tensor:
    """Return 0 where no document exists, so that no -inf meets a factor of 0."""
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~exist, lowest).log_softmax(dim=1).masked_fill(~exist, 0)
