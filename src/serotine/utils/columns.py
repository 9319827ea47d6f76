"""Which column of a training row is what?  Query, documents, labels and ids, told apart by their names."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from serotine.errors import InvalidInput

__all__ = ["LABEL_COLUMNS", "ColumnRoles", "assign_roles", "read_texts"]

LABEL_COLUMNS = ("label", "labels", "score", "scores")
"""Names that Sentence Transformers looks for, too."""

# The most usual first: a column of this very name wins over one that only contains it.
_QUERY_NAMES = ("query", "anchor", "question")
_ID_NAME = re.compile(r"(^|_)(id|ids|idx)$|^(qid|pid|docid)$")


class ColumnRoles(NamedTuple):
    """Names of columns by what they are for."""

    query: str
    documents: list[str]  # the positive first
    label: str | None
    skipped: list[str]  # ids


def assign_roles(
    names: Iterable[str], *, label_columns: Sequence[str] = LABEL_COLUMNS, tasks: Mapping[str, str] | None = None
) -> ColumnRoles:
    """Tell columns apart.

    The query is the column named query, anchor or question, in this order, or the only one whose name contains such a
    word. Names that end in ``id``, ``ids`` or ``idx`` as a word are ids. The first of ``label_columns`` is the label.
    All other columns are documents in the order given; without a label, those whose names begin with "positive" go
    first, because losses take the first document for the positive.

    tasks: "query" or "document" for columns whose names do not tell; a column that is named here is no id.

    Raises:
        InvalidInput: no column or several are queries, or none is a document; the columns are named.

    Example:
        >>> assign_roles(["positive", "question", "negative", "question_id"])
        ColumnRoles(query='question', documents=['positive', 'negative'], label=None, skipped=['question_id'])
    """
    columns, tasks = list(names), dict(tasks or {})
    unknown = {task for task in tasks.values() if task not in ("query", "document")}
    if unknown:
        raise InvalidInput(f"router_mapping gives columns the tasks {sorted(unknown)}, expected query or document")
    label = next((name for name in label_columns if name in columns and name not in tasks), None)
    skipped = [name for name in columns if name not in tasks and _ID_NAME.search(name.lower())]
    texts = [name for name in columns if name != label and name not in skipped]
    query = _query_column(texts, tasks, columns)
    documents = [name for name in texts if name != query]
    if not documents:
        raise InvalidInput(f"no column holds documents: the query is {query!r}, all columns are {columns}")
    if label is None:
        documents.sort(key=lambda name: not name.lower().startswith("positive"))
    return ColumnRoles(query, documents, label, skipped)


def _query_column(texts: list[str], tasks: dict[str, str], columns: list[str]) -> str:
    found = [name for name in texts if tasks.get(name) == "query"]
    candidates = [name for name in texts if name not in tasks]
    if not found:
        found = [name for exact in _QUERY_NAMES for name in candidates if name.lower() == exact][:1]
    if not found:
        found = [name for name in candidates if any(word in name.lower() for word in _QUERY_NAMES)]
    if len(found) != 1:
        which = "no column is" if not found else f"the columns {found} are all"
        raise InvalidInput(
            f"{which} named as a query, the columns are {columns}. Name one of them query, or give the collator "
            "router_mapping={'your_column': 'query'}"
        )
    return found[0]


def read_texts(name: str, rows: Sequence[Mapping[str, Any]], *, lists: bool) -> tuple[list[Any], list[int] | None]:
    """Return a column's texts, and how many each row has if the rows hold lists, else None.

    lists: whether rows may hold lists; tuples and numpy arrays, which data sets with such a format give, are lists too.

    Raises:
        InvalidInput: a row has no such column, or holds what is neither a text nor a dict nor an image of Pillow, or a
            list where others do not; column and row are named.
    """
    values = []
    for number, row in enumerate(rows):
        if name not in row:
            raise InvalidInput(f"row {number} of the batch has no column {name!r}, only {sorted(row)}")
        values.append(row[name])
    nested = [isinstance(value, _LISTS) for value in values]
    if any(nested) and not (lists and all(nested)):
        number = nested.index(True) if not lists else nested.index(False)
        raise InvalidInput(
            f"column {name!r}: row {number} holds a {type(values[number]).__name__}, expected "
            + ("a list of texts as in other rows" if lists else "one text")
        )
    texts = [text for value in values for text in value] if any(nested) else values
    counts = [len(value) for value in values] if any(nested) else None
    for position, text in enumerate(texts):
        if not _is_one_text(text):
            raise InvalidInput(f"column {name!r}: row {_row_of(position, counts)} holds {text!r}, expected a text")
    return texts, counts


_LISTS = (list, tuple, np.ndarray)


def _is_one_text(value: Any) -> bool:
    """Tell whether a value is a text, or what stands for one: a dict of modalities, or an image."""
    if isinstance(value, (str, Mapping)):
        return True
    pillow = sys.modules.get("PIL.Image")  # whoever has an image has imported it
    return pillow is not None and isinstance(value, pillow.Image)


def _row_of(position: int, counts: list[int] | None) -> int:
    for row, count in enumerate(counts or ()):
        if position < count:
            return row
        position -= count
    return position
