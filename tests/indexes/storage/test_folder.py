"""Proves what an index on disk promises to its readers and writers: what is seen, when, and what is refused."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from serotine.errors import (
    CommitFailed,
    CorruptIndex,
    DimensionMismatch,
    IndexLocked,
    IndexTooNew,
    InvalidInput,
    StorageError,
)
from serotine.indexes import Exact
from serotine.indexes.storage import folder_reader
from tests.indexes.samples import state, texts

DOCUMENTS = texts([3, 1, 4, 1, 5, 9, 2, 6, 0, 3], dim=4)
QUERY = texts([3], dim=4, seed=1)[0]


@pytest.fixture
def filled(tmp_path):
    return Exact(tmp_path, "index").add_documents(["a", 1, "c"], DOCUMENTS[:3]).remove_documents("c")


def test_an_index_that_is_opened_again_is_the_same(filled, tmp_path):
    again = Exact(tmp_path, "index")
    assert state(again) == state(filled)
    assert again(QUERY) == filled(QUERY)
    assert (again.dim, again.dtype) == (4, np.float32)


def test_folder_may_be_a_string_and_need_not_exist(tmp_path):
    Exact(str(tmp_path / "x" / "y"), "index").add_documents("a", DOCUMENTS[0])
    assert (tmp_path / "x" / "y" / "index" / "manifest").is_file()


def test_an_open_index_sees_what_others_commit_at_its_next_call(filled, tmp_path):
    other = Exact(tmp_path, "index")
    filled.add_documents("new", DOCUMENTS[3])
    assert "new" in other
    other.remove_documents("new").add_documents("newer", DOCUMENTS[4])
    assert filled.documents_ids() == ["a", 1, "newer"]


def test_two_objects_that_write_in_turn_lose_nothing(tmp_path):
    objects = [Exact(tmp_path, "index"), Exact(tmp_path, "index")]
    for number in range(20):
        objects[number % 2].add_documents(number, DOCUMENTS[number % 8])
    assert objects[0].documents_ids() == objects[1].documents_ids() == list(range(20))


def test_a_duplicate_added_by_another_object_is_noticed(filled, tmp_path):
    Exact(tmp_path, "index").add_documents("new", DOCUMENTS[3])
    with pytest.raises(InvalidInput, match="'new' is in the index already"):
        filled.add_documents("new", DOCUMENTS[3])


def test_a_copy_of_the_folder_is_a_backup(filled, tmp_path):
    shutil.copytree(tmp_path / "index", tmp_path / "copy")
    filled.remove_documents(["a", 1])
    assert Exact(tmp_path, "copy").documents_ids() == ["a", 1]


def test_vectors_are_mapped_and_not_loaded(filled):
    base = filled.get_documents_embeddings("a")[0]
    while isinstance(base, np.ndarray):
        base = base.base
    assert type(getattr(base, "obj", base)).__name__ == "mmap"


def test_override_keeps_the_old_index_until_the_first_change(filled, tmp_path):
    replacing = Exact(tmp_path, "index", override=True, dtype="float16")
    assert len(replacing) == 0
    assert filled.documents_ids() == ["a", 1]
    with pytest.raises(InvalidInput):
        replacing.add_documents("bad", np.full((1, 4), np.nan))
    assert filled.documents_ids() == ["a", 1]
    replacing.add_documents("new", np.ones((2, 7)))
    assert filled.documents_ids() == ["new"]
    assert (filled.dim, filled.dtype) == (7, np.float16)
    assert len(os.listdir(tmp_path / "index")) == 3  # the lock, the manifest and one segment


def test_override_makes_an_index_where_there_is_none(tmp_path):
    assert len(Exact(tmp_path, "index", override=True)) == 0


def test_override_replaces_a_damaged_index(filled, tmp_path):
    manifest = tmp_path / "index" / "manifest"
    manifest.write_bytes(manifest.read_bytes()[:-9])
    Exact(tmp_path, "index", override=True).add_documents("new", DOCUMENTS[0])
    assert Exact(tmp_path, "index").documents_ids() == ["new"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dtype": "float16"}, InvalidInput, "made with dtype='float32', but dtype='float16' was asked for"),
        ({"dim": 5}, DimensionMismatch, "dimension 4, but dim=5 was asked for"),
    ],
)
def test_an_index_is_not_opened_as_what_it_is_not(filled, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        Exact(tmp_path, "index", **options)
    assert len(Exact(tmp_path, "index", dtype="float32", dim=4)) == 2


def test_the_stored_dtype_holds_if_none_is_asked_for(tmp_path):
    Exact(tmp_path, "index", dtype="float16").add_documents("a", DOCUMENTS[0])
    again = Exact(tmp_path, "index").add_documents("b", DOCUMENTS[1])
    assert again.dtype == np.float16
    assert again.get_documents_embeddings("b")[0].dtype == np.float16


@pytest.mark.parametrize("override", [False, True])
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["thesis.txt"], "holds files of something else.*found thesis.txt.*choose another index_folder or index_name"),
        (["lock", "segment-00.bin", "vectors.npy"], "holds files of something else"),
        (["index.voyager", "document_ids_to_embeddings.sqlite"], "holds a Voyager index of PyLate's"),
        (["documents_ids_to_plaid_ids.pkl", "fast_plaid_index"], "holds a PLAID index of PyLate's.*from_pylate"),
        (["LOCK", "manifest-00000000000000000007", "segments"], "holds a PLAID index, .*open it with .*PLAID"),
    ],
)
def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path, names, message, override):
    (tmp_path / "index").mkdir()
    for name in names:
        (tmp_path / "index" / name).write_text("precious")
    with pytest.raises(InvalidInput, match=message) as caught:
        Exact(tmp_path, "index", override=override)
    assert str(tmp_path / "index") in str(caught.value)
    assert "backup" not in str(caught.value)
    assert sorted(os.listdir(tmp_path / "index")) == sorted(names)


@pytest.mark.parametrize("override", [False, True])
def test_a_manifest_that_is_none_is_damage_and_left_alone(tmp_path, override):
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "manifest").write_text("precious")
    with pytest.raises(CorruptIndex, match="expected an index with its manifest, or an empty folder") as caught:
        Exact(tmp_path, "index", override=override)
    assert caught.value.path == str(tmp_path / "index")
    assert (tmp_path / "index" / "manifest").read_text() == "precious"


def test_files_of_others_in_an_index_folder_are_left_alone(filled, tmp_path):
    (tmp_path / "index" / "README").write_text("precious")
    filled.add_documents("b", DOCUMENTS[3])
    assert Exact(tmp_path, "index").add_documents("d", DOCUMENTS[4]).documents_ids() == ["a", 1, "b", "d"]
    assert (tmp_path / "index" / "README").read_text() == "precious"


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "index").write_text("precious")
    with pytest.raises(StorageError, match="Not a directory"):
        Exact(tmp_path, "index")


def test_an_index_of_a_later_format_is_refused(filled, tmp_path):
    manifest = tmp_path / "index" / "manifest"
    manifest.write_bytes(manifest.read_bytes().replace(b"serotine-exact 1 ", b"serotine-exact 2 "))
    with pytest.raises(IndexTooNew, match="format version 2, this program reads up to 1"):
        Exact(tmp_path, "index")


def test_a_lost_manifest_is_not_taken_for_an_empty_index(filled, tmp_path):
    (tmp_path / "index" / "manifest").unlink()
    with pytest.raises(CorruptIndex, match="expected a file of the index"):
        filled(QUERY)
    with pytest.raises(CorruptIndex, match="segment-"):
        Exact(tmp_path, "index")


def test_a_lost_segment_is_noticed_when_the_index_is_opened(filled, tmp_path):
    lost = next((tmp_path / "index").glob("segment-*"))
    lost.unlink()
    with pytest.raises(CorruptIndex, match=lost.name):
        Exact(tmp_path, "index")


def test_a_reader_starts_again_if_a_writer_deletes_a_file_under_its_hands(filled, tmp_path, monkeypatch):
    reader = Exact(tmp_path, "index")
    filled.add_documents("b", DOCUMENTS[3])
    real = folder_reader.read_segment

    def too_late(*args, **kwargs):
        monkeypatch.setattr(folder_reader, "read_segment", real)
        filled.remove_documents("b")
        return real(*args, **kwargs)

    monkeypatch.setattr(folder_reader, "read_segment", too_late)
    assert reader.documents_ids() == ["a", 1]


def test_a_file_that_cannot_be_read_is_a_storage_error(filled, tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied", "a segment")

    monkeypatch.setattr(folder_reader, "read_segment", refused)
    with pytest.raises(StorageError, match="could not read a segment: Permission denied"):
        Exact(tmp_path, "index")


def test_a_second_writer_is_refused_after_the_timeout(filled, tmp_path):
    other = Exact(tmp_path, "index", lock_timeout_s=0.05)

    def during():
        yield DOCUMENTS[3]
        with pytest.raises(IndexLocked, match=f"process {os.getpid()}"):
            other.remove_documents("a")
        assert other.documents_ids() == ["a", 1]  # reading needs no lock
        yield DOCUMENTS[4]

    filled.add_documents(["b", "c"], during())
    assert other.remove_documents("a").documents_ids() == [1, "b", "c"]


def test_a_writer_waits_for_one_that_ends_in_time(filled, tmp_path):
    other = Exact(tmp_path, "index", lock_timeout_s=30)
    has_lock, may_end = threading.Event(), threading.Event()

    def slow():
        has_lock.set()
        may_end.wait(30)
        yield DOCUMENTS[3]

    first = threading.Thread(target=lambda: filled.add_documents(["b"], slow()))
    second = threading.Thread(target=lambda: other.add_documents(["d"], [DOCUMENTS[4]]))
    first.start()
    has_lock.wait(30)
    second.start()
    may_end.set()
    first.join()
    second.join()
    assert filled.documents_ids() == ["a", 1, "b", "d"]


def test_a_child_forked_during_a_change_does_not_keep_the_lock(filled):
    def forking():
        context = multiprocessing.get_context("fork")
        child = context.Process(target=threading.Event().wait, args=(30,))
        child.start()
        children.append(child)
        yield DOCUMENTS[3]

    children: list = []
    filled.add_documents("b", forking())
    try:
        assert len(filled.add_documents("d", DOCUMENTS[4])) == 4
    finally:
        children[0].kill()
        children[0].join()


def test_readers_never_see_a_mix_while_a_writer_works(tmp_path):
    """Each generation replaces all documents at once with vectors that carry its number."""
    ids = list(range(6))
    writer, reader = Exact(tmp_path, "index"), Exact(tmp_path, "index")
    writer.add_documents(ids, [np.full((2, 4), 0.0)] * 6)
    done, mixes, seen = threading.Event(), [], set()

    def read():
        while not done.is_set():
            hits = reader(np.ones((1, 4)))[0]
            generations = {hit["score"] for hit in hits}
            seen.update(generations)
            if len(hits) != 6 or len(generations) != 1:
                mixes.append(hits)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for generation in range(1, 40):
        writer.update_documents(ids, [np.full((2, 4), float(generation))] * 6)
    done.set()
    for thread in threads:
        thread.join()
    assert not mixes
    assert len(seen) > 1


@pytest.fixture
def as_nobody():
    """A folder that everyone may enter, and the rights of a user who owns nothing, if the test runs as root."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder), lambda: os.seteuid(65534) if os.geteuid() == 0 else None
        if os.getuid() == 0:
            os.seteuid(0)
        for path in [Path(folder), *Path(folder).rglob("*")]:
            path.chmod(0o755)


def test_a_read_only_index_can_be_searched_but_not_changed(as_nobody):
    folder, drop_rights = as_nobody
    Exact(folder, "index").add_documents(["a", "b"], DOCUMENTS[:2])
    for path in (folder / "index").iterdir():
        path.chmod(0o444)
    (folder / "index").chmod(0o555)
    drop_rights()
    index = Exact(folder, "index")
    assert len(index(QUERY)[0]) == 2
    with pytest.raises(CommitFailed, match=r"Permission denied\. The index is unchanged"):
        index.add_documents("c", DOCUMENTS[2])
    assert index.documents_ids() == ["a", "b"]


def test_an_index_cannot_be_made_in_a_read_only_folder(as_nobody):
    folder, drop_rights = as_nobody
    folder.chmod(0o555)
    drop_rights()
    with pytest.raises(CommitFailed, match=f"could not make the folder {folder}/index: Permission denied"):
        Exact(folder, "index")
