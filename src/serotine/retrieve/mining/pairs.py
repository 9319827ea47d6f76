"""Which queries and positives does a data set hold?  Rows become queries, each once, with all of their positives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from serotine.errors import InvalidInput
from serotine.utils.columns import assign_roles

__all__ = ["Pairs", "read_pairs", "text_key"]


class Pairs(NamedTuple):
    """The queries of a data set in the order in which they first occur."""

    anchor_column: str
    positive_column: str
    anchors: list[str]
    positives: list[list[str]]  # of each anchor, each once


def text_key(text: str) -> str:
    """Return what two texts have in common that count as the same: all but the spaces and line ends."""
    return " ".join(text.split())


def read_pairs(dataset: Any, anchor_column_name: str | None, positive_column_name: str | None) -> Pairs:
    """Read rows of a query and a positive, or a list of positives; rows of the same query are pooled.

    dataset: a `datasets.Dataset` or a list of dicts. None for a name: as `serotine.utils.assign_roles` tells columns.

    Raises:
        InvalidInput: no rows, a column that is missing or whose name does not tell, or a text that is none; row and
            column are named.
    """
    names = _column_names(dataset)
    anchor, positive = _chosen_columns(names, anchor_column_name, positive_column_name)
    anchors: dict[str, int] = {}
    positives: list[list[str]] = []
    seen: list[set[str]] = []
    for number, (query, documents) in enumerate(_rows(dataset, anchor, positive)):
        query = _checked(query, number, anchor)
        documents = documents if isinstance(documents, (list, tuple)) else [documents]
        place = anchors.setdefault(query, len(anchors))
        if place == len(positives):
            positives.append([])
            seen.append(set())
        if not documents:
            raise InvalidInput(f"row {number}: column {positive!r} holds an empty list, expected one text at least")
        for document in documents:
            key = text_key(_checked(document, number, positive))
            if key not in seen[place]:
                seen[place].add(key)
                positives[place].append(document)
    return Pairs(anchor, positive, list(anchors), positives)


def _column_names(dataset: Any) -> list[str]:
    if not isinstance(dataset, list) and not hasattr(dataset, "column_names"):
        raise InvalidInput(f"dataset must be a datasets.Dataset or a list of dicts, got {type(dataset).__name__}")
    if not hasattr(dataset, "__len__"):
        raise InvalidInput(f"dataset must have a length, got a {type(dataset).__name__}: a stream is read only once")
    if isinstance(dataset, Mapping):
        raise InvalidInput(f"dataset has the splits {sorted(dataset)}: give one of them")
    if len(dataset) == 0:
        raise InvalidInput("dataset has no rows")
    if not isinstance(dataset, list):
        return list(dataset.column_names)
    if not isinstance(dataset[0], Mapping):
        raise InvalidInput(f"dataset must hold dicts, row 0 is {type(dataset[0]).__name__}")
    return list(dataset[0])


def _chosen_columns(names: list[str], anchor: str | None, positive: str | None) -> tuple[str, str]:
    for option, name in (("anchor_column_name", anchor), ("positive_column_name", positive)):
        if name is not None and name not in names:
            raise InvalidInput(f"{option}={name!r} is none of the columns {names}")
    if anchor is None:
        try:
            anchor = assign_roles([name for name in names if name != positive]).query
        except InvalidInput as error:
            raise InvalidInput(
                f"the columns {names} do not tell which is the query: give anchor_column_name and positive_column_name"
            ) from error
    if positive is None:
        positive = assign_roles(names, tasks={anchor: "query"}).documents[0]
    if anchor == positive:
        raise InvalidInput(f"anchor_column_name and positive_column_name are both {anchor!r}")
    return anchor, positive


def _rows(dataset: Any, anchor: str, positive: str) -> Iterator[tuple[Any, Any]]:
    if not isinstance(dataset, list):
        yield from zip(dataset[anchor], dataset[positive], strict=True)
        return
    for number, row in enumerate(dataset):
        for name in (anchor, positive):
            if name not in row:
                raise InvalidInput(f"row {number} has no column {name!r}, only {sorted(row)}")
        yield row[anchor], row[positive]


def _checked(text: Any, row: int, column: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise InvalidInput(f"row {row}: column {column!r} holds {text!r}, expected a text")
    return text
