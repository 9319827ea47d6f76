"""Proves that the changes of a writer become one commit, or none."""

from __future__ import annotations

import numpy as np
import pytest

from serotine.errors import DuplicateDocument, IndexLocked, InvalidInput, UnknownDocument
from serotine.indexes import PLAID
from tests.indexes.samples import state

ONE = np.ones((2, 4), dtype=np.float32)


@pytest.fixture(params=["in memory", "on disk"])
def index(request, tmp_path):
    place = (None, None) if request.param == "in memory" else (tmp_path, "index")
    return PLAID(*place, lock_timeout_s=0.05).add_documents(["a", "b"], [ONE, 2 * ONE])


def test_many_changes_are_one_commit(index):
    with index.writer() as writer:
        for number in range(20):
            writer.add_documents([number], [number * ONE])
        writer.remove_documents(["a", 3]).update_documents(["b", "c"], [3 * ONE, 4 * ONE])
        assert index.documents_ids() == ["a", "b"]
    assert index.generation == 2
    assert index.documents_ids() == [*(n for n in range(20) if n != 3), "b", "c"]
    np.testing.assert_array_equal(index.get_documents_embeddings("b")[0], 3 * ONE)


def test_an_error_leaves_the_index_as_it_was(index):
    def change():
        with index.writer() as writer:
            writer.add_documents("c", ONE).remove_documents("a")
            _ = 1 / 0

    before = state(index)
    with pytest.raises(ZeroDivisionError):
        change()
    assert state(index) == before
    assert index.generation == 1
    assert len(index.add_documents("c", ONE)) == 3  # the lock is free


def test_nothing_changed_is_no_commit(index):
    with index.writer():
        pass
    with index.writer() as writer:
        writer.remove_documents("unknown")
    assert index.generation == 1


def test_the_writer_knows_what_it_has_staged(index):
    with index.writer() as writer:
        writer.add_documents("c", ONE)
        with pytest.raises(DuplicateDocument, match="'c' is in the index already"):
            writer.add_documents(["d", "c"], [ONE, ONE])
        with pytest.raises(DuplicateDocument, match="'b'"):
            writer.add_documents("b", ONE)
        writer.remove_documents(["b", "c"], missing_ok=False)
        with pytest.raises(UnknownDocument, match="'c'"):
            writer.remove_documents("c", missing_ok=False)
        writer.add_documents("b", 5 * ONE)
    assert index.documents_ids() == ["a", "b"]
    np.testing.assert_array_equal(index.get_documents_embeddings("b")[0], 5 * ONE)


def test_a_change_that_fails_half_way_ends_the_writer(index):
    def change():
        with index.writer() as writer:
            with pytest.raises(InvalidInput, match="document 'y'"):
                writer.add_documents(["x", "y"], [ONE, np.nan * ONE])
            with pytest.raises(InvalidInput, match="failed half way"):
                writer.add_documents("z", ONE)

    before = state(index)
    with pytest.raises(InvalidInput, match="failed half way"):
        change()
    assert state(index) == before
    assert len(index.add_documents("x", ONE)) == 3


def test_a_writer_keeps_others_out_until_it_ends(index):
    with index.writer() as writer:
        writer.add_documents("c", ONE)
        with pytest.raises(IndexLocked, match="waited"):
            index.remove_documents("a")
        with pytest.raises(IndexLocked), index.writer():
            pass
    assert index.documents_ids() == ["a", "b", "c"]


def test_a_long_wait_for_the_lock_says_how_long_it_was(tmp_path):
    index = PLAID(tmp_path, "index", lock_timeout_s=1.2)
    with index.writer(), pytest.raises(IndexLocked, match=r"last of 2 waits, 1\.2 s in all"):
        index.add_documents("a", ONE)


def test_a_writer_works_only_inside_its_with_statement(index):
    writer = index.writer()
    with pytest.raises(InvalidInput, match="inside a with statement"):
        writer.add_documents("c", ONE)
    with writer, pytest.raises(InvalidInput, match="in use"), writer:
        pass
    with pytest.raises(InvalidInput, match="inside a with statement"):
        writer.remove_documents("a")


def test_one_width_holds_for_all_documents_of_a_writer(tmp_path):
    index = PLAID(tmp_path, "index")
    with pytest.raises(InvalidInput), index.writer() as writer:
        writer.add_documents("a", ONE).add_documents("b", np.ones((2, 5)))
    assert len(index) == 0
    assert index.dim is None


def test_a_writer_can_replace_an_index(tmp_path):
    PLAID(tmp_path, "index").add_documents("old", ONE)
    replacing = PLAID(tmp_path, "index", override=True)
    with replacing.writer() as writer:
        writer.add_documents("old", 2 * ONE).add_documents("new", ONE)
    assert PLAID(tmp_path, "index").documents_ids() == ["old", "new"]


def test_optimizing_is_done_by_a_writer_of_its_own(index):
    with index.writer() as writer, pytest.raises(InvalidInput, match="staged changes"):
        writer.add_documents("c", ONE).optimize(retrain=False)
    for number in range(9):
        index.add_documents(number, ONE)
    index.remove_documents(range(5)).optimize()
    stats = index.stats()
    assert (stats.num_segments, stats.num_deleted_documents, stats.num_documents) == (1, 0, 7)
