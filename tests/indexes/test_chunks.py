"""Proves that documents are read in order, converted, in pieces of bounded size, and no further than needed."""

from __future__ import annotations

import numpy as np
import pytest

from serotine.errors import InvalidInput
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
