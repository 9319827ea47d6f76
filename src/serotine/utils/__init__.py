"""What training needs around a model and a loss: batches, distillation data, samplers."""

from typing import TYPE_CHECKING

from serotine._lazy import lazy_exports

if TYPE_CHECKING:
    from serotine.utils.collator import ColBERTCollator
    from serotine.utils.distillation import KDProcessing
    from serotine.utils.tables import load_table

__all__ = ["ColBERTCollator", "KDProcessing", "load_table"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "ColBERTCollator": "serotine.utils.collator",
        "KDProcessing": "serotine.utils.distillation",
        "load_table": "serotine.utils.tables",
    },
    needs=("torch",),
    extra="train",
)
