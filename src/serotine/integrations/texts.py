"""What do all frameworks need?  Texts searched and reranked; an index itself keeps ids and vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from serotine.errors import InvalidInput, UnknownDocument
from serotine.rank import rerank
from serotine.retrieve import ColBERT as Retriever
from serotine.types import DocumentId

if TYPE_CHECKING:
    from serotine.models import ColBERT

__all__ = ["Found", "TextRanker", "TextSearch"]

Texts = Mapping[DocumentId, str] | Callable[[DocumentId], str]


class Found(NamedTuple):
    """A document that a search returned. score: its MaxSim, a sum over the query's tokens, higher is better."""

    id: DocumentId
    score: float
    text: str


class TextSearch:
    """Answers queries with texts.

    model: encodes the queries. index: holds documents that this model encoded. texts: the text of each id, as a mapping
    or as a function, such as one that asks a database.

    Raises:
        InvalidInput: texts is neither.

    Example:
        >>> search = TextSearch(model, index, {"bats": "Bats fly at night."})  # doctest: +SKIP
        >>> search(["which animals fly?"], k=1)  # doctest: +SKIP
        [[Found(id='bats', score=4.2, text='Bats fly at night.')]]
    """

    def __init__(self, model: ColBERT, index: Any, texts: Texts) -> None:
        if not isinstance(texts, Mapping) and not callable(texts):
            raise InvalidInput(f"texts must map ids to texts, or be a function of an id, got {type(texts).__name__}")
        self.model = model
        self.index = index
        self._retriever = Retriever(index)
        self._texts = texts

    def __call__(self, queries: Sequence[str], *, k: int = 10, subset: Any = None) -> list[list[Found]]:
        """Return for each query its k best documents, best first. subset: see `serotine.retrieve.ColBERT.retrieve`.

        Raises:
            UnknownDocument: the index returned an id that has no text.
            InvalidInput: what encoding and retrieval refuse.
        """
        if not queries:
            return []
        embeddings = self.model.encode(list(queries), is_query=True, packed=True)
        rankings = self._retriever.retrieve(embeddings, k=k, subset=subset)
        return [[Found(hit["id"], hit["score"], self.text(hit["id"])) for hit in ranking] for ranking in rankings]

    def text(self, document_id: DocumentId) -> str:
        """Return the text of a document.

        Raises:
            UnknownDocument: there is none.
        """
        try:
            return self._texts[document_id] if isinstance(self._texts, Mapping) else self._texts(document_id)
        except KeyError as error:
            raise UnknownDocument(
                f"there is no text for the document {document_id!r}: give texts that cover all of the index"
            ) from error


class TextRanker:
    """Orders given texts by their MaxSim with a query; there is no index.

    batch_size: texts encoded in a forward pass at most.
    """

    def __init__(self, model: ColBERT, *, batch_size: int = 32) -> None:
        self.model = model
        self.batch_size = batch_size

    def __call__(self, query: str, texts: Sequence[str]) -> list[tuple[int, float]]:
        """Return ``(position in texts, score)``, best first; equal scores stay in the given order."""
        if not texts:
            return []
        documents = self.model.encode(list(texts), is_query=False, batch_size=self.batch_size)
        ranking = rerank([range(len(texts))], self.model.encode([query], is_query=True), [documents])[0]
        return [(int(result["id"]), result["score"]) for result in ranking]
