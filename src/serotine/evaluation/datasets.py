"""How is a retrieval collection read from a folder?  The BEIR layout: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/``.

Every file may be gzip-compressed, with ``.gz`` after its name. Nothing is downloaded here: see `load_beir`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from serotine.errors import DuplicateDocument, InvalidInput
from serotine.evaluation._files import numbered_lines
from serotine.evaluation._ids import id_text
from serotine.evaluation.qrels import read_qrels

__all__ = ["Dataset", "Document", "load_custom_dataset", "text_with_title"]


class Document(TypedDict):
    """One text of a corpus; a plain dict at run time."""

    id: str
    text: str


class Dataset(NamedTuple):
    """A collection: a plain tuple ``documents, queries, qrels`` with names.

    documents: in the order of the file. queries: ``{query id: text}``, only those with a judgement in the split, in
    the order of the qrels. qrels: ``{query id: {document id: grade}}``.
    """

    documents: list[Document]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]


def load_custom_dataset(path: str | os.PathLike[str], split: str = "test") -> Dataset:
    """Read a collection from a folder in BEIR's layout.

    The folder has ``corpus.jsonl`` (``{"_id", "text"}`` and optionally ``"title"`` per line), ``queries.jsonl``
    (``{"_id", "text"}``) and ``qrels/<split>.tsv`` (see `read_qrels`), each optionally with ``.gz``. A document's text
    is its title, a space and its text, stripped. Judged documents that the corpus lacks stay in the qrels (they count
    as not found), as in BEIR itself.

    Raises:
        InvalidInput: a file is missing (for the qrels the message lists the splits that exist), a line is not such a
            JSON object (the message names file and line), a judged query has no text.
        DuplicateDocument: an id occurs twice in the corpus.

    Cost: one pass over each file; the corpus is held in memory.

    Example:
        >>> documents, queries, qrels = load_custom_dataset("datasets/mine")  # doctest: +SKIP
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InvalidInput(f"no dataset folder at {folder}")
    qrels = read_qrels(_qrels_file(folder, split))
    documents = _read_corpus(_existing_file(folder / "corpus.jsonl"))
    texts = _read_queries(_existing_file(folder / "queries.jsonl"))
    without_text = [query for query in qrels if query not in texts]
    if without_text:
        raise InvalidInput(
            f"{folder}: {len(without_text)} queries of the split {split!r} have no line in queries.jsonl, "
            f"the first is {without_text[0]!r}"
        )
    return Dataset(documents, {query: texts[query] for query in qrels}, qrels)


def _existing_file(file: Path) -> Path:
    """Return the file, or the one with ``.gz`` after its name, whichever exists."""
    for candidate in (file, file.with_name(f"{file.name}.gz")):
        if candidate.is_file():
            return candidate
    raise InvalidInput(
        f"no file {file} or {file.name}.gz; a dataset folder holds corpus.jsonl, queries.jsonl and qrels/"
    )


def _qrels_file(folder: Path, split: str) -> Path:
    try:
        return _existing_file(folder / "qrels" / f"{split}.tsv")
    except InvalidInput:
        files = sorted((folder / "qrels").glob("*.tsv")) + sorted((folder / "qrels").glob("*.tsv.gz"))
        splits = ", ".join(dict.fromkeys(file.name.split(".tsv")[0] for file in files)) or "none"
        raise InvalidInput(f"{folder} has no qrels for the split {split!r}; the splits that exist: {splits}") from None


def _read_corpus(file: Path) -> list[Document]:
    documents: list[Document] = []
    seen: set[str] = set()
    for number, identifier, record in _records(file):
        if identifier in seen:
            raise DuplicateDocument(f"{file}, line {number}: the document id {identifier!r} occurs a second time")
        seen.add(identifier)
        text = text_with_title(record.get("title"), record["text"], where=f"{file}, line {number}")
        documents.append({"id": identifier, "text": text})
    return documents


def text_with_title(title: Any, text: str, *, where: str) -> str:
    """Return the text of a document: its title, if there is one, a space and its text, stripped.

    where: names the record in the error.

    Raises:
        InvalidInput: the title is neither a string nor nothing.
    """
    if title and not isinstance(title, str):
        raise InvalidInput(f"{where}: 'title' must be a string, found {title!r}")
    return f"{title or ''} {text}".strip()


def _read_queries(file: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number, identifier, record in _records(file):
        if texts.setdefault(identifier, record["text"]) != record["text"]:
            raise InvalidInput(f"{file}, line {number}: the query id {identifier!r} occurs a second time")
    return texts


def _records(file: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield ``(line number, id, record)`` of a JSON lines file whose records have ``_id`` and a string ``text``."""
    for number, line in numbered_lines(file):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise InvalidInput(f"{file}, line {number}: not JSON: {error}") from error
        if not isinstance(record, dict) or "_id" not in record or not isinstance(record.get("text"), str):
            raise InvalidInput(
                f"{file}, line {number}: expected an object with '_id' and a string 'text', found {line[:120]!r}"
            )
        yield number, id_text(record["_id"], what=f"'_id' in {file}, line {number},"), record
