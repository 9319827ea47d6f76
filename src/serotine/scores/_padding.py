"""How do the embeddings and masks that callers hold become padded tensors with masks?  For the torch path."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from serotine._arrays import to_numpy
from serotine.errors import DimensionMismatch, InvalidInput
from serotine.scores._inputs import check_mask_dtype, check_mask_shape, check_rank, flat_mask, numpy_mask
from serotine.scores.quantized import Int8TokenMatrix
from serotine.types import Embeddings, TokenMatrix

__all__ = ["Padded", "pad_side"]


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
    if isinstance(embeddings, Int8TokenMatrix):
        raise InvalidInput(f"int8 {what} can be scored against numpy arrays and CPU tensors without gradients only")
    check_rank(embeddings, what=what)
    if getattr(embeddings, "ndim", None) == 3:
        tokens = _as_tensor(embeddings, what=what).to(device)
        counts = tokens.detach().any(dim=2) if mask is None else _tensor_mask(mask, tokens.shape[:2], what=what)
    else:
        tokens, counts = _pad_ragged(embeddings, mask, what=what, device=device)
    counts = counts.to(device)
    return Padded(tokens, None if device.type == "cpu" and bool(counts.all()) else counts)


def _pad_ragged(embeddings: Embeddings, mask: Any, *, what: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pad a list, a TokenMatrix or one 2-D text to the longest: ``(n, longest, dim)``, bool ``(n, longest)``."""
    texts = [embeddings] if hasattr(embeddings, "ndim") else embeddings
    rows = [_as_tensor(text, what=f"{what}[{position}]").to(device) for position, text in enumerate(texts)]
    if not rows:
        dim = embeddings.dim if isinstance(embeddings, TokenMatrix) else 0
        return torch.zeros((0, 0, dim), device=device), torch.zeros((0, 0), dtype=torch.bool)
    for position, row in enumerate(rows):
        if row.ndim != 2 or row.shape[1] != rows[0].shape[-1]:
            expected = f"(num_tokens, {rows[0].shape[-1]})"
            raise DimensionMismatch(f"{what}[{position}] has shape {tuple(row.shape)}, expected {expected}")
    dtype = rows[0].dtype
    for row in rows:
        dtype = torch.promote_types(dtype, row.dtype)
    lengths = torch.tensor([len(row) for row in rows])
    tokens = torch.nn.utils.rnn.pad_sequence([row.to(dtype) for row in rows], batch_first=True)
    counts = torch.arange(tokens.shape[1]) < lengths.unsqueeze(1)
    if mask is not None:
        counts[counts.clone()] = torch.from_numpy(flat_mask(mask, lengths.numpy(), what=what))
    return tokens, counts


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
