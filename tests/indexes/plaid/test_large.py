"""Proves that an index goes on beyond 4 GiB in one file. 10 GB of disk and minutes: `make test-large`."""

import os
from collections.abc import Iterator

import numpy as np
import pytest

from serotine.indexes import PLAID

DIM = 768
TOKENS_PER_DOCUMENT = 250
NUM_DOCUMENTS = 23_600
"""At 8 bits and 768 dimensions 4.5 GB of codes, in one segment."""

pytestmark = [
    pytest.mark.skipif("SEROTINE_LARGE" not in os.environ, reason="10 GB of disk and minutes: make test-large"),
    pytest.mark.timeout(3_600),
]


def documents(numbers: range) -> Iterator[np.ndarray]:
    """Windows of one pool of directions, each document's turned by its number: no two are alike."""
    pool = np.random.default_rng(0).standard_normal((50_000, DIM), dtype=np.float32)
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)
    pool = pool.astype(np.float16)
    for number in numbers:
        start = number * 37 % (len(pool) - TOKENS_PER_DOCUMENT)
        yield np.roll(pool[start : start + TOKENS_PER_DOCUMENT], number % DIM, axis=1)


def test_a_segment_beyond_four_gib_finds_returns_and_checks_its_last_documents(tmp_path):
    index = PLAID(tmp_path, "large", nbits=8, show_progress=False)
    index.add_documents(range(NUM_DOCUMENTS), documents(range(NUM_DOCUMENTS)))
    index.close()
    largest = max(file.stat().st_size for file in (tmp_path / "large" / "segments").iterdir())
    assert largest > 2**32

    index = PLAID(tmp_path, "large")
    assert len(index) == NUM_DOCUMENTS
    for number in (0, NUM_DOCUMENTS // 2, NUM_DOCUMENTS - 1):
        document = next(documents(range(number, number + 1)))
        found = index([document[:32].astype(np.float32)], k=3)[0]
        assert found[0]["id"] == number
        assert found[0]["score"] == pytest.approx(32, abs=0.1)
        stored = index.get_documents_embeddings([number])[0]
        similarity = np.sum(np.asarray(stored, dtype=np.float32) * document.astype(np.float32), axis=1)
        assert similarity.min() > 0.99
    index.check()
    index.remove_documents([NUM_DOCUMENTS - 1])
    assert len(PLAID(tmp_path, "large")) == NUM_DOCUMENTS - 1
