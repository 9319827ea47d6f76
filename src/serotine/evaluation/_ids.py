"""How does an id become text?  One rule, because files and qrels know ids as text only."""

from __future__ import annotations

from typing import Any

import numpy as np

from serotine.errors import InvalidInput

__all__ = ["id_text", "require_one_word"]


def id_text(value: Any, *, what: str) -> str:
    """Return an id as text: a string as it is, an integer (Python's or numpy's) in decimal.

    what: names the id in the error, such as ``"document id"``.

    Raises:
        InvalidInput: it is neither (a bool is not), or it is empty.
    """
    if isinstance(value, str):
        if not value:
            raise InvalidInput(f"{what} is an empty string; an id has at least one character")
        return value
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return str(int(value))
    raise InvalidInput(f"{what} must be a string or an integer, got {value!r} ({type(value).__name__})")


def require_one_word(text: str, *, what: str) -> str:
    """Return an id unchanged if a file whose columns are separated by whitespace can hold it.

    Raises:
        InvalidInput: it contains whitespace, in the sense of `str.split`.
    """
    if text.split() != [text]:
        raise InvalidInput(
            f"{what} {text!r} contains whitespace, which separates the columns of a TREC file; "
            "replace it in the ids, or keep the results in another format"
        )
    return text
