"""One of two processes that train together over gloo: computes gradients for its half of a batch, and writes them.

python -m tests.losses.two_processes RANK FOLDER BACKBONE KIND ...
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from serotine.losses import CachedContrastive, Contrastive, Distillation
from serotine.models import ColBERT
from serotine.scores import ColBERTScores, TokenWeights, XTRScores
from tests.losses.conftest import NEGATIVES, POSITIVES, TEACHER, batch_of, column, taught_batch

COUNTED = ("all_gather", "all_reduce", "broadcast")


def make_loss(kind: str, model: ColBERT, *, gather: bool) -> torch.nn.Module:
    """Return the loss that a kind names: "cached", "xtr", "weights" and "kd" are looked for in it."""
    if "kd" in kind:
        return Distillation(model)
    metric: Any = ColBERTScores()
    if "xtr" in kind:
        metric = XTRScores(k=40)
    if "weights" in kind:
        # Drawn differently by each process: the first one's must hold.
        metric = TokenWeights(16)
        if dist.is_initialized() and dist.get_rank() == 1:
            torch.nn.init.normal_(metric.query_importance.weight)
    options = {"score_metric": metric, "gather_across_devices": gather, "temperature": 0.5}
    if "cached" in kind:
        return CachedContrastive(model, mini_batch_size=2, score_mini_batch_size=1, **options)
    return Contrastive(model, **options)


def batch_for(kind: str, model: ColBERT, rows: slice) -> list[dict[str, Any]]:
    """Return some rows of the batch, for "lists" with lists of different lengths."""
    if "kd" in kind:
        return taught_batch(model, rows)
    if "lists" not in kind:
        return batch_of(model, rows)
    lists = [[POSITIVES[i], *NEGATIVES[: (i * 2) % 5]] for i in range(6)][rows]
    documents = column(model, [text for texts in lists for text in texts])
    documents["num_documents"] = torch.tensor([len(texts) for texts in lists])
    return [batch_of(model, rows)[0], documents]


def make_model(backbone: str) -> ColBERT:
    torch.manual_seed(1)
    return ColBERT(backbone, embedding_size=16, query_length=12, document_length=40, device="cpu").eval()


def gradients(loss: torch.nn.Module) -> dict[str, torch.Tensor]:
    found = {}
    for name, parameter in loss.named_parameters():
        if parameter.grad is not None:
            found[name.replace("model.module.", "model.")] = parameter.grad.clone()
    return found


def count_collectives() -> dict[str, int]:
    """Count, from now on, the exchanges of token vectors: floating point of 4 dimensions."""
    calls = dict.fromkeys(COUNTED, 0)

    def counted(name: str) -> Any:
        original = getattr(dist, name)

        def call(tensor: Any, *arguments: Any, **options: Any) -> Any:
            values = tensor[0] if isinstance(tensor, list) else tensor
            calls[name] += bool(values.is_floating_point() and values.ndim == 4)
            return original(tensor, *arguments, **options)

        return call

    for name in COUNTED:
        setattr(dist, name, counted(name))
    return calls


def main(rank: int, folder: str, backbone: str, *kinds: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    calls = count_collectives()
    rows = slice(0, 3) if rank == 0 else slice(3, 6)
    found = {}
    for kind in kinds:
        model = make_model(backbone)
        loss = make_loss(kind, model, gather="local" not in kind)
        loss.model = DistributedDataParallel(model, find_unused_parameters=True)
        calls.update(dict.fromkeys(COUNTED, 0))
        value = loss(batch_for(kind, model, rows), TEACHER[rows])
        value.backward()
        found[kind] = {"loss": value.detach(), "gradients": gradients(loss), "calls": dict(calls)}
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
