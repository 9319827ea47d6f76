"""Proves that documents are read in order, converted, in pieces of bounded size, and no further than needed."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from serotine.errors import DimensionMismatch, InvalidInput
from serotine.indexes import chunks
from serotine.indexes.chunks import document_chunks
from tests.indexes.samples import texts

FLOAT32 = np.dtype(np.float32)


def test_pieces_hold_the_documents_in_order_and_end_once_they_are_large_enough(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_VALUES", 5 * 4)
    documents = texts([2, 2, 1, 0, 9, 1, 1], dim=4)
    pieces = list(document_chunks("abcdefg", iter(documents), dim=None, dtype=FLOAT32))
    assert [piece.lengths.tolist() for piece in pieces] == [[2, 2, 1], [0, 9], [1, 1]]
    np.testing.assert_array_equal(np.concatenate([piece.values for piece in pieces]), np.concatenate(documents))


def test_the_dtype_is_the_one_asked_for():
    (piece,) = document_chunks("a", texts([2], dtype=np.float64), dim=8, dtype=np.dtype(np.float16))
    assert piece.dtype == np.float16


def test_a_generator_is_read_only_one_document_ahead(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_VALUES", 1)
    given = []

    def generate():
        for number in range(5):
            given.append(number)
            yield np.ones((1, 4))

    pieces = document_chunks("abcde", generate(), dim=None, dtype=FLOAT32)
    assert given == []
    next(pieces)
    assert given == [0]


def test_an_error_in_a_later_piece_names_its_own_document(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_VALUES", 8)
    documents = [np.ones((2, 4))] * 3 + [np.array([[1, 1, 1, 1], [1, 1, np.nan, 1]])]
    with pytest.raises(InvalidInput, match="document 'd', token row 1, dimension 2"):
        list(document_chunks("abcd", documents, dim=None, dtype=FLOAT32))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "int8"])
def test_a_mapped_array_of_padded_documents_is_not_held_as_a_whole(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(chunks, "CHUNK_VALUES", 1 << 14)
    shape = (256, 64, 128)
    mapped = np.memmap(tmp_path / "array", dtype=dtype, mode="w+", shape=shape)
    mapped[:] = 1
    mapped[:, -1] = 0
    tracemalloc.start()
    try:
        num_tokens = sum(piece.num_tokens for piece in document_chunks(range(256), mapped, dim=128, dtype=FLOAT32))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert num_tokens == 256 * 63
    assert peak_bytes < mapped.size  # a byte for each value; two pieces of float32 are a sixteenth of that


def test_a_padded_array_may_be_one_of_torch(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(chunks, "CHUNK_VALUES", 1)
    array = torch.ones((2, 3, 4), dtype=torch.bfloat16, requires_grad=True) * torch.tensor([1, 1, 0])[None, :, None]
    pieces = list(document_chunks("ab", array, dim=None, dtype=FLOAT32))
    assert [piece.values.tolist() for piece in pieces] == [[[1.0] * 4] * 2] * 2


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (np.ones((3, 1, 4)), InvalidInput, "2 document ids and 3 embeddings"),
        (np.ones((2, 1, 4), dtype=complex), InvalidInput, "must be numbers, got dtype complex128"),
        (np.ones((2, 1, 5)), DimensionMismatch, r"document 'a' has shape \(1, 5\)"),
        (np.ones((1, 1, 1, 4)), DimensionMismatch, r"got shape \(1, 1, 1, 4\)"),
        (np.float32(1), DimensionMismatch, r"got shape \(\)"),
        (np.array([[[1, 1e300, 1, 1]], [[1, 1, 1, 1]]]), InvalidInput, "document 'a', token row 0, dimension 1"),
    ],
    ids=["count", "complex", "width", "rank", "number", "too large"],
)
def test_a_padded_array_that_cannot_be_stored_is_refused(array, error, message):
    with pytest.raises(error, match=message):
        list(document_chunks("ab", array, dim=4, dtype=FLOAT32))
