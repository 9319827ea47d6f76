"""Which of a query's candidates become its negatives?  Ranks, thresholds and sampling, checked before anything runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serotine.errors import InvalidInput
from serotine.indexes.checks import positive_int
from serotine.retrieve.mining.candidates import Candidate

__all__ = ["Rules"]


@dataclass(frozen=True)
class Rules:
    """The arguments of `mine_hard_negatives` that choose negatives.

    Raises:
        InvalidInput: a value is not possible, or leaves no candidate.
    """

    range_min: int
    range_max: int | None
    max_score: float | None
    min_score: float | None
    absolute_margin: float | None
    relative_margin: float | None
    num_negatives: int
    sampling_strategy: str
    seed: int

    def __post_init__(self) -> None:
        positive_int(self.num_negatives, name="num_negatives")
        if isinstance(self.range_min, bool) or not isinstance(self.range_min, int) or self.range_min < 0:
            raise InvalidInput(f"range_min must be a whole number >= 0, got {self.range_min!r}")
        if self.range_max is not None and positive_int(self.range_max, name="range_max") < self.least_range:
            raise InvalidInput(
                f"range_min={self.range_min} and num_negatives={self.num_negatives} need range_max >= "
                f"{self.least_range}, got {self.range_max}"
            )
        for name in ("max_score", "min_score", "absolute_margin", "relative_margin"):
            _check_number(getattr(self, name), name)
        if None not in (self.max_score, self.min_score) and self.min_score > self.max_score:  # type: ignore[operator]
            raise InvalidInput(f"min_score={self.min_score} is above max_score={self.max_score}")
        if self.sampling_strategy not in ("top", "random"):
            raise InvalidInput(f"sampling_strategy must be 'top' or 'random', got {self.sampling_strategy!r}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise InvalidInput(f"seed must be a whole number >= 0, got {self.seed!r}")

    @property
    def least_range(self) -> int:
        """The smallest range_max that leaves num_negatives candidates."""
        return self.range_min + self.num_negatives

    @property
    def has_thresholds(self) -> bool:
        """Whether a score can rule a candidate out."""
        return any(
            value is not None for value in (self.max_score, self.min_score, self.absolute_margin, self.relative_margin)
        )

    @property
    def end(self) -> int:
        """The rank at which candidates end: range_max, or ten times the negatives where not each one is taken."""
        if self.range_max is not None:
            return self.range_max
        takes_all = self.sampling_strategy == "top" and not self.has_thresholds
        return self.range_min + self.num_negatives * (1 if takes_all else 10)

    def choose(
        self, candidates: Sequence[Candidate], positive_scores: Sequence[float], query: int, removed: Counter[str]
    ) -> list[Candidate]:
        """Return at most num_negatives of a query's candidates, best score first.

        candidates: in range. query: its number in the data set, with the seed what a random choice depends on.
        removed: counts what each threshold took.
        """
        limit = min(positive_scores)
        kept = []
        for candidate in candidates:
            reason = self._reason_against(candidate.score, limit)
            if reason is None:
                kept.append(candidate)
            else:
                removed[reason] += 1
        kept.sort(key=lambda candidate: -candidate.score)
        if self.sampling_strategy == "random" and len(kept) > self.num_negatives:
            drawn = np.random.default_rng([self.seed, query]).choice(len(kept), self.num_negatives, replace=False)
            kept = [kept[number] for number in sorted(drawn)]
        return kept[: self.num_negatives]

    def _reason_against(self, score: float, positive: float) -> str | None:
        """Name the first threshold that a score breaks."""
        broken = {
            "max_score": self.max_score is not None and score > self.max_score,
            "min_score": self.min_score is not None and score < self.min_score,
            "absolute_margin": self.absolute_margin is not None and score > positive - self.absolute_margin,
            # Not positive * (1 - margin): of a negative score that would be the larger number.
            "relative_margin": self.relative_margin is not None
            and score > positive - abs(positive) * self.relative_margin,
        }
        return next((name for name, is_broken in broken.items() if is_broken), None)


def _check_number(value: Any, name: str) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InvalidInput(f"{name} must be a finite number or None, got {value!r}")
