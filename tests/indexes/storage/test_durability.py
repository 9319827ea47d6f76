"""Proves that a change of an index on disk is all or nothing, wherever its process dies and whatever call fails."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import sys

import numpy as np
import pytest

from serotine import indexes
from serotine.errors import CommitFailed
from serotine.indexes import Exact
from serotine.indexes.tokens import search
from tests.indexes.samples import state, texts
from tests.indexes.storage.faults import FileSystem, dies_at

DOCUMENTS = texts([3, 1, 4, 1, 5, 9, 2, 6, 0, 3], dim=4)

CHANGES = {
    "add": lambda index: index.add_documents(["x", "y"], DOCUMENTS[8:10]),
    "add that merges": lambda index: index.add_documents(["z"], DOCUMENTS[:1]),
    "update": lambda index: index.update_documents(["b", "n"], DOCUMENTS[8:10]),
    "remove": lambda index: index.remove_documents("b"),
    "remove that rewrites": lambda index: index.remove_documents(["a", "b", "c"]),
    "remove everything": lambda index: index.remove_documents(["a", "b", "c", "d", "e", "f"]),
}


Kind: type = Exact
"""The class under test; `each_kind` sets it."""


@pytest.fixture(params=["Exact", "Voyager"], autouse=True)
def each_kind(request, monkeypatch):
    """Each test runs for plain segments, and for segments with files that a library of neighbours made."""
    if request.param == "Voyager":
        pytest.importorskip("voyager")
        monkeypatch.setattr(search, "SCAN_TOKENS", 2)
    monkeypatch.setattr(sys.modules[__name__], "Kind", getattr(indexes, request.param))


def filled(folder):
    """An index of three segments in one of which a document is removed."""
    index = Kind(folder, "index").add_documents(["a", "b", "c", "gone"], DOCUMENTS[:4])
    index.add_documents(["d"], DOCUMENTS[4:5]).add_documents(["e"], DOCUMENTS[5:6])
    return index.add_documents(["f"], DOCUMENTS[6:7]).remove_documents("gone")


@pytest.fixture(autouse=True)
def no_flushing(monkeypatch):
    """Flushing takes milliseconds and is without effect on what another process of this machine sees."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def folders(tmp_path):
    """A function that copies a filled index to a fresh folder, and the states of it before and after a change."""
    original = filled(tmp_path / "original")
    before = state(original)
    count = iter(range(10**6))

    def fresh():
        folder = tmp_path / str(next(count))
        shutil.copytree(tmp_path / "original", folder)
        return folder

    return fresh, before


def after(folder, change):
    return state(change(Kind(folder, "index")))


def files_that_count(folder):
    index = Kind(folder, "index")
    return set(index._store._reader.state().manifest.names()) | {"manifest", "lock"}


@pytest.mark.parametrize("name", CHANGES)
def test_a_process_that_dies_at_any_step_leaves_the_old_state_or_the_new_one(folders, name):
    fresh, before = folders
    change = CHANGES[name]
    new = after(fresh(), change)
    assert new != before
    seen, step = [], 1
    while True:
        folder = fresh()
        index = Kind(folder, "index")
        if not dies_at(step, lambda index=index: change(index)):
            break
        for reader in (index, Kind(folder, "index")):  # one that was open at the crash, and one opened since
            assert state(reader) in (before, new), f"a mix after step {step}"
        seen.append(state(index) == new)
        index.check()
        if not seen[-1]:
            assert state(change(index)) == new  # the lock is free, and what the crash left does not disturb
        else:
            index.add_documents("later", DOCUMENTS[:1])
        assert set(os.listdir(folder / "index")) == files_that_count(folder)  # no garbage either
        step += 1
    assert step > 8  # write, fsync of file, folder and manifest, rename ... were all met
    assert seen == sorted(seen)  # old before some step, new from it on
    assert False in seen
    assert True in seen


def test_a_process_that_dies_while_making_an_index_leaves_none_or_an_empty_one(tmp_path):
    step = 1
    while dies_at(step, lambda folder=tmp_path / f"{step}" / "deep": Kind(folder, "index")):
        index = Kind(tmp_path / f"{step}" / "deep", "index")
        assert state(index) == []
        assert len(index.add_documents(["a"], DOCUMENTS[:1])) == 1
        step += 1
    assert step > 8


def test_a_process_that_dies_while_replacing_an_index_leaves_the_old_one_or_the_new_one(folders):
    fresh, before = folders

    def override(folder):
        return Kind(folder, "index", override=True, dtype="float16").add_documents(["new"], DOCUMENTS[:1])

    new = state(override(fresh()))
    step, seen = 1, []
    while True:
        folder = fresh()
        if not dies_at(step, lambda folder=folder: override(folder)):
            break
        seen.append(state(Kind(folder, "index")))
        assert seen[-1] in (before, new)
        assert state(override(folder)) == new
        assert set(os.listdir(folder / "index")) == files_that_count(folder)
        step += 1
    assert before in seen
    assert new in seen


def failure_of(change, index):
    """Message of the CommitFailed that a change raises, empty if it succeeds."""
    try:
        change(index)
    except CommitFailed as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_system_call_that_fails_at_any_step_leaves_the_index_as_it_was(folders, name, code):
    fresh, before = folders
    change = CHANGES[name]
    new = after(fresh(), change)

    def refuse_with_code(_):
        raise OSError(code, os.strerror(code))

    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    num_refused, num_unknown, step = 0, 0, 1
    while True:
        folder = fresh()
        index = Kind(folder, "index")
        with pytest.MonkeyPatch.context() as patch:
            system = FileSystem(at=step, act=refuse_with_code).install(patch)
            failure = failure_of(change, index)
            is_unknown = "is unknown" in failure
            if not is_unknown:
                assert state(index) == (before if failure else new)
            assert os.strerror(code) in failure or not failure
            num_refused += bool(failure)
            num_unknown += is_unknown
        if step > len(system.log):
            break
        assert state(Kind(folder, "index")) in (before, new)
        if is_unknown:
            with pytest.raises(CommitFailed, match="open the index again"):
                index.add_documents("later", DOCUMENTS[:1])
            index = Kind(folder, "index")
        if state(index) == before:
            change(index)
        assert state(index) == new
        step += 1
    assert num_refused > 5
    assert num_unknown == 1  # the last flush, after the new state took effect
    del index
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == descriptors  # nothing is left open


@pytest.mark.parametrize("name", CHANGES)
def test_everything_that_a_manifest_names_is_durable_before_the_manifest_is(folders, name, monkeypatch):
    folder = folders[0]()
    index = Kind(folder, "index")
    old = index._store._reader.state().manifest.names()
    log = FileSystem().install(monkeypatch).log
    CHANGES[name](index)
    new = index._store._reader.state().manifest.names() - old
    renamed = log.index(("replace", "manifest"))
    last_change = max([log.index(("create", file)) for file in new], default=0)
    for file in [*new, "manifest.tmp"]:
        last_write = max(i for i, entry in enumerate(log) if entry == ("write", file))
        assert last_write < log.index(("fsync", file)) < renamed
    assert ("fsync", "index") in log[last_change:renamed]  # the names of the new files
    assert ("fsync", "index") in log[renamed:]  # the name of the manifest: here the promise is given
    assert not [file for operation, file in log[:renamed] if operation == "unlink" and file in old]


def with_power_lost_before_the_flush(folder, manifest):
    """The index when the newest manifest's rename was lost: the one before is back, and what was deleted is not."""
    (folder / "index" / "manifest").write_bytes(manifest)
    index = Kind(folder, "index")
    index.check()
    return index


def last_flush(change, folder):
    """Number of the step of a change at which it flushes the folder after the rename."""
    with pytest.MonkeyPatch.context() as patch:
        log = FileSystem().install(patch).log
        change(Kind(folder, "index"))
    return max(number for number, entry in enumerate(log, 1) if entry == ("fsync", "index"))


def refuse(_):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("name", CHANGES)
def test_after_a_change_of_unknown_outcome_the_state_before_can_still_come_back(folders, name):
    fresh, before = folders
    folder = fresh()
    step = last_flush(CHANGES[name], fresh())
    manifest = (folder / "index" / "manifest").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        FileSystem(at=step, act=refuse).install(patch)
        assert "is unknown" in failure_of(CHANGES[name], Kind(folder, "index"))
    assert state(with_power_lost_before_the_flush(folder, manifest)) == before


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("is_refused", [False, True], ids=["flushed", "flush refused"])
def test_what_a_dead_writer_left_is_deleted_only_once_its_manifest_is_durable(folders, name, is_refused):
    fresh, before = folders
    folder = fresh()
    step = last_flush(CHANGES[name], fresh())
    manifest = (folder / "index" / "manifest").read_bytes()
    kept = Kind(folder, "index")._store._reader.state().manifest.names()
    assert dies_at(step, lambda: CHANGES[name](Kind(folder, "index")))
    assert (folder / "index" / "manifest").read_bytes() != manifest
    with pytest.MonkeyPatch.context() as patch:
        log = FileSystem(at=2 if is_refused else 0, act=refuse).install(patch).log
        index = Kind(folder, "index")
        for _ in range(2):  # a flush that failed may succeed the next time, and wrongly
            index.remove_documents("unknown")
    assert log[1] == ("fsync", "index")
    if is_refused:
        assert state(with_power_lost_before_the_flush(folder, manifest)) == before
    else:
        assert ("fsync", "index") in log[: min(log.index(("unlink", file)) for file in kept if ("unlink", file) in log)]


def test_the_folders_of_a_new_index_are_durable(tmp_path, monkeypatch):
    log = FileSystem().install(monkeypatch).log
    Kind(tmp_path / "a" / "b", "index")
    for parent, folder in ((tmp_path.name, "a"), ("a", "b"), ("b", "index")):
        assert ("fsync", parent) in log[log.index(("mkdir", folder)) :]


def test_a_failed_first_add_leaves_an_empty_index(tmp_path, monkeypatch):
    index = Kind(tmp_path, "index")
    with monkeypatch.context() as patch:
        FileSystem(at=5, act=lambda _: os.stat("/nowhere/at/all")).install(patch)
        with pytest.raises(CommitFailed, match="The index is unchanged"):
            index.add_documents("a", DOCUMENTS[0])
    assert index.dim is None
    assert sorted(os.listdir(tmp_path / "index")) == ["lock", "manifest"]
    assert len(index.add_documents("a", np.ones((2, 9)))) == 1
