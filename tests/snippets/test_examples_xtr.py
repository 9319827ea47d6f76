"""The two programs that train XTR models: a score metric in the place of MaxSim, with triplets and with a teacher."""

import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments

from serotine import evaluation, losses, models, scores, utils
from tests.models.conftest import backbone
from tests.training.conftest import losses_of, triplets
from tests.utils.conftest import own_cache

__all__ = ["backbone", "own_cache"]

QUIET = {"report_to": "none", "use_cpu": True, "dataloader_pin_memory": False, "save_strategy": "no"}


@pytest.fixture
def model(backbone):
    """A tiny model in the place of the programs'. They compile it, which takes minutes with their default backend."""
    torch.set_num_threads(1)
    return models.ColBERT(model_name_or_path=str(backbone), query_length=12, document_length=40, device="cpu")


@pytest.mark.slow
def test_xtr_contrastive(model, tmp_path):
    splits = triplets().train_test_split(test_size=0.25, seed=0)
    train_dataset = splits["train"]
    eval_dataset = splits["test"]

    train_loss = losses.Contrastive(
        model=model,
        score_metric=scores.XTRScores(k=256),
        temperature=0.05,
    )
    dev_evaluator = evaluation.ColBERTTripletEvaluator(
        anchors=eval_dataset["query"],
        positives=eval_dataset["positive"],
        negatives=eval_dataset["negative"],
    )
    args = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path),
        num_train_epochs=6,
        per_device_train_batch_size=6,
        per_device_eval_batch_size=6,
        logging_steps=1,
        run_name="contrastive-xtr-modernbert-base",
        learning_rate=5e-3,
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
    values = losses_of(trainer)
    assert len(values) == 6
    assert values[-1] < values[0]
    assert 0 <= trainer.evaluate()["eval_accuracy"] <= 1


@pytest.mark.slow
def test_xtr_knowledge_distillation(model, tmp_path):
    rows = triplets()
    texts = [*rows["positive"], *rows["negative"]]
    train = Dataset.from_dict(
        {
            "query_id": range(8),
            "document_ids": [[number, number + 8, (number + 1) % 8] for number in range(8)],
            "scores": [[0.9, 0.3, 0.1]] * 8,
        }
    )
    queries = Dataset.from_dict({"query_id": range(8), "text": rows["query"]})
    documents = Dataset.from_dict({"document_id": range(16), "text": texts})
    train.set_transform(
        utils.KDProcessing(queries=queries, documents=documents).transform,
    )
    args = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path),
        num_train_epochs=6,
        per_device_train_batch_size=8,
        logging_steps=1,
        run_name="knowledge-distillation-xtr-modernbert-base",
        learning_rate=5e-3,
        **QUIET,
    )
    train_loss = losses.Distillation(
        model=model,
        score_metric=scores.XTRKDScores(k=256),
    )
    trainer = SentenceTransformerTrainer(
        model=model,
        args=args,
        train_dataset=train,
        loss=train_loss,
        data_collator=utils.ColBERTCollator(tokenize_fn=model.tokenize),
    )
    trainer.train()
    values = losses_of(trainer)
    assert len(values) == 6
    assert 0 < values[-1] < values[0]
