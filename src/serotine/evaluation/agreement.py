"""How much of an exhaustive ranking does a search find?  Recall against exact search, at several depths."""

from __future__ import annotations

from collections.abc import Sequence

from serotine.errors import InvalidInput
from serotine.evaluation.run import Run

__all__ = ["recall_against_exact"]


def recall_against_exact(
    run: Run, exact: Run, depths: Sequence[int] = (1, 10, 100), *, tolerance: float = 1e-4
) -> dict[int, float]:
    """Return for each depth k the share of the k best documents of an exact search that the run has among its k best.

    run, exact: rankings of the same queries, each at least as deep as the largest depth where there are as many
    documents. A document whose exact score is within ``tolerance`` of the k-th best counts as one of the best, so that
    rounding does not decide between equals. Queries without an exact result are left out.

    Raises:
        InvalidInput: a depth is not positive, or a query of ``exact`` is not in ``run``.

    Example:
        >>> exact = Run("exact", {"q": {"a": 3.0, "b": 2.0, "c": 1.0}})
        >>> recall_against_exact(Run("fast", {"q": {"b": 2.1, "c": 1.0, "a": 0.9}}), exact, [1, 2, 3])
        {1: 0.0, 2: 0.5, 3: 1.0}
    """
    if not depths or any(not isinstance(depth, int) or depth < 1 for depth in depths):
        raise InvalidInput(f"depths must be positive integers, got {list(depths)!r}")
    missing = [query for query in exact.rankings if query not in run.rankings]
    if missing:
        raise InvalidInput(f"{len(missing)} queries of the exact run are not in {run.name!r}, such as {missing[0]!r}")
    queries = [query for query, ranking in exact.rankings.items() if ranking]
    if not queries:
        raise InvalidInput("the exact run has no result, so there is nothing to find")
    return {
        depth: sum(_share(run, exact, query, depth, tolerance) for query in queries) / len(queries) for depth in depths
    }


def _share(run: Run, exact: Run, query: str, depth: int, tolerance: float) -> float:
    best = list(exact.rankings[query].items())
    wanted = min(depth, len(best))
    lowest = best[wanted - 1][1] - tolerance
    accepted = {document for document, score in best if score >= lowest}
    found = sum(document in accepted for document in list(run.rankings[query])[:depth])
    return min(found, wanted) / wanted
