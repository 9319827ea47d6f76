"""How is BRIGHT read?  Reasoning-intensive retrieval: queries that exclude some documents from their own results."""

from __future__ import annotations

import os
from typing import NamedTuple

from serotine.errors import InvalidInput
from serotine.evaluation._tables import documents_of, read_table
from serotine.evaluation.datasets import Document

__all__ = ["BRIGHT_NAME", "BrightDataset", "load_bright"]

BRIGHT_NAME = "xlangai/BRIGHT"
"""Where the collection lies on the Hugging Face hub."""

_NONE = "N/A"
"""What the tables hold in place of an empty list."""


class BrightDataset(NamedTuple):
    """A collection with exclusions: ``documents, queries, qrels`` as in `Dataset`, and what each query leaves out.

    excluded: ``{query id: document ids}``, the documents that are no answer though they are near, such as the page that
    the question was asked about. Only queries with some. Remove them with `Run.without` before evaluation.
    """

    documents: list[Document]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]
    excluded: dict[str, list[str]]


def load_bright(
    task: str,
    source: str | os.PathLike[str] = BRIGHT_NAME,
    *,
    long_documents: bool = False,
    queries: str = "examples",
    revision: str | None = None,
) -> BrightDataset:
    """Read one of BRIGHT's tasks, such as ``"biology"``, or data in its shape.

    source: a folder, or a name on the hub (see `serotine.evaluation._tables`). Tables: ``examples`` with the columns
    ``id``, ``query``, ``gold_ids``, ``gold_ids_long`` and ``excluded_ids``; ``documents`` and ``long_documents`` with
    ``id`` and ``content``; each has a split per task. long_documents: whole pages instead of passages, and their
    judgements. queries: another table of queries, such as ``"gpt4_reason"`` with reasoning written by a model.

    Raises:
        InvalidInput: no such table, a column is missing or of another kind, or no query has an answer.
        DuplicateDocument: an id occurs twice among the documents.
        DownloadFailed, MissingExtra: as `serotine.evaluation._tables.read_table`.

    Source: Su et al. 2025, "BRIGHT".

    Example:
        >>> documents, queries, qrels, excluded = load_bright("biology")  # doctest: +SKIP
    """
    gold_column = "gold_ids_long" if long_documents else "gold_ids"
    texts: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    excluded: dict[str, list[str]] = {}
    for row in read_table(source, queries, task, revision=revision):
        query = row.id("id")
        gold = [document for document in row.ids(gold_column) if document != _NONE]
        if query in texts:
            raise InvalidInput(f"{row.where}: the query id {query!r} occurs a second time")
        texts[query] = row.text("query")
        if gold:
            qrels[query] = dict.fromkeys(gold, 1)
        left_out = [document for document in row.ids("excluded_ids") if document != _NONE]
        if gold and left_out:
            excluded[query] = left_out
    if not qrels:
        raise InvalidInput(f"no query of the task {task!r} has an answer in {gold_column!r}")
    table = "long_documents" if long_documents else "documents"
    rows = read_table(source, table, task, revision=revision)
    documents = documents_of(rows, id_column="id", text_column="content")
    return BrightDataset(documents, {query: texts[query] for query in qrels}, qrels, excluded)
