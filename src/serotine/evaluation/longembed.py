"""How is LongEmbed read?  Retrieval of long documents, two of its tasks at one length after the other."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from serotine.errors import InvalidInput
from serotine.evaluation._tables import Row, documents_of, read_table
from serotine.evaluation.datasets import Dataset

__all__ = ["LONGEMBED_NAME", "LONGEMBED_TASKS", "load_longembed"]

LONGEMBED_NAME = "dwzhu/LongEmbed"
"""Where the collection lies on the Hugging Face hub."""

LONGEMBED_TASKS = ("2wikimqa", "narrativeqa", "needle", "passkey", "qmsum", "summ_screen_fd")
"""Its tasks. needle and passkey are made for each of the lengths 256, 512, ... 32768."""


def load_longembed(
    task: str,
    source: str | os.PathLike[str] = LONGEMBED_NAME,
    *,
    context_length: int | None = None,
    revision: str | None = None,
) -> Dataset:
    """Read one of LongEmbed's tasks, or data in its shape.

    source: a folder, or a name on the hub (see `serotine.evaluation._tables`). A task is a configuration with the
    splits ``corpus`` (``doc_id``, ``text``), ``queries`` (``qid``, ``text``) and ``qrels`` (``qid``, ``doc_id``), and
    in needle and passkey a column ``context_length`` in each. context_length: which of those lengths.

    Raises:
        InvalidInput: no such table, a column is missing or of another kind; the task has several lengths and none, or
            one that it lacks, is named; it has none and one is named.
        DuplicateDocument: an id occurs twice among the documents of a length.
        DownloadFailed, MissingExtra: as `serotine.evaluation._tables.read_table`.

    Source: Zhu et al. 2024, "LongEmbed".

    Example:
        >>> dataset = load_longembed("passkey", context_length=1024)  # doctest: +SKIP
    """

    def rows(split: str) -> Iterator[Row]:
        return _of_length(read_table(source, task, split, revision=revision), context_length)

    documents = documents_of(rows("corpus"), id_column="doc_id", text_column="text")
    texts = {row.id("qid"): row.text("text") for row in rows("queries")}
    qrels: dict[str, dict[str, int]] = {}
    for row in rows("qrels"):
        query = row.id("qid")
        if query not in texts:
            raise InvalidInput(f"{row.where}: the query {query!r} has a judgement but no text")
        qrels.setdefault(query, {})[row.id("doc_id")] = 1
    return Dataset(documents, {query: texts[query] for query in qrels}, qrels)


def _of_length(rows: Iterable[Row], context_length: int | None) -> Iterator[Row]:
    """Pass on the rows of a length; all if the table has no lengths."""
    lengths: set[Any] = set()
    found = False
    for row in rows:
        length = row.values.get("context_length")
        if (length is None) != (context_length is None):
            advice = "leave context_length out" if length is None else f"name a context_length, such as {length}"
            raise InvalidInput(f"{row.where} has {'no' if length is None else 'a'} context_length: {advice}")
        lengths.add(length)
        if length == context_length:
            found = True
            yield row
    if lengths and not found:
        raise InvalidInput(f"there is nothing of context_length {context_length}; there are {sorted(lengths)}")
