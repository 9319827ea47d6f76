"""Proves that any sequence of changes, searches and reopenings gives what a plain dict and the reference score give."""

from __future__ import annotations

import os
import shutil
import tempfile
from unittest import mock

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from serotine.errors import DuplicateDocument
from serotine.indexes import Exact
from serotine.indexes.exact import search
from serotine.indexes.storage import compaction
from tests.indexes.samples import assert_ranked, expected, texts

IDS = st.one_of(st.integers(-2, 8), st.sampled_from(["1", "2", "a", "é", "zz"]))
SOME_IDS = st.lists(IDS, max_size=6, unique=True)
SEEDS = st.integers(0, 10**6)


def vectors(ids, seed):
    """Small whole numbers, so that ties are frequent and sums exact."""
    generator = np.random.default_rng(seed)
    return [generator.integers(-2, 3, size=(generator.integers(0, 5), 3)).astype(np.float32) for _ in ids]


class ExactMachine(RuleBasedStateMachine):
    """An index in memory beside a dict, which keeps insertion order as the index promises to."""

    def __init__(self) -> None:
        super().__init__()
        self.model: dict = {}
        self.index = self.open()

    def open(self) -> Exact:
        return Exact(dim=3)

    @rule(ids=SOME_IDS, seed=SEEDS)
    def add(self, ids, seed):
        new = dict(zip(ids, vectors(ids, seed), strict=True))
        if self.model.keys() & new.keys():
            with pytest.raises(DuplicateDocument):
                self.index.add_documents(list(new), list(new.values()))
        else:
            self.index.add_documents(list(new), list(new.values()))
            self.model.update(new)

    @rule(ids=SOME_IDS, seed=SEEDS)
    def update(self, ids, seed):
        new = dict(zip(ids, vectors(ids, seed), strict=True))
        self.index.update_documents(list(new), iter(new.values()))
        for document_id in new:
            self.model.pop(document_id, None)
        self.model.update(new)

    @rule(ids=SOME_IDS)
    def remove(self, ids):
        self.index.remove_documents(ids)
        for document_id in ids:
            self.model.pop(document_id, None)

    @rule(k=st.integers(1, 6), seed=SEEDS, subset=st.none() | SOME_IDS)
    def search(self, k, seed, subset):
        queries = [np.round(query) for query in texts([2, 1, 3], dim=3, seed=seed)]
        known = [i for i in self.model if subset is None or i in subset]
        rankings = self.index(queries, k=k, subset=subset)
        assert_ranked(rankings, expected(known, [self.model[i] for i in known], queries, k))

    @invariant()
    def holds_what_the_dict_holds(self):
        assert self.index.documents_ids() == list(self.model)
        assert len(self.index) == len(self.model)
        for stored, known in zip(
            self.index.get_documents_embeddings(list(self.model)), self.model.values(), strict=True
        ):
            np.testing.assert_array_equal(stored, known)


class ExactOnDiskMachine(ExactMachine):
    """The same on disk, where the index may be opened again at any time and a second object looks on."""

    def open(self) -> Exact:
        if not hasattr(self, "folder"):
            self.folder = tempfile.mkdtemp()
            self.watcher = Exact(self.folder, "index")
        return Exact(self.folder, "index", dim=3)

    @precondition(lambda self: self.model)
    @rule()
    def reopen(self):
        self.index.close()
        self.index = self.open()
        self.index.check()

    @invariant()
    def others_see_the_same(self):
        assert self.watcher.documents_ids() == list(self.model)

    def teardown(self):
        shutil.rmtree(self.folder)


@pytest.mark.parametrize(("machine", "num_examples"), [(ExactMachine, 60), (ExactOnDiskMachine, 25)])
def test_an_index_is_a_dict_with_exact_search(machine, num_examples):
    with (
        mock.patch.object(search, "BLOCK_TOKENS", 5),
        mock.patch.object(search, "MAX_SCORES", 4),
        mock.patch.object(compaction, "CHUNK_VALUES", 12),
        mock.patch.object(os, "fsync"),  # slow, and not what is proved here
    ):
        case = machine.TestCase
        case.settings = settings(max_examples=num_examples, stateful_step_count=25, deadline=None)
        case().runTest()
