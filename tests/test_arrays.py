"""Whatever holds embeddings becomes the same packed matrix, and what does not is refused by name."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

from serotine._arrays import pack, to_numpy
from serotine.errors import DimensionMismatch, InvalidInput
from serotine.types import TokenMatrix

ROWS = [np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((1, 3), dtype=np.float32)]


@pytest.mark.parametrize(
    "embeddings",
    [
        ROWS,
        tuple(ROWS),
        [torch.from_numpy(rows) for rows in ROWS],
        [rows.tolist() for rows in ROWS],
        [rows.astype(np.float64) for rows in ROWS],
        [rows.astype(">f4") for rows in ROWS],
        [torch.from_numpy(rows).bfloat16().requires_grad_() for rows in ROWS],
        (rows for rows in ROWS),
        TokenMatrix.from_arrays(ROWS),
    ],
)
def test_every_form_packs_to_the_same_matrix(embeddings: Any) -> None:
    matrix = pack(embeddings)
    assert matrix.dtype == np.float32
    assert matrix.lengths.tolist() == [2, 1]
    assert np.array_equal(matrix.values, np.concatenate(ROWS))


def test_arrays_of_two_and_three_dimensions() -> None:
    assert len(pack(ROWS[0])) == 1
    assert pack(np.zeros((4, 2, 3), dtype=np.float16)).lengths.tolist() == [2, 2, 2, 2]
    assert pack(torch.zeros(4, 2, 3)).lengths.tolist() == [2, 2, 2, 2]
    empty = pack(np.zeros((0, 2, 3), dtype=np.float32))
    assert (len(empty), empty.dim) == (0, 3)


def test_half_precisions_are_kept() -> None:
    assert to_numpy(np.ones((1, 2), dtype=np.float16)).dtype == np.float16
    assert to_numpy(np.ones((1, 2), dtype=ml_dtypes.bfloat16)).dtype == ml_dtypes.bfloat16
    assert to_numpy(torch.ones(1, 2, dtype=torch.float16)).dtype == np.float16
    assert pack(ROWS, dtype=np.float16).dtype == np.float16


def test_texts_of_several_dtypes_are_not_rounded_to_the_first() -> None:
    half, single = np.ones((1, 2), dtype=np.float16), np.full((1, 2), 0.1, dtype=np.float32)
    assert np.array_equal(pack([half, single])[1], single)
    assert pack([half, half.astype(ml_dtypes.bfloat16)]).dtype == np.float32
    assert pack([half, single], dtype=np.float16).dtype == np.float16


def test_a_required_width_is_checked() -> None:
    assert pack([], dim=7).dim == 7
    for embeddings in (ROWS, TokenMatrix.from_arrays(ROWS)):
        with pytest.raises(DimensionMismatch, match="documents"):
            pack(embeddings, dim=4, what="documents")


@pytest.mark.parametrize(
    ("embeddings", "error"),
    [
        ("text", InvalidInput),
        ({"a": ROWS[0]}, InvalidInput),
        (3, InvalidInput),
        (np.zeros(3), DimensionMismatch),
        (np.zeros((1, 1, 1, 1)), DimensionMismatch),
        ([np.array(["a"])], InvalidInput),
        ([[[1.0], [1.0, 2.0]]], InvalidInput),
        ([np.zeros(3)], DimensionMismatch),
        ([np.zeros((1, 2), dtype=complex)], InvalidInput),
    ],
)
def test_what_is_no_embedding_is_refused(embeddings: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        pack(embeddings)
