"""Does the index lose no more than it may?  Overlap, recall and nDCG against exact search over the same vectors.

    python benchmarks/quality_gates.py                 scifact, squad-dev, npl with 1, 2, 4 and 8 bits; minutes
    python benchmarks/quality_gates.py --variants      other vectors, queries and filters on scifact, 4 bits

Needs the embeddings that benchmarks/embeddings.py keeps. Each index is searched at its own default. Gates:

    bits   overlap@10   recall of the exact top 10 in 100   upper 95 % bound of the mean loss of nDCG@10
    8      .995         1.0                                  .001
    4      .98          .999                                 .003
    2      .94          .995                                 .006
    1      .86          .98                                  .012

on scifact; on the others overlap may be .01 (4 bits) or .02 (2, 1 bits) lower. share_of_scan: of what a scan of all
codes finds, at least .995: what is missing beside it is the codes', not the search's. The loss of nDCG is judged on
collections with 2,000 queries and more. Variants have no gate of their own: beside each is what the scan of the same
codes reaches.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from embeddings import Collection, Texts, cached, with_long_queries
from harness import write_result
from serotine.evaluation import Run, evaluate_run
from serotine.evaluation.significance import bootstrap
from serotine.indexes import PLAID
from serotine.scores.packed import maxsim_packed
from serotine.types import TokenMatrix

TIE = 1e-4
GATES = {  # overlap on scifact, how much lower elsewhere, recall, loss of nDCG
    8: (0.995, 0.0, 1.0, 0.001),
    4: (0.98, 0.01, 0.999, 0.003),
    2: (0.94, 0.02, 0.995, 0.006),
    1: (0.86, 0.02, 0.98, 0.012),
}
SHARE_OF_SCAN = 0.995
MAX_QUERIES = 2_500
MIN_JUDGED = 2_000


class Task(NamedTuple):
    """Vectors to index, queries to ask, and what each query may return (None: everything)."""

    documents: TokenMatrix
    queries: TokenMatrix
    subsets: list[list[int]] | None = None


def matrix(texts: Texts, dtype: npt.DTypeLike = np.float16) -> TokenMatrix:
    """Vectors of some texts."""
    return TokenMatrix(np.asarray(texts.values, dtype=dtype), texts.offsets)


def exact_scores(task: Task, threads: int) -> npt.NDArray[np.float32]:
    """Score of every query and document; -inf where the query may not return it."""
    scores = maxsim_packed(task.queries.astype(np.float32), task.documents, num_threads=threads)
    if task.subsets is not None:
        allowed = np.zeros(scores.shape, dtype=bool)
        for row, subset in zip(allowed, task.subsets, strict=True):
            row[subset] = True
        scores[~allowed] = -np.inf
    return scores


def compare(results: list[list[dict]], scores: npt.NDArray[np.float32], k: int) -> float:
    """Mean share of the exact top 10 among the first k found; a score within TIE of the tenth counts."""
    shares = []
    for found, row in zip(results, scores, strict=True):
        eligible = int(np.isfinite(row).sum())
        wanted = min(10, eligible)
        tenth = np.partition(row, -wanted)[-wanted]
        good = sum(row[hit["id"]] >= tenth - TIE for hit in found[:k])
        shares.append(min(good, wanted) / wanted)
    return float(np.mean(shares))


def measure(index: PLAID, task: Task, scores: npt.NDArray[np.float32]) -> tuple[dict[str, float], list[list[dict]]]:
    """Overlap, recall and share of the scan at the index's default; also the results."""
    start = time.perf_counter()
    top = index(task.queries, k=10, subset=task.subsets)
    seconds = time.perf_counter() - start
    deep = index(task.queries, k=100, subset=task.subsets)
    scan = index(task.queries, k=10, subset=task.subsets, recall=1.0)
    share = np.mean([
        len({hit["id"] for hit in found} & {hit["id"] for hit in wanted}) / len(wanted)
        for found, wanted in zip(top, scan, strict=True)
    ])  # fmt: skip
    figures = {
        "overlap_at_10": compare(top, scores, 10),
        "recall_in_100": compare(deep, scores, 100),
        "overlap_of_scan": compare(scan, scores, 10),
        "share_of_scan": float(share),
        "batch_ms_per_query": 1e3 * seconds / len(task.queries),
    }
    return figures, top


def ndcg_loss(found: list[list[dict]], scores: npt.NDArray[np.float32], collection: Collection) -> dict[str, float]:
    """Loss of nDCG@10 against exact search, paired over queries, with the ends of its 95 % interval."""
    asked = collection.queries.ids[: len(found)]
    ids = collection.documents.ids
    best = [np.argsort(-row, kind="stable")[:10] for row in scores]
    exact = [[{"id": ids[d], "score": float(row[d])} for d in top] for top, row in zip(best, scores, strict=True)]
    index = [[{"id": ids[hit["id"]], "score": hit["score"]} for hit in hits] for hits in found]
    judged = {query: collection.qrels[query] for query in asked if query in collection.qrels}
    per_query = {
        name: evaluate_run(Run.from_results(results, asked), judged, ["ndcg@10"]).per_query("ndcg@10")
        for name, results in (("exact", exact), ("index", index))
    }
    order = list(judged)
    interval = bootstrap([per_query["exact"][q] for q in order], [per_query["index"][q] for q in order])
    return {"mean": interval.mean, "low": interval.low, "high": interval.high, "num_queries": len(order),
            "exact": float(np.mean([per_query["exact"][q] for q in order]))}  # fmt: skip


def build(documents: TokenMatrix, folder: str, nbits: int, threads: int) -> PLAID:
    """Index documents under their numbers."""
    index = PLAID(folder, f"bits-{nbits}", override=True, nbits=nbits, num_threads=threads, show_progress=False)
    return index.add_documents(range(len(documents)), documents)


def gates(names: list[str], threads: int) -> dict[str, Any]:
    """Measure every gate; `holds` says which do."""
    report: dict[str, Any] = {}
    for name in names:
        collection = cached(name).with_queries(MAX_QUERIES)
        task = Task(matrix(collection.documents), matrix(collection.queries))
        scores = exact_scores(task, threads)
        for nbits, (overlap, slack, recall, loss) in GATES.items():
            with tempfile.TemporaryDirectory() as folder:
                index = build(task.documents, folder, nbits, threads)
                figures, found = measure(index, task, scores)
                entry: dict[str, Any] = {
                    **figures,
                    "bytes_per_token": index.stats().num_bytes / index.stats().num_tokens,
                }
            entry["ndcg_loss"] = ndcg_loss(found, scores, collection)
            entry["holds"] = {
                "overlap_at_10": figures["overlap_at_10"] >= overlap - (0 if name == "scifact" else slack),
                "recall_in_100": figures["recall_in_100"] >= recall,
                "share_of_scan": figures["share_of_scan"] >= SHARE_OF_SCAN,
            }
            if entry["ndcg_loss"]["num_queries"] >= MIN_JUDGED:
                entry["holds"]["ndcg_loss"] = entry["ndcg_loss"]["high"] <= loss
            report[f"{name}, {nbits} bits"] = entry
            print(line(f"{name}, {nbits} bits", entry), flush=True)
    return report


def line(name: str, entry: dict[str, Any]) -> str:
    """One line of the table that is printed."""
    failed = [gate for gate, holds in entry.get("holds", {}).items() if not holds]
    loss = entry.get("ndcg_loss")
    judged = f"  loss {loss['mean']:+.4f} ({loss['low']:+.4f} .. {loss['high']:+.4f})" if loss else ""
    missed = f"  MISSED {failed}" if failed else ""
    return (
        f"{name:32} overlap {entry['overlap_at_10']:.4f} (scan {entry['overlap_of_scan']:.4f})  recall "
        f"{entry['recall_in_100']:.4f}  of scan {entry['share_of_scan']:.4f}{judged}{missed}"
    )


def unit(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Rows of length 1."""
    return (values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)).astype(np.float16)


def changed(task: Task, change: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float16]]) -> Task:
    """The task with another width of vectors."""
    documents, queries = (TokenMatrix(change(m.values.astype(np.float32)), m.offsets) for m in task[:2])
    return Task(documents, queries)


def widened(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """128 dimensions as 768: a random orthonormal embedding plus a little noise in all directions."""
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.standard_normal((768, 128)))[0].T.astype(np.float32)
    return unit(values @ basis + rng.standard_normal((len(values), 768), dtype=np.float32) * 0.005)


def pooled(task: Task) -> Task:
    """Documents with half of their vectors, each pooled by itself."""
    import torch

    from serotine.models.pooling import HierarchicalPooling

    rows = [torch.from_numpy(row.astype(np.float32)) for row in task.documents]
    fewer = [row.numpy().astype(np.float16) for row in HierarchicalPooling(2).pool(rows)]
    return Task(TokenMatrix.from_arrays(fewer), task.queries)


def lengthened(task: Task) -> Task:
    """Documents whose vectors have lengths of .5 to 2."""
    gains = np.random.default_rng(2).uniform(-1, 1, (task.documents.num_tokens, 1))
    values = (task.documents.values.astype(np.float32) * 2.0**gains).astype(np.float16)
    return Task(TokenMatrix(values, task.documents.offsets), task.queries)


def filtered(task: Task, share: float, *, by_topic: bool) -> Task:
    """Each query restricted to a share of the documents: at random, or those nearest to one document's mean vector."""
    rng = np.random.default_rng(3)
    count = max(1, round(share * len(task.documents)))
    means = np.stack([row.astype(np.float32).mean(axis=0) for row in task.documents])
    subsets = []
    for _ in range(len(task.queries)):
        near = means @ means[rng.integers(len(means))] if by_topic else rng.random(len(means))
        subsets.append(np.argpartition(-near, count - 1)[:count].tolist())
    return task._replace(subsets=subsets)


def variants(collection: Collection) -> Iterator[tuple[str, Task]]:
    """Other vectors, queries and filters, made from one collection."""
    task = Task(matrix(collection.documents), matrix(collection.queries))
    yield "as it is", task
    yield "200 query tokens", task._replace(queries=matrix(with_long_queries(collection, 200, count=100).queries))
    yield "48 dimensions", changed(task, lambda values: unit(values[:, :48]))
    yield "96 dimensions", changed(task, lambda values: unit(values[:, :96]))
    yield "768 dimensions", changed(task, widened)
    yield "lengths .5 to 2", lengthened(task)
    yield "pooled by 2", pooled(task)
    for share in (0.5, 0.1, 0.03, 0.01):
        yield f"filter {share:.0%} at random", filtered(task, share, by_topic=False)
        yield f"filter {share:.0%} by topic", filtered(task, share, by_topic=True)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collections", nargs="+", default=["scifact", "squad-dev", "npl"])
    parser.add_argument("--variants", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if not arguments.variants:
        write_result("quality_gates", {"gates": gates(arguments.collections, arguments.threads)}, packages=["numpy"])
        return
    report = {}
    for name, task in variants(cached(arguments.collections[0]).with_queries(300)):
        scores = exact_scores(task, arguments.threads)
        with tempfile.TemporaryDirectory() as folder:
            report[name], _ = measure(build(task.documents, folder, 4, arguments.threads), task, scores)
        print(line(name, report[name]), flush=True)
    write_result("quality_variants", {"variants": report}, packages=["numpy"])


if __name__ == "__main__":
    main()
