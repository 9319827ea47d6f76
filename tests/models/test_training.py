"""A ColBERT trains under Sentence Transformers' trainer, on the prompts that it is used with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from datasets import Dataset
from sentence_transformers import MultiVectorEncoderTrainer, MultiVectorEncoderTrainingArguments
from sentence_transformers.multi_vector_encoder.losses import MultiVectorMultipleNegativesRankingLoss

from serotine.models import ColBERT


@pytest.mark.slow
def test_the_trainer_lowers_the_loss_uses_the_markers_and_reloads_the_best_checkpoint(
    model: ColBERT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    preprocess = ColBERT.preprocess

    def spy(self: ColBERT, inputs: list[str], **kwargs: object) -> dict[str, object]:
        features = preprocess(self, inputs, **kwargs)
        seen.append(self.tokenizer.convert_ids_to_tokens(features["input_ids"][0])[:2])
        return features

    monkeypatch.setattr(ColBERT, "preprocess", spy)
    words = ["bats", "moth", "river", "cave", "tree", "night", "sound", "wings"]
    data = Dataset.from_dict({"query": [f"where is the {w}" for w in words], "answer": [f"{w} in {w}" for w in words]})
    arguments = MultiVectorEncoderTrainingArguments(
        output_dir=str(tmp_path),
        num_train_epochs=12,
        per_device_train_batch_size=8,
        learning_rate=5e-3,
        logging_steps=1,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        report_to="none",
        use_cpu=True,
    )
    trainer = MultiVectorEncoderTrainer(
        model=model,
        args=arguments,
        train_dataset=data,
        eval_dataset=data,
        loss=MultiVectorMultipleNegativesRankingLoss(model),
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < 0.85 * losses[0]
    assert ["[CLS]", "[Q] "] in seen
    assert ["[CLS]", "[D] "] in seen
    assert all(tokens[1] in ("[Q] ", "[D] ") for tokens in seen)
    model.save_pretrained(str(tmp_path / "final"))
    torch.testing.assert_close(ColBERT(str(tmp_path / "final")).encode_query("bats"), model.encode_query("bats"))
