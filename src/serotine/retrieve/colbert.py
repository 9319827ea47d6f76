"""`ColBERT`: retrieval by full MaxSim scores, over any index."""

from __future__ import annotations

from typing import Any

from serotine.types import Embeddings, RerankResult

__all__ = ["ColBERT"]


class ColBERT:
    """Retrieve from an index."""

    def __init__(self, index: Any) -> None:
        self.index = index

    def retrieve(
        self,
        queries_embeddings: Embeddings,
        k: int = 10,
        k_token: int | None = None,
        device: Any = None,
        batch_size: int | None = None,
        subset: Any = None,
    ) -> list[list[RerankResult]]:
        """Return for each query its k best documents."""
        return self.index(queries_embeddings, k=k, subset=subset)
