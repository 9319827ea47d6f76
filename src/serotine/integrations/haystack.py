"""A retriever and a ranker for Haystack (extra ``haystack``): vectors in our index, documents in a document store.

To read a pipeline's file, Haystack 3.4 asks for the modules that it may import:
``Pipeline.load(file, allowed_modules=["serotine.integrations.haystack"])``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from serotine._lazy import require
from serotine.errors import InvalidInput, UnknownDocument
from serotine.indexes import PLAID
from serotine.indexes.checks import positive_int
from serotine.integrations.texts import TextRanker
from serotine.models import ColBERT
from serotine.retrieve import ColBERT as Retriever

require("haystack", extra="haystack", purpose="serotine.integrations.haystack")

from haystack import Document, component, default_from_dict, default_to_dict  # noqa: E402 - after the check

__all__ = ["LateInteractionRanker", "LateInteractionRetriever"]


class _WithModel:
    """A component that loads its model when it is warmed up, and can be written into a pipeline's file."""

    model: str | ColBERT

    def warm_up(self) -> None:
        """Load the model, once."""
        if isinstance(self.model, str):
            self._loaded = ColBERT(self.model)
        else:
            self._loaded = self.model

    def _ready_model(self) -> ColBERT:
        if not hasattr(self, "_loaded"):
            self.warm_up()
        return self._loaded

    def _model_name(self) -> str:
        if not isinstance(self.model, str):
            raise InvalidInput("a pipeline with a model in memory cannot be written: give the model's name or folder")
        return self.model

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Any:
        """Make the component from what `to_dict` returned."""
        return default_from_dict(cls, data)


@component
class LateInteractionRetriever(_WithModel):
    """Retrieves documents of a document store by MaxSim.

    model: the name or folder of a `ColBERT`, or one. document_store: holds the documents under the ids that they have
    in the index. index_folder, index_name: of a `PLAID` that holds their vectors. top_k: documents a query.
    """

    def __init__(
        self,
        model: str | ColBERT,
        document_store: Any,
        index_folder: str,
        index_name: str = "colbert",
        top_k: int = 10,
    ) -> None:
        self.model = model
        self.document_store = document_store
        self.index = PLAID(index_folder, index_name)
        self.index_folder, self.index_name = index_folder, index_name
        self.top_k = positive_int(top_k, name="top_k")

    @component.output_types(documents=list[Document])
    def run(self, query: str, top_k: int | None = None, filters: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return ``{"documents": ...}``, best first, with their scores.

        filters: of the document store; only documents that pass may be returned.

        Raises:
            UnknownDocument: the document store lacks a document that the index returned.
            InvalidInput: there is no index, or an empty one; or top_k is below 1.
        """
        top_k = self.top_k if top_k is None else positive_int(top_k, name="top_k")
        if not len(self.index):
            raise InvalidInput(
                f"there is no index, or an empty one, at {self.index_folder}/{self.index_name}; add the documents of "
                "the store to it first"
            )
        subset = None if filters is None else [each.id for each in self.document_store.filter_documents(filters)]
        queries = self._ready_model().encode([query], is_query=True)
        ranking = Retriever(self.index).retrieve(queries, k=top_k, subset=subset)[0]
        ids = [hit["id"] for hit in ranking]
        wanted = {"field": "id", "operator": "in", "value": ids}
        stored = {each.id: each for each in self.document_store.filter_documents(wanted)} if ids else {}
        missing = [document_id for document_id in ids if document_id not in stored]
        if missing:
            raise UnknownDocument(f"the document store lacks {len(missing)} documents of the index, as {missing[0]!r}")
        return {"documents": [_scored(stored[hit["id"]], hit["score"]) for hit in ranking]}

    def to_dict(self) -> dict[str, Any]:
        """Return what a pipeline's file says of this component."""
        data: dict[str, Any] = default_to_dict(
            self,
            model=self._model_name(),
            document_store=self.document_store.to_dict(),
            index_folder=self.index_folder,
            index_name=self.index_name,
            top_k=self.top_k,
        )
        return data


@component
class LateInteractionRanker(_WithModel):
    """Orders the documents of another retriever by MaxSim. model: as above. top_k: documents kept."""

    def __init__(self, model: str | ColBERT, top_k: int = 10, batch_size: int = 32) -> None:
        self.model, self.top_k, self.batch_size = model, positive_int(top_k, name="top_k"), batch_size

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, Any]:
        """Return ``{"documents": ...}``, best first, with their scores. A document without text counts as empty.

        Raises:
            InvalidInput: top_k is below 1.
        """
        top_k = self.top_k if top_k is None else positive_int(top_k, name="top_k")
        ranker = TextRanker(self._ready_model(), batch_size=self.batch_size)
        ranking = ranker(query, [each.content or "" for each in documents])[:top_k]
        return {"documents": [_scored(documents[position], score) for position, score in ranking]}

    def to_dict(self) -> dict[str, Any]:
        """Return what a pipeline's file says of this component."""
        data: dict[str, Any] = default_to_dict(
            self, model=self._model_name(), top_k=self.top_k, batch_size=self.batch_size
        )
        return data


def _scored(document: Document, score: float) -> Document:
    """Return a copy with a score: a document may be in several pipelines at once."""
    return replace(document, score=score)
