"""Proves that rows are added whole, and that a file of another evaluation is left alone."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from serotine.errors import StorageError
from serotine.evaluation.evaluators.csv_file import append_row


def test_the_header_is_written_once(tmp_path: Path) -> None:
    for row in ([1, 0.5], [2, 'a "quoted, comma"']):
        assert append_row(tmp_path / "new", "r.csv", ["epoch", "x"], row) == tmp_path / "new" / "r.csv"
    assert (tmp_path / "new" / "r.csv").read_text() == 'epoch,x\n1,0.5\n2,"a ""quoted, comma"""\n'


def test_a_file_with_other_columns_is_kept_and_the_rows_go_beside_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    append_row(tmp_path, "r.csv", ["epoch", "x"], [1, 2])
    with caplog.at_level(logging.WARNING):
        for row in ([1, 3], [2, 4]):
            append_row(tmp_path, "r.csv", ["epoch", "y"], row)
    assert (tmp_path / "r.csv").read_text() == "epoch,x\n1,2\n"
    assert (tmp_path / "r_2.csv").read_text() == "epoch,y\n1,3\n2,4\n"
    assert len(caplog.records) == 1


def test_a_file_that_cannot_be_written_is_an_error_that_leaves_what_there_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_row(tmp_path, "r.csv", ["x"], [1])

    def refuse(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(StorageError, match="disk full"):
        append_row(tmp_path, "r.csv", ["x"], [2])
    assert (tmp_path / "r.csv").read_text() == "x\n1\n"
