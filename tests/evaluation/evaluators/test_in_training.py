"""Proves that the trainer calls the evaluators, chooses the best checkpoint by their metrics, and tells the card."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import MultiVectorEncoderTrainer, MultiVectorEncoderTrainingArguments

from serotine.evaluation import (
    ColBERTDistillationEvaluator,
    ColBERTInformationRetrievalEvaluator,
    ColBERTTripletEvaluator,
)
from serotine.indexes import PLAID
from serotine.losses import Contrastive
from serotine.models import ColBERT
from serotine.scores import TokenWeights
from tests.evaluation.evaluators.conftest import QUESTIONS, RELEVANT, TEXTS
from tests.losses.conftest import NEGATIVES, POSITIVES, QUERIES


def train(model: ColBERT, loss: Any, evaluator: Any, folder: Path, **options: Any) -> MultiVectorEncoderTrainer:
    """Four steps on six rows, with an evaluation and a checkpoint after each."""
    arguments = MultiVectorEncoderTrainingArguments(
        output_dir=str(folder),
        max_steps=4,
        per_device_train_batch_size=6,
        learning_rate=3e-2,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        logging_steps=1,
        report_to="none",
        use_cpu=True,
        **options,
    )
    data = Dataset.from_dict({"query": QUERIES, "positive": POSITIVES, "negative": NEGATIVES})
    trainer = MultiVectorEncoderTrainer(model=model, args=arguments, train_dataset=data, evaluator=evaluator, loss=loss)
    trainer.train()
    return trainer


@pytest.mark.slow
def test_the_best_checkpoint_is_chosen_by_an_evaluators_metric_and_its_learnt_score_restored(
    model: ColBERT, tmp_path: Path
) -> None:
    evaluator = ColBERTInformationRetrievalEvaluator(
        QUESTIONS, TEXTS, RELEVANT, name="dev", index=lambda: PLAID(tmp_path, "index", override=True)
    )
    loss = Contrastive(model, TokenWeights(16))
    metric = "eval_dev_TokenWeights_ndcg@10"
    trainer = train(model, loss, evaluator, tmp_path / "run", metric_for_best_model=metric)
    values = [entry[metric] for entry in trainer.state.log_history if metric in entry]
    assert len(values) == 4
    assert len(set(values)) > 1
    assert trainer.state.best_metric == max(values)
    assert evaluator(model)[evaluator.primary_metric] == pytest.approx(max(values))
    rows = list(csv.DictReader((tmp_path / "run" / "eval" / "Information-Retrieval_evaluation_dev_results.csv").open()))
    assert [float(row["TokenWeights-NDCG@10"]) for row in rows] == values
    assert [row["steps"] for row in rows] == ["1", "2", "3", "4"]
    model.save_pretrained(str(tmp_path / "model"))
    card = (tmp_path / "model" / "README.md").read_text()
    log = card.split("### Log")[1].split("###")[0]
    assert log.count("dev_TokenWeights_ndcg@10") == 1
    assert f"**{round(max(values), 4)}**" in log
    assert "The row in bold is the saved checkpoint." in log


@pytest.mark.slow
def test_lower_is_better_for_the_divergence_and_several_evaluators_do_not_mix(model: ColBERT, tmp_path: Path) -> None:
    evaluators = [
        ColBERTDistillationEvaluator(
            QUERIES, [[p, n] for p, n in zip(POSITIVES, NEGATIVES, strict=True)], [[1, 0]] * 6
        ),
        ColBERTTripletEvaluator(QUERIES, POSITIVES, NEGATIVES, name="easy"),
        ColBERTTripletEvaluator(QUERIES, NEGATIVES, POSITIVES, name="hard"),
    ]
    metric = "eval_kl_divergence"
    trainer = train(
        model, Contrastive(model), evaluators, tmp_path, metric_for_best_model=metric, greater_is_better=False
    )
    entries = [entry for entry in trainer.state.log_history if metric in entry]
    assert trainer.state.best_metric == min(entry[metric] for entry in entries)
    assert entries[-1]["eval_easy_accuracy"] > entries[-1]["eval_hard_accuracy"]


def test_in_a_distributed_evaluation_the_ranks_share_the_texts(model: ColBERT, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator = ColBERTInformationRetrievalEvaluator(QUESTIONS, TEXTS, RELEVANT, truncate_dim=8)
    expected = evaluator(model)
    pooled = model.encode(list(TEXTS.values()), is_query=False, pool_factor=2)
    shared: list[int] = []

    def of_all_ranks(inputs: list[str], **options: Any) -> list[torch.Tensor]:
        shared.append(len(inputs))
        half = len(inputs) // 2
        return [*model._inference(inputs[:half], **options), *model._inference(inputs[half:], **options)]

    monkeypatch.setattr(model, "_distributed_inference", of_all_ranks)
    assert evaluator(model) == pytest.approx(expected)
    assert shared == [len(QUESTIONS), len(TEXTS)]
    for left, right in zip(model.encode(list(TEXTS.values()), is_query=False, pool_factor=2), pooled, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)
