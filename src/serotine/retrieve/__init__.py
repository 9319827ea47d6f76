"""Which documents of an index answer a query best?  Retrievers turn any index's hits into rankings.

`mine_hard_negatives` asks the opposite, for training: which look like answers and are none.
"""

from typing import TYPE_CHECKING

from serotine._lazy import lazy_exports

if TYPE_CHECKING:
    from serotine.retrieve.colbert import ColBERT
    from serotine.retrieve.mining.mine import mine_hard_negatives
    from serotine.retrieve.xtr import XTR

__all__ = ["XTR", "ColBERT", "mine_hard_negatives"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "ColBERT": "serotine.retrieve.colbert",
        "XTR": "serotine.retrieve.xtr",
        "mine_hard_negatives": "serotine.retrieve.mining.mine",
    },
)
