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

With "again" in the settings the trained model of `--start` learns a second time, from a teacher that has its
similarities in place of the base's, those of all dimensions if "before_projection" says so. "principal" then begins
at the principal directions of its own token vectors, and a further loss, "token_differences", keeps how much the
documents of a list differ for each query token, in the best that it finds in them, close to how much they do for the
teacher. `--resume` goes on from what an unfinished run has learnt, or from the mean of several. With "frozen_layers"
from below, what comes out of them is computed once, so that two cores take 400 steps of 32 queries with 8 documents
through the upper half in 45 minutes. There, let the allocator keep its memory, or a third of the time goes into page
faults: MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_TOP_PAD_=268435456.

On an H200 three runs at a time take a hundred steps of 48 queries with 16 documents in 28 to 30 s. `--share` takes a
part of the queries. Writes adapter.safetensors, which average.py and ship.py put into the package, and log.json.
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
from adapter import Adapted, merge
from directions import principal_directions
from safetensors.torch import load_file, save_file
from teacher import Texts, Weights, lists, ndcg, read
from tokens import Packed, by_length, encoded, mean_similarities, projected, run
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import parametrize

from serotine.models import HierarchicalPooling, bundled
from serotine.scores import colbert_scores
from serotine.scores.autograd import token_maxima

SEED = 42
DIRECTIONS = Path(__file__).with_name("directions.safetensors")
WARM_UP = 0.05


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
    token_differences: float = 0.0  # weight of the distance to how much a list's documents differ for a query token
    pooled: float = 0.0  # weight of the divergence of scores over documents with half of their vectors
    pooled_loss: float = 0.0  # weight of the variance, over a list, of what scores lose with half of the vectors
    checkpoints: int = 4  # what is written last is there if the machine is taken away
    mean_of: int = 0  # steps that a running mean of the weights covers, at a constant rate; 0: none, after a cosine


class Source(NamedTuple):
    """Texts with the teacher's lists."""

    texts: Texts
    documents: Tensor  # int64 (num_queries, list_length)
    scores: Tensor  # float32, the same


Vectors = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Vectors of a batch's queries and of its documents, padded, each with its mask."""


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

    def taught(self) -> Vectors:
        """Return the teacher's vectors."""
        texts = self.source.texts
        return texts.queries.padded(self.queries), texts.documents.padded(self.documents)


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
    teacher = (batch.source.scores[batch.queries] * settings.teacher_scale).log_softmax(dim=1)

    def divergence(scores: Tensor) -> Tensor:
        student = scores.gather(1, batch.lists).log_softmax(dim=1)
        return functional.kl_div(student, teacher, log_target=True, reduction="batchmean")

    parts = {"divergence": divergence(scores)}
    if settings.pooled or settings.pooled_loss:
        halves, halves_mask = _pooled(documents, documents_mask)
        by_halves = colbert_scores(queries, halves, queries_mask, halves_mask) / counts * settings.scale
        parts["pooled"] = divergence(by_halves)
        parts["pooled_loss"] = (scores - by_halves).gather(1, batch.lists).var(dim=1, correction=0).mean()
    vectors, taught = ((queries, queries_mask), (documents, documents_mask)), batch.taught()
    if settings.contrastive:
        parts["contrastive"] = _contrastive(batch, scores, taught, settings.guide)
    if settings.token_differences:
        parts["token_differences"] = _token_differences(batch, vectors, taught)
    if settings.keep:
        parts["keep"] = _keep(batch, vectors, taught)
    return parts


def _contrastive(batch: Batch, scores: Tensor, taught: Vectors, guide_share: float) -> Tensor:
    positives = batch.lists[:, :1]
    with torch.no_grad():
        (queries, queries_mask), (documents, documents_mask) = taught
        guide = colbert_scores(queries, documents, queries_mask, documents_mask)
        excluded = (guide >= guide_share * guide.gather(1, positives)).scatter(1, positives, False)
    return functional.cross_entropy(scores.masked_fill(excluded, -torch.inf), positives[:, 0])


def _pooled(documents: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return documents with half of their vectors, each pooled by itself (`HierarchicalPooling`), and their mask."""
    pooling = HierarchicalPooling(2)
    rows = [pooling.pool_one(document[own]) for document, own in zip(documents, mask, strict=True)]
    lengths = torch.tensor([len(row) for row in rows], device=mask.device)
    longest = int(lengths.max())
    padded = torch.stack([functional.pad(row, (0, 0, 0, longest - len(row))) for row in rows])
    return padded, torch.arange(longest, device=mask.device) < lengths[:, None]


def _token_differences(batch: Batch, vectors: Vectors, taught: Vectors) -> Tensor:
    """Mean squared difference between what a query token finds in each document of its list, now and by the teacher.

    How much the documents of a list differ for it is what ranks them: its mean over the list is taken off.
    """
    (queries, queries_mask), (documents, documents_mask) = vectors
    (taught_queries, _), (taught_documents, _) = taught
    in_lists = documents_mask[batch.lists]

    def differences(query_vectors: Tensor, document_vectors: Tensor) -> Tensor:
        best = token_maxima(query_vectors, document_vectors[batch.lists], in_lists)
        return best - best.mean(dim=1, keepdim=True)

    with torch.no_grad():
        teacher = differences(taught_queries, taught_documents)
    error = (differences(queries, documents) - teacher).square().mean(dim=1)
    return (error * queries_mask).sum() / queries_mask.sum()


def _keep(batch: Batch, vectors: Vectors, taught: Vectors) -> Tensor:
    """Mean squared difference between the token similarities of queries and their positives, then and now."""
    (queries, queries_mask), (documents, documents_mask) = vectors
    (taught_queries, _), (taught_documents, _) = taught
    positives = batch.lists[:, 0]
    before = torch.einsum("qid,qjd->qij", taught_queries.float(), taught_documents[positives].float())
    now = torch.einsum("qid,qjd->qij", queries, documents[positives])
    mask = queries_mask[:, :, None] & documents_mask[positives][:, None, :]
    return ((now - before).square() * mask).sum() / mask.sum()


def evaluate(model: Callable[[Packed, str], Packed], devs: list[Texts]) -> dict[str, float]:
    """nDCG@10 on each dev set, and the mean."""
    values = {}
    for dev in devs:
        scores = mean_similarities(model(dev.query_inputs, "query"), model(dev.document_inputs, "document"))
        values[dev.name] = ndcg(scores, dev.relevant)
    return {**values, "mean": float(np.mean([*values.values()]))}


def optimise(
    groups: list[dict[str, Any]],
    stream: Iterator[Batch],
    embed: Embed,
    settings: Settings,
    checkpoint: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Take steps with a warm-up and a cosine, or at a constant rate with a running mean of the weights.

    Checkpoints, and what remains, are of the mean. Returns how many steps, the seconds, and the mean loss of the last
    tenth.
    """
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    weights = [weight for group in groups for weight in group["params"]]
    mean = [weight.detach().clone() for weight in weights]
    highest = [group["lr"] for group in groups]
    start, values, step, progress, written = time.perf_counter(), [], 0, 0.0, 0
    while progress < 1:
        ending = 1.0 if settings.mean_of else 0.5 * (1 + math.cos(math.pi * progress))
        factor = min(progress / WARM_UP + 0.01, ending)
        for group, rate in zip(optimizer.param_groups, highest, strict=True):
            group["lr"] = rate * factor
        with parametrize.cached():
            parts = losses(next(stream), embed, settings)
        loss = sum(getattr(settings, name, 1.0) * part for name, part in parts.items())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        share = 1 / max(1, min(step + 1, settings.mean_of))
        torch._foreach_lerp_(mean, [weight.detach() for weight in weights], share)
        values.append(float(loss.detach()))
        if step % 100 == 0:
            print(f"  step {step}, {time.perf_counter() - start:.0f} s",
                  {name: round(float(part.detach()), 4) for name, part in parts.items()}, flush=True)  # fmt: skip
        step += 1
        progress = max(step / settings.steps, (time.perf_counter() - start) / settings.seconds)
        if progress * settings.checkpoints >= written + 1:
            written += 1
            _swap(weights, mean)
            checkpoint()
            _swap(weights, mean)
    _swap(weights, mean)
    loss_at_end = float(np.mean(values[-max(1, step // 10) :]))
    return {"steps": step, "seconds": round(time.perf_counter() - start), "loss": round(loss_at_end, 4)}


@torch.no_grad()
def _swap(weights: list[Tensor], others: list[Tensor]) -> None:
    for weight, other in zip(weights, others, strict=True):
        kept = weight.clone()
        weight.copy_(other)
        other.copy_(kept)


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
    start: Path | None,
    seed: int,
) -> tuple[Adapted, dict[str, Any]]:
    """Train adapters and projection, from a copy of the base and of the projection, or from what a run has learnt."""
    torch.manual_seed(SEED)
    depth = sources[0].texts.document_inputs.depth
    adapted = Adapted.of(copy.deepcopy(base), weight, rank=settings.rank, importance=settings.importance, depth=depth)
    if start is not None:
        adapted.load(start)

    def embed(texts: Texts, numbers: Tensor, task: str) -> tuple[Tensor, Tensor]:
        ids = texts.query_inputs if task == "query" else texts.document_inputs
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

    stream = batches(sources, settings.batch, torch.Generator().manual_seed(seed))
    groups = [
        {"params": adapted.factors(), "lr": settings.learning_rate},
        {"params": [adapted.projection], "lr": settings.projection_rate},
    ]
    if adapted.importance is not None:
        groups.append({"params": list(adapted.importance.parameters()), "lr": settings.importance_rate})
    figures = optimise(groups, stream, embed, settings, lambda: checkpoint(adapted))
    return adapted, {"stage": "B", "settings": asdict(settings), **figures}


def beginning(device: torch.device, trained: Path | None) -> tuple[Any, Tensor]:
    """Return the base model, frozen, and the projection: untrained, or with what an adapter has learnt."""
    base = bundled(projected=False, device=str(device)).eval().requires_grad_(False)
    if device.type == "cpu":
        base[0].model.set_attn_implementation("eager")  # backwards twice as fast as the fused kernel in bfloat16
    if trained is None:
        return base, load_file(DIRECTIONS)["linear.weight"].to(device)
    return base, merge(base, trained)


def read_all(
    data: Path, recipe: dict[str, Any], share: float, base: Any, weight: Tensor
) -> tuple[list[Texts], list[Source]]:
    """Read and encode the dev sets and the sources, and let the teacher rank.

    The teacher's similarities are the base model's in all dimensions, or, the second time, those of the trained model,
    behind its projection or, with "before_projection", in all dimensions as well.
    """
    options: dict[str, Any] = {"depth": recipe.get("frozen_layers", 0)}
    if recipe.get("again") and not recipe.get("before_projection"):
        options["projection"] = weight
    devs = [read(folder, base, weight.device, share=share, **options) for folder in sorted((data / "dev").iterdir())]
    sources = []
    for folder in sorted((data / "sources").iterdir()):
        own_share = share * recipe.get("shares", {}).get(folder.name, 1)
        if not own_share:
            continue
        texts = read(folder, base, weight.device, share=own_share, **options)
        generator = torch.Generator().manual_seed(SEED)
        drawn = lists(texts, Weights(**recipe["teacher"]), generator, **recipe.get("lists", {}))
        source = Source(texts, *drawn)
        sources += [source] * recipe["repeats"].get(folder.name, 1)
        first = float((source.scores.argmax(dim=1) == 0).float().mean())
        print(f"{folder.name}: {len(source.documents)} lists, the teacher puts the positive first in {first:.3f}")
    return devs, sources


def principal(sources: list[Source], dim: int) -> Tensor:
    """Return the principal directions, `(dim, width)`, of what teaches: a repeated source counts as often."""
    values = (part.float() for source in sources for part in source.texts.documents.values.split(2**18))
    moment = sum((part.T @ part).double() for part in values)
    directions = torch.from_numpy(principal_directions(moment.cpu().numpy(), dim))
    return directions.float().contiguous().to(moment.device)


def read_arguments() -> tuple[argparse.Namespace, dict[str, Any]]:
    """Return the command line and the settings that it names, if they go together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("build/bundled"))
    parser.add_argument("--out", type=Path, default=Path("build/bundled/trained"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--share", type=float, default=1.0, help="of the queries")
    parser.add_argument("--start", type=Path, help="adapter.safetensors of an earlier run; stage B goes on from there")
    parser.add_argument(
        "--resume",
        type=Path,
        help="what an unfinished run, or a mean, has learnt with this --start; of the rank in the settings",
    )
    parser.add_argument(
        "--seed", type=int, default=SEED, help="of the order of stage B's batches; 42 is that of all else"
    )
    parser.add_argument("--settings", type=Path, default=Path(__file__).parent / "settings" / "first.json")
    arguments = parser.parse_args()
    recipe = json.loads(arguments.settings.read_text())
    if recipe.get("again") and arguments.start is None:
        parser.error(f"{arguments.settings.name} trains a trained model further: give its adapter as --start")
    if recipe.get("again") and recipe.get("principal") and not recipe.get("before_projection"):
        parser.error('principal directions are of what comes before the projection: "before_projection" is needed')
    return arguments, recipe


def main() -> None:
    """Run both stages, and write the best of each."""
    arguments, recipe = read_arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(arguments.device)
    base, weight = beginning(device, arguments.start if recipe.get("again") else None)
    log: list[dict[str, Any]] = []

    def say(entry: dict[str, Any]) -> None:
        log.append(entry)
        print(json.dumps(entry), flush=True)
        (arguments.out / "log.json").write_text(
            json.dumps({"recipe": recipe, "seed": arguments.seed, "log": log}, indent=1) + "\n"
        )

    start = time.perf_counter()
    devs, sources = read_all(arguments.data, recipe, arguments.share, base, weight)
    if recipe.get("principal"):
        weight = principal(sources, len(weight))
    say({"stage": "lists", "seconds": round(time.perf_counter() - start)})

    if not recipe.get("again"):
        say({"stage": "base, 384 dimensions", "ndcg@10": evaluate(lambda ids, task: encoded(base, ids, task), devs)})

    def in_projection(weight: Tensor) -> dict[str, float]:
        def model(ids: Packed, task: str) -> Packed:
            vectors = encoded(base, ids, task)
            return vectors._replace(values=projected(vectors.values, weight).half())

        return evaluate(model, devs)

    say({"stage": "projection, nothing else trained", "ndcg@10": in_projection(weight)})
    if recipe["stage_a"]:
        weight, entry = stage_a(weight, sources, Settings(**recipe["stage_a"]))
        say({**entry, "ndcg@10": in_projection(weight)})
        save_file({"projection": weight.cpu().contiguous()}, arguments.out / "stage_a.safetensors")

    def checkpoint(adapted: Adapted) -> None:
        adapted.save(arguments.out / "last.safetensors", scale=1.0)
        say({"stage": "B, on the way", "ndcg@10": evaluate(adapted.at(1.0), devs)})

    start_of_stage_b = arguments.resume or (None if recipe.get("again") else arguments.start)
    seed = arguments.seed + (2 if arguments.resume else 1)  # other batches than those that it has seen
    best = -1.0
    for choice in recipe["stage_b"]:
        adapted, entry = stage_b(base, weight, sources, Settings(**choice), checkpoint, start_of_stage_b, seed)
        for scale in recipe["scales"]:
            found = evaluate(adapted.at(scale), devs)
            say({**entry, "scale": scale, "ndcg@10": found})
            if found["mean"] > best:
                best = found["mean"]
                adapted.save(arguments.out / "adapter.safetensors", scale=scale)


if __name__ == "__main__":
    main()
