"""Which metrics does retrieval have, and what are they called?  Sentence Transformers' names for ranx's measures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serotine.errors import InvalidInput
from serotine.indexes.checks import positive_int

__all__ = ["RetrievalMetrics"]

_MEASURES = {
    "accuracy": "hit_rate",
    "precision": "precision",
    "recall": "recall",
    "ndcg": "ndcg",
    "mrr": "mrr",
    "map": "map",
}
_COLUMNS = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "mrr": "MRR",
    "ndcg": "NDCG",
    "map": "MAP",
}


@dataclass(frozen=True)
class RetrievalMetrics:
    """Metrics at their cutoffs.

    names: metric such as ``"accuracy@3"`` -> measure of `serotine.evaluation.evaluate`, in the order of a report.
    columns: the same metrics in the order of a csv file. primary: the metric that a model is chosen by.
    """

    names: Mapping[str, str]
    columns: tuple[str, ...]
    primary: str
    depth: int

    @classmethod
    def at(
        cls,
        *,
        accuracy: Sequence[int],
        precision_recall: Sequence[int],
        mrr: Sequence[int],
        ndcg: Sequence[int],
        map: Sequence[int],  # noqa: A002
    ) -> RetrievalMetrics:
        """Make them from lists of cutoffs; only that of nDCG, which has the primary metric, must not be empty."""
        given = {
            "accuracy": _cutoffs(accuracy, "accuracy_at_k"),
            "precision": _cutoffs(precision_recall, "precision_recall_at_k"),
            "recall": _cutoffs(precision_recall, "precision_recall_at_k"),
            "ndcg": _cutoffs(ndcg, "ndcg_at_k"),
            "mrr": _cutoffs(mrr, "mrr_at_k"),
            "map": _cutoffs(map, "map_at_k"),
        }
        if not given["ndcg"]:
            raise InvalidInput("ndcg_at_k is empty, but nDCG is the primary metric; give at least one cutoff")
        pairs = [pair for k in given["precision"] for pair in (f"precision@{k}", f"recall@{k}")]
        columns = [
            *(f"accuracy@{k}" for k in given["accuracy"]),
            *pairs,
            *(f"{metric}@{k}" for metric in ("mrr", "ndcg", "map") for k in given[metric]),
        ]
        return cls(
            names={f"{metric}@{k}": f"{_MEASURES[metric]}@{k}" for metric in _MEASURES for k in given[metric]},
            columns=tuple(columns),
            primary=f"ndcg@{max(given['ndcg'])}",
            depth=max(k for cutoffs in given.values() for k in cutoffs),
        )

    def measures(self) -> list[str]:
        """Return what `serotine.evaluation.evaluate` is asked for."""
        return list(dict.fromkeys(self.names.values()))

    def named(self, values: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """Return ``{"<score>_<metric>": value}`` of ``{score: {metric: value}}``."""
        return {f"{score}_{metric}": value for score, of_score in values.items() for metric, value in of_score.items()}

    def csv_headers(self, scores: Iterable[str]) -> list[str]:
        """Return a csv file's columns, as in ``MaxSim-NDCG@10``."""
        return [f"{score}-{_header(metric)}" for score in sorted(scores) for metric in self.columns]

    def csv_values(self, scores: Iterable[str], metrics: Mapping[str, float]) -> list[float]:
        """Return the values of the columns from the result of `named`."""
        return [metrics[f"{score}_{metric}"] for score in sorted(scores) for metric in self.columns]


def _header(metric: str) -> str:
    name, _, cutoff = metric.partition("@")
    return f"{_COLUMNS[name]}@{cutoff}"


def _cutoffs(values: Any, name: str) -> list[int]:
    if isinstance(values, (str, bytes, int)):
        raise InvalidInput(f"{name} must be a list of cutoffs, got {values!r}")
    return list(dict.fromkeys(positive_int(value, name=name) for value in values))
