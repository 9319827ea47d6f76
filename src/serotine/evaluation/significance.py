"""How sure is a mean, or the difference of two?  Bootstrap intervals over queries, the paired randomization test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serotine.errors import InvalidInput

__all__ = ["Interval", "bootstrap", "holm", "randomization_test"]

_DRAWS_AT_ONCE = 2**21
"""Query numbers drawn together: 2 arrays of 16 MiB whatever the number of queries."""


@dataclass(frozen=True)
class Interval:
    """A mean over queries and where it would lie had other queries of the same kind been asked.

    mean: of the values, or of the paired differences. low, high: ends of the interval. confidence: in (0, 1).
    num_queries: how many the mean is of.
    """

    mean: float
    low: float
    high: float
    confidence: float
    num_queries: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval has zero on its outside: for a difference, that the two runs are told apart."""
        return self.low > 0.0 or self.high < 0.0


def bootstrap(
    values: npt.ArrayLike,
    baseline: npt.ArrayLike | None = None,
    *,
    num_samples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the mean of one value per query, or of ``values - baseline`` query by query, with its interval.

    values, baseline: float ``(num_queries,)``, the same queries in the same order, as `evaluate_run` gives them.
    Pairing matters: that some queries are hard for both runs then does not widen the interval.

    Each of ``num_samples`` samples draws num_queries queries with replacement; the interval runs between the
    ``(1 - confidence) / 2`` quantiles of the sample means from below and from above. The same seed gives the same
    interval. It says how far the result depends on which queries were asked, nothing about the choice of the
    collection or of training seeds; below about 30 queries it is too narrow.

    Raises:
        InvalidInput: no values, NaN or infinity, shapes that differ, a confidence outside (0, 1), under 100 samples.

    Source: Efron & Tibshirani 1993, chapter 13. Cost O(num_samples * num_queries), about 5 ns each.

    Example:
        >>> interval = bootstrap([0.9, 0.5, 0.7, 0.8], [0.4, 0.3, 0.5, 0.2])
        >>> round(interval.mean, 3), interval.excludes_zero, interval.num_queries
        (0.375, True, 4)
    """
    differences = _finite(values, "values") if baseline is None else _paired(values, baseline)
    if not 0.0 < confidence < 1.0:
        raise InvalidInput(f"confidence must lie between 0 and 1, such as 0.95, got {confidence!r}")
    _check_samples(num_samples)
    means = _sample_means(differences, num_samples, np.random.default_rng(seed))
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return Interval(float(differences.mean()), float(low), float(high), confidence, len(differences))


def randomization_test(
    values: npt.ArrayLike, baseline: npt.ArrayLike, *, num_samples: int = 10_000, seed: int = 0
) -> float:
    """Return the two-sided p-value of the mean difference: how often chance alone gives one as large.

    values, baseline: float ``(num_queries,)``, the same queries in the same order. If the two systems were alike, each
    query's two values might as well be exchanged, which turns the sign of its difference. ``num_samples`` times the
    signs are drawn anew; the p-value is the share of draws, the real one counted among them, whose mean is as far from
    zero. It is therefore never below ``1 / (num_samples + 1)``. The same seed gives the same value.

    Raises:
        InvalidInput: as `bootstrap`.

    Source: Smucker, Allan & Carterette 2007; Phipson & Smyth 2010 for counting the real one. Cost as `bootstrap`.

    Example:
        >>> p = randomization_test([0.9, 0.8, 0.7, 0.9, 0.8, 0.9, 0.6, 0.7], [0.1, 0.2, 0.2, 0.1, 0.3, 0.2, 0.1, 0.3])
        >>> 2 / 2**8 / 2 < p < 2 / 2**8 * 2
        True
    """
    differences = _paired(values, baseline)
    _check_samples(num_samples)
    generator = np.random.default_rng(seed)
    # Means that are equal but for the order of their additions count as equal.
    threshold = abs(differences.mean()) * (1 - 1e-12)
    samples_at_once = max(1, _DRAWS_AT_ONCE // len(differences))
    reached = 0
    for start in range(0, num_samples, samples_at_once):
        shape = (min(samples_at_once, num_samples - start), len(differences))
        signs = generator.integers(2, size=shape, dtype=np.int8) * 2.0 - 1.0
        reached += int((np.abs(signs @ differences) / len(differences) >= threshold).sum())
    return (reached + 1) / (num_samples + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that hold for all comparisons of a table together, in the given order.

    An adjusted value below 0.05 means: the chance of *any* false difference in the table is at most 5 %.

    Source: Holm 1979.

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=lambda position: p_values[position])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = largest
    return adjusted


def _paired(values: npt.ArrayLike, baseline: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the differences, query by query."""
    minuend, subtrahend = _finite(values, "values"), _finite(baseline, "baseline")
    if len(subtrahend) != len(minuend):
        raise InvalidInput(
            f"values are of {len(minuend)} queries and baseline of {len(subtrahend)}; "
            "a paired comparison needs both on the same queries"
        )
    return minuend - subtrahend


def _check_samples(num_samples: int) -> None:
    if num_samples < 100:
        raise InvalidInput(f"num_samples must be at least 100, got {num_samples}: quantiles need samples beyond them")


def _finite(values: npt.ArrayLike, what: str) -> npt.NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0:
        raise InvalidInput(f"{what} must be a non-empty 1-D array, one value per query, got shape {array.shape}")
    if not np.isfinite(array).all():
        position = int(np.flatnonzero(~np.isfinite(array))[0])
        raise InvalidInput(f"{what} must be finite, got {array[position]} at position {position}")
    return array


def _sample_means(
    differences: npt.NDArray[np.float64], num_samples: int, generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return float64 ``(num_samples,)``: the mean of each sample, drawn in blocks of bounded memory."""
    num_queries = len(differences)
    samples_at_once = max(1, _DRAWS_AT_ONCE // num_queries)
    means = np.empty(num_samples)
    for start in range(0, num_samples, samples_at_once):
        stop = min(start + samples_at_once, num_samples)
        drawn = generator.integers(num_queries, size=(stop - start, num_queries))
        means[start:stop] = differences[drawn].mean(axis=1)
    return means
