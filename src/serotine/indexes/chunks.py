"""How do the documents of one call become vectors to store, without holding all of them at once?

Reads a list, a padded array, a TokenMatrix or a generator, converts and checks, and hands on pieces of bounded size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from itertools import zip_longest
from typing import Any

import numpy as np

from serotine._arrays import to_numpy
from serotine.errors import DimensionMismatch, InvalidInput
from serotine.indexes.checks import check_finite
from serotine.types import Array, DocumentId, Embeddings, TokenMatrix

__all__ = ["CHUNK_VALUES", "document_chunks"]

CHUNK_VALUES = 1 << 22
"""Components in a piece, give or take one document: 16 MiB of float32. Large enough to write and check at full
speed, small enough that a corpus larger than memory passes through."""

_MISSING = object()


def document_chunks(
    ids: Sequence[DocumentId], embeddings: Embeddings, *, dim: int | None, dtype: np.dtype[Any]
) -> Iterator[TokenMatrix]:
    """Yield the vectors of the documents in order, in dtype, all finite; nothing for zero documents.

    embeddings: see `serotine.types.Embeddings`, or a generator of ``(num_tokens, dim)`` arrays. The all-zero rows of
    a padded 3-D array are padding and left out. dim: the required width, None for that of the first document. A
    document may have no tokens.

    Raises:
        DimensionMismatch: a document is not 2-D or has another width.
        InvalidInput: not as many embeddings as ids, not numbers, NaN, infinity or a value too large for dtype.
        Each names the document. Peak extra memory: two pieces.
    """
    pending: list[Array] = []
    done = num_values = 0
    for position, (document, embedding) in enumerate(zip_longest(ids, _rows(ids, embeddings), fillvalue=_MISSING)):
        if document is _MISSING or embedding is _MISSING:
            raise _count_mismatch(len(ids), f"more than {len(ids)}" if document is _MISSING else str(position))
        array = _document(document, embedding, dim)
        dim = array.shape[1]
        pending.append(array)
        num_values += array.size
        if num_values >= CHUNK_VALUES:
            yield _checked(ids[done : position + 1], pending, dtype)
            pending, done, num_values = [], position + 1, 0
    if pending:
        yield _checked(ids[done:], pending, dtype)


def _rows(ids: Sequence[DocumentId], embeddings: Embeddings) -> Iterable[Any]:
    """The embeddings one by one; their number is checked first where it is known."""
    if hasattr(embeddings, "ndim") and not isinstance(embeddings, TokenMatrix):
        if embeddings.ndim not in (2, 3):
            raise DimensionMismatch(
                f"documents must be 2-D (one document) or 3-D (padded documents), got shape {tuple(embeddings.shape)}"
            )
        if embeddings.ndim == 3:
            to_numpy(embeddings[:0])  # raises if these are no numbers
            if len(embeddings) != len(ids):
                raise _count_mismatch(len(ids), str(len(embeddings)))
            return _without_padding(embeddings)
        embeddings = [embeddings]
    if isinstance(embeddings, (str, bytes, Mapping)) or not isinstance(embeddings, Iterable):
        raise InvalidInput(f"embeddings must be a list of 2-D arrays, got {type(embeddings).__name__}")
    if isinstance(embeddings, Sized) and len(embeddings) != len(ids):
        raise _count_mismatch(len(ids), str(len(embeddings)))
    return embeddings


def _without_padding(texts: Any) -> Iterator[Array]:
    """The documents of a padded 3-D array. One is converted at a time: the array may be mapped, and larger than memory.

    A zero row is padding: a normalised token is never zero, and a stored zero vector would beat every negative
    similarity.
    """
    for text in texts:
        with np.errstate(over="ignore"):
            array = to_numpy(text)
        yield array[array.any(axis=1)]


def _count_mismatch(num_ids: int, num_embeddings: str) -> InvalidInput:
    return InvalidInput(f"got {num_ids} document ids and {num_embeddings} embeddings, expected one embedding per id")


def _document(document: Any, embedding: Any, dim: int | None) -> Array:
    """One document's vectors as a 2-D float array of the required width."""
    try:
        with np.errstate(over="ignore"):
            array = to_numpy(embedding)
    except InvalidInput as error:
        raise InvalidInput(f"document {document!r}: {error}") from error
    if array.ndim != 2 or array.shape[1] == 0 or (dim is not None and array.shape[1] != dim):
        raise DimensionMismatch(
            f"document {document!r} has shape {array.shape}, expected (num_tokens, {'dim' if dim is None else dim})"
        )
    return array


def _checked(ids: Sequence[DocumentId], arrays: list[Array], dtype: np.dtype[Any]) -> TokenMatrix:
    with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused here
        matrix = TokenMatrix.from_arrays(arrays, dtype=dtype)
    check_finite(matrix, lambda position: f"document {ids[position]!r}")
    return matrix
