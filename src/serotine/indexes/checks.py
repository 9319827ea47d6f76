"""Which ids, queries, ks and subsets can an index accept?  One function for each, shared by every index.

Each returns the value in its one internal form or raises InvalidInput with the value, what was expected and what to
do. The vectors of documents are read in `serotine.indexes.chunks`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from serotine._arrays import pack
from serotine.errors import DuplicateDocument, InvalidInput
from serotine.types import Array, DocumentId, Embeddings, TokenMatrix

__all__ = [
    "MAX_ID_BYTES",
    "MAX_MAGNITUDE",
    "Subset",
    "check_finite",
    "float_dtype",
    "index_path",
    "is_id",
    "is_list_of_ids",
    "new_ids",
    "optional_positive_int",
    "positive_int",
    "read_ids",
    "read_only",
    "read_queries",
    "read_subset",
    "seconds",
]

MAX_ID_BYTES = 1024
"""Longest string id, in bytes of UTF-8."""

MAX_MAGNITUDE = 1e15
"""Largest absolute value of a vector's component. 4,096 query tokens times 768 dimensions times its square is 3e36,
below float32's 3.4e38: no score can overflow to infinity, and no two infinities can meet as NaN."""

_INT64 = range(-(2**63), 2**63)


class Subset(NamedTuple):
    """The documents a search may return: one list that all queries share, or one list per query."""

    ids: list[list[DocumentId]]
    is_shared: bool

    def of_query(self, query: int) -> list[DocumentId]:
        """What one query may return."""
        return self.ids[0 if self.is_shared else query]

    def part(self, start: int, num_queries: int) -> Subset:
        """What the queries from start on may return."""
        return self if self.is_shared else Subset(self.ids[start : start + num_queries], is_shared=False)

    def argument(self) -> list[Any]:
        """The subset as an argument of a call."""
        return self.ids[0] if self.is_shared else self.ids


def index_path(folder: str | os.PathLike[str] | None, name: str | None) -> Path | None:
    """Return where an index lives on disk, None for one in memory: both arguments are None then."""
    if folder is None and name is None:
        return None
    if not isinstance(folder, (str, os.PathLike)) or name is None:
        raise InvalidInput(
            f"index_folder and index_name go together, got {folder!r} and {name!r}; give both for an index on disk, "
            "neither for one in memory"
        )
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\0" in name:
        raise InvalidInput(f"index_name must be the plain name of a folder, got {name!r}")
    if "\0" in os.fsdecode(folder):
        raise InvalidInput(f"index_folder must be a path, which has no NUL character, got {folder!r}")
    return Path(folder, name)


def positive_int(value: Any, *, name: str) -> int:
    """Return a whole number >= 1, of Python's or numpy's kinds."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InvalidInput(f"{name} must be a whole number >= 1, got {value!r}")
    return int(value)


def optional_positive_int(value: Any, *, name: str) -> int | None:
    """Return a whole number >= 1, or None."""
    return None if value is None else positive_int(value, name=name)


def seconds(value: Any, *, name: str) -> float:
    """Return a number of seconds >= 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
        raise InvalidInput(f"{name} must be a number of seconds >= 0, got {value!r}")
    return float(value)


def read_ids(documents_ids: Any) -> list[DocumentId]:
    """Return ids to look up, as plain ``str`` and ``int``; a bare string or number is one id.

    Only the types are checked: an id that no document can have is simply not found.
    """
    if isinstance(documents_ids, (str, int, np.integer)):
        documents_ids = [documents_ids]
    if isinstance(documents_ids, (bytes, Mapping)) or not isinstance(documents_ids, Iterable):
        raise InvalidInput(f"ids must be a list of str or int, got {type(documents_ids).__name__}")
    return [_plain_id(value) for value in documents_ids]


def new_ids(documents_ids: Any) -> list[DocumentId]:
    """Return the ids of documents to store, every one of them valid and none twice.

    A string id is 1 to 1,024 bytes of UTF-8 without NUL, kept as it is (no Unicode normalisation); a number fits
    in 64 bits. The int ``1`` and the string ``"1"`` are two documents.

    Raises:
        InvalidInput: an id breaks these rules. DuplicateDocument: an id occurs twice.
    """
    ids = read_ids(documents_ids)
    seen: set[DocumentId] = set()
    for value in ids:
        _check_new_id(value)
        if value in seen:
            raise DuplicateDocument(f"document id {value!r} occurs twice in one call; give each document once")
        seen.add(value)
    return ids


def is_id(value: object) -> bool:
    """Whether a value is of a type that ids have."""
    return isinstance(value, (str, int, np.integer)) and not isinstance(value, bool)


def _plain_id(value: Any) -> DocumentId:
    if type(value) is str or type(value) is int:
        return value
    if isinstance(value, str):
        return str.__str__(value)  # the text of np.str_ and of string enumerations
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    raise InvalidInput(f"a document id must be str or int, got {value!r} of type {type(value).__name__}")


def _check_new_id(value: DocumentId) -> None:
    if isinstance(value, int):
        if value not in _INT64:
            raise InvalidInput(f"document id {value} does not fit in 64 bits; use its decimal string")
        return
    try:
        num_bytes = len(value.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"document id {value!r} is not valid Unicode: a lone surrogate at character {error.start}"
        ) from None
    if not 1 <= num_bytes <= MAX_ID_BYTES:
        raise InvalidInput(
            f"document id {value[:40]!r}{'...' if len(value) > 40 else ''} has {num_bytes} bytes, "
            f"expected 1 to {MAX_ID_BYTES}"
        )
    if "\0" in value:
        raise InvalidInput(f"document id {value!r} contains a NUL character, which is refused")


def read_queries(queries_embeddings: Embeddings, *, dim: int | None) -> TokenMatrix:
    """Return query embeddings as float32, each with a token and all finite; one 2-D array is one query.

    Raises:
        DimensionMismatch: another width than dim.
        InvalidInput: no tokens, NaN or infinity; the message names the query.
    """
    with np.errstate(over="ignore"):
        queries = pack(queries_embeddings, dim=dim, dtype=np.float32, what="queries")
    empty = np.flatnonzero(queries.lengths == 0)
    if len(empty):
        raise InvalidInput(f"query {empty[0]} has no tokens; every query needs at least one token vector")
    check_finite(queries, lambda position: f"query {position}")
    return queries


def check_finite(matrix: TokenMatrix, name_of: Callable[[int], str]) -> None:
    """Raise InvalidInput at the first component that is not finite or larger than `MAX_MAGNITUDE`.

    name_of: position of a text -> how the message calls it.
    """
    values = matrix.values
    if values.dtype == np.float16 and values.size and np.bitwise_and(values.view(np.uint16), 0x7C00).max() < 0x7C00:
        return  # no exponent of only ones: ten times faster than comparing halves
    largest = min(MAX_MAGNITUDE, float(np.finfo(values.dtype).max))
    if values.size == 0 or max(-float(values.min()), float(values.max())) <= largest:
        return  # NaN survives min and max, and fails every comparison
    row, column = (int(axis[0]) for axis in np.nonzero(~(np.abs(values) <= largest)))
    text = int(np.searchsorted(matrix.offsets, row, side="right")) - 1
    raise InvalidInput(
        f"{name_of(text)}, token row {row - int(matrix.offsets[text])}, dimension {column}: the value is "
        f"{values[row, column]} as {matrix.dtype.name}, expected a finite number of magnitude <= {largest:g}"
    )


def read_subset(subset: Any, num_queries: int) -> Subset | None:
    """Return which documents each query may return, or None for all.

    subset: a list (set, tuple, array, ...) of ids for all queries, or a list of such lists, one per query. A bare
    string or number is one id. Nothing in it means nothing may be returned, never everything.

    Raises:
        InvalidInput: an id is neither str nor int, lists and ids are mixed, or their number is not num_queries.
    """
    if subset is None:
        return None
    if not isinstance(subset, (str, bytes, Mapping)) and isinstance(subset, Iterable):
        subset = list(subset)
        are_lists = [is_list_of_ids(part) for part in subset]
        if any(are_lists):
            if not all(are_lists):
                raise InvalidInput(
                    f"subset mixes ids and lists of ids (position {are_lists.index(False)} is no list); "
                    "give one list for all queries or one list per query"
                )
            if len(subset) != num_queries:
                raise InvalidInput(
                    f"subset has {len(subset)} lists of ids for {num_queries} queries, expected one each"
                )
            return Subset([read_ids(part) for part in subset], is_shared=False)
    return Subset([read_ids(subset)], is_shared=True)


def is_list_of_ids(part: Any) -> bool:
    """Whether a part of a list stands for several ids; a string is one."""
    return isinstance(part, Iterable) and not isinstance(part, (str, bytes))


def float_dtype(dtype: Any) -> np.dtype[Any]:
    """Return a dtype that vectors can be stored in, float32 or float16, in this machine's byte order."""
    try:
        name = np.dtype(dtype).name
    except (TypeError, UnicodeEncodeError):
        name = repr(dtype)
    if name not in ("float32", "float16"):
        raise InvalidInput(f"dtype must be 'float32' or 'float16', got {dtype!r}")
    stored: np.dtype[Any] = np.dtype(name)
    return stored


def read_only(array: Array) -> Array:
    """Return a view that cannot be written through."""
    view: Array = array.view()
    view.flags.writeable = False
    return view
