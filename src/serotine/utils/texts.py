"""Which text has an id?  A table of ids and texts: the ids in memory, the texts on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serotine.errors import DuplicateDocument, InvalidInput
from serotine.utils.tables import load_table

__all__ = ["TextTable"]


class TextTable:
    """Looks texts up by id. Ids are compared as text: 7 and "7" are the same.

    source: what `load_table` takes, or a dict of id -> text. The id is in the column ``<what>_id``, ``_id`` or ``id``,
    the text in ``text``; a column ``title`` beside ``_id``, which is BEIR's layout, goes before the text.
    what: "query" or "document", for messages and the column.

    Memory: 16 bytes per id if all are whole numbers, else a dict of them.

    Raises:
        InvalidInput: a column is missing. DuplicateDocument: an id occurs with two texts; it is named with its rows.
    """

    def __init__(self, source: Any, *, what: str, split: str = "train") -> None:
        self.what = what
        if isinstance(source, Mapping) and not hasattr(source, "column_names"):
            source = [{"id": str(key), "text": text} for key, text in source.items()]
        table = load_table(source, split=split)
        names = list(table.column_names)
        id_column = next((name for name in (f"{what}_id", "_id", "id") if name in names), None)
        if id_column is None or "text" not in names:
            raise InvalidInput(
                f"the table of {what} texts needs a column {what}_id, _id or id and a column text, it has {names}"
            )
        columns = ["title", "text"] if id_column == "_id" and "title" in names else ["text"]
        self._texts = table.with_format(None).select_columns(columns)
        self._rows = _Rows(table.with_format("arrow").select_columns([id_column])[:][id_column])
        self._check_duplicates()

    def __len__(self) -> int:
        return len(self._texts)

    def find(self, ids: Iterable[Any]) -> list[int | None]:
        """Return the row of each id, None for one that is not there."""
        return [self._rows.find(each) for each in ids]

    def read(self, rows: Sequence[int]) -> list[str]:
        """Return the texts of rows, each row read once, in the order of the table."""
        wanted = sorted(set(rows))
        columns = self._texts[wanted] if wanted else {}
        parts = zip(*(columns[name] for name in columns), strict=True)
        texts = dict(zip(wanted, (" ".join(filter(None, part)).strip() for part in parts), strict=True))
        return [texts[row] for row in rows]

    def __str__(self) -> str:
        return f"the table of {len(self)} {self.what} texts"

    def _check_duplicates(self) -> None:
        for first, second in self._rows.duplicates:
            one, other = self.read([first, second])
            if one != other:
                raise DuplicateDocument(f"rows {first} and {second} of {self} have the same id and different texts")


class _Rows:
    """Finds the row of an id. column: a column of pyarrow."""

    def __init__(self, column: Any) -> None:
        self._by_text: dict[str, int] | None = None
        self.duplicates: list[tuple[int, int]] = []
        kind = str(column.type)
        if kind.startswith(("int", "uint")) and column.null_count == 0:
            values = column.to_numpy().astype(np.int64)
            self._order: npt.NDArray[np.int64] = np.argsort(values, kind="stable")
            self._sorted: npt.NDArray[np.int64] = values[self._order]
            for place in np.flatnonzero(self._sorted[1:] == self._sorted[:-1]).tolist():
                self.duplicates.append((int(self._order[place]), int(self._order[place + 1])))
            return
        if not kind.endswith("string") or column.null_count:
            raise InvalidInput(f"ids must be whole numbers or strings, got {kind} with {column.null_count} missing")
        self._by_text = {}
        for row, value in enumerate(column.to_pylist()):
            first = self._by_text.setdefault(value, row)
            if first != row:
                self.duplicates.append((first, row))

    def find(self, value: Any) -> int | None:
        if self._by_text is not None:
            return self._by_text.get(str(value))
        try:
            number = int(value)
        except (TypeError, ValueError, OverflowError):
            return None
        if str(number) != str(value):
            return None
        place = int(np.searchsorted(self._sorted, number))
        return int(self._order[place]) if place < len(self._sorted) and self._sorted[place] == number else None
