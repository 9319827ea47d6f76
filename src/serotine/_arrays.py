"""How do the embeddings that callers hold become one packed numpy matrix?

Accepts what models and users produce: numpy arrays, tensors of any framework that offers ``detach().cpu()``
(recognised by those methods, so that torch is never imported here), nested lists, padded or ragged.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from serotine.errors import DimensionMismatch, InvalidInput
from serotine.types import Array, Embeddings, TokenMatrix

__all__ = ["pack", "to_numpy"]

_FLOAT_DTYPES = ("float16", "float32", "bfloat16")


def to_numpy(embedding: Any) -> Array:
    """Return an array-like as a native-endian numpy array of float16, float32 or bfloat16.

    float64 and integers become float32. A torch bfloat16 tensor becomes float32, which holds it exactly:
    numpy has no bfloat16 of its own (arrays of the ml_dtypes package are passed through).
    """
    if hasattr(embedding, "detach"):
        tensor = embedding.detach().cpu()
        array: Array = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    else:
        try:
            array = np.asarray(embedding)
        except ValueError as error:
            raise InvalidInput(f"embedding is not an array: {error}") from error
    if array.dtype.name in _FLOAT_DTYPES:
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    if array.dtype.kind not in "fiu":
        raise InvalidInput(f"embeddings must be numbers, got dtype {array.dtype} ({type(embedding).__name__})")
    return array.astype(np.float32)


def pack(
    embeddings: Embeddings, *, dim: int | None = None, dtype: npt.DTypeLike | None = None, what: str = "embeddings"
) -> TokenMatrix:
    """Pack the embeddings of several texts (see `serotine.types.Embeddings`); one 2-D array is one text.

    dim: the width that is required; that of the first text if None. dtype: if None, the smallest that holds all texts
    (see `to_numpy`; float32 for float16 beside bfloat16).
    Finite values are not checked here. A TokenMatrix that already fits is returned as it is.

    Raises:
        DimensionMismatch: a text is not 2-D or has another width; the message names its position.
        InvalidInput: something is not numeric.
    """
    if isinstance(embeddings, TokenMatrix):
        if dim is not None and embeddings.dim != dim:
            raise DimensionMismatch(f"{what} have dimension {embeddings.dim}, expected {dim}")
        return embeddings if dtype is None else embeddings.astype(dtype)
    if hasattr(embeddings, "ndim"):
        array = to_numpy(embeddings)
        if array.ndim not in (2, 3):
            raise DimensionMismatch(f"{what} must be 2-D (one text) or 3-D (padded texts), got shape {array.shape}")
        rows = [array] if array.ndim == 2 else list(array)
        dim = array.shape[-1] if dim is None and not rows else dim
    elif isinstance(embeddings, Iterable) and not isinstance(embeddings, (str, bytes, dict)):
        rows = [to_numpy(embedding) for embedding in embeddings]
    else:
        raise InvalidInput(f"{what} must be a list of 2-D arrays, got {type(embeddings).__name__}")
    try:
        return TokenMatrix.from_arrays(rows, dim=dim, dtype=dtype)
    except DimensionMismatch as error:
        raise DimensionMismatch(f"{what}: {error}") from None
