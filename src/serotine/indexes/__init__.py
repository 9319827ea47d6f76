"""Which documents answer these query embeddings?  Embeddings in, ids and scores out; never text, never torch."""

from typing import TYPE_CHECKING

from serotine._lazy import lazy_exports

if TYPE_CHECKING:
    from serotine.indexes.base import Index
    from serotine.indexes.exact.index import Exact
    from serotine.indexes.plaid.index import PLAID
    from serotine.indexes.plaid.names import WARP, TachiomIndex
    from serotine.indexes.plaid.snapshot import Snapshot
    from serotine.indexes.plaid.stats import CalibrationPoint, Stats
    from serotine.indexes.plaid.writer import Writer
    from serotine.indexes.pylate.importing import from_pylate
    from serotine.indexes.tokens.hits import NearestTokens, TokenHits
    from serotine.indexes.tokens.index import TokenIndex
    from serotine.indexes.tokens.scann import ScaNN
    from serotine.indexes.tokens.voyager import Voyager

__all__ = [
    "PLAID",
    "WARP",
    "CalibrationPoint",
    "Exact",
    "Index",
    "NearestTokens",
    "ScaNN",
    "Snapshot",
    "Stats",
    "TachiomIndex",
    "TokenHits",
    "TokenIndex",
    "Voyager",
    "Writer",
    "from_pylate",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "CalibrationPoint": "serotine.indexes.plaid.stats",
        "Exact": "serotine.indexes.exact.index",
        "Index": "serotine.indexes.base",
        "PLAID": "serotine.indexes.plaid.index",
        "NearestTokens": "serotine.indexes.tokens.hits",
        "ScaNN": "serotine.indexes.tokens.scann",
        "Snapshot": "serotine.indexes.plaid.snapshot",
        "Stats": "serotine.indexes.plaid.stats",
        "TachiomIndex": "serotine.indexes.plaid.names",
        "TokenHits": "serotine.indexes.tokens.hits",
        "TokenIndex": "serotine.indexes.tokens.index",
        "Voyager": "serotine.indexes.tokens.voyager",
        "WARP": "serotine.indexes.plaid.names",
        "Writer": "serotine.indexes.plaid.writer",
        "from_pylate": "serotine.indexes.pylate.importing",
    },
)
