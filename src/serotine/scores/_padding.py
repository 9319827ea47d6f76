"""How do the embeddings and masks that callers hold become padded tensors with masks?  For the torch path."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from serotine._arrays import to_numpy
from serotine.errors import DimensionMismatch, InvalidInput
from serotine.scores._inputs import check_mask_dtype, check_mask_shape, check_rank, flat_mask, numpy_mask
from serotine.scores.quantized import Int8TokenMatrix
from serotine.types import Embeddings, TokenMatrix

__all__ = ["Padded", "pad_in_pieces", "pad_side"]

# Tokens, padding included, of one piece of ragged documents: 128 MiB of float32 at 128 dimensions.
_PIECE_TOKENS = 2**18


class Padded(NamedTuple):
    """Texts in one tensor. mask: bool, True where a token counts; None if all do."""

    tokens: Tensor  # (num_texts, num_tokens, dim), floating point
    mask: Tensor | None  # (num_texts, num_tokens)


def pad_side(embeddings: Embeddings, mask: Any, *, what: str, device: torch.device) -> Padded:
    """Return the tokens as one padded tensor with its mask on ``device``; gradients flow back to what came in.

    embeddings: as `_inputs.listed` returns them. mask: see `serotine.scores.maxsim`. A padded tensor on its
    device is not copied. On a CPU a mask under which all tokens count becomes None; elsewhere to know would
    be to wait for the device.
    """
    return next(pad_in_pieces(embeddings, mask, what=what, device=device, max_tokens=None))


def pad_in_pieces(
    embeddings: Embeddings, mask: Any, *, what: str, device: torch.device, max_tokens: int | None = _PIECE_TOKENS
) -> Iterator[Padded]:
    """Yield the texts in order, in pieces: ragged ones of at most ``max_tokens`` tokens with padding, or one text.

    So one long text does not widen all the others. Padded input is one piece. At least one piece comes, if empty.
    """
    if isinstance(embeddings, Int8TokenMatrix):
        raise InvalidInput(f"int8 {what} can be scored against numpy arrays and CPU tensors without gradients only")
    check_rank(embeddings, what=what)
    if getattr(embeddings, "ndim", None) == 3:
        tokens = _as_tensor(embeddings, what=what).to(device)
        counts = tokens.detach().any(dim=2) if mask is None else _tensor_mask(mask, tokens.shape[:2], what=what)
        yield _on_device(tokens, counts, device)
        return
    texts = [embeddings] if hasattr(embeddings, "ndim") else embeddings
    rows = _matching_tensors(texts, what=what)
    if not rows:
        dim = embeddings.dim if isinstance(embeddings, TokenMatrix) else 0
        yield Padded(torch.zeros((0, 0, dim), device=device), None)
        return
    lengths = np.array([len(row) for row in rows])
    counting = np.ones(int(lengths.sum()), np.bool_) if mask is None else flat_mask(mask, lengths, what=what)
    flat_counts = torch.from_numpy(counting)
    for start, stop in _pieces(lengths, max_tokens):
        # On the device before padding, so that only tokens travel.
        tokens = pad_sequence([row.to(device) for row in rows[start:stop]], batch_first=True)
        counts = torch.arange(tokens.shape[1]) < torch.from_numpy(lengths[start:stop]).unsqueeze(1)
        first = int(lengths[:start].sum())
        counts[counts.clone()] = flat_counts[first : first + int(lengths[start:stop].sum())]
        yield _on_device(tokens, counts, device)


def _on_device(tokens: Tensor, counts: Tensor, device: torch.device) -> Padded:
    counts = counts.to(device)
    return Padded(tokens, None if device.type == "cpu" and bool(counts.all()) else counts)


def _pieces(lengths: npt.NDArray[np.int64], max_tokens: int | None) -> Iterator[tuple[int, int]]:
    """Yield ranges of texts whose number times their longest length is at most ``max_tokens``."""
    start = longest = 0
    for position, length in enumerate(lengths.tolist()):
        widest = max(longest, length)
        if max_tokens is not None and position > start and widest * (position + 1 - start) > max_tokens:
            yield start, position
            start, longest = position, length
        else:
            longest = widest
    yield start, len(lengths)


def _matching_tensors(texts: Iterable[Any], *, what: str) -> list[Tensor]:
    """Return ragged texts as 2-D tensors of one width and the widest dtype that occurs."""
    rows = [_as_tensor(text, what=f"{what}[{position}]") for position, text in enumerate(texts)]
    dtype = functools.reduce(torch.promote_types, {row.dtype for row in rows}) if rows else torch.float32
    for position, row in enumerate(rows):
        if row.ndim != 2 or row.shape[1] != rows[0].shape[-1]:
            expected = f"(num_tokens, {rows[0].shape[-1]})" if rows[0].ndim == 2 else "(num_tokens, dim)"
            raise DimensionMismatch(f"{what}[{position}] has shape {tuple(row.shape)}, expected {expected}")
    return [row.to(dtype) for row in rows]


def _as_tensor(embedding: Any, *, what: str) -> Tensor:
    """Return a floating-point tensor: a tensor itself (integers as float32), or one that shares a numpy array."""
    if isinstance(embedding, Tensor):
        if embedding.is_complex() or embedding.dtype is torch.bool:
            raise InvalidInput(f"{what} must hold real numbers, got dtype {embedding.dtype}")
        return embedding if embedding.is_floating_point() else embedding.float()
    array = np.ascontiguousarray(to_numpy(embedding))
    if array.dtype.name == "bfloat16":  # a dtype of ml_dtypes, which torch cannot read; the bits are the same
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _tensor_mask(mask: Any, shape: torch.Size, *, what: str) -> Tensor:
    if not isinstance(mask, Tensor):
        return torch.from_numpy(numpy_mask(mask, tuple(shape), what=what))
    name = f"{what}_mask"
    check_mask_dtype(mask.dtype, acceptable=not (mask.is_floating_point() or mask.is_complex()), name=name)
    check_mask_shape(tuple(mask.shape), tuple(shape), name=name)
    return mask.bool()
