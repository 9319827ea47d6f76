"""What the tests of token indexes share: unit vectors, and each index with finders for small segments."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from serotine import indexes
from serotine.indexes import TokenIndex
from serotine.indexes.tokens import search

KINDS = ["Voyager", "ScaNN"]
PACKAGE = {"Voyager": "voyager", "ScaNN": "scann"}


def unit_texts(lengths, *, dim=16, seed=0, num_words=60):
    """Token vectors of length 1 around shared directions, as words give."""
    words = np.random.default_rng(99).standard_normal((num_words, dim))
    generator = np.random.default_rng(seed)
    found = []
    for length in lengths:
        vectors = words[generator.integers(0, num_words, length)] + 0.3 * generator.standard_normal((length, dim))
        found.append((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32))
    return found


@pytest.fixture
def small_scans(monkeypatch):
    """Segments of more than 64 tokens have a finder; it is asked whenever a quarter of them may be returned."""
    monkeypatch.setattr(search, "SCAN_TOKENS", 64)


def opener(name: str, folder) -> Callable[..., TokenIndex]:
    """A function that opens the index of a kind in a folder, or makes one in memory for None."""
    pytest.importorskip(PACKAGE[name])

    def make(**options) -> TokenIndex:
        if name == "ScaNN":
            return indexes.ScaNN("index", index_folder=folder, **options)
        return indexes.Voyager(folder, "index", num_threads=1, **options)

    return make


@pytest.fixture(params=[f"{kind} {place}" for kind in KINDS for place in ("in memory", "on disk")])
def make_index(request, tmp_path, small_scans) -> Callable[..., TokenIndex]:
    """A function that opens an index: each kind, in memory and on disk."""
    name, _, place = request.param.partition(" ")
    return opener(name, None if place == "in memory" else tmp_path)


@pytest.fixture(params=KINDS)
def open_index(request, tmp_path, small_scans) -> Callable[..., TokenIndex]:
    """A function that opens the same index on disk again and again; ``open_index.folder`` is where it lies."""
    make = opener(request.param, tmp_path)
    make.folder = tmp_path / "index"
    return make
