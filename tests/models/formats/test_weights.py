"""Safetensors are read, pickles refused unless allowed, and what a pickle would run is never run."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from serotine.errors import CorruptModel, UntrustedModel
from serotine.models import ColBERT
from serotine.models.formats import Source
from serotine.models.formats.weights import find_weights, load_pickle

from .conftest import Copy


class Payload:
    """What a pickle calls when it is read without restrictions."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_the_payload_of_these_tests_would_run(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Payload(tmp_path / "executed")))  # noqa: S301 - our own bytes
    assert (tmp_path / "executed").exists()


def test_one_file_and_shards_are_found(tmp_path: Path, originals: Copy) -> None:
    save_file({"a": torch.arange(6.0).reshape(2, 3)}, str(tmp_path / "model.safetensors"))
    found = find_weights(Source(str(tmp_path)))
    assert found.tensors["a"].shape == (2, 3)
    assert torch.equal(found.read("a"), torch.arange(6.0).reshape(2, 3))
    shards = find_weights(Source(str(originals("stanford-sharded"))))
    whole = find_weights(Source(str(originals("stanford"))))
    assert shards.tensors == whole.tensors
    assert len({*shards.files.values()}) == 3
    assert torch.equal(shards.read("linear.weight"), whole.read("linear.weight"))


def test_a_missing_shard_is_named(fresh: Copy) -> None:
    folder = fresh("stanford-sharded")
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(CorruptModel, match=r"model-00002-of-00003\.safetensors is missing"):
        ColBERT(str(folder))


@pytest.mark.parametrize("content", ['{"weight_map": {"a": "../x"}}', '{"weight_map": []}', "{}", "[]"])
def test_an_index_names_files_of_the_model(content: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(CorruptModel):
        find_weights(Source(str(tmp_path)))


@pytest.mark.parametrize("name", ["pylate", "stanford"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_pickle_with_a_payload_is_refused_and_not_run(name: str, whole: bool, fresh: Copy, tmp_path: Path) -> None:
    folder, executed = fresh(name), tmp_path / "executed"
    (folder / "model.safetensors").unlink()
    if whole:
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(executed)))
    else:
        torch.save({"linear.weight": torch.zeros(2), "other": Payload(executed)}, folder / "pytorch_model.bin")
    with pytest.raises(UntrustedModel, match=rf"python -m serotine.models.formats.convert {folder}"):
        ColBERT(str(folder), device="cpu")
    with pytest.raises((UntrustedModel, CorruptModel), match=r"names functions to call|expected weights that torch"):
        ColBERT(str(folder), device="cpu", allow_pickled_weights=True)
    assert not executed.exists()


def test_a_payload_in_a_projection_is_refused_and_not_run(fresh: Copy, tmp_path: Path) -> None:
    folder = fresh("pylate")
    (folder / "1_Dense" / "model.safetensors").unlink()
    torch.save({"linear.weight": Payload(tmp_path / "executed")}, folder / "1_Dense" / "pytorch_model.bin")
    with pytest.raises(UntrustedModel, match="1_Dense"):
        ColBERT(str(folder), device="cpu")
    with pytest.raises(UntrustedModel, match="names functions to call"):
        ColBERT(str(folder), device="cpu", allow_pickled_weights=True)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["pylate", "stanford"])
def test_pickled_weights_are_read_when_allowed(name: str, fresh: Copy, originals: Copy) -> None:
    folder = fresh(name)
    weights = find_weights(Source(str(folder)))
    torch.save({tensor: weights.read(tensor) for tensor in weights.tensors}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    allowed = ColBERT(str(folder), device="cpu", allow_pickled_weights=True)
    expected = ColBERT(str(originals(name)), device="cpu")
    assert torch.equal(allowed.encode_document("the bat"), expected.encode_document("the bat"))


@pytest.mark.parametrize("content", [b"", b"abc", b"\x80\x04N.", bytes(100)])
def test_what_is_no_state_dict_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(CorruptModel, match=r"pytorch_model\.bin: expected"):
        load_pickle(tmp_path / "pytorch_model.bin")


def test_other_things_than_tensors_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1), "b": "text"}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CorruptModel, match="expected a dict of tensors"):
        load_pickle(tmp_path / "pytorch_model.bin")
