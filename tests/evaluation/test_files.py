"""Proves that a file is replaced as a whole or not at all."""

import os
import stat

import pytest

from serotine.errors import StorageError
from serotine.evaluation._files import numbered_lines, write_lines


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "results"
    path.write_text("old\n")

    def lines():
        yield "new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_lines(path, lines())
    assert path.read_text() == "old\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["results"]


def test_a_failed_rename_is_a_storage_error_and_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "results"
    path.write_text("old\n")

    def refuse(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(StorageError, match="No space left on device"):
        write_lines(path, ["new"])
    assert path.read_text() == "old\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["results"]


def test_the_data_is_synced_before_the_rename_and_the_folder_after_it(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(descriptor):
        events.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "data")
        fsync(descriptor)

    def record_replace(source, target):
        events.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    write_lines(tmp_path / "results", ["line"])
    assert events == ["data", "rename", "folder"]


def test_a_written_file_has_the_mode_of_any_new_file(tmp_path):
    write_lines(tmp_path / "ours", [])
    (tmp_path / "plain").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_blank_lines_are_passed_over_but_counted(tmp_path):
    (tmp_path / "file").write_bytes("one\n\n  \r\nfour\u2028still four\r\nfive".encode())
    assert list(numbered_lines(tmp_path / "file")) == [(1, "one"), (4, "four\u2028still four"), (5, "five")]
