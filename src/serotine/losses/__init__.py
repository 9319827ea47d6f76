"""What makes a late-interaction model better at its task?  Losses over scores of queries and documents."""

from typing import TYPE_CHECKING

from serotine._lazy import lazy_exports

if TYPE_CHECKING:
    from serotine.losses.cached_contrastive import CachedContrastive
    from serotine.losses.contrastive import Contrastive
    from serotine.losses.distillation import Distillation
    from serotine.losses.margin_mse import MarginMSE
    from serotine.losses.matryoshka import Matryoshka

__all__ = ["CachedContrastive", "Contrastive", "Distillation", "MarginMSE", "Matryoshka"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "CachedContrastive": "serotine.losses.cached_contrastive",
        "Contrastive": "serotine.losses.contrastive",
        "Distillation": "serotine.losses.distillation",
        "MarginMSE": "serotine.losses.margin_mse",
        "Matryoshka": "serotine.losses.matryoshka",
    },
    needs=("torch", "sentence_transformers"),
    extra="models",
)
