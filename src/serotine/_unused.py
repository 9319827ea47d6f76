"""Which arguments have no effect?  Those accepted for PyLate's sake; whoever passes some is told, once a call."""

from __future__ import annotations

import warnings
from typing import Any

__all__ = ["NOT_GIVEN", "warn_of_unused"]


class _NotGiven:
    def __repr__(self) -> str:
        return "<not given>"


NOT_GIVEN: Any = _NotGiven()
"""Default of an argument that is accepted for PyLate's sake: passing any value, even PyLate's default, is noticed."""


def warn_of_unused(what: str, advice: str, **arguments: Any) -> None:
    """Say once, for all arguments that were given, that they have no effect. Called by what takes them itself.

    what: the class or method. advice: what to do instead of passing them.
    """
    given = ", ".join(f"{name}={value!r}" for name, value in arguments.items() if value is not NOT_GIVEN)
    if given:
        warnings.warn(
            f"{what} accepts these arguments of PyLate's, but they have no effect here: {given}. Leave them out"
            f"{advice and '; '}{advice}",
            UserWarning,
            stacklevel=3,
        )
