"""Proves that maps of ids are read as plain values from both of PyLate's files; nothing is executed."""

from __future__ import annotations

import os
import pickle
import sqlite3

import numpy as np
import pytest

from serotine.errors import InvalidInput
from serotine.indexes.pylate.id_maps import PICKLE_NAME, SQLITE_NAME, read_id_map


class Runs:
    """A pickle of it runs a command where it is loaded by pickle.load."""

    def __reduce__(self):
        return os.system, ("touch executed",)


def write_pickle(folder, value, protocol=pickle.HIGHEST_PROTOCOL):
    (folder / PICKLE_NAME).write_bytes(pickle.dumps(value, protocol))


def write_sqlite(folder, rows, table="unnamed"):
    with sqlite3.connect(folder / SQLITE_NAME) as connection:
        connection.execute(f'CREATE TABLE "{table}" (key TEXT PRIMARY KEY, value BLOB)')
        connection.executemany(f'INSERT INTO "{table}" VALUES (?, ?)', rows)  # noqa: S608
    connection.close()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_of_any_protocol_is_read(tmp_path, protocol):
    write_pickle(tmp_path, {"b": 1, 7: 0, "é": 5}, protocol)
    assert list(read_id_map(tmp_path).items()) == [(0, 7), (1, "b"), (5, "é")]


def test_an_sqlite_file_is_read(tmp_path):
    write_sqlite(tmp_path, [("b", pickle.dumps(1)), ("7", pickle.dumps(0)), ("plain", 3)])
    assert read_id_map(tmp_path) == {0: "7", 1: "b", 3: "plain"}


def test_there_may_be_no_map(tmp_path):
    assert read_id_map(tmp_path) is None


@pytest.mark.parametrize("value", [Runs(), {"a": Runs()}, {"a": np.int64(1)}, {"a": print}], ids=repr)
@pytest.mark.parametrize("place", ["pickle", "sqlite"])
def test_what_names_anything_is_refused_and_not_executed(tmp_path, monkeypatch, value, place):
    monkeypatch.chdir(tmp_path)
    if place == "pickle":
        write_pickle(tmp_path, value)
    else:
        write_sqlite(tmp_path, [("a", pickle.dumps(value))])
    with pytest.raises(InvalidInput, match=r"names .* not looked up.*nothing in it was executed"):
        read_id_map(tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], "holds a list, expected a dict"),
        ({"a": "1"}, "number '1'"),
        ({"a": True}, "number True"),
        ({"a": -1}, "number -1"),
        ({"a": 1, "b": 1}, "'a' and 'b' share the number 1"),
        ({1.5: 0}, "got 1.5 of type float"),
        ({"": 0}, "0 bytes"),
    ],
)
def test_a_map_of_something_else_is_refused(tmp_path, value, message):
    write_pickle(tmp_path, value)
    with pytest.raises(InvalidInput, match=message):
        read_id_map(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps({"a": 1})[:-3], b"\x80\x05" * 50])
def test_a_damaged_pickle_is_refused(tmp_path, content):
    (tmp_path / PICKLE_NAME).write_bytes(content)
    with pytest.raises(InvalidInput, match="no pickle of plain dicts"):
        read_id_map(tmp_path)


def test_a_damaged_sqlite_file_is_refused(tmp_path):
    (tmp_path / SQLITE_NAME).write_bytes(b"no database" * 100)
    with pytest.raises(InvalidInput, match=r"no map of ids as PyLate before 1\.5 wrote it"):
        read_id_map(tmp_path)


def test_an_sqlite_file_of_another_table_is_refused(tmp_path):
    write_sqlite(tmp_path, [], table="other")
    with pytest.raises(InvalidInput, match="no such table"):
        read_id_map(tmp_path)
