"""How close is a student to its teacher?  `ColBERTDistillationEvaluator`: the loss, and whether the orders agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from serotine._arrays import to_numpy
from serotine.errors import InvalidInput
from serotine.evaluation.evaluators.base import ColBERTEvaluator
from serotine.evaluation.evaluators.encoding import encode, score_pairs
from serotine.types import TokenMatrix

__all__ = ["ColBERTDistillationEvaluator"]

_DOCUMENTS_AT_ONCE = 2_048
_SMALLEST_SPREAD = 1e-8

Scores = npt.NDArray[np.float64]


class ColBERTDistillationEvaluator(ColBERTEvaluator):
    """Compares a model's scores of each query's documents with a teacher's.

    ``kl_divergence``, the primary metric, is the mean over queries of the Kullback-Leibler divergence of the student's
    softmax from the teacher's: the value of `serotine.losses.Distillation` with the same settings. Lower is better:
    with ``load_best_model_at_end`` the trainer has to be told so, ``greater_is_better=False``. ``spearman`` is the mean
    rank correlation, higher is better; queries whose scores are all equal have none and are left out.

    Args:
        queries: texts.
        documents: for each query a list of texts, of any length.
        scores: for each query the teacher's scores, one per document.
        normalize_scores: move the student's scores of each query to [0, 1] first; the teacher's are taken as given.
            With two documents they are then 0 and 1 for any model: the divergence tells their order at most.
        temperature: divides both before the softmax; the divergence is multiplied by its square.

    Raises:
        InvalidInput: lists of different lengths (the query's position is named), a query without documents, a score
            that is not finite.

    Example:
        >>> evaluator = ColBERTDistillationEvaluator(["who flies?"], [["Bats fly.", "Bats.", "Rivers."]], [[1, 0.5, 0]])
        >>> evaluator(model)  # doctest: +SKIP
        {'kl_divergence': 0.002, 'spearman': 1.0}
    """

    title: ClassVar[str] = "Distillation"

    def __init__(
        self,
        queries: Sequence[str],
        documents: Sequence[Sequence[str]],
        scores: Sequence[Any],
        name: str = "",
        batch_size: int = 16,
        *,
        show_progress_bar: bool = False,
        write_csv: bool = True,
        truncate_dim: int | None = None,
        normalize_scores: bool = True,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(
            name=name,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            write_csv=write_csv,
            truncate_dim=truncate_dim,
        )
        self.queries, self.documents = list(queries), [_texts(row, number) for number, row in enumerate(documents)]
        self.scores = [np.asarray(to_numpy(row), dtype=np.float64) for row in scores]
        _check(self.queries, self.documents, self.scores)
        self.normalize_scores = normalize_scores
        if isinstance(temperature, bool) or not 0 < temperature < float("inf"):
            raise InvalidInput(f"temperature must be a positive finite number, got {temperature!r}")
        self.temperature = temperature
        self.greater_is_better = False
        self.csv_file = f"distillation_evaluation{f'_{name}' if name else ''}_results.csv"
        self.csv_headers = ["epoch", "steps", "kl_divergence", "spearman"]

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """Evaluate a model; return both metrics. output_path: folder of the csv file; None writes nothing."""
        self._log_start(epoch, steps)
        bar = tqdm(total=len(self.queries), desc="Distillation", disable=not self.show_progress_bar)
        students: list[Scores] = []
        with self._truncating(model), bar:
            for some in _slices([len(row) for row in self.documents]):
                students += self._student_scores(model, some)
                bar.update(some.stop - some.start)
        pairs = list(zip(students, self.scores, strict=True))
        correlations = [value for pair in pairs if (value := _rank_correlation(*pair)) is not None]
        self.primary_metric = "kl_divergence"
        metrics = {
            "kl_divergence": float(np.mean([self._divergence(*pair) for pair in pairs])),
            "spearman": float(np.mean(correlations)) if correlations else 0.0,
        }
        return self._report(model, metrics, output_path, epoch, steps)

    def _student_scores(self, model: Any, some: slice) -> list[Scores]:
        """Score the documents of some queries."""
        counts = [len(row) for row in self.documents[some]]
        options: dict[str, Any] = {"batch_size": self.batch_size, "show_progress_bar": False}
        queries = encode(model, self.queries[some], is_query=True, **options)
        documents = encode(model, [text for row in self.documents[some] for text in row], is_query=False, **options)
        repeated: TokenMatrix = queries.take(np.repeat(np.arange(len(counts)), counts))
        scores = score_pairs(model, repeated, documents)
        if not np.isfinite(scores).all():
            position = int(np.searchsorted(np.cumsum(counts), np.flatnonzero(~np.isfinite(scores))[0], side="right"))
            raise InvalidInput(
                f"the model's scores for query {some.start + position} are not finite: a document without scored "
                "tokens, or a model that training has driven to NaN"
            )
        return np.split(scores, np.cumsum(counts)[:-1])

    def _divergence(self, student: Scores, teacher: Scores) -> float:
        if self.normalize_scores:
            student = (student - student.min()) / (student.max() - student.min() + _SMALLEST_SPREAD)
        log_student, log_teacher = (_log_softmax(scores / self.temperature) for scores in (student, teacher))
        return float((np.exp(log_teacher) * (log_teacher - log_student)).sum() * self.temperature**2)

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model card."""
        return {
            **super().get_config_dict(),
            "normalize_scores": self.normalize_scores,
            "temperature": self.temperature,
        }


def _texts(row: Any, number: int) -> list[str]:
    if isinstance(row, str):
        raise InvalidInput(f"documents of query {number} is one text; expected a list of texts")
    return list(row)


def _check(queries: list[str], documents: list[list[str]], scores: list[Scores]) -> None:
    if not len(queries) == len(documents) == len(scores):
        raise InvalidInput(
            f"there are {len(queries)} queries, {len(documents)} lists of documents and {len(scores)} lists of scores; "
            "each query has one of each"
        )
    if not queries:
        raise InvalidInput("there are no queries to evaluate on")
    for number, (texts, row) in enumerate(zip(documents, scores, strict=True)):
        if not texts or row.shape != (len(texts),):
            raise InvalidInput(
                f"query {number} has {len(texts)} documents and scores of shape {row.shape}; expected at least one "
                "document, and one score for each"
            )
        if not np.isfinite(row).all():
            raise InvalidInput(f"query {number} has a score that is not finite: {row.tolist()}")


def _slices(counts: list[int]) -> list[slice]:
    """Cut queries into pieces of at most `_DOCUMENTS_AT_ONCE` documents, or of one query."""
    pieces, start, total = [], 0, 0
    for number, count in enumerate(counts):
        if number > start and total + count > _DOCUMENTS_AT_ONCE:
            pieces.append(slice(start, number))
            start, total = number, 0
        total += count
    return [*pieces, slice(start, len(counts))]


def _log_softmax(scores: Scores) -> Scores:
    shifted: Scores = scores - scores.max()
    result: Scores = shifted - np.log(np.exp(shifted).sum())
    return result


def _rank_correlation(one: Scores, other: Scores) -> float | None:
    """Return Spearman's correlation, None if either has one value only."""
    if len(np.unique(one)) < 2 or len(np.unique(other)) < 2:
        return None
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(scores: Scores) -> Scores:
    """Return the ranks from 1, the mean of their ranks for equal values."""
    _, positions, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_ranks: Scores = (np.cumsum(counts) - (counts - 1) / 2)[positions]
    return mean_ranks
