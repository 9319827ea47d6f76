"""What the tests of indexes share: an index in memory and one on disk, made fresh for each test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from serotine.indexes import Exact


@pytest.fixture(params=["in memory", "on disk"])
def make_index(request, tmp_path) -> Callable[..., Exact]:
    """A function that makes an empty index; the test runs once in memory and once on disk."""

    def make(**options) -> Exact:
        return Exact(**options) if request.param == "in memory" else Exact(tmp_path, "index", **options)

    return make


@pytest.fixture
def index(make_index) -> Exact:
    return make_index()
