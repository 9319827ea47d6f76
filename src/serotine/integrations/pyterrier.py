"""An indexer, a retriever and a reranker for PyTerrier's pipelines (extra ``pyterrier``); no Java is started."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from serotine._lazy import require
from serotine.integrations.texts import TextRanker
from serotine.retrieve import ColBERT as Retriever

require("pyterrier", extra="pyterrier", purpose="serotine.integrations.pyterrier")

import pandas as pd  # noqa: E402 - comes with pyterrier
import pyterrier as pt  # noqa: E402 - after the check

__all__ = ["LateIndexer", "LateReranker", "LateRetriever"]


class LateIndexer(pt.Indexer):
    """Fills an index from PyTerrier's documents: ``LateIndexer(model, index).index(dataset.get_corpus_iter())``.

    model: a `ColBERT`. index: one of `serotine.indexes`. batch_docs: documents encoded and added together.
    """

    def __init__(self, model: Any, index: Any, *, batch_docs: int = 4096) -> None:
        self.model, self.late_index, self.batch_docs = model, index, batch_docs

    def index(self, iter: Iterable[Mapping[str, Any]], **options: Any) -> LateRetriever:  # noqa: A002 - PyTerrier's name
        """Encode and add the documents, ``{"docno", "text"}`` each; return a retriever over them.

        options: of the encoding, see `ColBERT.encode`. Documents are added by batches, so that any number goes through.
        """
        batch: list[Mapping[str, Any]] = []
        for document in iter:
            batch.append(document)
            if len(batch) == self.batch_docs:
                self._add(batch, options)
                batch = []
        if batch:
            self._add(batch, options)
        return LateRetriever(self.model, self.late_index)

    def _add(self, batch: list[Mapping[str, Any]], options: dict[str, Any]) -> None:
        vectors = self.model.encode([each["text"] for each in batch], is_query=False, packed=True, **options)
        self.late_index.add_documents([each["docno"] for each in batch], vectors)


class LateRetriever(pt.Transformer):
    """Queries in, ranked documents out: the columns ``docno``, ``score`` and ``rank`` are added.

    num_results: documents a query.
    """

    def __init__(self, model: Any, index: Any, *, num_results: int = 1000) -> None:
        self.model, self.num_results = model, num_results
        self.retriever = Retriever(index)

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Return a row for each query and document. inp: a frame with ``qid`` and ``query``."""
        pt.validate.query_frame(inp, extra_columns=["query"])
        columns = [name for name in inp.columns if name not in ("docno", "docid", "score", "rank")]
        rows = list(inp[columns].itertuples(index=False, name=None))
        rankings: list[Any] = []
        if rows:
            queries = self.model.encode(list(inp["query"]), is_query=True, packed=True)
            rankings = self.retriever.retrieve(queries, k=self.num_results)
        found = [
            (*row, str(hit["id"]), hit["score"], rank)
            for row, ranking in zip(rows, rankings, strict=True)
            for rank, hit in enumerate(ranking, start=pt.model.FIRST_RANK)
        ]
        return pd.DataFrame(found, columns=[*columns, "docno", "score", "rank"])


class LateReranker(pt.Transformer):
    """Orders the documents of earlier stages by MaxSim: ``bm25 >> pt.text.get_text(...) >> LateReranker(model)``.

    text_field: the column with the documents' texts.
    """

    def __init__(self, model: Any, *, text_field: str = "text", batch_size: int = 32) -> None:
        self.ranker = TextRanker(model, batch_size=batch_size)
        self.text_field = text_field

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Return the same rows with new ``score`` and ``rank``, best first for each query."""
        pt.validate.result_frame(inp, extra_columns=["query", self.text_field])
        parts = list(self._ranked(inp))
        return pd.concat(parts, ignore_index=True) if parts else inp.assign(score=[], rank=[])

    def _ranked(self, inp: pd.DataFrame) -> Iterator[pd.DataFrame]:
        for _, group in inp.groupby("qid", sort=False):
            ranking = self.ranker(group["query"].iloc[0], list(group[self.text_field]))
            ordered = group.iloc[[position for position, _ in ranking]]
            ranks = range(pt.model.FIRST_RANK, pt.model.FIRST_RANK + len(ranking))
            yield ordered.assign(score=[score for _, score in ranking], rank=list(ranks))
