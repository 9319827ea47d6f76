"""How are the candidates of several queries encoded in one call?  As one list of texts, put into groups again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["flattened", "regrouped"]


def flattened(texts: Any) -> tuple[Any, list[int] | None]:
    """Return a list of lists of texts as one list and the length of each; anything else as it is, and None.

    A list or tuple is a list of lists if each of its items is one. A mixture stays as it is, for the check of each text
    to name what does not belong.

    Example:
        >>> flattened([["a", "b"], [], ["c"]])
        (['a', 'b', 'c'], [2, 0, 1])
        >>> flattened(["a", "b"])
        (['a', 'b'], None)
    """
    if not isinstance(texts, (list, tuple)) or not texts or not all(isinstance(item, (list, tuple)) for item in texts):
        return texts, None
    return [text for group in texts for text in group], [len(group) for group in texts]


def regrouped(results: Sequence[Any], group_sizes: Sequence[int] | None) -> list[Any]:
    """Return results in groups of the given sizes, or as a list if there are no groups.

    Example:
        >>> regrouped([1, 2, 3], [2, 0, 1])
        [[1, 2], [], [3]]
    """
    if group_sizes is None:
        return list(results)
    remaining = iter(results)
    return [[next(remaining) for _ in range(size)] for size in group_sizes]
