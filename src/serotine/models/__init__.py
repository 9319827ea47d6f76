"""Late-interaction encoders: `ColBERT`, the bundled model, and the pooling of token vectors."""

from typing import TYPE_CHECKING

from serotine._lazy import lazy_exports

if TYPE_CHECKING:
    from serotine.models.bundle import bundled
    from serotine.models.colbert import ColBERT
    from serotine.models.pooling import HierarchicalPooling, SharedPooling, TokenPooling

__all__ = ["ColBERT", "HierarchicalPooling", "SharedPooling", "TokenPooling", "bundled"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "ColBERT": "serotine.models.colbert",
        "HierarchicalPooling": "serotine.models.pooling",
        "SharedPooling": "serotine.models.pooling",
        "TokenPooling": "serotine.models.pooling",
        "bundled": "serotine.models.bundle",
    },
    needs=("torch", "sentence_transformers"),
    extra="models",
)
