"""A header says what is in a safetensors file, or is refused before anything else is read."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from serotine._model_files import MAX_HEADER_BYTES, TensorInfo, read_header
from serotine.errors import CorruptModel


def written(path: Path, header: Any, numbers: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + numbers)
    return path


def test_tensors_of_every_kind_are_listed(tmp_path: Path) -> None:
    tensors = {
        "half": torch.zeros(2, 3, dtype=torch.float16),
        "brain": torch.zeros(4, dtype=torch.bfloat16),
        "none": torch.zeros(0, 5),
        "one": torch.tensor(1.0),
        "truth": torch.tensor([True]),
        "tiny": torch.zeros(3, dtype=torch.float8_e4m3fn),
    }
    save_file(tensors, str(tmp_path / "model.safetensors"), metadata={"format": "pt"})
    found = read_header(tmp_path / "model.safetensors")
    assert {name: info.shape for name, info in found.items()} == {name: tuple(t.shape) for name, t in tensors.items()}
    assert found["half"] == TensorInfo("F16", (2, 3))


def test_a_header_of_200_mb_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 200 << 20))
        file.truncate(8 + (200 << 20))
    with pytest.raises(CorruptModel, match=f"at most {MAX_HEADER_BYTES} bytes, found {200 << 20}"):
        read_header(path)


ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "numbers"),
    [
        (b"0123456789", b""),
        ([], b""),
        ({"a": 5}, b""),
        ({"a": {**ONE, "dtype": "F31"}}, bytes(8)),
        ({"a": {**ONE, "shape": [-2]}}, bytes(8)),
        ({"a": {**ONE, "shape": ["2"]}}, bytes(8)),
        ({"a": {**ONE, "shape": [3]}}, bytes(8)),
        ({"a": {**ONE, "data_offsets": [0]}}, bytes(8)),
        ({"a": {**ONE, "data_offsets": [1, 9]}}, bytes(9)),
        ({"a": ONE, "b": ONE}, bytes(8)),
        ({"a": ONE, "b": {**ONE, "data_offsets": [9, 17]}}, bytes(17)),
        ({"a": ONE}, bytes(7)),
        ({"a": ONE}, bytes(9)),
        ({"a": {**ONE, "shape": [2**62, 2**62], "data_offsets": [0, 2**126]}}, bytes(8)),
        (b'{"a":' * 5000, b""),
    ],
)
def test_a_header_that_does_not_describe_its_file_is_refused(header: Any, numbers: bytes, tmp_path: Path) -> None:
    with pytest.raises(CorruptModel):
        read_header(written(tmp_path / "model.safetensors", header, numbers))


@pytest.mark.parametrize("content", [b"", b"1234567", struct.pack("<Q", 5), struct.pack("<Q", 2**63) + b"{}"])
def test_a_file_shorter_than_its_header_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CorruptModel, match="expected a safetensors file"):
        read_header(tmp_path / "model.safetensors")


@given(position=st.integers(0, 199), value=st.integers(0, 255))
def test_any_byte_may_be_wrong(tmp_path_factory: pytest.TempPathFactory, position: int, value: int) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "model.safetensors"
    content = bytearray(save({"a": torch.zeros(3, 4), "b": torch.ones(2)}))
    content[position % len(content)] = value
    path.write_bytes(content)
    try:
        found = read_header(path)
    except CorruptModel:
        return
    assert len(found) == 2  # a byte of a name or a number, or the same one
