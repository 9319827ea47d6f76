"""The command that a refused pickle names makes it loadable, and converts nothing that is more than tensors."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from serotine.errors import InvalidInput, UntrustedModel
from serotine.models import ColBERT
from serotine.models.formats import Source
from serotine.models.formats.convert import convert, main
from serotine.models.formats.weights import find_weights

from .conftest import Copy
from .test_weights import Payload


def pickled(folder: Path) -> None:
    """Replace the weights in a folder by a pickle."""
    weights = find_weights(Source(str(folder)))
    torch.save({name: weights.read(name) for name in weights.tensors}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def test_a_converted_model_is_the_one_that_was_pickled(
    fresh: Copy, originals: Copy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fresh("pylate")
    pickled(folder)
    pickled(folder / "1_Dense")
    monkeypatch.setattr(sys, "argv", ["convert", str(folder)])
    main()
    assert [line.split("/")[-1] for line in capsys.readouterr().out.splitlines()] == ["model.safetensors"] * 2
    expected = ColBERT(str(originals("pylate")), device="cpu").encode_document("the bat")
    assert torch.equal(ColBERT(str(folder), device="cpu").encode_document("the bat"), expected)
    assert not list(folder.rglob("*.tmp"))


def test_shards_and_their_index_are_converted(tmp_path: Path) -> None:
    for number in (1, 2):
        torch.save({f"tensor{number}": torch.full((2,), float(number))}, tmp_path / f"pytorch_model-0000{number}.bin")
    index = {"weight_map": {f"tensor{number}": f"pytorch_model-0000{number}.bin" for number in (1, 2)}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert len(convert(tmp_path)) == 3
    found = find_weights(Source(str(tmp_path)))
    assert found.read("tensor2").tolist() == [2, 2]


def test_tensors_that_share_memory_are_converted(tmp_path: Path) -> None:
    tied = torch.arange(4.0)
    torch.save({"a": tied, "b": tied, "c": tied[:2]}, tmp_path / "pytorch_model.bin")
    convert(tmp_path)
    assert find_weights(Source(str(tmp_path))).read("c").tolist() == [0, 1]


def test_a_payload_is_neither_run_nor_converted(tmp_path: Path) -> None:
    torch.save({"a": Payload(tmp_path / "executed")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UntrustedModel):
        convert(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pytorch_model.bin"]


def test_a_folder_without_pickles_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="there is no pytorch_model"):
        convert(tmp_path)
    monkeypatch.setattr(sys, "argv", ["convert", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"serotine: .*there is no pytorch_model\.bin"):
        main()
    monkeypatch.setattr(sys, "argv", ["convert"])
    with pytest.raises(SystemExit, match="usage"):
        main()
