"""How are the token vectors of a document made fewer?  Pooling methods, and the interface for new ones.

`pool_factor=2` in `ColBERT.encode` means `HierarchicalPooling(2)`; any other method is passed as
``token_pooling=``. A method is a module of Sentence Transformers (`TokenPooling`), so that it can also be
appended to a model, saved with it and loaded by others.

Source: Clavié, Chaffin & Adams 2024, "Reducing the Footprint of Multi-Vector Retrieval with Minimal
Performance Impact via Token Pooling".
"""

from __future__ import annotations

from sentence_transformers.multi_vector_encoder.modules import BaseTokenPooling as TokenPooling
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling as HierarchicalPooling

from serotine.errors import InvalidInput

__all__ = ["HierarchicalPooling", "TokenPooling", "choose_pooling"]


def choose_pooling(
    token_pooling: TokenPooling | None, *, pool_factor: float, protected_tokens: int, normalize: bool
) -> TokenPooling | None:
    """Return the pooling that the arguments of ``encode`` ask for, None for none.

    Raises:
        InvalidInput: both a method and a factor, a factor below 1, a negative number of protected tokens,
            or something that is not a pooling method.
    """
    if token_pooling is not None:
        if not isinstance(token_pooling, TokenPooling):
            raise InvalidInput(
                f"token_pooling must be a serotine.models.TokenPooling, got {type(token_pooling).__name__}. "
                "Subclass it and define pool_one(embedding) -> embedding"
            )
        if pool_factor != 1:
            raise InvalidInput("give either pool_factor or token_pooling, not both: they would pool twice")
        return token_pooling
    if isinstance(pool_factor, bool) or not isinstance(pool_factor, (int, float)) or not pool_factor >= 1:
        raise InvalidInput(f"pool_factor must be a number >= 1 (2 keeps half of the vectors), got {pool_factor!r}")
    if isinstance(protected_tokens, bool) or not isinstance(protected_tokens, int) or protected_tokens < 0:
        raise InvalidInput(f"protected_tokens must be an integer >= 0, got {protected_tokens!r}")
    if pool_factor == 1:
        return None
    return HierarchicalPooling(pool_factor, num_protected_tokens=protected_tokens, normalize_embeddings=normalize)
