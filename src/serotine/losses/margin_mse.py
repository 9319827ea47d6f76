"""`MarginMSE`: how much better the positive is than each other document, as the teacher sees it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from serotine.losses.labels import match_labels
from serotine.losses.scoring import Metric
from serotine.losses.teaching import Taught, TeacherLoss

__all__ = ["MarginMSE"]


class MarginMSE(TeacherLoss):
    """Squared difference of margins, ``score(positive) - score(negative)``, of student and teacher.

    Batches have the columns (query, positive, negative, ...) or (query, documents) with a list for each query whose
    first document is the positive; and as labels the teacher's scores, one for each document, or its margins, one for
    each negative.

    Args:
        model: a `serotine.models.ColBERT` or another `MultiVectorEncoder`.
        score_metric: scores of shape ``(B, N)``, or of every pair; None for the learnt score that the model has
            (`ColBERT.scorer`), `colbert_kd_scores` if it has none.
        size_average: the mean over margins, else the sum.
        score_mini_batch_size: queries scored together; None for all.
        temperature: divides the student's scores, to bring MaxSim's range near the teacher's.

    Raises:
        InvalidInput: a column is missing, labels do not match the documents, or are not finite; row and column are
            named. SerotineError: the loss is not finite; the batch, column and row are named.

    Source: Hofstätter et al. 2020, "Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge
    Distillation".
    """

    def __init__(
        self,
        model: Any,
        score_metric: Metric | None = None,
        *,
        size_average: bool = True,
        score_mini_batch_size: int | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(
            model,
            score_metric,
            score_mini_batch_size=score_mini_batch_size,
            size_average=size_average,
            temperature=temperature,
        )

    def _document_counts(self, teacher: Tensor) -> list[int] | None:  # noqa: ARG002
        # One label less than documents if they are margins: the labels cannot tell, features["num_documents"] does.
        return None

    def _loss(self, student: Taught, teacher: Tensor) -> Tensor:
        scores = student.scores / self.temperature
        exist = student.exist[:, 1:]
        student_margins = scores[:, :1] - scores[:, 1:].where(exist, 0)
        if self._are_margins(teacher, student.exist):
            margins = match_labels(teacher, exist, loss=type(self).__name__)
        else:
            labels = match_labels(teacher, student.exist, loss=type(self).__name__)
            margins = labels[:, :1] - labels[:, 1:]
        errors = (student_margins - margins.to(scores.dtype)).square().where(exist, 0)
        return errors.sum() / exist.sum().clamp_min(1) if self.size_average else errors.sum()

    @staticmethod
    def _are_margins(teacher: Tensor, exist: Tensor) -> bool:
        """Tell by the first row: one label for each document, or one less."""
        return int((~teacher[0].isnan()).sum()) == int(exist[0].sum()) - 1
