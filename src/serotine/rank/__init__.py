"""In which order do given candidates answer a query?  Reranking of documents whose embeddings are at hand."""

from typing import TYPE_CHECKING

from serotine._lazy import lazy_exports

if TYPE_CHECKING:
    from serotine.rank.reranking import rerank
    from serotine.rank.xtr import score_xtr
    from serotine.types import RerankResult

__all__ = ["RerankResult", "rerank", "score_xtr"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "RerankResult": "serotine.types",
        "rerank": "serotine.rank.reranking",
        "score_xtr": "serotine.rank.xtr",
    },
)
