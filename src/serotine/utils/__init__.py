"""What training needs around a model and a loss: batches, distillation data, samplers."""

from typing import TYPE_CHECKING

from serotine._lazy import lazy_exports

if TYPE_CHECKING:
    from serotine.utils.collator import ColBERTCollator
    from serotine.utils.distillation import KDProcessing
    from serotine.utils.no_duplicates import NoDuplicatesSampler
    from serotine.utils.tables import load_table
    from serotine.utils.temperature import TemperatureSampler

__all__ = [
    "ColBERTCollator",
    "KDProcessing",
    "NoDuplicatesSampler",
    "TemperatureSampler",
    "load_table",
    "mine_hard_negatives",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "ColBERTCollator": "serotine.utils.collator",
        "KDProcessing": "serotine.utils.distillation",
        "NoDuplicatesSampler": "serotine.utils.no_duplicates",
        "TemperatureSampler": "serotine.utils.temperature",
        "load_table": "serotine.utils.tables",
        "mine_hard_negatives": "serotine.retrieve.mining.mine",
    },
    needs=("torch", "sentence_transformers"),
    extra="train",
)
