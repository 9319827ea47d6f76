"""Eight rows to train a tiny model on, and the trainer that does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainer
from torch import nn

from serotine.models import ColBERT
from serotine.utils import ColBERTCollator
from tests.models.conftest import backbone, model
from tests.utils.conftest import own_cache

__all__ = ["backbone", "model", "own_cache"]

THINGS = ["bats", "moth", "river", "cave", "tree", "night", "sound", "wings"]
PLACES = ["long", "small", "late", "under", "with", "fly", "roost", "insects"]


def triplets() -> Dataset:
    return Dataset.from_dict(
        {
            "query": [f"where is the {thing}" for thing in THINGS],
            "positive": [f"the {thing} and the {place}" for thing, place in zip(THINGS, PLACES, strict=True)],
            "negative": [f"it is the {place}, a species" for place in PLACES],
        }
    )


def lists() -> Dataset:
    """Rows for distillation: two to four documents of each query, with scores."""
    rows = []
    for number, row in enumerate(triplets()):
        documents = [row["positive"], row["negative"], f"of {THINGS[number - 1]}", "a"][: 2 + number % 3]
        rows.append({"query": row["query"], "documents": documents, "scores": [0.9, 0.4, 0.2, 0.1][: len(documents)]})
    return Dataset.from_list(rows)


def without_dropout(model: ColBERT) -> ColBERT:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def trainer_of(
    model: Any,
    loss: Any,
    data: Any,
    folder: Path,
    *,
    kind: type[SentenceTransformerTrainer] = SentenceTransformerTrainer,
    trainer_options: dict[str, Any] | None = None,
    **arguments: Any,
) -> SentenceTransformerTrainer:
    """A trainer with a collator of this package; two epochs in batches of four unless arguments say otherwise."""
    settings = {
        "output_dir": str(folder / "output"),
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 4,
        "learning_rate": 5e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    options = {"data_collator": ColBERTCollator(model.tokenize), **(trainer_options or {})}
    return kind(
        model=model,
        args=kind.training_args_class(**{**settings, **arguments}),
        train_dataset=data,
        loss=loss,
        **options,
    )


def losses_of(trainer: SentenceTransformerTrainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def assert_same_weights(
    found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], before: dict[str, torch.Tensor]
) -> None:
    """Compare weights after training, by how far they went from those before."""
    assert found.keys() == expected.keys()
    assert any(not torch.equal(expected[name], before[name]) for name in expected)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.fixture
def calm(model: ColBERT) -> ColBERT:
    """The tiny model without dropout, so that runs can be compared."""
    torch.set_num_threads(1)
    return without_dropout(model)
