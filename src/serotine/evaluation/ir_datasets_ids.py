"""How is a collection of ir_datasets read?  By its id, such as ``"beir/scifact/test"``."""

from __future__ import annotations

from typing import Any

from serotine._lazy import require
from serotine.errors import DownloadFailed, InvalidInput
from serotine.evaluation._ids import id_text
from serotine.evaluation.datasets import Dataset, Document

__all__ = ["load_ir_datasets"]


def load_ir_datasets(dataset_id: str) -> Dataset:
    """Return ``(documents, queries, qrels)`` of one of ir_datasets' collections, downloaded by it if need be.

    A text is what ir_datasets calls a document's or a query's default text: title and text of most documents, the
    title of a TREC topic. Only queries with a judgement are kept, in the order of the judgements. ir_datasets holds
    corpora of any size on disk; the result holds the texts in memory.

    Raises:
        InvalidInput: no such id, or it is without documents, queries or judgements.
        DownloadFailed: ir_datasets cannot get the files.
        MissingExtra: ir_datasets is not installed (extra ``data``).

    Example:
        >>> documents, queries, qrels = load_ir_datasets("beir/nfcorpus/test")  # doctest: +SKIP
    """
    ir_datasets = require("ir_datasets", extra="data", purpose="serotine.evaluation.load_ir_datasets")
    try:
        collection = ir_datasets.load(dataset_id)
    except (KeyError, AttributeError, TypeError) as error:
        raise InvalidInput(f"ir_datasets knows no collection {dataset_id!r}; its ids are on ir-datasets.com") from error
    for part in ("docs", "queries", "qrels"):
        if not getattr(collection, f"has_{part}")():
            raise InvalidInput(f"{dataset_id} has no {part}; choose one of its parts that has, such as .../test")
    try:
        return _read(dataset_id, collection)
    except (OSError, RuntimeError) as error:  # requests' errors are OSErrors; a wrong checksum is a RuntimeError
        raise DownloadFailed(f"ir_datasets cannot read {dataset_id}: {error}") from error


def _read(dataset_id: str, collection: Any) -> Dataset:
    qrels: dict[str, dict[str, int]] = {}
    for judgement in collection.qrels_iter():
        query = id_text(judgement.query_id, what=f"query id in the qrels of {dataset_id}")
        document = id_text(judgement.doc_id, what=f"document id in the qrels of {dataset_id}")
        qrels.setdefault(query, {})[document] = int(judgement.relevance)
    texts = {id_text(query.query_id, what="query id"): query.default_text() for query in collection.queries_iter()}
    without_text = [query for query in qrels if query not in texts]
    if without_text:
        raise InvalidInput(f"{dataset_id} judges {len(without_text)} queries without text, such as {without_text[0]!r}")
    documents: list[Document] = [
        {"id": id_text(document.doc_id, what="document id"), "text": document.default_text().strip()}
        for document in collection.docs_iter()
    ]
    return Dataset(documents, {query: texts[query] for query in qrels}, qrels)
