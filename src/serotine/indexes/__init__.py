"""Which documents answer these query embeddings?  Embeddings in, ids and scores out; never text, never torch."""

from typing import TYPE_CHECKING

from serotine._lazy import lazy_exports

if TYPE_CHECKING:
    from serotine.indexes.base import Index
    from serotine.indexes.exact.index import Exact

__all__ = ["Exact", "Index"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Exact": "serotine.indexes.exact.index",
        "Index": "serotine.indexes.base",
    },
)
