"""How do the embeddings and masks that callers hold become packed matrices for the native engine?

Also tells which of the two scoring paths an input needs. torch is used only if a tensor shows that the caller
imported it; the other path's preparation is `_padding`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from serotine._arrays import to_numpy
from serotine.errors import DimensionMismatch, InvalidInput
from serotine.scores.quantized import Int8TokenMatrix
from serotine.types import Array, Embeddings, TokenMatrix

if TYPE_CHECKING:
    import torch

__all__ = [
    "check_mask_dtype",
    "check_mask_shape",
    "check_rank",
    "find_tensors",
    "flat_mask",
    "listed",
    "needs_tensor_path",
    "numpy_mask",
    "pack_side",
]

Mask = npt.NDArray[np.bool_]


def find_tensors(*sides: Embeddings) -> list[torch.Tensor]:
    """Return the torch tensors among the sides and the items of their lists, in order."""
    torch = sys.modules.get("torch")
    if torch is None:
        return []
    items = (item for side in sides for item in (side if isinstance(side, (list, tuple)) else (side,)))
    return [item for item in items if isinstance(item, torch.Tensor)]


def needs_tensor_path(tensors: list[torch.Tensor]) -> bool:
    """Tell whether tensors need torch: for a gradient, for another device than the CPU, or for float64."""
    if not tensors:
        return False
    import torch

    with_gradient = torch.is_grad_enabled()
    return any(
        (with_gradient and tensor.requires_grad) or tensor.device.type != "cpu" or tensor.dtype is torch.float64
        for tensor in tensors
    )


def listed(embeddings: Embeddings, *, what: str) -> Embeddings:
    """Return an iterable of texts as a list, because it is read more than once; arrays and matrices as they are."""
    if isinstance(embeddings, (TokenMatrix, Int8TokenMatrix)) or hasattr(embeddings, "ndim"):
        return embeddings
    if isinstance(embeddings, Iterable) and not isinstance(embeddings, (str, bytes, dict)):
        return list(embeddings)
    raise InvalidInput(f"{what} must be an array or a list of arrays, got {type(embeddings).__name__}")


def pack_side(
    embeddings: Embeddings, mask: Any, *, what: str, masked_as_zero: bool = False
) -> TokenMatrix | Int8TokenMatrix:
    """Return the tokens that count as one packed matrix, without a copy where none is needed.

    embeddings: as `listed` returns them. mask, masked_as_zero: see `serotine.scores.maxsim`; with the latter a
    masked token stays as a zero vector. uint16 values in the result are the bits of bfloat16.
    """
    if isinstance(embeddings, Int8TokenMatrix):
        if mask is not None:
            raise InvalidInput(f"{what}_mask cannot apply to int8 codes: mask before quantize()")
        return embeddings
    if getattr(embeddings, "ndim", None) == 3:
        array = _as_array(embeddings)
        counts = _nonzero_rows(array) if mask is None else numpy_mask(mask, array.shape[:2], what=what)
        num_texts, num_tokens, dim = array.shape
        offsets = np.arange(num_texts + 1, dtype=np.int64) * num_tokens
        matrix = TokenMatrix(array.reshape(num_texts * num_tokens, dim), offsets)
        return _keep(matrix, counts.reshape(-1), masked_as_zero=masked_as_zero)
    matrix = _pack_ragged(embeddings, what=what)
    if mask is None:
        return matrix
    return _keep(matrix, flat_mask(mask, matrix.lengths, what=what), masked_as_zero=masked_as_zero)


def _pack_ragged(embeddings: Embeddings, *, what: str) -> TokenMatrix:
    """Pack a list, a TokenMatrix or one 2-D text, in the widest dtype that occurs."""
    if isinstance(embeddings, TokenMatrix):
        if embeddings.dtype.kind in "biuc":
            raise InvalidInput(f"{what} must be floating-point numbers, got a TokenMatrix of {embeddings.dtype}")
        return embeddings
    check_rank(embeddings, what=what)
    rows = [_as_array(text) for text in ([embeddings] if hasattr(embeddings, "ndim") else embeddings)]
    if len({row.dtype for row in rows}) > 1:
        rows = [_widened(row) for row in rows]
    try:
        return TokenMatrix.from_arrays(rows)
    except DimensionMismatch as error:
        raise DimensionMismatch(f"{what}: {error}") from None


def _as_array(embedding: Any) -> Array:
    """`to_numpy`, but a torch bfloat16 tensor as its bits (uint16): the engine reads them, numpy cannot."""
    if str(getattr(embedding, "dtype", "")) == "torch.bfloat16":
        import torch

        bits: Array = embedding.detach().view(torch.int16).numpy()
        return bits.view(np.uint16)
    return to_numpy(embedding)


def _widened(row: Array) -> Array:
    """Return any of our 16-bit or 32-bit floats as float32; a bfloat16 is the upper half of one."""
    if row.dtype == np.uint16:
        return (row.astype(np.uint32) << 16).view(np.float32)
    return row.astype(np.float32)


def _nonzero_rows(array: Array) -> Mask:
    """Return bool ``(n, num_tokens)``: rows that are not padding. The sign of a bfloat16 zero does not count."""
    magnitudes = array & 0x7FFF if array.dtype == np.uint16 else array
    return np.asarray(magnitudes.any(axis=2))


def _keep(matrix: TokenMatrix, counts: Mask, *, masked_as_zero: bool) -> TokenMatrix:
    if counts.all():
        return matrix
    if masked_as_zero:
        values = matrix.values.copy()
        values[~counts] = 0
        return TokenMatrix(values, matrix.offsets)
    before = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)])
    return TokenMatrix(matrix.values[counts], before[matrix.offsets])


def flat_mask(mask: Any, lengths: npt.NDArray[np.int64], *, what: str) -> Mask:
    """Return the mask of ragged texts as one bool per token: from a list of 1-D masks, or from a padded 2-D mask."""
    if isinstance(mask, (list, tuple)) and mask and all(np.ndim(item) == 1 for item in mask):
        if len(mask) != len(lengths):
            raise InvalidInput(f"{what}_mask has {len(mask)} masks for {len(lengths)} texts")
        return np.concatenate(
            [
                numpy_mask(item, (int(length),), what=what, position=position)
                for position, (item, length) in enumerate(zip(mask, lengths, strict=True))
            ]
        )
    longest = int(lengths.max(initial=0))
    if len(lengths) == 1 and np.ndim(mask) == 1:
        return numpy_mask(mask, (longest,), what=what)
    padded = numpy_mask(mask, (len(lengths), longest), what=what)
    return padded[np.arange(longest) < lengths[:, None]]


def numpy_mask(mask: Any, shape: tuple[int, ...], *, what: str, position: int | None = None) -> Mask:
    """Return a mask of any library as bool, checked. position: of the text in a list, for the message."""
    array = np.asarray(mask.detach().cpu().numpy() if hasattr(mask, "detach") else mask)
    name = f"{what}_mask" if position is None else f"{what}_mask[{position}]"
    check_mask_dtype(array.dtype, acceptable=array.dtype.kind in "biu", name=name)
    check_mask_shape(array.shape, shape, name=name)
    return array.astype(np.bool_, copy=False)


def check_mask_dtype(dtype: object, *, acceptable: bool, name: str) -> None:
    """Raise InvalidInput for a mask of weights or of anything that is no yes or no."""
    if not acceptable:
        raise InvalidInput(
            f"{name} has dtype {dtype}, expected bool or integers (nonzero: the token counts); "
            "if it holds zeros and ones, pass mask != 0"
        )


def check_mask_shape(found: tuple[int, ...], expected: tuple[int, ...], *, name: str) -> None:
    """Raise InvalidInput unless a mask has one value per token."""
    if tuple(found) != tuple(expected):
        raise InvalidInput(f"{name} has shape {tuple(found)}, expected {tuple(expected)}: one value per token")


def check_rank(embeddings: Embeddings, *, what: str) -> None:
    """Raise DimensionMismatch for an array that is neither one text (2-D) nor padded texts (3-D)."""
    if hasattr(embeddings, "ndim") and embeddings.ndim not in (2, 3):
        shape = tuple(embeddings.shape)
        raise DimensionMismatch(f"{what} must be 2-D (one text) or 3-D (padded texts), got shape {shape}")
