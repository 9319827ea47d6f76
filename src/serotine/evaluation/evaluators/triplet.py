"""How often does a model prefer the right document of two?  `ColBERTTripletEvaluator`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from tqdm.auto import tqdm

from serotine.errors import InvalidInput
from serotine.evaluation.evaluators.base import ColBERTEvaluator
from serotine.evaluation.evaluators.encoding import encode, score_pairs

__all__ = ["ColBERTTripletEvaluator"]

_TRIPLETS_AT_ONCE = 1_024
"""Bounds the vectors in memory: about 0.2 GB for documents of 180 tokens at 128 dimensions."""


class ColBERTTripletEvaluator(ColBERTEvaluator):
    """The share of triplets in which the anchor scores higher with its positive than with its negative.

    Scored by the model's `similarity_pairwise`, hence by its learnt score if it has one. Equal scores count as wrong.
    The metric is ``accuracy``, ``<name>_accuracy`` if there is a name.

    Args:
        anchors, positives, negatives: texts, as many of each; anchors are queries, the others documents.

    Raises:
        InvalidInput: no triplets, or lists of different lengths; later, a score that is NaN.

    Example:
        >>> evaluator = ColBERTTripletEvaluator(["who flies?"], ["Bats fly."], ["Rivers flow."], name="dev")
        >>> evaluator(model)  # doctest: +SKIP
        {'dev_accuracy': 1.0}
    """

    title: ClassVar[str] = "Triplet"

    def __init__(
        self,
        anchors: Sequence[str],
        positives: Sequence[str],
        negatives: Sequence[str],
        name: str = "",
        batch_size: int = 32,
        *,
        show_progress_bar: bool = False,
        write_csv: bool = True,
        truncate_dim: int | None = None,
    ) -> None:
        super().__init__(
            name=name,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            write_csv=write_csv,
            truncate_dim=truncate_dim,
        )
        self.anchors, self.positives, self.negatives = list(anchors), list(positives), list(negatives)
        if not len(self.anchors) == len(self.positives) == len(self.negatives):
            raise InvalidInput(
                f"there are {len(self.anchors)} anchors, {len(self.positives)} positives and {len(self.negatives)} "
                "negatives; a triplet has one of each"
            )
        if not self.anchors:
            raise InvalidInput("there are no triplets to evaluate on")
        self.csv_file = f"triplet_evaluation{f'_{name}' if name else ''}_results.csv"
        self.csv_headers = ["epoch", "steps", "accuracy"]

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """Evaluate a model; return its accuracy. output_path: folder of the csv file; None writes nothing."""
        self._log_start(epoch, steps)
        bar = tqdm(total=len(self.anchors), desc="Triplets", disable=not self.show_progress_bar)
        right = 0
        with self._truncating(model), bar:
            for start in range(0, len(self.anchors), _TRIPLETS_AT_ONCE):
                some = slice(start, start + _TRIPLETS_AT_ONCE)
                options: dict[str, Any] = {"batch_size": self.batch_size, "show_progress_bar": False}
                anchors = encode(model, self.anchors[some], is_query=True, **options)
                positive, negative = (
                    score_pairs(model, anchors, encode(model, texts[some], is_query=False, **options))
                    for texts in (self.positives, self.negatives)
                )
                unknown = np.flatnonzero(np.isnan(positive) | np.isnan(negative))
                if len(unknown):
                    raise InvalidInput(
                        f"the model's score of triplet {start + unknown[0]} is NaN: has training diverged?"
                    )
                right += int((positive > negative).sum())
                bar.update(len(anchors))
        self.primary_metric = "accuracy"
        return self._report(model, {"accuracy": right / len(self.anchors)}, output_path, epoch, steps)
