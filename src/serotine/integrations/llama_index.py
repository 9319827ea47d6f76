"""A retriever and a reranker for LlamaIndex (extra ``llama-index``)."""

from __future__ import annotations

from typing import Any

from serotine._lazy import require
from serotine.errors import InvalidInput
from serotine.integrations.texts import TextRanker, Texts, TextSearch

require("llama_index.core", extra="llama-index", purpose="serotine.integrations.llama_index")

from llama_index.core.base.base_retriever import BaseRetriever  # noqa: E402 - after the check
from llama_index.core.bridge.pydantic import Field  # noqa: E402
from llama_index.core.postprocessor.types import BaseNodePostprocessor  # noqa: E402
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode  # noqa: E402

__all__ = ["LateInteractionRerank", "LateInteractionRetriever"]


class LateInteractionRetriever(BaseRetriever):
    """Retrieves nodes from an index.

    model, index, texts: see `TextSearch`. similarity_top_k: nodes a query. subset: ids that may be returned.
    options: those of LlamaIndex's base class. A node has the document's id, as text.

    Example:
        >>> retriever = LateInteractionRetriever(model, index, texts, similarity_top_k=3)  # doctest: +SKIP
        >>> retriever.retrieve("which animals fly?")[0].get_content()  # doctest: +SKIP
    """

    def __init__(
        self, model: Any, index: Any, texts: Texts, *, similarity_top_k: int = 10, subset: Any = None, **options: Any
    ) -> None:
        self.search = TextSearch(model, index, texts)
        self.similarity_top_k = similarity_top_k
        self.subset = subset
        super().__init__(**options)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = self.search([query_bundle.query_str], k=self.similarity_top_k, subset=self.subset)[0]
        return [NodeWithScore(node=TextNode(id_=str(hit.id), text=hit.text), score=hit.score) for hit in found]


class LateInteractionRerank(BaseNodePostprocessor):
    """Keeps the best of the nodes that a retriever found, in the order of their MaxSim, which becomes their score.

    model: a `ColBERT`. top_n: nodes kept; None: all. A node is read with the metadata that an embedding would see.
    """

    model: Any = Field(exclude=True)
    top_n: int | None = 3
    batch_size: int = 32

    @classmethod
    def class_name(cls) -> str:
        """Return the name that LlamaIndex serialises."""
        return "LateInteractionRerank"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InvalidInput("a reranker needs the query: pass query_str= or query_bundle=")
        texts = [node.node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
        ranking = TextRanker(self.model, batch_size=self.batch_size)(query_bundle.query_str, texts)
        return [NodeWithScore(node=nodes[position].node, score=score) for position, score in ranking[: self.top_n]]
