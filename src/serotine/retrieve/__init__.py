"""Which documents of an index answer a query best?  Retrievers, which turn any index's hits into rankings."""

from typing import TYPE_CHECKING

from serotine._lazy import lazy_exports

if TYPE_CHECKING:
    from serotine.retrieve.colbert import ColBERT

__all__ = ["ColBERT"]

__getattr__, __dir__ = lazy_exports(__name__, {"ColBERT": "serotine.retrieve.colbert"})
