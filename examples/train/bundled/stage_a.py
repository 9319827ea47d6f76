"""How is the projection trained?  Frozen base, 384 -> 128 dimensions, to rank as the teacher ranks.

    python examples/train/bundled/stage_a.py --data DATA --lists build/bundled/lists --out build/bundled/stage_a

Starts from the principal directions that the package ships. The student's MaxSim, divided by the number of query
tokens, is trained by the KL divergence to the teacher's distribution over each list of 16. Batches come from one source
at a time. After each epoch nDCG@10 on queries of the dev sets decides; the best projection is written.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lists import encode
from pairs import document_text, read_lines, read_qrels
from safetensors.torch import save_file
from torch.nn import functional

from serotine.evaluation import evaluate
from serotine.models import bundled
from serotine.scores import colbert_kd_scores
from serotine.scores.packed import maxsim_packed
from serotine.scores.quantized import quantize
from serotine.types import TokenMatrix

SEED = 42
BATCH = 32


class Lists(NamedTuple):
    """The lists of one source, memory-mapped."""

    name: str
    documents: TokenMatrix
    queries: TokenMatrix
    lists: np.ndarray
    scores: np.ndarray

    @classmethod
    def read(cls, folder: Path) -> Lists:
        """Open a folder that lists.py wrote."""
        array = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in
                 ("documents", "document_offsets", "queries", "query_offsets", "lists", "scores")}  # fmt: skip
        return cls(
            folder.name,
            TokenMatrix(array["documents"], np.array(array["document_offsets"])),
            TokenMatrix(array["queries"], np.array(array["query_offsets"])),
            np.array(array["lists"]),
            np.array(array["scores"]),
        )


class Dev(NamedTuple):
    """A dev set: vectors of the base model and judgements."""

    name: str
    document_ids: list[str]
    documents: TokenMatrix
    queries: dict[str, str]
    query_vectors: TokenMatrix
    qrels: dict[str, dict[str, int]]


def read_dev(data: Path, cache: Path, name: str, split: str, articles: list[str], limit: int) -> Dev:
    """Encode a dev set with the base model (once)."""
    corpus = list(read_lines(data / name / "corpus.jsonl"))
    texts = {str(q["_id"]): q["text"] for q in read_lines(data / name / "queries.jsonl")}
    titles = {str(d["_id"]): d.get("title") for d in corpus}
    qrels: dict[str, dict[str, int]] = {}
    for query, document in read_qrels(data / name / "qrels" / f"{split}.tsv"):
        if not articles or titles[document] in articles:
            qrels.setdefault(query, {})[document] = 1
    qrels = {query: qrels[query] for query in sorted(qrels)[:limit]}
    queries = {query: texts[query] for query in qrels}
    parts = []
    for kind, inputs in (("documents", [document_text(d) for d in corpus]), ("queries", list(queries.values()))):
        file = cache / f"{name}-{split}-{kind}.npz"
        if not file.exists():
            vectors = encode(inputs, is_query=kind == "queries")
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez(file, values=vectors.values, offsets=vectors.offsets)
        stored = np.load(file)
        parts.append(TokenMatrix(stored["values"], stored["offsets"]))
    return Dev(f"{name} {split}", [str(d["_id"]) for d in corpus], parts[0], queries, parts[1], qrels)


def project(vectors: TokenMatrix, weight: torch.Tensor) -> TokenMatrix:
    """Projected unit vectors."""
    with torch.no_grad():
        values = functional.normalize(torch.from_numpy(np.asarray(vectors.values, np.float32)) @ weight.T, dim=-1)
    return TokenMatrix(values.numpy(), vectors.offsets)


def ndcg(dev: Dev, weight: torch.Tensor | None) -> float:
    """nDCG@10 on a dev set; without a projection that of the base model's 384 dimensions."""
    documents = dev.documents if weight is None else project(dev.documents, weight)
    queries = dev.query_vectors if weight is None else project(dev.query_vectors, weight)
    scores = maxsim_packed(queries, quantize(documents.astype(np.float32)))
    results = []
    for row in scores:
        top = np.argsort(-row, kind="stable")[:10]
        results.append([{"id": dev.document_ids[d], "score": float(row[d])} for d in top])
    return evaluate(results, dev.qrels, queries=list(dev.queries), metrics=["ndcg@10"])["ndcg@10"]


def batches(sources: list[Lists], generator: np.random.Generator) -> Iterator[tuple[Lists, np.ndarray]]:
    """Yield (source, queries) for one epoch: every list once, sources in a random order of batches."""
    todo = []
    for source in sources:
        order = generator.permutation(len(source.lists))
        todo += [(source, order[i : i + BATCH]) for i in range(0, len(order) - BATCH + 1, BATCH)]
    for position in generator.permutation(len(todo)):
        yield todo[position]


def padded(matrix: TokenMatrix, positions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts as `(num_texts, longest, dim)` float32 and their mask."""
    rows = [torch.from_numpy(np.asarray(matrix[int(position)], np.float32)) for position in positions]
    values = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    return values, torch.arange(values.shape[1])[None, :] < lengths[:, None]


def loss_of(
    source: Lists, numbers: np.ndarray, weight: torch.Tensor, scale: float, teacher_scale: float
) -> torch.Tensor:
    """KL divergence from the teacher's distribution over each list to the student's."""
    queries, queries_mask = padded(source.queries, numbers)
    lists = source.lists[numbers]
    unique, inverse = np.unique(lists, return_inverse=True)
    documents, documents_mask = padded(source.documents, unique)
    queries = functional.normalize(queries @ weight.T, dim=-1)
    documents = functional.normalize(documents @ weight.T, dim=-1)
    at = torch.from_numpy(inverse.reshape(lists.shape))
    scores = colbert_kd_scores(queries, documents[at], queries_mask, documents_mask[at])
    student = scores / queries_mask.sum(dim=1, keepdim=True) * scale
    teacher = torch.from_numpy(source.scores[numbers]) * teacher_scale
    return functional.kl_div(student.log_softmax(-1), teacher.log_softmax(-1), log_target=True, reduction="batchmean")


def main() -> None:
    """Train, and write the projection of the best epoch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--lists", type=Path, default=Path("build/bundled/lists"))
    parser.add_argument("--out", type=Path, default=Path("build/bundled/stage_a"))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--scale", type=float, default=40.0, help="of the student's mean similarity")
    parser.add_argument("--teacher-scale", type=float, default=1.5)
    arguments = parser.parse_args()
    torch.manual_seed(SEED)
    generator = np.random.default_rng(SEED)
    articles = json.loads((arguments.lists.parent / "dev.json").read_text())["squad-dev articles"]
    cache = arguments.lists.parent / "dev"
    devs = [
        read_dev(arguments.data, cache, "scifact", "train", [], 809),
        read_dev(arguments.data, cache, "scitldr", "dev", [], 500),
        read_dev(arguments.data, cache, "squad-dev", "train", articles, 800),
    ]
    sources = [Lists.read(folder) for folder in sorted(arguments.lists.iterdir())]
    weight = bundled()[1].linear.weight.detach().clone().requires_grad_()
    steps = arguments.epochs * sum(len(source.lists) // BATCH for source in sources)
    optimizer = torch.optim.Adam([weight], lr=arguments.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, arguments.learning_rate, total_steps=steps, pct_start=0.1)
    log = [{"epoch": "base, 384 dimensions", **{dev.name: ndcg(dev, None) for dev in devs}},
           {"epoch": 0, **{dev.name: ndcg(dev, weight.detach()) for dev in devs}}]  # fmt: skip
    print(*log, sep="\n", flush=True)
    best, best_mean = weight.detach().clone(), float(np.mean([log[1][dev.name] for dev in devs]))
    for epoch in range(1, arguments.epochs + 1):
        start, losses = time.perf_counter(), []
        for source, numbers in batches(sources, generator):
            loss = loss_of(source, numbers, weight, arguments.scale, arguments.teacher_scale)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        entry = {"epoch": epoch, "loss": float(np.mean(losses)), "seconds": round(time.perf_counter() - start),
                 **{dev.name: ndcg(dev, weight.detach()) for dev in devs}}  # fmt: skip
        log.append(entry)
        print(entry, flush=True)
        mean = float(np.mean([entry[dev.name] for dev in devs]))
        if mean > best_mean:
            best, best_mean = weight.detach().clone(), mean
    arguments.out.mkdir(parents=True, exist_ok=True)
    save_file({"linear.weight": best.contiguous()}, arguments.out / "projection.safetensors")
    recipe = {"options": {k: str(v) for k, v in vars(arguments).items() if k not in ("data", "lists", "out")},
              "seed": SEED, "batch": BATCH, "log": log}  # fmt: skip
    (arguments.out / "log.json").write_text(json.dumps(recipe, indent=2) + "\n")


if __name__ == "__main__":
    main()
