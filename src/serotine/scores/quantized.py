"""How are token vectors stored in 8 bits?  One scale per token, for scores at a quarter of the memory traffic.

This is plain symmetric quantisation for exhaustive scoring in memory. The compressed indexes have codecs of
their own, which need fewer bits because they know the collection.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from serotine.errors import InvalidInput
from serotine.types import Array, TokenMatrix

__all__ = ["Int8TokenMatrix", "dequantize", "quantize"]

LARGEST_CODE = 127
"""Codes are symmetric, -127..127; -128 is never written (it is read as any other code)."""

_ROWS_AT_ONCE = 16_384
"""Rows that are converted together: bounds the float64 working copy at 16 MB for dim 128."""


class Int8TokenMatrix:
    """The token vectors of many texts as int8 codes: vector ``t`` is ``codes[t] * scales[t]``.

    Args:
        codes: int8 ``(num_tokens, dim)``, C order (copied if it is not).
        scales: float32 ``(num_tokens,)``, finite and not negative.
        offsets: int64 ``(num_texts + 1,)``, from 0 to num_tokens, never decreasing.

    Each component is off by at most ``scale / 2 = max|x| / 254`` of its vector (and float32 rounding), so a dot
    product with a query token ``q`` that stays in float is off by at most ``scale / 2 * sum|q_k|``; the engine
    quantises ``q`` too, which adds ``scale_q / 2 * sum|d_k|``. For unit vectors of 128 dimensions the errors of a
    single similarity are about 0.002 (root mean square), and those of a score average out over the query tokens.

    Raises:
        InvalidInput: the parts do not fit together, or a scale is negative or not finite.

    Example:
        >>> import numpy as np
        >>> matrix = quantize(TokenMatrix.from_arrays([np.float32([[0.5, -1.0]])]))
        >>> len(matrix), matrix.dim, matrix.codes.tolist()
        (1, 2, [[64, -127]])
    """

    __slots__ = ("codes", "offsets", "scales")

    codes: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]
    offsets: npt.NDArray[np.int64]

    def __init__(self, codes: Array, scales: Array, offsets: npt.ArrayLike) -> None:
        if codes.dtype != np.int8 or scales.dtype != np.float32:
            raise InvalidInput(f"codes must be int8 and scales float32, got {codes.dtype} and {scales.dtype}")
        # TokenMatrix checks shapes and offsets alike for every dtype.
        checked = TokenMatrix(codes, offsets)
        if scales.shape != (len(codes),):
            raise InvalidInput(f"scales must have shape ({len(codes)},), one per token, got {scales.shape}")
        bad = ~(np.isfinite(scales) & (scales >= 0))
        if bad.any():
            token = int(np.argmax(bad))
            raise InvalidInput(f"scales must be finite and not negative, but scales[{token}] is {scales[token]}")
        self.codes = checked.values
        self.scales = np.require(scales, requirements=["C_CONTIGUOUS", "ALIGNED"])
        self.offsets = checked.offsets

    @property
    def dim(self) -> int:
        """Width of a token vector."""
        return int(self.codes.shape[1])

    @property
    def num_tokens(self) -> int:
        """Token vectors in all texts together."""
        return int(self.codes.shape[0])

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """int64 ``(num_texts,)``: token vectors of each text."""
        return np.diff(self.offsets)

    @property
    def nbytes(self) -> int:
        """Bytes held: codes, scales and offsets."""
        return int(self.codes.nbytes + self.scales.nbytes + self.offsets.nbytes)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        return f"Int8TokenMatrix({len(self)} texts, {self.num_tokens} tokens, dim={self.dim})"


def quantize(matrix: TokenMatrix) -> Int8TokenMatrix:
    """Round each token vector to int8 codes with ``scale = max|x| / 127``, half to even; a zero vector has scale 0.

    Error bound: see `Int8TokenMatrix`. Cost: one pass over the values. The engine quantises query tokens by the
    same formula.

    Raises:
        InvalidInput: a value is NaN or infinite (it has no code); the message names the token.
    """
    codes = np.empty(matrix.values.shape, dtype=np.int8)
    scales = np.empty(matrix.num_tokens, dtype=np.float32)
    for start in range(0, matrix.num_tokens, _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        # float64: 127 / max overflows float32 where the vector is subnormal.
        values = matrix.values[rows].astype(np.float64)
        largest = np.abs(values).max(axis=1, initial=0.0)
        if not np.isfinite(largest).all():
            token = start + int(np.argmax(~np.isfinite(largest)))
            raise InvalidInput(f"token {token} has a NaN or infinite component, which has no int8 code")
        codes_per_unit = np.divide(LARGEST_CODE, largest, out=np.zeros_like(largest), where=largest > 0)
        codes[rows] = np.rint(values * codes_per_unit[:, None])
        scales[rows] = largest / LARGEST_CODE
    return Int8TokenMatrix(codes, scales, matrix.offsets)


def dequantize(matrix: Int8TokenMatrix, *, dtype: npt.DTypeLike = np.float32) -> TokenMatrix:
    """Return the vectors that the codes stand for, ``codes * scales``, in the given float dtype."""
    values: npt.NDArray[Any] = matrix.codes.astype(np.float32)
    values *= matrix.scales[:, None]
    return TokenMatrix(values.astype(dtype, copy=False), matrix.offsets)
