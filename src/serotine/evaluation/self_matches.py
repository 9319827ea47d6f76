"""In which collections is a query itself a document, so that finding it is no success?

ArguAna's queries are arguments of its corpus; Quora's queries and documents are questions with one numbering. There a
document with the query's id is left out by convention. Elsewhere equal ids are an accident of two countings that both
start low, and leaving such documents out would remove true answers: so it is a named rule, never a default.
"""

from __future__ import annotations

__all__ = ["SELF_MATCH_DATASETS", "has_self_matches"]

SELF_MATCH_DATASETS = frozenset({"arguana", "quora"})
"""BEIR names of the collections whose queries are documents of the corpus under the same id."""


def has_self_matches(dataset_name: str) -> bool:
    """Return whether the rule applies to a collection, by its BEIR name in any case.

    Example:
        >>> has_self_matches("ArguAna"), has_self_matches("fiqa")
        (True, False)
    """
    return dataset_name.lower() in SELF_MATCH_DATASETS
