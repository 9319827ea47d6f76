"""One of two processes that a trainer makes one run of, over gloo: writes the weights that it ends with.

python -m tests.training.two_processes FOLDER BACKBONE KIND ...

RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT say which of how many it is, and where they meet.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from datasets import DatasetDict

from serotine.losses import CachedContrastive, Contrastive, Distillation
from serotine.models import ColBERT
from serotine.scores import TokenWeights
from serotine.utils import ColBERTCollator, NoDuplicatesSampler, TemperatureSampler
from tests.training.conftest import lists, trainer_of, triplets, weights_of, without_dropout


def make_model(backbone: str) -> ColBERT:
    torch.manual_seed(1)
    options = {"embedding_size": 16, "query_length": 12, "document_length": 40}
    return without_dropout(ColBERT(backbone, device="cpu", **options))


def make_loss(kind: str, model: ColBERT, *, gather: bool) -> torch.nn.Module:
    if kind == "distillation":
        return Distillation(model)
    metric: Any = None
    if "weights" in kind:
        # Each process has weights of its own to begin with; those of the first hold.
        torch.manual_seed(dist.get_rank() if dist.is_initialized() else 0)
        metric = TokenWeights(16)
        torch.nn.init.normal_(metric.query_importance.weight)
    options = {"score_metric": metric, "gather_across_devices": gather, "temperature": 0.5}
    return CachedContrastive(model, mini_batch_size=2, **options) if "cached" in kind else Contrastive(model, **options)


def train(kind: str, backbone: str, folder: Path, *, batch_size: int) -> dict[str, torch.Tensor]:
    """Take two steps over all rows; return the weights of model and score, by their names in the loss."""
    model = make_model(backbone)
    trainer = trainer_of(
        model,
        lambda model: make_loss(kind, model, gather=batch_size < 8),
        lists() if kind == "distillation" else triplets(),
        folder,
        per_device_train_batch_size=batch_size,
        num_train_epochs=2,
        optim="sgd",
        learning_rate=0.05,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        ddp_backend="gloo" if batch_size < 8 else None,
        gradient_checkpointing="checkpointing" in kind,
        batch_sampler=NoDuplicatesSampler,
    )
    trainer.train()
    assert trainer.state.global_step == 2
    weights = weights_of(trainer.loss)
    return {name.replace("model.module.", "model."): value for name, value in weights.items()}


class Telling(ColBERTCollator):
    """Remembers which data set each batch is of."""

    seen: list[str]

    def __call__(self, features: Any) -> dict[str, Any]:
        self.seen.append(features[0]["dataset_name"])
        return super().__call__(features)


def data_sets_of_steps(backbone: str, folder: Path) -> list[str]:
    """Train on two data sets, each with a loss of its own that gathers; return which one each step was of."""
    model = make_model(backbone)
    collator = Telling(model.tokenize)
    collator.seen = []
    trainer_of(
        model,
        {name: Contrastive(model, gather_across_devices=True) for name in ("one", "other")},
        DatasetDict(one=triplets(), other=triplets()),
        folder,
        per_device_train_batch_size=2,
        num_train_epochs=3,
        ddp_backend="gloo",
        multi_dataset_batch_sampler=TemperatureSampler,
        trainer_options={"data_collator": collator},
    ).train()
    return collator.seen


def main(folder: str, backbone: str, *kinds: str) -> None:
    torch.set_num_threads(1)
    found: dict[str, Any] = {kind: train(kind, backbone, Path(folder), batch_size=4) for kind in kinds}
    found["data sets"] = data_sets_of_steps(backbone, Path(folder))
    torch.save(found, Path(folder) / f"{os.environ['RANK']}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
