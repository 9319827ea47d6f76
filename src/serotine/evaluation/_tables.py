"""How are the rows of a published table read?  From a local copy of its repository, or from the Hugging Face hub.

A table has a configuration and a split, as on the hub: ``examples`` and ``biology``. In a local folder it is the file
``examples/biology.jsonl``, also compressed with ``.gz``, or ``examples/biology.parquet``, also in numbered parts.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from serotine._lazy import require
from serotine.errors import DownloadFailed, DuplicateDocument, InvalidInput
from serotine.evaluation._files import numbered_lines
from serotine.evaluation._ids import id_text
from serotine.evaluation.datasets import Document, text_with_title

__all__ = ["Row", "documents_of", "json_rows", "read_table"]

_WORD = re.compile(r"[A-Za-z0-9_.-]+")
_HUB_NAME = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")


class Row:
    """One row and where it is, so that what is wrong with it can be named."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values = values
        self.where = where

    def id(self, column: str) -> str:
        """Return an id as text.

        Raises:
            InvalidInput: there is no such column, or it holds no id.
        """
        return id_text(self._value(column), what=f"{column!r} in {self.where}")

    def ids(self, column: str) -> list[str]:
        """Return a list of ids; None is an empty one.

        Raises:
            InvalidInput: there is no such column, or it holds no list of ids.
        """
        value = self._value(column)
        if value is None:
            return []
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            raise InvalidInput(f"{column!r} in {self.where} must be a list of ids, found {value!r}")
        return [id_text(item, what=f"{column!r} in {self.where}") for item in value]

    def text(self, column: str) -> str:
        """Return a text.

        Raises:
            InvalidInput: there is no such column, or it holds no text.
        """
        value = self._value(column)
        if not isinstance(value, str):
            raise InvalidInput(f"{column!r} in {self.where} must be a string, found {value!r}")
        return value

    def _value(self, column: str) -> Any:
        if column not in self.values:
            raise InvalidInput(f"{self.where} has no {column!r}; its columns are {', '.join(map(str, self.values))}")
        return self.values[column]


def documents_of(
    rows: Iterable[Row], *, id_column: str, text_column: str, title_column: str | None = None
) -> list[Document]:
    """Return a corpus from the rows of its table.

    title_column: of titles, which go before the texts as in `load_custom_dataset`; rows need not have one.

    Raises:
        InvalidInput: a column is missing or of another kind. DuplicateDocument: an id occurs twice.
    """
    documents: dict[str, Document] = {}
    for row in rows:
        document = row.id(id_column)
        if document in documents:
            raise DuplicateDocument(f"{row.where}: the document id {document!r} occurs a second time")
        text = row.text(text_column)
        if title_column is not None:
            text = text_with_title(row.values.get(title_column), text, where=row.where)
        documents[document] = {"id": document, "text": text}
    return list(documents.values())


def read_table(
    source: str | os.PathLike[str], config: str, split: str, *, revision: str | None = None
) -> Iterator[Row]:
    """Yield the rows of a table.

    source: an existing folder, else a name on the hub such as ``"xlangai/BRIGHT"`` (extra ``data`` and a network; what
    was downloaded once is read from its cache). revision: of the hub's repository.

    Raises:
        InvalidInput: neither a folder nor such a name; the folder has no such table; a line is no JSON object.
        DownloadFailed: the hub cannot be reached, or has no such table.
        MissingExtra: what reads it is not installed.
    """
    for word in (config, split):
        if not isinstance(word, str) or not _WORD.fullmatch(word):
            raise InvalidInput(f"{word!r} is no name of a configuration or split: letters, digits, '_', '.' and '-'")
    if Path(source).is_dir():
        yield from _local_rows(Path(source), config, split)
    elif isinstance(source, str) and _HUB_NAME.fullmatch(source):
        yield from _hub_rows(source, config, split, revision)
    else:
        raise InvalidInput(f"{os.fspath(source)!r} is neither an existing folder nor a name such as 'owner/name'")


def _local_rows(folder: Path, config: str, split: str) -> Iterator[Row]:
    for name in (f"{split}.jsonl", f"{split}.jsonl.gz"):
        if (folder / config / name).is_file():
            yield from json_rows(folder / config / name)
            return
    parts = sorted((folder / config).glob(f"{split}-[0-9]*-of-[0-9]*.parquet"))
    whole = folder / config / f"{split}.parquet"
    files = [whole] if whole.is_file() else parts
    if not files:
        raise InvalidInput(f"no file {folder / config / split} that ends in .jsonl, .jsonl.gz or .parquet")
    parquet = require("pyarrow.parquet", extra="data", purpose="reading parquet files")
    arrow_error = require("pyarrow", extra="data", purpose="reading parquet files").ArrowException
    for file in files:
        try:
            # In batches: a corpus need not be in memory twice.
            for batch in parquet.ParquetFile(file).iter_batches():
                for number, values in enumerate(batch.to_pylist()):
                    yield Row(values, f"{file}, row {number} of a batch")
        except arrow_error as error:
            raise InvalidInput(f"{file} is no readable parquet file: {error}. Fetch it again") from error


def json_rows(file: Path) -> Iterator[Row]:
    """Yield the rows of a file with a JSON object a line.

    Raises:
        InvalidInput: a line is none; the message names it.
    """
    for number, line in numbered_lines(file):
        try:
            values = json.loads(line)
        except ValueError as error:
            raise InvalidInput(f"{file}, line {number}: not JSON: {error}") from error
        if not isinstance(values, dict):
            raise InvalidInput(f"{file}, line {number}: expected a JSON object, found {line[:120]!r}")
        yield Row(values, f"{file}, line {number}")


def _hub_rows(source: str, config: str, split: str, revision: str | None) -> Iterator[Row]:
    datasets = require("datasets", extra="data", purpose="reading a table of the hub")
    try:
        table = datasets.load_dataset(source, config, split=split, revision=revision)
    except (OSError, ValueError) as error:  # no connection, no such repository, configuration or split
        raise DownloadFailed(
            f"cannot load {source} ({config}, {split}): {error}. Without a network, pass the folder of a local copy"
        ) from error
    for number, values in enumerate(table):
        yield Row(values, f"{source} ({config}, {split}), row {number}")
