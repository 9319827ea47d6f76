"""Proves that low-rank adapters train, are saved, and are loaded again, by the plain class too."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers import MultiVectorEncoder

from serotine.errors import InvalidInput
from serotine.losses import Contrastive
from serotine.models import ColBERT
from tests.training.conftest import trainer_of, triplets, weights_of, without_dropout


@pytest.fixture
def config():
    peft = pytest.importorskip("peft", reason="peft is not installed")
    from transformers.integrations.peft import MIN_PEFT_VERSION
    from transformers.utils.peft_utils import check_peft_version

    try:
        check_peft_version(min_version=MIN_PEFT_VERSION)
    except ValueError:
        pytest.skip(f"transformers asks for peft {MIN_PEFT_VERSION}, peft {peft.__version__} is installed")
    return peft.LoraConfig(r=4, lora_alpha=8, target_modules=["query", "value"])


def test_an_adapter_trains_alone_and_is_saved_and_loaded(model, config, tmp_path):
    model.save_pretrained(str(tmp_path / "base"))
    model = without_dropout(ColBERT(str(tmp_path / "base"), device="cpu"))
    model.add_adapter(config)
    before = weights_of(model)
    trainer = trainer_of(
        model, Contrastive(model), triplets(), tmp_path, save_strategy="epoch", eval_strategy="epoch",
        load_best_model_at_end=True, num_train_epochs=3, trainer_options={"eval_dataset": triplets()},
    )  # fmt: skip
    trainer.train()
    changed = {name for name, value in weights_of(model).items() if not torch.equal(value, before[name])}
    assert changed == {name for name, value in model.named_parameters() if value.requires_grad}
    assert all("lora" in name or name.startswith("1.") for name in changed)
    assert trainer.state.best_metric == min(
        entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry
    )
    assert trainer.evaluate()["eval_loss"] == pytest.approx(trainer.state.best_metric, rel=1e-5)

    model.save_pretrained(str(tmp_path / "final"))
    assert (tmp_path / "final" / "adapter_model.safetensors").is_file()
    assert not (tmp_path / "final" / "model.safetensors").exists()
    for kind in (ColBERT, MultiVectorEncoder):
        loaded = kind(str(tmp_path / "final"), device="cpu")
        for encode in ("encode_query", "encode_document"):
            found, expected = (getattr(each, encode)("where is the bat") for each in (loaded, model))
            torch.testing.assert_close(torch.as_tensor(found), torch.as_tensor(expected), rtol=0, atol=0)


def test_markers_that_only_this_model_knows_must_be_saved_first(model):
    with pytest.raises(InvalidInput, match=r"markers \['\[Q\] ', '\[D\] '\] are new tokens.*save_pretrained"):
        model.add_adapter(None)  # refused whatever the adapter is


def test_a_model_without_new_markers_needs_no_saving(backbone, config, tmp_path):
    model = ColBERT(
        str(backbone), query_prefix="", document_prefix="", query_length=12, document_length=40, device="cpu"
    )
    model.add_adapter(config)
    model.save_pretrained(str(tmp_path))
    expected = model.encode("where is the bat")
    assert (ColBERT(str(tmp_path), device="cpu").encode("where is the bat") == expected).all()
