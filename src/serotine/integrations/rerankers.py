"""A reranker for the package ``rerankers``: its interface, our model (extra ``rerankers``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serotine._lazy import require
from serotine.errors import InvalidInput
from serotine.integrations.texts import TextRanker
from serotine.models import ColBERT

require("rerankers", extra="rerankers", purpose="serotine.integrations.rerankers")

from rerankers.documents import Document  # noqa: E402 - after the check that it is there
from rerankers.models.ranker import BaseRanker  # noqa: E402
from rerankers.results import RankedResults, Result  # noqa: E402

__all__ = ["LateInteractionRanker"]


class LateInteractionRanker(BaseRanker):
    """Ranks documents by MaxSim, as any ranker of ``rerankers`` does.

    model_name_or_path: what `ColBERT` loads, or a model. verbose: taken for the interface's sake; nothing is printed.

    Example:
        >>> ranker = LateInteractionRanker("lightonai/GTE-ModernColBERT-v1")  # doctest: +SKIP
        >>> ranker.rank("which animals fly?", ["Bread rises.", "Bats fly."]).top_k(1)  # doctest: +SKIP
    """

    def __init__(self, model_name_or_path: str | ColBERT, verbose: int = 0, *, batch_size: int = 32) -> None:
        self.verbose = verbose
        model = ColBERT(model_name_or_path) if isinstance(model_name_or_path, str) else model_name_or_path
        self.ranker = TextRanker(model, batch_size=batch_size)

    def score(self, query: str, doc: str) -> float:
        """Return the MaxSim of one pair."""
        return self.ranker(query, [doc])[0][1]

    def rank(
        self,
        query: str,
        docs: str | Document | Sequence[str] | Sequence[Document],
        doc_ids: Sequence[str] | Sequence[int] | None = None,
        metadata: Sequence[dict[str, Any]] | None = None,
    ) -> RankedResults:
        """Return the documents best first, each with its score and its rank from 1.

        docs: texts or ``rerankers.Document``s. doc_ids: None: those of the documents, else their positions.

        Raises:
            InvalidInput: doc_ids or metadata are not one for each document, or a document is an image.
        """
        documents = _documents(docs, doc_ids, metadata)
        ranking = self.ranker(query, [document.text for document in documents])
        results = [
            Result(document=documents[position], score=score, rank=rank)
            for rank, (position, score) in enumerate(ranking, start=1)
        ]
        return RankedResults(results=results, query=query, has_scores=True)

    def as_langchain_compressor(self, k: int = 10) -> Any:
        """Return `serotine.integrations.langchain.LateInteractionCompressor` with this model."""
        from serotine.integrations.langchain import LateInteractionCompressor

        return LateInteractionCompressor(model=self.ranker.model, top_n=k)


def _documents(docs: Any, doc_ids: Any, metadata: Any) -> list[Document]:
    """Return new documents: those of the caller keep their ids and metadata."""
    given = [docs] if isinstance(docs, (str, Document)) else list(docs)
    for name, values in (("doc_ids", doc_ids), ("metadata", metadata)):
        if values is not None and len(values) != len(given):
            raise InvalidInput(f"there are {len(values)} {name} for {len(given)} docs, expected one for each")
    documents = []
    for position, each in enumerate(given):
        document = each if isinstance(each, Document) else Document(text=each)
        if document.text is None:
            raise InvalidInput(f"document {position} has no text; this ranker takes texts")
        own_id = position if document.doc_id is None else document.doc_id
        documents.append(
            Document(
                text=document.text,
                doc_id=own_id if doc_ids is None else doc_ids[position],
                metadata=document.metadata if metadata is None else metadata[position],
            )
        )
    return documents
