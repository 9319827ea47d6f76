"""How is the bundled model trained?  To rank as the teacher ranks, in 128 dimensions.

    python examples/train/bundled/train.py --data build/bundled --out build/bundled/trained

Stage A: the base model is frozen, and its token vectors are computed once. A projection from 384 to 128 dimensions,
which starts as the principal directions (directions.py), learns by the Kullback-Leibler divergence from the teacher's
distribution over lists of 16 documents to the student's.

Stage B: low-rank adapters of every linear layer of the base and the projection learn by that divergence, plus
contrastive loss over all documents of the batch with a guide (documents that the base model scores nearly as high as
the positive, or higher, are no negatives), plus the squared difference between the token similarities of a query and
its positive and what they were in the base model. Scores are means over the query's tokens, so that long queries do
not weigh more. Each entry of "stage_b" in the settings is tried in turn; then the adapters' scale is swept. nDCG@10 on
the dev sets decides. A stage ends after its steps or its seconds, whichever comes first, at a learning rate of 0.

On an H200 a hundred steps of stage B take 18 to 30 s. Two cores do as much in some hours: `--share` takes a part of the
queries. Writes adapter.safetensors, which ship.py puts into the package, and log.json.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from adapter import Adapted, projected
from safetensors.torch import load_file, save_file
from teacher import Texts, Weights, lists, ndcg, read
from tokens import Packed, by_length, encoded, mean_similarities, run
from torch import Tensor
from torch.nn import functional

from serotine.models import bundled
from serotine.scores import colbert_scores

SEED = 42
DIRECTIONS = Path(__file__).with_name("directions.safetensors")
WARM_UP = 0.05
CHECKPOINTS = 4  # of a run; what is written last is there if the machine is taken away


@dataclass(frozen=True)
class Settings:
    """What a run of stage B does."""

    steps: int = 1_000
    seconds: float = math.inf
    batch: int = 64
    rank: int = 32
    learning_rate: float = 2e-4
    projection_rate: float = 2e-4
    scale: float = 30.0  # of the student's mean similarity, in both losses
    teacher_scale: float = 1.0
    contrastive: float = 0.2
    guide: float = 0.95
    importance: bool = False  # of query tokens is learnt, too
    importance_rate: float = 1e-2
    keep: float = 0.0  # weight of the distance to the base model's token similarities


class Source(NamedTuple):
    """Texts with the teacher's lists."""

    texts: Texts
    documents: Tensor  # int64 (num_queries, list_length)
    scores: Tensor  # float32, the same


class Batch(NamedTuple):
    """Some queries of one source: distinct documents of their lists, and where in these each list's are."""

    source: Source
    queries: Tensor  # int64 (batch,)
    documents: Tensor  # int64 (num_documents,)
    lists: Tensor  # int64 (batch, list_length), into `documents`

    @classmethod
    def of(cls, source: Source, queries: Tensor) -> Batch:
        """Take some queries of a source."""
        documents, places = source.documents[queries].unique(return_inverse=True)
        return cls(source, queries, documents, places)


Embed = Callable[[Texts, Tensor, str], tuple[Tensor, Tensor]]
"""Vectors of some texts of a source, `(num_texts, longest, dim)`, and their mask."""


def batches(sources: list[Source], size: int, generator: torch.Generator) -> Iterator[Batch]:
    """Yield batches of one source each without end; every list once before any again."""
    while True:
        todo: list[tuple[Source, Tensor]] = []
        for source in sources:
            order = torch.randperm(len(source.documents), generator=generator).to(source.documents.device)
            todo += [(source, part) for part in order.split(size) if len(part) == size]
        for position in torch.randperm(len(todo), generator=generator).tolist():
            yield Batch.of(*todo[position])


def losses(batch: Batch, embed: Embed, settings: Settings) -> dict[str, Tensor]:
    """Return the parts of the loss, unweighted."""
    texts = batch.source.texts
    queries, queries_mask = embed(texts, batch.queries, "query")
    documents, documents_mask = embed(texts, batch.documents, "document")
    counts = (queries.norm(dim=-1) * queries_mask).sum(dim=1, keepdim=True)
    scores = colbert_scores(queries, documents, queries_mask, documents_mask) / counts * settings.scale
    student = scores.gather(1, batch.lists).log_softmax(dim=1)
    teacher = (batch.source.scores[batch.queries] * settings.teacher_scale).log_softmax(dim=1)
    parts = {"divergence": functional.kl_div(student, teacher, log_target=True, reduction="batchmean")}
    if settings.contrastive:
        parts["contrastive"] = _contrastive(batch, scores, settings.guide)
    if settings.keep:
        parts["keep"] = _keep(batch, (queries, queries_mask), (documents, documents_mask))
    return parts


def _contrastive(batch: Batch, scores: Tensor, guide_share: float) -> Tensor:
    positives = batch.lists[:, :1]
    with torch.no_grad():
        texts = batch.source.texts
        (queries, queries_mask), (documents, documents_mask) = (
            texts.queries.padded(batch.queries),
            texts.documents.padded(batch.documents),
        )
        guide = colbert_scores(queries, documents, queries_mask, documents_mask)
        excluded = (guide >= guide_share * guide.gather(1, positives)).scatter(1, positives, False)
    return functional.cross_entropy(scores.masked_fill(excluded, -torch.inf), positives[:, 0])


def _keep(batch: Batch, queries: tuple[Tensor, Tensor], documents: tuple[Tensor, Tensor]) -> Tensor:
    """Mean squared difference between the token similarities of queries and their positives, then and now."""
    texts, positives = batch.source.texts, batch.lists[:, 0]
    before = torch.einsum(
        "qid,qjd->qij",
        texts.queries.padded(batch.queries)[0].float(),
        texts.documents.padded(batch.documents)[0][positives].float(),
    )
    now = torch.einsum("qid,qjd->qij", queries[0], documents[0][positives])
    mask = queries[1][:, :, None] & documents[1][positives][:, None, :]
    return ((now - before).square() * mask).sum() / mask.sum()


def evaluate(model: Callable[[Packed, str], Packed], devs: list[Texts]) -> dict[str, float]:
    """nDCG@10 on each dev set, and the mean."""
    values = {}
    for dev in devs:
        scores = mean_similarities(model(dev.query_ids, "query"), model(dev.document_ids, "document"))
        values[dev.name] = ndcg(scores, dev.relevant)
    return {**values, "mean": float(np.mean([*values.values()]))}


def optimise(
    groups: list[dict[str, Any]],
    stream: Iterator[Batch],
    embed: Embed,
    settings: Settings,
    checkpoint: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Take steps with a warm-up and a cosine. Returns how many, the seconds, and the mean loss of the last tenth."""
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    highest = [group["lr"] for group in groups]
    start, values, step, progress, written = time.perf_counter(), [], 0, 0.0, 0
    while progress < 1:
        factor = min(progress / WARM_UP + 0.01, 0.5 * (1 + math.cos(math.pi * progress)))
        for group, rate in zip(optimizer.param_groups, highest, strict=True):
            group["lr"] = rate * factor
        parts = losses(next(stream), embed, settings)
        loss = sum(getattr(settings, name, 1.0) * part for name, part in parts.items())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([weight for group in groups for weight in group["params"]], 1.0)
        optimizer.step()
        values.append(float(loss.detach()))
        if step % 100 == 0:
            print(f"  step {step}, {time.perf_counter() - start:.0f} s",
                  {name: round(float(part.detach()), 4) for name, part in parts.items()}, flush=True)  # fmt: skip
        step += 1
        progress = max(step / settings.steps, (time.perf_counter() - start) / settings.seconds)
        if progress * CHECKPOINTS >= written + 1:
            written += 1
            checkpoint()
    loss_at_end = float(np.mean(values[-max(1, step // 10) :]))
    return {"steps": step, "seconds": round(time.perf_counter() - start), "loss": round(loss_at_end, 4)}


def stage_a(weight: Tensor, sources: list[Source], settings: Settings) -> tuple[Tensor, dict[str, Any]]:
    """Train the projection over the frozen base."""
    weight = weight.detach().clone().requires_grad_()

    def embed(texts: Texts, numbers: Tensor, task: str) -> tuple[Tensor, Tensor]:
        vectors, mask = (texts.queries if task == "query" else texts.documents).padded(numbers)
        return projected(vectors, weight), mask

    stream = batches(sources, settings.batch, torch.Generator().manual_seed(SEED))
    groups = [{"params": [weight], "lr": settings.projection_rate}]
    figures = optimise(groups, stream, embed, settings)
    return weight.detach(), {"stage": "A", "settings": asdict(settings), **figures}


def stage_b(
    base: Any,
    weight: Tensor,
    sources: list[Source],
    settings: Settings,
    checkpoint: Callable[[Adapted], None],
    start: Path | None = None,
) -> tuple[Adapted, dict[str, Any]]:
    """Train adapters and projection, from a copy of the base and of the projection."""
    torch.manual_seed(SEED)
    adapted = Adapted.of(copy.deepcopy(base), weight, rank=settings.rank, importance=settings.importance)
    if start is not None:
        adapted.load(start)

    def embed(texts: Texts, numbers: Tensor, task: str) -> tuple[Tensor, Tensor]:
        ids = texts.query_ids if task == "query" else texts.document_ids
        order, vectors, masks = [], [], []
        for some in by_length(ids.lengths[numbers]):
            part, mask = run(adapted.base, ids, numbers[some], task)
            order.append(some)
            vectors.append(adapted.projected(part, task))
            masks.append(mask)
        back = torch.cat(order).argsort()
        longest = max(mask.shape[1] for mask in masks)
        return (
            torch.cat([functional.pad(part, (0, 0, 0, longest - part.shape[1])) for part in vectors])[back],
            torch.cat([functional.pad(mask, (0, longest - mask.shape[1])) for mask in masks])[back],
        )

    stream = batches(sources, settings.batch, torch.Generator().manual_seed(SEED + 1))
    groups = [
        {"params": adapted.factors(), "lr": settings.learning_rate},
        {"params": [adapted.projection], "lr": settings.projection_rate},
    ]
    if adapted.importance is not None:
        groups.append({"params": list(adapted.importance.parameters()), "lr": settings.importance_rate})
    figures = optimise(groups, stream, embed, settings, lambda: checkpoint(adapted))
    return adapted, {"stage": "B", "settings": asdict(settings), **figures}


def main() -> None:
    """Run both stages, and write the best of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("build/bundled"))
    parser.add_argument("--out", type=Path, default=Path("build/bundled/trained"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--share", type=float, default=1.0, help="of the queries")
    parser.add_argument("--start", type=Path, help="adapter.safetensors of an earlier run, for stage B")
    parser.add_argument("--settings", type=Path, default=Path(__file__).parent / "settings" / "first.json")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    recipe = json.loads(arguments.settings.read_text())
    device = torch.device(arguments.device)
    base = bundled(projected=False, device=arguments.device).eval().requires_grad_(False)
    log: list[dict[str, Any]] = []

    def say(entry: dict[str, Any]) -> None:
        log.append(entry)
        print(json.dumps(entry), flush=True)
        (arguments.out / "log.json").write_text(
            json.dumps({"recipe": recipe, "seed": SEED, "log": log}, indent=1) + "\n"
        )

    start = time.perf_counter()
    devs = [read(folder, base, device, share=arguments.share) for folder in sorted((arguments.data / "dev").iterdir())]
    sources = []
    for folder in sorted((arguments.data / "sources").iterdir()):
        texts = read(folder, base, device, share=arguments.share)
        source = Source(texts, *lists(texts, Weights(**recipe["teacher"]), torch.Generator().manual_seed(SEED)))
        sources += [source] * recipe["repeats"].get(folder.name, 1)
        first = float((source.scores.argmax(dim=1) == 0).float().mean())
        print(f"{folder.name}: {len(source.documents)} lists, the teacher puts the positive first in {first:.3f}")
    say({"stage": "lists", "seconds": round(time.perf_counter() - start)})

    weight = load_file(DIRECTIONS)["linear.weight"].to(device)
    say({"stage": "base, 384 dimensions", "ndcg@10": evaluate(lambda ids, task: encoded(base, ids, task), devs)})

    def in_projection(weight: Tensor) -> dict[str, float]:
        def model(ids: Packed, task: str) -> Packed:
            vectors = encoded(base, ids, task)
            return vectors._replace(values=projected(vectors.values, weight).half())

        return evaluate(model, devs)

    say({"stage": "start", "ndcg@10": in_projection(weight)})
    if recipe["stage_a"]:
        weight, entry = stage_a(weight, sources, Settings(**recipe["stage_a"]))
        say({**entry, "ndcg@10": in_projection(weight)})
        save_file({"projection": weight.cpu().contiguous()}, arguments.out / "stage_a.safetensors")

    def checkpoint(adapted: Adapted) -> None:
        adapted.save(arguments.out / "last.safetensors", scale=1.0)
        say({"stage": "B, on the way", "ndcg@10": evaluate(adapted.at(1.0), devs)})

    best = -1.0
    for choice in recipe["stage_b"]:
        adapted, entry = stage_b(base, weight, sources, Settings(**choice), checkpoint, arguments.start)
        for scale in recipe["scales"]:
            found = evaluate(adapted.at(scale), devs)
            say({**entry, "scale": scale, "ndcg@10": found})
            if found["mean"] > best:
                best = found["mean"]
                adapted.save(arguments.out / "adapter.safetensors", scale=scale)


if __name__ == "__main__":
    main()
