"""How do ids and a teacher's scores become texts to train on?  `KDProcessing`, while training reads them."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from serotine.errors import InvalidInput
from serotine.utils.tables import load_table
from serotine.utils.texts import TextTable

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["KDProcessing"]

_COLUMNS = ("query_id", "document_ids", "scores")
_ROWS_AT_ONCE = 1000


class _Row(NamedTuple):
    where: str
    query: int  # row of its table
    ids: Sequence[Any]
    documents: list[int]  # rows of their table
    scores: Sequence[Any]


class KDProcessing:
    """Replaces ids by texts: rows of ``query_id``, ``document_ids``, ``scores`` get ``query`` and ``documents``.

    Texts stay where they are and are read when a row is. Rows may have lists of any lengths; lists may be written as
    JSON or as Python writes them, as in a CSV file. Ids are compared as text.

    Args:
        queries: texts by ``query_id``: a Hugging Face data set or its name, a file, a folder, a list of dicts or a dict
            of id -> text. See `load_table` and `texts.TextTable`.
        documents: texts by ``document_id``, the same.
        split: of data sets that have several.
        n_ways: documents kept of each row; None for all. Shorter rows are kept as they are.
        sample: draw the documents anew each time a row is read, instead of taking the first. Drawn with torch's
            random numbers, which the trainer seeds, in the order of the row.
        keep: with sample, how many of the first documents are always among them: 1 if the first is the positive.

    Raises:
        InvalidInput: a column is missing; later, when a row is read: an id has no text, or a row has another number of
            scores than of documents; row and id are named.

    Example:
        >>> processing = KDProcessing(
        ...     queries={"q": "what flies at night"}, documents={"d1": "Bats.", "d2": "Bees.", "d3": "Moths."}, n_ways=3
        ... )
        >>> rows = [{"query_id": "q", "document_ids": ["d1", "d3", "d2"], "scores": [0.9, 0.8, 0.1]}]
        >>> processing.dataset(rows)[0]
        {'query_id': 'q', 'document_ids': ['d1', 'd3', 'd2'], 'scores': [0.9, 0.8, 0.1],
         'query': 'what flies at night', 'documents': ['Bats.', 'Moths.', 'Bees.']}

    `dataset` opens, checks and transforms in one step. PyLate's way works as well:
    ``train.set_transform(KDProcessing(queries, documents).transform)``.
    """

    def __init__(
        self,
        queries: Any,
        documents: Any,
        split: str = "train",
        n_ways: int | None = 32,
        *,
        sample: bool = False,
        keep: int = 1,
    ) -> None:
        for name, value, least in (("n_ways", n_ways, 1), ("keep", keep, 0)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise InvalidInput(f"{name} must be a whole number of {least} or more, got {value!r}")
        if sample and (n_ways is None or keep > n_ways):
            raise InvalidInput(f"sample=True draws n_ways documents, {keep} of them kept, got n_ways={n_ways!r}")
        self.queries = TextTable(queries, what="query", split=split)
        self.documents = TextTable(documents, what="document", split=split)
        self.n_ways, self.sample, self.keep = n_ways, sample, keep

    def transform(self, examples: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        """Add texts to columns of rows; for `datasets.Dataset.set_transform`."""
        self._check_columns(examples)
        rows = [self._read_row(examples, number, f"row {number} of the batch") for number in range(_length(examples))]
        kept = [self._choose(len(row.documents)) for row in rows]
        found = [[row.documents[place] for place in places] for row, places in zip(rows, kept, strict=True)]
        texts = self.documents.read([place for places in found for place in places])
        queries = self.queries.read([row.query for row in rows])
        documents, taken = [], 0
        for row, places, query in zip(rows, found, queries, strict=True):
            part = texts[taken : taken + len(places)]
            taken += len(places)
            if not (query and all(part)):
                raise InvalidInput(f"{row.where}: the text of its query or of one of its documents is empty")
            documents.append(part)
        return {
            **examples,
            "document_ids": [_pick(row.ids, places) for row, places in zip(rows, kept, strict=True)],
            "scores": [_pick(row.scores, places) for row, places in zip(rows, kept, strict=True)],
            "query": queries,
            "documents": documents,
        }

    def map(self, example: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``scores``, ``query`` and ``documents`` of one row; for `datasets.Dataset.map`."""
        row = self.transform({name: [value] for name, value in example.items()})
        return {name: row[name][0] for name in ("scores", "query", "documents")}

    def dataset(self, train: Any, *, name: str | None = None, split: str = "train") -> Dataset:
        """Open a table of rows, check all of it, and have its rows transformed when they are read.

        train, name, split: see `load_table`.

        Raises:
            InvalidInput: as above, before training begins; the row is named by its number in the table.
        """
        table = load_table(train, name=name, split=split)
        self.check(table)
        return table.with_transform(self.transform)

    def check(self, table: Dataset) -> None:
        """Look every id and every length up, without reading texts; raise InvalidInput at the first that is wrong."""
        self._check_columns(table.column_names)
        plain = table.with_format(None).select_columns(list(_COLUMNS))
        for start in range(0, len(plain), _ROWS_AT_ONCE):
            some = plain[start : start + _ROWS_AT_ONCE]
            for number in range(_length(some)):
                self._read_row(some, number, f"row {start + number}")

    @staticmethod
    def _check_columns(names: Iterable[str]) -> None:
        names = sorted(names)
        missing = [name for name in _COLUMNS if name not in names]
        if missing:
            raise InvalidInput(f"rows need the columns {list(_COLUMNS)}, {missing} are missing from {names}")

    def _read_row(self, examples: Mapping[str, Sequence[Any]], number: int, where: str) -> _Row:
        query_id = examples["query_id"][number]
        where = f"{where} (query_id {query_id!r})"
        ids = _list(examples["document_ids"][number], f"{where}: document_ids")
        scores = _list(examples["scores"][number], f"{where}: scores")
        if len(ids) != len(scores) or not ids:
            raise InvalidInput(f"{where} has {len(scores)} scores for {len(ids)} documents, expected one for each")
        query, documents = self.queries.find([query_id])[0], self.documents.find(ids)
        if query is None:
            raise InvalidInput(f"{where}: query_id {query_id!r} is not in {self.queries}")
        if None in documents:
            missing = ids[documents.index(None)]
            raise InvalidInput(f"{where}: document_id {missing!r} is not in {self.documents}")
        return _Row(where, query, ids, documents, scores)  # type: ignore[arg-type]

    def _choose(self, number: int) -> list[int]:
        """Return which documents of a row are kept."""
        if self.n_ways is None or number <= self.n_ways:
            return list(range(number))
        if not self.sample:
            return list(range(self.n_ways))
        drawn = torch.randperm(number - self.keep)[: self.n_ways - self.keep] + self.keep
        return [*range(self.keep), *sorted(drawn.tolist())]


def _length(examples: Mapping[str, Sequence[Any]]) -> int:
    return len(next(iter(examples.values())))


def _pick(values: Sequence[Any], places: list[int]) -> list[Any]:
    return [values[place] for place in places]


def _list(value: Any, where: str) -> Sequence[Any]:
    """Return a list as it is, or read from text: a CSV file has no lists."""
    if isinstance(value, str):
        try:
            # Literals only, nothing is run: JSON first, then lists of strings as Python prints them.
            value = json.loads(value) if "'" not in value else ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise InvalidInput(f"{where} are {value[:80]!r}, expected a list: {error}") from error
    if not hasattr(value, "__len__") or isinstance(value, (bytes, Mapping)):
        raise InvalidInput(f"{where} are {value!r}, expected a list")
    return value  # type: ignore[no-any-return]
