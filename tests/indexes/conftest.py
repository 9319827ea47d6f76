"""What the tests of indexes share: indexes in memory and on disk, made fresh for each test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from serotine.indexes import PLAID, Exact, Index


@pytest.fixture(params=["in memory", "on disk"])
def make_index(request, tmp_path) -> Callable[..., Exact]:
    """A function that makes an empty index; the test runs once in memory and once on disk."""

    def make(**options) -> Exact:
        return Exact(**options) if request.param == "in memory" else Exact(tmp_path, "index", **options)

    return make


@pytest.fixture(params=["Exact in memory", "Exact on disk", "PLAID in memory", "PLAID on disk"])
def make_any_index(request, tmp_path) -> Callable[..., Index]:
    """The same for every kind of index; ``make_any_index.kind`` is the class."""
    name, _, place = request.param.partition(" ")
    kind = {"Exact": Exact, "PLAID": PLAID}[name]

    def make(**options) -> Index:
        return kind(*((None, None) if place == "in memory" else (tmp_path, "index")), **options)

    make.kind = kind
    return make


@pytest.fixture
def index(make_index) -> Index:
    return make_index()
