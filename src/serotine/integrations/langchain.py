"""A retriever and a document compressor for LangChain 1.x (extra ``langchain``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serotine._lazy import require
from serotine.integrations.texts import TextRanker, TextSearch

require("langchain_core", extra="langchain", purpose="serotine.integrations.langchain")

from langchain_core.callbacks import (  # noqa: E402 - after the check
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
    Callbacks,
)
from langchain_core.documents import BaseDocumentCompressor, Document  # noqa: E402
from langchain_core.retrievers import BaseRetriever  # noqa: E402
from langchain_core.runnables import run_in_executor  # noqa: E402
from pydantic import ConfigDict, PrivateAttr  # noqa: E402

__all__ = ["LateInteractionCompressor", "LateInteractionRetriever"]


class LateInteractionRetriever(BaseRetriever):
    """Retrieves LangChain documents from an index.

    model, index, texts: see `TextSearch`. k: documents a query; a call may give another, ``invoke(query, k=3)``.
    subset: ids that may be returned, likewise. Asynchronous calls run in a thread of LangChain's.

    A document has its id as text, and its score in ``metadata["score"]``.

    Example:
        >>> retriever = LateInteractionRetriever(model=model, index=index, texts=texts, k=3)  # doctest: +SKIP
        >>> retriever.invoke("which animals fly?")[0].page_content  # doctest: +SKIP
    """

    model: Any
    index: Any
    texts: Any
    k: int = 10
    subset: Any = None
    _search: TextSearch = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Check the parts once, when the retriever is made."""
        super().model_post_init(context)
        self._search = TextSearch(self.model, self.index, self.texts)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002 - the interface's
        k: int | None = None,
        subset: Any = None,
    ) -> list[Document]:
        found = self._search([query], k=self.k if k is None else k, subset=self.subset if subset is None else subset)[0]
        return [Document(id=str(hit.id), page_content=hit.text, metadata={"score": hit.score}) for hit in found]

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        subset: Any = None,
    ) -> list[Document]:
        # The one that is inherited takes no arguments beside the query.
        found: list[Document] = await run_in_executor(
            None, self._get_relevant_documents, query, run_manager=run_manager.get_sync(), k=k, subset=subset
        )
        return found


class LateInteractionCompressor(BaseDocumentCompressor):
    """Keeps the best of the documents that another retriever found, in the order of their MaxSim.

    model: a `ColBERT`. top_n: documents kept; None: all.

    The documents that come back are copies with ``metadata["relevance_score"]``.

    Example:
        >>> from langchain_classic.retrievers import ContextualCompressionRetriever  # doctest: +SKIP
        >>> compressor = LateInteractionCompressor(model=model, top_n=3)  # doctest: +SKIP
        >>> ContextualCompressionRetriever(base_retriever=other, base_compressor=compressor)  # doctest: +SKIP
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    model: Any
    top_n: int | None = 3
    batch_size: int = 32

    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,  # noqa: ARG002 - the interface's
    ) -> Sequence[Document]:
        """Return the top_n documents, best first."""
        ranking = TextRanker(self.model, batch_size=self.batch_size)(query, [each.page_content for each in documents])
        best = []
        for position, score in ranking[: self.top_n]:
            document = documents[position].model_copy(deep=True)
            document.metadata["relevance_score"] = score
            best.append(document)
        return best
