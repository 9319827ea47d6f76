"""Which of several runs is better, and is the difference more than chance?  Runs side by side, and their table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from serotine.errors import InvalidInput
from serotine.evaluation.metrics import MetricValues, evaluate_run
from serotine.evaluation.qrels import Qrels
from serotine.evaluation.run import Run
from serotine.evaluation.significance import Interval, bootstrap, holm, randomization_test

__all__ = ["Comparison", "ComparisonTable", "compare"]


@dataclass(frozen=True)
class Comparison:
    """One run under one metric.

    difference: mean of ``run - baseline`` over the queries with its paired bootstrap interval; None for the baseline.
    p_value: of that difference by the paired randomization test. p_adjusted: the same, adjusted by Holm's method for
    all the differences of its table. Both None for the baseline.
    """

    run_name: str
    metric: str
    num_queries: int
    mean: float
    difference: Interval | None
    p_value: float | None = None
    p_adjusted: float | None = None


@dataclass(frozen=True)
class ComparisonTable:
    """The result of `compare`: rows by metric, then by run, the baseline first. ``print`` shows it as plain text."""

    baseline_name: str
    confidence: float
    rows: tuple[Comparison, ...]

    def to_text(self) -> str:
        """Return the table in columns padded with spaces, for a terminal or a log."""
        return "\n".join("  ".join(cells).rstrip() for cells in self._padded_cells())

    def to_markdown(self) -> str:
        """Return the table in GitHub's markdown, numbers aligned to the right."""
        header, *rows = self._padded_cells(escape_bars=True)
        rule = [
            f"{'-' * (len(cell) - (column >= 2))}{':' if column >= 2 else ''}" for column, cell in enumerate(header)
        ]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))

    def _padded_cells(self, *, escape_bars: bool = False) -> list[list[str]]:
        """Return header and rows; names flush left, numbers flush right. escape_bars: for markdown's column bar."""
        header = ["metric", "run", "n", "mean", "difference", f"{self.confidence * 100:g} % interval", "p, Holm"]
        table = [header, *(_cells(row) for row in self.rows)]
        if escape_bars:
            table = [[cell.replace("|", "\\|") for cell in cells] for cells in table]
        widths = [max(len(cells[column]) for cells in table) for column in range(len(header))]
        return [
            [cell.ljust(width) if column < 2 else cell.rjust(width) for column, (cell, width) in enumerate(padded)]
            for padded in (list(zip(cells, widths, strict=True)) for cells in table)
        ]

    def __str__(self) -> str:
        return self.to_text()


def _cells(row: Comparison) -> list[str]:
    start = [row.metric, row.run_name, str(row.num_queries), f"{row.mean:.4f}"]
    if row.difference is None:
        return [*start, "baseline", "", ""]
    interval = f"[{row.difference.low:+.4f}, {row.difference.high:+.4f}]"
    return [*start, f"{row.difference.mean:+.4f}", interval, f"{row.p_adjusted:.4f}"]


def compare(
    runs: Sequence[Run],
    qrels: Qrels,
    metrics: str | Sequence[str] | None = None,
    *,
    baseline: str | None = None,
    remove_self_matches: bool = False,
    num_samples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> ComparisonTable:
    """Evaluate runs on the same queries and set each against a baseline.

    baseline: the name of a run, the first if None. The other arguments are those of `evaluate` and `bootstrap`.

    Each difference has a paired bootstrap interval and the p-value of the paired randomization test. The p-values of
    the table are adjusted for their number; the intervals are not: of twenty 95 % intervals, one misses by chance.

    Raises:
        InvalidInput: no run, two of one name, a baseline that is none of them, or what `evaluate` refuses.
        MissingExtra: ranx is not installed.

    Example:
        >>> qrels = {"q1": {"a": 1}, "q2": {"b": 1}}
        >>> first = Run("bm25", {"q1": {"b": 2.0, "a": 1.0}, "q2": {"a": 2.0, "b": 1.0}})
        >>> second = Run("colbert", {"q1": {"a": 2.0, "b": 1.0}, "q2": {"b": 2.0, "a": 1.0}})
        >>> print(compare([first, second], qrels, "mrr"))
        metric  run      n    mean  difference       95 % interval  p, Holm
        mrr     bm25     2  0.5000    baseline
        mrr     colbert  2  1.0000     +0.5000  [+0.5000, +0.5000]   0.50...
    """
    names = [run.name for run in runs]
    if not names or len(set(names)) < len(names):
        raise InvalidInput(f"compare needs at least one run and a different name for each, got {names}")
    baseline_name = names[0] if baseline is None else baseline
    if baseline_name not in names:
        raise InvalidInput(f"baseline {baseline_name!r} is not the name of a run: {', '.join(names)}")
    evaluated = [evaluate_run(run, qrels, metrics, remove_self_matches=remove_self_matches) for run in runs]
    reference = evaluated[names.index(baseline_name)]
    ordered = [reference, *(values for values in evaluated if values is not reference)]
    rows = [
        _comparison(values, reference, metric, num_samples=num_samples, confidence=confidence, seed=seed)
        for metric in reference.values
        for values in ordered
    ]
    return ComparisonTable(baseline_name, confidence, _adjusted(rows))


def _comparison(
    values: MetricValues, reference: MetricValues, metric: str, *, num_samples: int, confidence: float, seed: int
) -> Comparison:
    own = values.values[metric]
    row = Comparison(values.run_name, metric, values.num_queries, float(own.mean()), None)
    if values is reference:
        return row
    theirs = reference.values[metric]
    return replace(
        row,
        difference=bootstrap(own, theirs, num_samples=num_samples, confidence=confidence, seed=seed),
        p_value=randomization_test(own, theirs, num_samples=num_samples, seed=seed),
    )


def _adjusted(rows: Sequence[Comparison]) -> tuple[Comparison, ...]:
    adjusted = iter(holm([row.p_value for row in rows if row.p_value is not None]))
    return tuple(row if row.p_value is None else replace(row, p_adjusted=next(adjusted)) for row in rows)
