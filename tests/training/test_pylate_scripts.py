"""Proves that PyLate's two training programs run with the import changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from datasets import Dataset, DatasetDict
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments

from serotine import evaluation, losses, models, utils
from tests.training.conftest import lists, triplets

QUIET = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "dataloader_pin_memory": False}


@pytest.mark.slow
def test_contrastive_training_of_a_compiled_model(backbone: Path, tmp_path: Path) -> None:
    model = models.ColBERT(model_name_or_path=str(backbone), query_length=12, document_length=40, device="cpu")
    # PyLate leaves the backend at its default, whose compilation takes minutes on a CPU.
    model = torch.compile(model, backend="eager")
    splits = triplets().train_test_split(test_size=0.25, seed=0)
    train_dataset, eval_dataset = splits["train"], splits["test"]
    train_loss = losses.Contrastive(model=model)
    dev_evaluator = evaluation.ColBERTTripletEvaluator(
        anchors=eval_dataset["query"],
        positives=eval_dataset["positive"],
        negatives=eval_dataset["negative"],
    )
    args = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "output"),
        num_train_epochs=1,
        per_device_train_batch_size=3,
        per_device_eval_batch_size=3,
        eval_strategy="epoch",
        fp16=True,  # has no effect on a CPU
        bf16=False,
        run_name="contrastive",
        learning_rate=3e-6,
        **QUIET,
    )
    trainer = SentenceTransformerTrainer(
        model=model,
        args=args,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        loss=train_loss,
        evaluator=dev_evaluator,
        data_collator=utils.ColBERTCollator(model.tokenize),
    )
    trainer.train()
    evaluated = next(entry for entry in trainer.state.log_history if "eval_loss" in entry)
    assert evaluated["eval_loss"] > 0
    assert 0 <= evaluated["eval_accuracy"] <= 1
    trainer.save_model(str(tmp_path / "final"))
    loaded = models.ColBERT(model_name_or_path=str(tmp_path / "final"), device="cpu")
    assert (loaded.encode("the bat") == model.encode("the bat")).all()


def test_knowledge_distillation(backbone: Path, tmp_path: Path) -> None:
    rows = lists()
    texts = sorted({text for row in rows for text in row["documents"]})
    train = DatasetDict(
        train=Dataset.from_list(
            [
                {
                    "query_id": number,
                    "document_ids": [texts.index(text) for text in row["documents"]],
                    "scores": row["scores"],
                }
                for number, row in enumerate(rows)
            ]
        )
    )
    queries = DatasetDict(train=Dataset.from_dict({"query_id": range(8), "text": rows["query"]}))
    documents = DatasetDict(train=Dataset.from_dict({"document_id": range(len(texts)), "text": texts}))
    train.set_transform(utils.KDProcessing(queries=queries, documents=documents).transform)

    model = models.ColBERT(model_name_or_path=str(backbone), query_length=12, document_length=40, device="cpu")
    args = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "output"),
        num_train_epochs=3,
        per_device_train_batch_size=4,
        logging_steps=1,
        run_name="knowledge-distillation",
        learning_rate=1e-3,
        **QUIET,
    )
    train_loss = losses.Distillation(model=model)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=args,
        train_dataset=train,
        loss=train_loss,
        data_collator=utils.ColBERTCollator(tokenize_fn=model.tokenize),
    )
    trainer.train()
    values = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(values) == 6
    assert 0 < sum(values[-2:]) < sum(values[:2])
