"""Proves what `Exact` alone promises: dtypes, dimensions, segments, memory. The rest is in test_promises."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from serotine.errors import DimensionMismatch
from serotine.indexes import Exact
from tests.indexes.samples import assert_ranked, expected, texts

LENGTHS = [3, 1, 7, 2, 5, 4, 6, 2, 9, 1]
IDS = [f"d{number}" for number in range(len(LENGTHS))]
DOCUMENTS = texts(LENGTHS)
QUERIES = texts([4, 1, 3], seed=1)


def test_float16_takes_half_the_space_and_scores_nearly_the_same(make_index):
    index = make_index(dtype="float16").add_documents(IDS, DOCUMENTS)
    assert index.dtype == np.float16
    assert index.get_documents_embeddings("d0")[0].dtype == np.float16
    rounded = [document.astype(np.float16) for document in DOCUMENTS]
    assert_ranked(index(QUERIES, k=3), expected(IDS, rounded, QUERIES, 3))


def test_many_small_adds_end_up_in_few_segments(index):
    for number in range(70):
        index.add_documents(number, DOCUMENTS[number % 10])
    assert len(index._store.current().segments) <= 12
    assert index.documents_ids() == list(range(70))


def test_the_dimension_is_that_of_the_argument_or_the_first_document(make_index):
    assert make_index(dim=8).dim == 8
    with pytest.raises(DimensionMismatch, match=r"document 'a' has shape \(3, 8\), expected \(num_tokens, 16\)"):
        Exact(dim=16).add_documents("a", DOCUMENTS[0])
    assert Exact().dim is None
    assert Exact().add_documents("a", DOCUMENTS[0]).dim == 8


def test_a_generator_larger_than_memory_can_be_added_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("serotine.indexes.chunks.CHUNK_VALUES", 1 << 16)
    num_documents, document = 64, np.ones((1024, 64), dtype=np.float32)  # 256 KiB each, 16 MiB together
    index = Exact(tmp_path, "index")
    tracemalloc.start()
    index.add_documents(range(num_documents), (document.copy() for _ in range(num_documents)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(index) == num_documents
    assert peak < 3 << 20
