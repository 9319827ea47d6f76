"""How good are the rankings?  Metric values per query and their means, computed by ranx (extra ``eval``).

ranx's metric functions are called on arrays of small integer ids that are made here, in rank order. Its own Run and
Qrels order equal scores by an unstable sort, compare documents by a 64-bit hash rounded to a float, and compile for
many seconds more.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from serotine._lazy import require
from serotine.errors import InvalidInput
from serotine.evaluation.qrels import Qrels, normalize_qrels
from serotine.evaluation.run import Results, Run

__all__ = ["DEFAULT_METRICS", "MetricValues", "evaluate", "evaluate_run"]

DEFAULT_METRICS = ("ndcg@10", *(f"hits@{k}" for k in (1, 2, 3, 4, 5, 10)))
"""The metrics of `evaluate` when none are named: those of PyLate."""

_RANX_FUNCTIONS: Mapping[str, str] = {
    "dcg": "dcg",
    "dcg_burges": "dcg_burges",
    "f1": "f1",
    "hit_rate": "hit_rate",
    "hits": "hits",
    "map": "average_precision",
    "mrr": "reciprocal_rank",
    "ndcg": "ndcg",
    "ndcg_burges": "ndcg_burges",
    "precision": "precision",
    "r-precision": "r_precision",
    "recall": "recall",
}
"""Metric name -> function of ranx.metrics. Left out on purpose: bpref (NaN for a query without a judged non-relevant
document) and rbp (multiplies by the grade, so it exceeds 1)."""

_METRIC = re.compile(r"(?P<name>[a-z1_-]+?)(@(?P<cutoff>[1-9][0-9]*))?(-l(?P<level>[1-9][0-9]*))?")

_ranx_lock = threading.Lock()
"""ranx selects numba's "workqueue" threads, which end the process when two threads enter them at the same time."""


@dataclass(frozen=True, eq=False)
class MetricValues:
    """The values of metrics for each judged query.

    run_name: of the run. query_ids: in the order of the qrels. values: metric -> float64 ``(num_queries,)``.
    """

    run_name: str
    query_ids: tuple[str, ...]
    values: Mapping[str, npt.NDArray[np.float64]]

    @property
    def num_queries(self) -> int:
        """Queries that count: all that have a judgement."""
        return len(self.query_ids)

    def means(self) -> dict[str, float]:
        """Return the mean of each metric over the queries."""
        return {metric: float(values.mean()) for metric, values in self.values.items()}

    def per_query(self, metric: str) -> dict[str, float]:
        """Return ``{query id: value}`` of one metric.

        Raises:
            InvalidInput: the metric was not computed.
        """
        if metric not in self.values:
            raise InvalidInput(f"metric {metric!r} was not computed; there are: {', '.join(self.values)}")
        return dict(zip(self.query_ids, self.values[metric].tolist(), strict=True))


def evaluate(
    scores: Results,
    qrels: Qrels,
    queries: Iterable[Any],
    metrics: str | Sequence[str] | None = None,
    *,
    remove_self_matches: bool = False,
) -> dict[str, float]:
    """Return the mean of each metric over the judged queries; always a dict, in the order of ``metrics``.

    scores: what a retriever returns, one list of ``{"id", "score"}`` per query. qrels: ``{query id: {document id:
    grade}}``. queries: the query ids (not the texts) in the order of ``scores``. Ids are compared as text, so integer
    ids meet the strings that files give.

    Every query of qrels counts: one that ``queries`` lacks, or with no results, has the value 0. A query without
    judgements is left out. Documents are ranked by score; equal scores keep the order of their list (trec_eval would
    order them by id: see `Run`). A query counts once even if it is listed several times.

    metrics: ``name``, ``name@cutoff`` or either with ``-l2`` (only grades of 2 or more are relevant), with the names
    ndcg (linear gains, as trec_eval), ndcg_burges (exponential gains), dcg, dcg_burges, map, mrr, recall, precision,
    r-precision, f1, hits (the number of relevant documents found), hit_rate (whether any was). None: `DEFAULT_METRICS`.

    remove_self_matches: drop the document whose id is the query's, before ranks are counted. The convention on the
    collections of `SELF_MATCH_DATASETS`, wrong on others; retrieve one document more than the deepest cutoff then.

    Raises:
        InvalidInput: unknown metric, no judgements, no query of ``queries`` is judged, a NaN score, a document twice
            in one ranking, counts that do not fit.
        MissingExtra: ranx is not installed.

    Cost: the first call of each metric compiles it (seconds, then cached on disk by numba). Safe to call from several
    threads; they take turns.

    Example:
        >>> scores = [[{"id": "d1", "score": 2.0}, {"id": "d2", "score": 1.0}]]
        >>> evaluate(scores, qrels={"q1": {"d2": 1}}, queries=["q1"], metrics=["mrr", "recall@1"])
        {'mrr': 0.5, 'recall@1': 0.0}
    """
    run = Run.from_results(scores, queries)
    return evaluate_run(run, qrels, metrics, remove_self_matches=remove_self_matches).means()


def evaluate_run(
    run: Run, qrels: Qrels, metrics: str | Sequence[str] | None = None, *, remove_self_matches: bool = False
) -> MetricValues:
    """Return the value of each metric for each judged query, by the rules of `evaluate`.

    Two runs evaluated against the same qrels have their values in the same order of queries: ready for `bootstrap`.

    Raises:
        InvalidInput, MissingExtra: as `evaluate`.
    """
    parsed = {metric: _parse(metric) for metric in _metric_names(metrics)}
    judged = normalize_qrels(qrels)
    if not judged:
        raise InvalidInput("qrels hold no judgement, so there is nothing to evaluate against")
    if run.rankings and not run.rankings.keys() & judged.keys():
        raise InvalidInput(
            f"none of the {len(run)} queries is in the qrels: the run has {next(iter(run.rankings))!r}, the qrels have "
            f"{next(iter(judged))!r}. Are these query texts, or the ids of another split?"
        )
    rankings = (run.without_self_matches() if remove_self_matches else run).rankings
    return MetricValues(run.name, tuple(judged), _compute(judged, rankings, parsed))


def _metric_names(metrics: str | Sequence[str] | None) -> list[str]:
    if metrics is None:
        return list(DEFAULT_METRICS)
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    if not names:
        raise InvalidInput("metrics is empty; name at least one, or pass None for the default ones")
    return names


class _Metric(NamedTuple):
    """A function of ranx.metrics with its arguments. cutoff: 0 for none. level: the lowest grade that is relevant."""

    function: str
    cutoff: int
    level: int


def _parse(metric: str) -> _Metric:
    match = _METRIC.fullmatch(metric) if isinstance(metric, str) else None
    if match is None or match["name"] not in _RANX_FUNCTIONS:
        raise InvalidInput(
            f"unknown metric {metric!r}; expected a name, with a cutoff such as @10 if wanted: "
            f"{', '.join(_RANX_FUNCTIONS)}"
        )
    if match["name"] == "r-precision" and match["cutoff"]:
        raise InvalidInput(f"{metric!r}: r-precision has its own cutoff, the number of relevant documents; drop the @")
    return _Metric(_RANX_FUNCTIONS[match["name"]], int(match["cutoff"] or 0), int(match["level"] or 1))


def _compute(
    judged: Mapping[str, Mapping[str, int]],
    rankings: Mapping[str, Mapping[str, float]],
    metrics: Mapping[str, _Metric],
) -> dict[str, npt.NDArray[np.float64]]:
    """Return float64 ``(num_judged_queries,)`` for each metric."""
    ranx_metrics = require("ranx.metrics", extra="eval", purpose="serotine.evaluation.evaluate")
    typed_list = require("numba.typed", extra="eval", purpose="serotine.evaluation.evaluate").List
    arrays = [_ranx_arrays(judgements, rankings.get(query, {})) for query, judgements in judged.items()]
    values = {}
    with _ranx_lock, warnings.catch_warnings():
        # Compiling ranx's parallel loops warns about an index cast, once per metric; nothing a caller can act on.
        warnings.filterwarnings("ignore", message="unsafe cast from uint64 to int64")
        qrels_list, run_list = (typed_list(column) for column in zip(*arrays, strict=True))
        for name, metric in metrics.items():
            function = getattr(ranx_metrics, metric.function)
            values[name] = np.asarray(function(qrels_list, run_list, metric.cutoff, metric.level), dtype=np.float64)
    return values


def _ranx_arrays(
    judgements: Mapping[str, int], ranking: Mapping[str, float]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return ``(num_judgements, 2)`` rows (id, grade) and ``(num_ranked, 2)`` rows (id, 0) of one query, for ranx.

    Ids are small integers made here, -1 for a ranked document that is not judged. Judgements are in falling order of
    grade, as ranx expects for the ideal ranking. Of the ranking only the order counts: its scores are left at 0.
    """
    by_grade = sorted(judgements.items(), key=lambda item: -item[1])
    positions = {document: position for position, (document, _) in enumerate(by_grade)}
    ranked = np.zeros((len(ranking), 2))
    ranked[:, 0] = [positions.get(document, -1) for document in ranking]
    return np.array([(position, grade) for position, (_, grade) in enumerate(by_grade)], dtype=np.float64), ranked
