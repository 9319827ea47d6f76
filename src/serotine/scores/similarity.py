"""What are the names of similarity functions, as models store them and evaluators look them up?"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any

from serotine.errors import InvalidInput
from serotine.scores.colbert import colbert_scores, colbert_scores_pairwise

__all__ = ["SimilarityFunction"]


class SimilarityFunction(Enum):
    """A similarity by name. Names are read without regard to case: "MaxSim" (PyLate) is "maxsim" (elsewhere).

    Example:
        >>> SimilarityFunction("maxsim") is SimilarityFunction.MAXSIM
        True
    """

    MAXSIM = "MaxSim"
    MEAN_MAXSIM = "MeanMaxSim"
    """MaxSim divided by the number of query tokens: comparable between queries, the same ranking for each."""

    @classmethod
    def _missing_(cls, value: object) -> SimilarityFunction:
        for function in cls:
            if isinstance(value, str) and value.lower() == function.value.lower():
                return function
        raise InvalidInput(f"unknown similarity function {value!r}, expected one of {cls.possible_values()}")

    @staticmethod
    def to_similarity_fn(similarity_function: str | SimilarityFunction) -> Callable[..., Any]:
        """Return the function that scores every query against every document, see `colbert_scores`.

        Raises:
            InvalidInput: the name is unknown.
        """
        if SimilarityFunction(similarity_function) is SimilarityFunction.MAXSIM:
            return colbert_scores
        return partial(colbert_scores, length_normalize=True)

    @staticmethod
    def to_similarity_pairwise_fn(similarity_function: str | SimilarityFunction) -> Callable[..., Any]:
        """Return the function that scores query i against document i, see `colbert_scores_pairwise`.

        Raises:
            InvalidInput: the name is unknown.
        """
        if SimilarityFunction(similarity_function) is SimilarityFunction.MAXSIM:
            return colbert_scores_pairwise
        return partial(colbert_scores_pairwise, length_normalize=True)

    @staticmethod
    def possible_values() -> list[str]:
        """Return every name.

        Example:
            >>> SimilarityFunction.possible_values()
            ['MaxSim', 'MeanMaxSim']
        """
        return [function.value for function in SimilarityFunction]
