"""A model exported to ONNX or OpenVINO gives the token vectors that it gives in torch.

The packages that export and run such models follow new versions of transformers late: where they cannot be imported
beside the installed one, the tests are skipped and say why.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from serotine.errors import CorruptModel, InvalidInput, MissingExtra
from serotine.models import ColBERT
from tests.golden.checkpoints import build
from tests.golden.texts import texts

RUNTIMES = {
    "onnx": ("optimum.onnxruntime", "ORTModelForFeatureExtraction"),
    "openvino": ("optimum.intel", "OVModelForFeatureExtraction"),
}

# By default OpenVINO computes in bfloat16 where the processor can: 6e-3 from float32.
PRECISION = {"onnx": {}, "openvino": {"ov_config": {"INFERENCE_PRECISION_HINT": "f32"}}}


def needs(backend: str) -> None:
    module, name = RUNTIMES[backend]
    try:
        getattr(importlib.import_module(module), name)
    except Exception as error:
        pytest.skip(f"{module} cannot be imported beside the installed transformers: {error}")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pylate", "stanford", "pylate-distilbert"])
@pytest.mark.parametrize("backend", RUNTIMES)
def test_an_exported_model_has_the_token_vectors_of_torch(backend: str, name: str, tmp_path: Path) -> None:
    needs(backend)
    folder = build(name, tmp_path / name)
    options = {"device": "cpu", "backend": backend, "model_kwargs": PRECISION[backend]}
    exported = ColBERT(str(folder), **options)
    given = texts(24)
    golden = np.load(Path(__file__).parents[1] / "golden" / "pylate" / f"{name}.npz")
    for side, lengths, is_query in (("queries", "query_lengths", True), ("documents", "document_lengths", False)):
        mine = exported.encode(given, is_query=is_query, packed=True)
        count = int(golden[lengths][: len(given)].sum())
        assert mine.lengths.tolist() == golden[lengths][: len(given)].tolist()
        assert np.abs(mine.values - golden[side][:count]).max() < 1e-4
    exported.save(str(tmp_path / "saved"), create_model_card=False)
    again = ColBERT(str(tmp_path / "saved"), **options)
    np.testing.assert_allclose(again.encode("the bat"), exported.encode("the bat"), atol=1e-6)


@pytest.mark.parametrize("backend", RUNTIMES)
def test_a_backend_that_is_not_installed_names_its_extra(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optimum", None)
    folder = build("pylate", tmp_path / "model")
    with pytest.raises(MissingExtra, match=rf"pip install 'serotine\[{backend}\]'"):
        ColBERT(str(folder), device="cpu", backend=backend)


@pytest.mark.slow
def test_an_exported_model_gets_no_new_words(tmp_path: Path) -> None:
    needs("openvino")
    folder = build("pylate", tmp_path / "model")
    with pytest.raises(InvalidInput, match="cannot be given more words"):
        ColBERT(str(folder), device="cpu", backend="openvino", query_prefix="[new]")


def test_an_unknown_backend_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="'torch', 'onnx' or 'openvino', got 'abacus'"):
        ColBERT(str(build("pylate", tmp_path / "model")), device="cpu", backend="abacus")


@pytest.mark.parametrize("backend", RUNTIMES)
def test_without_weights_or_an_export_nothing_is_loaded(backend: str, tmp_path: Path) -> None:
    folder = build("pylate", tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CorruptModel, match=r"model\.safetensors is missing"):
        ColBERT(str(folder), device="cpu", backend=backend)
