"""What do all evaluators share?  Their name in logs, files and the model card, and where a result goes.

The trainer calls ``evaluator(model, output_path, epoch, steps)`` and logs what comes back under ``eval_<metric>``, so a
metric is chosen for the best checkpoint by that name: ``metric_for_best_model="eval_dev_MaxSim_ndcg@10"``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from sentence_transformers.base.evaluation import BaseEvaluator

from serotine.errors import InvalidInput
from serotine.evaluation.evaluators.csv_file import append_row
from serotine.indexes.checks import positive_int

__all__ = ["ColBERTEvaluator"]

logger = logging.getLogger(__name__)


class ColBERTEvaluator(BaseEvaluator):  # type: ignore[misc]
    """Base of the evaluators; subclasses define ``__call__``, `title` and the csv file.

    name: put before each metric, with an underscore, so that two evaluators do not overwrite each other's.
    truncate_dim: evaluate the leading dimensions only, normalised again; None for what the model is set to.
    """

    title: ClassVar[str]
    """Heading in the model card."""

    csv_file: str
    csv_headers: list[str]
    primary_metric: str | None

    def __init__(
        self, *, name: str, batch_size: int, show_progress_bar: bool, write_csv: bool, truncate_dim: int | None
    ) -> None:
        super().__init__()
        self.name = name
        self.batch_size = positive_int(batch_size, name="batch_size")
        self.show_progress_bar = show_progress_bar
        self.write_csv = write_csv
        self.truncate_dim = None if truncate_dim is None else positive_int(truncate_dim, name="truncate_dim")

    @property
    def description(self) -> str:
        """Heading in the model card."""
        return self.title

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings that are not at their defaults, for the model card."""
        return {} if self.truncate_dim is None else {"truncate_dim": self.truncate_dim}

    @contextmanager
    def _truncating(self, model: Any) -> Iterator[None]:
        """Let a model encode to `truncate_dim` dimensions for a while."""
        if self.truncate_dim is None:
            yield
            return
        width = model.get_embedding_dimension()
        if not hasattr(model, "truncate_dim") or (width is not None and self.truncate_dim > width):
            raise InvalidInput(
                f"truncate_dim={self.truncate_dim} needs a serotine.models.ColBERT of at least as many dimensions, got "
                f"a {type(model).__name__} of {width}"
            )
        before = model.truncate_dim
        model.truncate_dim = self.truncate_dim
        try:
            yield
        finally:
            model.truncate_dim = before

    def _log_start(self, epoch: float, steps: int) -> None:
        when = "" if epoch == -1 else f" after epoch {epoch}" if steps == -1 else f" in epoch {epoch}, step {steps}"
        truncated = "" if self.truncate_dim is None else f", {self.truncate_dim} dimensions"
        logger.info("%s evaluation%s%s%s", self.title, f" on {self.name}" if self.name else "", when, truncated)

    def _report(
        self,
        model: Any,
        metrics: Mapping[str, float],
        output_path: str | None,
        epoch: float,
        steps: int,
        *,
        row: Sequence[float] | None = None,
    ) -> dict[str, float]:
        """Log metrics, append them to the csv file, hand them to the model card; return them under their full names.

        `primary_metric` must be one of them, without the evaluator's name. row: the values in the order of the csv
        file's columns, if it is another.
        """
        for metric, value in metrics.items():
            logger.info("%s: %.4f", metric, value)
        if output_path is not None and self.write_csv:
            values = list(metrics.values()) if row is None else row
            append_row(output_path, self.csv_file, self.csv_headers, [epoch, steps, *values])
        named: dict[str, float] = self.prefix_name_to_metrics(dict(metrics), self.name)
        self.store_metrics_in_model_card_data(model, named, epoch, steps)
        return named
