"""Which documents answer which query?  Relevance judgements (qrels): their form, and TREC and BEIR files of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from serotine.errors import InvalidInput
from serotine.evaluation._files import numbered_lines, write_lines
from serotine.evaluation._ids import id_text, require_one_word

__all__ = ["BEIR_HEADER", "Qrels", "normalize_qrels", "read_qrels", "write_qrels"]

Qrels: TypeAlias = Mapping[Any, Mapping[Any, int]]
"""``{query id: {document id: grade}}``. A grade of 1 or more means relevant, 0 or less judged and not relevant."""

BEIR_HEADER = "query-id\tcorpus-id\tscore"


def normalize_qrels(qrels: Qrels) -> dict[str, dict[str, int]]:
    """Return the judgements with ids as text and grades as int, in the given order.

    A query without any judgement is left out: no metric can be computed for it, and files cannot hold it.

    Raises:
        InvalidInput: it is not such a mapping, a grade is not an integer, or two ids are the same text
            (the int 1 and the string "1").
    """
    if not isinstance(qrels, Mapping):
        raise InvalidInput(f"qrels must be {{query id: {{document id: grade}}}}, got {type(qrels).__name__}")
    normalized: dict[str, dict[str, int]] = {}
    for query_id, judgements in qrels.items():
        query = id_text(query_id, what="query id in qrels")
        if query in normalized:
            raise InvalidInput(f"query id {query!r} occurs twice in qrels, as an integer and as a string; keep one")
        if not isinstance(judgements, Mapping):
            raise InvalidInput(
                f"qrels of query {query!r} must be {{document id: grade}}, got {type(judgements).__name__}"
            )
        if judgements:
            normalized[query] = _normalize_judgements(query, judgements)
    return normalized


def _normalize_judgements(query: str, judgements: Mapping[Any, Any]) -> dict[str, int]:
    normalized: dict[str, int] = {}
    for document_id, grade in judgements.items():
        document = id_text(document_id, what=f"document id in the qrels of query {query!r}")
        if document in normalized:
            raise InvalidInput(f"qrels of query {query!r} judge document {document!r} twice, as an int and a string")
        # A float is refused on purpose: 0.5 would be cut to "not relevant".
        if not isinstance(grade, (int, np.integer)):
            raise InvalidInput(f"grade of document {document!r} for query {query!r} must be an integer, got {grade!r}")
        normalized[document] = int(grade)
    return normalized


def read_qrels(path: str | os.PathLike[str]) -> dict[str, dict[str, int]]:
    """Read judgements from a TREC file or a BEIR tsv file, told apart by the columns of the first line.

    TREC: ``query-id iteration document-id grade``, separated by whitespace. BEIR: ``query-id document-id grade``,
    separated by tabs, with or without a header line (known by a third column that is not a number).
    A name that ends in ``.gz`` is decompressed.

    Raises:
        InvalidInput: no such file, a line with other columns, a grade that is not an integer, or a document judged
            twice for one query with two grades; the message names the file and the line.
    """
    file = Path(path)
    if not file.is_file():
        raise InvalidInput(f"no qrels file at {file}")
    qrels: dict[str, dict[str, int]] = {}
    for number, query, document, grade in _judgements(file):
        try:
            value = int(grade)
        except ValueError:
            raise InvalidInput(f"{file}, line {number}: the grade must be an integer, found {grade!r}") from None
        if qrels.setdefault(query, {}).setdefault(document, value) != value:
            raise InvalidInput(
                f"{file}, line {number}: document {document!r} has grade {value} for query {query!r}, "
                f"but an earlier line gives {qrels[query][document]}; keep one of the lines"
            )
    return qrels


def _judgements(file: Path) -> Iterator[tuple[int, str, str, str]]:
    """Yield ``(line number, query id, document id, grade as text)`` without the header."""
    is_beir: bool | None = None
    for number, line in numbered_lines(file):
        if is_beir is None:
            is_beir = len(line.split("\t")) == 3
            if is_beir and not _is_integer(line.split("\t")[2]):
                continue
        columns = line.split("\t") if is_beir else line.split()
        if len(columns) != (3 if is_beir else 4) or not all(columns):
            expected = "3 columns separated by tabs" if is_beir else "4 columns separated by whitespace"
            raise InvalidInput(f"{file}, line {number}: expected {expected}, found {line!r}")
        yield number, columns[0], columns[-2], columns[-1]


def _is_integer(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True


def write_qrels(path: str | os.PathLike[str], qrels: Qrels, *, format: Literal["trec", "beir"] = "trec") -> None:  # noqa: A002
    """Write judgements, all or nothing (see `serotine.evaluation._files.write_lines`); `read_qrels` gives them back.

    format: ``"trec"`` is what trec_eval reads; ``"beir"`` has a header line and allows spaces inside ids.

    Raises:
        InvalidInput: an id that the format cannot hold (whitespace for TREC, a tab or line end for BEIR).
        StorageError: the file cannot be written.
    """
    if format not in ("trec", "beir"):
        raise InvalidInput(f"format must be 'trec' or 'beir', got {format!r}")
    normalized = normalize_qrels(qrels)
    write_lines(path, _trec_lines(normalized) if format == "trec" else _beir_lines(normalized))


def _trec_lines(qrels: dict[str, dict[str, int]]) -> Iterator[str]:
    for query, judgements in qrels.items():
        require_one_word(query, what="query id")
        for document, grade in judgements.items():
            yield f"{query} 0 {require_one_word(document, what='document id')} {grade}"


def _beir_lines(qrels: dict[str, dict[str, int]]) -> Iterator[str]:
    yield BEIR_HEADER
    for query, judgements in qrels.items():
        for document, grade in judgements.items():
            for name in (query, document):
                if any(separator in name for separator in "\t\n\r"):
                    raise InvalidInput(f"id {name!r} contains a tab or a line end, which a BEIR file cannot hold")
            yield f"{query}\t{document}\t{grade}"
