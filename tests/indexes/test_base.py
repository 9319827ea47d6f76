"""Proves what every index gets from the common interface, and that it cannot be left incomplete."""

from __future__ import annotations

import pytest

from serotine.indexes import Exact, Index


def test_an_index_must_implement_the_whole_interface():
    class Incomplete(Index):
        def __len__(self):
            return 0

    with pytest.raises(TypeError, match="add_documents"):
        Incomplete()


def test_leaving_the_context_closes_the_index_even_after_an_error():
    index = Exact()

    def fail():
        with index as same:
            assert same is index
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert "closed" in repr(index)
