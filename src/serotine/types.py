"""Which data passes between Serotine's parts?  The packed token matrix and the result types.

Knows numpy alone. Nothing here computes a score, reads a file or imports another part of the package
except the errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias, TypedDict, overload

import numpy as np
import numpy.typing as npt

from serotine.errors import DimensionMismatch, InvalidInput

__all__ = ["DocumentId", "Embeddings", "RerankResult", "TokenMatrix"]

DocumentId: TypeAlias = int | str
"""An id as the caller gave it. The int ``1`` and the string ``"1"`` are two documents."""

Array: TypeAlias = npt.NDArray[Any]

Embeddings: TypeAlias = Any
"""What every index and scorer takes for the embeddings of several texts: a `TokenMatrix`, a list of
``(num_tokens_i, dim)`` arrays or tensors, a padded ``(n, num_tokens, dim)`` array, or one 2-D array (one text)."""


class RerankResult(TypedDict):
    """One scored document; a plain dict at run time."""

    id: DocumentId
    score: float


class TokenMatrix(Sequence[Array]):
    """The token vectors of many texts in one array: rows ``offsets[i]:offsets[i + 1]`` are text ``i``.

    A sequence of 2-D views (no copies), so it goes wherever a list of embeddings goes, at a fraction
    of the memory: no per-text object, no padding.

    Args:
        values: ``(num_tokens, dim)`` of any dtype (int8 codes are held too; what computes with the values says which
            it takes), C order (copied if it is not).
        offsets: int64 ``(num_texts + 1,)``, from 0 to num_tokens, never decreasing.

    Raises:
        InvalidInput: values is no array, or the shapes do not fit together.

    Example:
        >>> import numpy as np
        >>> matrix = TokenMatrix.from_arrays([np.ones((2, 4)), np.zeros((3, 4))])
        >>> len(matrix), matrix.dim, matrix.lengths.tolist(), matrix[1].shape
        (2, 4, [2, 3], (3, 4))
    """

    __slots__ = ("offsets", "values")

    values: Array
    offsets: npt.NDArray[np.int64]

    def __init__(self, values: Array, offsets: npt.ArrayLike) -> None:
        if not isinstance(values, np.ndarray):
            raise InvalidInput(f"values must be a numpy array, got {type(values).__name__}")
        if values.ndim != 2:
            raise InvalidInput(f"values must be 2-D (num_tokens, dim), got shape {values.shape}")
        offsets = np.asarray(offsets)
        if offsets.ndim != 1 or len(offsets) == 0 or not np.issubdtype(offsets.dtype, np.integer):
            raise InvalidInput(f"offsets must be a non-empty 1-D integer array, got {offsets!r}")
        offsets = np.ascontiguousarray(offsets, dtype=np.int64)
        if offsets[0] != 0 or offsets[-1] != len(values) or (np.diff(offsets) < 0).any():
            raise InvalidInput(
                f"offsets must rise from 0 to the number of tokens {len(values)}, "
                f"got {offsets[0]}..{offsets[-1]}{'' if (np.diff(offsets) >= 0).all() else ', decreasing somewhere'}"
            )
        self.values = np.ascontiguousarray(values)
        self.offsets = offsets

    @classmethod
    def from_arrays(
        cls, arrays: Iterable[Array], *, dim: int | None = None, dtype: npt.DTypeLike | None = None
    ) -> TokenMatrix:
        """Pack 2-D arrays, in order. One copy of the data.

        dim is needed only when there are no arrays (it is then the width of the empty matrix).
        dtype: if None, the smallest that holds all of the arrays, float32 for float16 beside bfloat16.

        Raises:
            DimensionMismatch: an array is not 2-D or has another width; the message names its position.
            InvalidInput: something is not a numpy array, or no dtype holds all of them.
        """
        rows = list(arrays)
        if not rows:
            return cls(np.empty((0, dim or 0), dtype=dtype or np.float32), np.zeros(1, dtype=np.int64))
        for position, row in enumerate(rows):
            if not isinstance(row, np.ndarray):
                raise InvalidInput(f"embedding {position} must be a 2-D numpy array, got {type(row).__name__}")
            if dim is None and row.ndim == 2:
                dim = row.shape[1]
            if row.ndim != 2 or row.shape[1] != dim:
                expected = f"(num_tokens, {'dim' if dim is None else dim})"
                raise DimensionMismatch(f"embedding {position} has shape {row.shape}, expected {expected}")
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        dtype = _common_dtype({row.dtype for row in rows}) if dtype is None else dtype
        values = np.empty((int(offsets[-1]), rows[0].shape[1]), dtype=dtype)
        for row, start, stop in zip(rows, offsets[:-1], offsets[1:], strict=True):
            values[start:stop] = row
        return cls(values, offsets)

    @classmethod
    def concatenate(cls, matrices: Sequence[TokenMatrix]) -> TokenMatrix:
        """Join matrices of one width and dtype, texts in order. One copy of the data (none for a single matrix).

        Raises:
            DimensionMismatch: the widths differ.
            InvalidInput: there are no matrices, or their dtypes differ; `astype` makes them one.
        """
        if not matrices:
            raise InvalidInput("cannot concatenate zero matrices: their width is unknown")
        widths = sorted({matrix.dim for matrix in matrices})
        if len(widths) > 1:
            raise DimensionMismatch(f"cannot concatenate matrices of dimensions {widths}")
        dtypes = sorted({str(matrix.dtype) for matrix in matrices})
        if len(dtypes) > 1:
            raise InvalidInput(f"cannot concatenate matrices of dtypes {dtypes}; bring them to one with astype")
        if len(matrices) == 1:
            return matrices[0]
        lengths = np.concatenate([matrix.lengths for matrix in matrices])
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
        return cls(np.concatenate([matrix.values for matrix in matrices]), offsets)

    @property
    def dim(self) -> int:
        """Width of a token vector."""
        return int(self.values.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the stored vectors."""
        return self.values.dtype

    @property
    def num_tokens(self) -> int:
        """Token vectors in all texts together."""
        return int(self.values.shape[0])

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """int64 ``(num_texts,)``: token vectors of each text."""
        return np.diff(self.offsets)

    @property
    def nbytes(self) -> int:
        """Bytes held: vectors and offsets."""
        return int(self.values.nbytes + self.offsets.nbytes)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> Array: ...
    @overload
    def __getitem__(self, index: slice) -> TokenMatrix: ...
    def __getitem__(self, index: int | slice) -> Array | TokenMatrix:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                return self.take(np.arange(start, stop, step))
            stop = max(start, stop)
            bounds = self.offsets[start : stop + 1]
            return TokenMatrix(self.values[bounds[0] : bounds[-1]], bounds - bounds[0])
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"text {index} of a TokenMatrix of {len(self)}")
        return self.values[self.offsets[position] : self.offsets[position + 1]]

    def __iter__(self) -> Iterator[Array]:
        for start, stop in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            yield self.values[start:stop]

    # Sequence's own versions compare by ==, which for arrays is no truth value.
    def __contains__(self, vectors: Any) -> bool:
        """Whether a text has exactly these vectors."""
        return any(np.array_equal(text, vectors) for text in self)

    def index(self, vectors: Any, start: int = 0, stop: int | None = None) -> int:
        """Return the position of the first text that has exactly these vectors; ValueError if there is none."""
        for position in range(*slice(start, stop).indices(len(self))):
            if np.array_equal(self[position], vectors):
                return position
        raise ValueError(f"none of the {len(self)} texts of the TokenMatrix has exactly these vectors")

    def count(self, vectors: Any) -> int:
        """Return how many texts have exactly these vectors."""
        return sum(np.array_equal(text, vectors) for text in self)

    def take(self, positions: npt.ArrayLike) -> TokenMatrix:
        """Return the texts at the given positions, in that order, as a new matrix.

        positions: 1-D, integers, those below 0 counted from the end; an empty list gives an empty matrix.

        Raises:
            InvalidInput: positions are not 1-D or not integers (a mask is none: pass ``np.flatnonzero(mask)``).
            IndexError: there is no such position.
        """
        positions = np.asarray(positions)
        if positions.ndim != 1 or (len(positions) and positions.dtype.kind not in "iu"):
            raise InvalidInput(
                f"positions must be 1-D integers, got shape {positions.shape} of {positions.dtype}; "
                "for a mask pass np.flatnonzero(mask)"
            )
        if len(positions) == 0:
            return TokenMatrix(self.values[:0], np.zeros(1, dtype=np.int64))
        return TokenMatrix.from_arrays([self[int(position)] for position in positions])

    def astype(self, dtype: npt.DTypeLike) -> TokenMatrix:
        """Return the same vectors in another dtype (itself if it already has it)."""
        return self if self.dtype == np.dtype(dtype) else TokenMatrix(self.values.astype(dtype), self.offsets)

    def __repr__(self) -> str:
        return f"TokenMatrix({len(self)} texts, {self.num_tokens} tokens, dim={self.dim}, {self.dtype})"


def _common_dtype(dtypes: set[np.dtype[Any]]) -> np.dtype[Any]:
    """The smallest dtype that holds values of all of them."""
    # float16 has the finer steps and bfloat16 the wider range; numpy knows no dtype for both.
    if {dtype.name for dtype in dtypes} >= {"float16", "bfloat16"}:
        dtypes = {dtype for dtype in dtypes if dtype.name != "bfloat16"} | {np.dtype(np.float32)}
    try:
        return np.result_type(*dtypes)
    except TypeError:
        names = sorted(str(dtype) for dtype in dtypes)
        raise InvalidInput(f"embeddings of dtypes {names} have no common dtype; convert them, or pass dtype=") from None
