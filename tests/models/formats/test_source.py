"""Files of a model are found inside of it only, and read within a limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from serotine._model_files import MAX_JSON_BYTES
from serotine.errors import CorruptModel
from serotine.models.formats.source import Source


def test_a_file_is_found_and_one_that_is_not_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "1_Dense").mkdir()
    (tmp_path / "1_Dense" / "config.json").write_text('{"a": 1}')
    source = Source(str(tmp_path))
    assert source.path("config.json", "1_Dense") == tmp_path / "1_Dense" / "config.json"
    assert source.json("config.json", "1_Dense") == {"a": 1}
    assert source.path("config.json") is None
    assert source.json("config.json") is None
    with pytest.raises(CorruptModel, match=r"1_Dense/none\.json is missing"):
        source.required_json("none.json", "1_Dense")


@pytest.mark.parametrize("name", ["../secret.json", "/etc/passwd", "a/../../b", "..\\secret", "C:\\secret", 5, None])
def test_a_path_out_of_the_model_is_refused(name: object, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    (tmp_path / "model").mkdir()
    with pytest.raises(CorruptModel, match=r"points outside of it|expected the name of a file"):
        Source(str(tmp_path / "model")).path(name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "expected JSON, found"),
        (b"\xff\xfe\x00", "expected JSON, found"),
        (b"[" * 100_000, "expected JSON, found"),
        (b"[]", "expected a JSON dict, found a list"),
        (b"", "expected JSON, found"),
    ],
)
def test_what_is_no_json_object_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CorruptModel, match=message):
        Source(str(tmp_path)).json("config.json")


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(MAX_JSON_BYTES + 1)
    with pytest.raises(CorruptModel, match=f"at most {MAX_JSON_BYTES} bytes"):
        Source(str(tmp_path)).json("config.json")
