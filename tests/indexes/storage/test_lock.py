"""Proves that a lock file that came with somebody's folder does no harm; who waits for whom is in `test_folder`."""

from __future__ import annotations

import os

import pytest

from serotine.errors import CommitFailed
from serotine.indexes import Exact
from tests.indexes.samples import texts

DOCUMENTS = texts([3, 1], dim=4)


@pytest.fixture
def lock(tmp_path):
    """The lock of an index, deleted."""
    Exact(tmp_path, "index").add_documents("a", DOCUMENTS[0])
    (tmp_path / "index" / "lock").unlink()
    return tmp_path / "index" / "lock"


def assert_refused(lock, found):
    index = Exact(lock.parent.parent, "index")
    with pytest.raises(CommitFailed, match=f"could not lock .*/index/lock: expected a file or nothing, found {found}"):
        index.add_documents("b", DOCUMENTS[1])
    assert index.documents_ids() == ["a"]
    lock.unlink()
    assert len(index.add_documents("b", DOCUMENTS[1])) == 2


def test_a_link_in_the_place_of_the_lock_does_not_lead_a_writer_to_a_file_elsewhere(lock, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    lock.symlink_to("../precious")
    assert_refused(lock, "a symbolic link")
    assert precious.read_text() == "precious"


def test_a_link_in_the_place_of_the_lock_does_not_make_a_file_elsewhere(lock, tmp_path):
    lock.symlink_to(tmp_path / "new")
    assert_refused(lock, "a symbolic link")
    assert not (tmp_path / "new").exists()


@pytest.mark.timeout(10)
def test_a_pipe_in_the_place_of_the_lock_is_refused(lock):
    os.mkfifo(lock)
    assert_refused(lock, "a pipe")


def test_a_folder_in_the_place_of_the_lock_is_refused(lock):
    lock.mkdir()
    with pytest.raises(CommitFailed, match=r"could not open for writing .*/index/lock: Is a directory"):
        Exact(lock.parent.parent, "index").add_documents("b", DOCUMENTS[1])
