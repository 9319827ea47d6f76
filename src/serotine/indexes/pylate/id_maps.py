"""Which document of a fast-plaid index has which id?  PyLate keeps that in a pickle, before 1.5 in an SQLite file.

Of its two maps the one from ids to numbers counts: each id has one number in it. The other keeps, for an id that was
added twice, the number of the old copy as well, which a search still returns; such copies are left behind here.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from serotine.errors import InvalidInput
from serotine.indexes.checks import new_ids
from serotine.indexes.pylate.unpickling import read_plain_pickle
from serotine.types import DocumentId

__all__ = ["read_id_map"]

PICKLE_NAME = "documents_ids_to_plaid_ids.pkl"
SQLITE_NAME = "documents_ids_to_plaid_ids.sqlite"

_QUERY = 'SELECT key, value FROM "unnamed"'  # the table of sqlitedict, which names it so


def read_id_map(folder: Path) -> dict[int, DocumentId] | None:
    """Return the id of each document's number, in ascending order; None if the folder has no map.

    Raises:
        InvalidInput: the map is damaged, holds something that is no id or number, or gives a number to two ids.
    """
    for name, entries in ((PICKLE_NAME, _pickled), (SQLITE_NAME, _in_sqlite)):
        path = folder / name
        if path.is_file():
            return _inverted(path, list(entries(path)))
    return None


def _pickled(path: Path) -> Iterator[tuple[Any, Any]]:
    with path.open("rb") as file:
        found = read_plain_pickle(file, path)
    if not isinstance(found, Mapping):
        raise InvalidInput(f"{path} holds a {type(found).__name__}, expected a dict of ids")
    yield from found.items()


def _in_sqlite(path: Path) -> Iterator[tuple[Any, Any]]:
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            for key, value in connection.execute(_QUERY):
                yield key, read_plain_pickle(value, path) if isinstance(value, bytes) else value
    except sqlite3.Error as error:
        raise InvalidInput(f"{path} is no map of ids as PyLate before 1.5 wrote it: {error}") from error


def _inverted(path: Path, entries: list[tuple[Any, Any]]) -> dict[int, DocumentId]:
    try:
        ids = new_ids([key for key, _ in entries])
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error
    id_of: dict[int, DocumentId] = {}
    for document_id, (_, number) in zip(ids, entries, strict=True):
        if type(number) is not int or number < 0:
            raise InvalidInput(f"{path}: document {document_id!r} has the number {number!r}, expected one from 0 on")
        if number in id_of:
            raise InvalidInput(f"{path}: documents {id_of[number]!r} and {document_id!r} share the number {number}")
        id_of[number] = document_id
    return dict(sorted(id_of.items()))
