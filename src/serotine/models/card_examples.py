"""Which texts does a model card show?  One query and a few documents from the data that the model was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from serotine.errors import InvalidInput
from serotine.utils.columns import ColumnRoles, assign_roles

__all__ = ["DEFAULT_EXAMPLES", "example_texts", "query_column"]

DEFAULT_EXAMPLES = (
    "Which bat flies late in the evening?",
    "The serotine leaves its roost well after sunset.",
    "The common pipistrelle weighs about as much as a coin.",
    "Swifts sleep while they fly.",
)
"""A query and three documents, for models whose training data is not known."""

_ROWS_READ = 100
_NUM_DOCUMENTS = 3


def example_texts(dataset: Any) -> list[str] | None:
    """Return a query and up to three documents of a data set (of the first, if there are several), shortest first.

    Columns are told apart by name, as in training; rows are read as training reads them. None if it cannot be read
    twice, or its columns or values are not texts: a card then shows `DEFAULT_EXAMPLES`.

    Cost: reads 100 rows at most.
    """
    if isinstance(dataset, Mapping):
        dataset = next(iter(dataset.values()), None)
    if not _can_be_read_again(dataset):
        return None
    rows = list(_readable_rows([dataset[number] for number in range(min(_ROWS_READ, len(dataset)))]))
    if not rows:
        return None
    # The first of equals: the card of the same data is the same.
    query, documents = min(rows, key=lambda row: len(row[0]) + sum(map(len, row[1])))
    others = sorted((text for _, texts in rows for text in texts[:1]), key=len)
    return [query, *dict.fromkeys([*documents, *others])][: 1 + _NUM_DOCUMENTS]


def query_column(dataset: Any) -> str | None:
    """Return the name of the column that holds queries, None if names do not tell or it cannot be read twice."""
    roles = _roles(dataset[0]) if _can_be_read_again(dataset) else None
    return None if roles is None else roles.query


def _can_be_read_again(dataset: Any) -> bool:
    return hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__") and len(dataset) > 0


def _roles(row: Mapping[str, Any]) -> ColumnRoles | None:
    try:
        return assign_roles(name for name in row if name != "dataset_name")
    except InvalidInput:
        return None


def _readable_rows(rows: list[Mapping[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    """Yield ``(query, documents)`` of the rows that hold texts."""
    roles = _roles(rows[0])
    if roles is None:
        return
    for row in rows:
        query = row.get(roles.query)
        texts = [text for name in roles.documents for text in _flat(row.get(name))]
        if isinstance(query, str) and query and texts and all(isinstance(text, str) and text for text in texts):
            yield query, texts


def _flat(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
