"""Which other end-to-end indexes of PyLate have a name here?  They are PLAID, and say so."""

from __future__ import annotations

import warnings
from typing import Any

from serotine.indexes.plaid.index import PLAID

__all__ = ["WARP", "TachiomIndex"]

_DEFAULT_FOLDER = "indexes"


class WARP(PLAID):
    """PyLate's name of another engine, for code that uses it: this is `PLAID`, and takes its arguments.

    Of WARP's own arguments those that PLAID does not know (bound, t_prime, ...) are refused by Python as unknown.
    """

    def __init__(
        self, index_folder: Any = _DEFAULT_FOLDER, index_name: Any = "warp", *arguments: Any, **options: Any
    ) -> None:
        _warn("WARP")
        super().__init__(index_folder, index_name, *arguments, **options)


class TachiomIndex(PLAID):
    """PyLate's name of another engine, for code that uses it: this is `PLAID`, and takes its arguments.

    Unlike Tachiom it takes further adds, removals, updates and subsets.
    """

    def __init__(
        self, index_folder: Any = _DEFAULT_FOLDER, index_name: Any = "tachiom", *arguments: Any, **options: Any
    ) -> None:
        _warn("TachiomIndex")
        super().__init__(index_folder, index_name, *arguments, **options)


def _warn(name: str) -> None:
    warnings.warn(
        f"{name} is another name of serotine.indexes.PLAID, which works differently and takes other arguments; "
        "use PLAID",
        UserWarning,
        stacklevel=3,
    )
