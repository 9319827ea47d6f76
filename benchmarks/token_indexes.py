"""What do indexes of single vectors lose against exact search, and do they keep what they promise at full size?

    python benchmarks/token_indexes.py scifact                    Voyager with PyLate's settings; up to an hour
    python benchmarks/token_indexes.py scifact --m 16 --ef-construction 100      a quarter of the work
    python benchmarks/token_indexes.py scifact --index ScaNN      minutes
    python benchmarks/token_indexes.py scifact --index PLAID      XTR alone

Needs the embeddings that benchmarks/embeddings.py keeps. The index gets most documents, then the rest; every 50th is
removed, then put back; at last it is opened again. Each time it ranks by candidates from 100 hits per query token and
MaxSim of their stored vectors (`retrieve.ColBERT`) and is compared with exact search over the same documents. The bar:
recall in 100 of the judged documents within .01 of exact.

Then XTR, of all three kinds and exact, on the first queries, beside MaxSim: what a model loses that was not trained for
it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import embeddings
from embeddings import Collection, cached
from harness import write_result
from serotine.evaluation import Run, evaluate_run
from serotine.indexes import PLAID, Exact, Index, ScaNN, Voyager
from serotine.retrieve import XTR, ColBERT
from serotine.types import TokenMatrix

LATER = 200
"""Documents that are added in a second step."""

XTR_QUERIES = 50
BAR = 0.01


def opened(kind: str, folder: str, threads: int, settings: dict[str, int | None]) -> Index:
    """The index in a folder, made if missing. settings: of Voyager's graph."""
    if kind == "ScaNN":
        return ScaNN("index", index_folder=folder, dtype="float16", num_threads=threads)
    if kind == "PLAID":
        return PLAID(folder, "index", num_threads=threads, show_progress=False)
    return Voyager(folder, "index", dtype="float16", num_threads=threads, **settings)


def quality(rankings: list[list[dict[str, Any]]], collection: Collection) -> dict[str, float]:
    """Recall@100 and nDCG@10 of rankings of document numbers."""
    ids, asked = collection.documents.ids, collection.queries.ids[: len(rankings)]
    named = [[{"id": ids[hit["id"]], "score": hit["score"]} for hit in hits] for hits in rankings]
    judged = {query: collection.qrels[query] for query in asked if query in collection.qrels}
    values = evaluate_run(Run.from_results(named, asked), judged, ["recall@100", "ndcg@10"])
    return {name: float(np.mean(list(values.per_query(name).values()))) for name in ("recall@100", "ndcg@10")}


class Bench:
    """One index beside the exact one."""

    def __init__(
        self, collection: Collection, kind: str, folder: str, threads: int, settings: dict[str, int | None]
    ) -> None:
        self.collection, self.kind, self.open_with = collection, kind, (kind, folder, threads, settings)
        self.documents = TokenMatrix(np.asarray(collection.documents.values), collection.documents.offsets)
        self.queries = TokenMatrix(np.asarray(collection.queries.values, np.float32), collection.queries.offsets)
        self.index = opened(*self.open_with)
        self.exact = Exact(dtype="float16", num_threads=threads)
        self.steps: dict[str, Any] = {}

    def change(self, name: str, change: Any, *, compare: bool = True) -> None:
        """Make a change of both indexes, and compare their rankings."""
        start = time.perf_counter()
        change(self.index)
        seconds = time.perf_counter() - start
        change(self.exact)
        self.steps[name] = {"seconds": seconds}
        if compare:
            self.compare(name)

    def compare(self, name: str) -> None:
        """Rank with both; recall, nDCG, overlap and time."""
        wanted = self.exact(self.queries, k=100)
        start = time.perf_counter()
        found = ColBERT(self.index).retrieve(self.queries, k=100)
        seconds = time.perf_counter() - start
        overlap = [
            len({h["id"] for h in a} & {h["id"] for h in b}) / len(b) for a, b in zip(found, wanted, strict=True)
        ]
        gone = {hit["id"] for hits in found for hit in hits} - set(self.index.documents_ids())
        mine, exact = quality(found, self.collection), quality(wanted, self.collection)
        step = self.steps.setdefault(name, {})
        step |= {
            "index": mine, "exact": exact, "overlap_at_100": float(np.mean(overlap)), "num_removed_returned": len(gone),
            "ms_per_query": 1e3 * seconds / len(self.queries), "num_documents": len(self.index),
            "holds": not gone and mine["recall@100"] >= exact["recall@100"] - BAR,
        }  # fmt: skip
        print(f"{self.kind}, {name}: {step}", flush=True)

    def run(self) -> dict[str, Any]:
        """All steps."""
        numbers = range(len(self.documents))
        first = len(numbers) - LATER
        removed = list(numbers)[::50]
        self.change("add", lambda index: index.add_documents(range(first), self.documents[:first]), compare=False)
        self.change("add more", lambda index: index.add_documents(range(first, len(numbers)), self.documents[first:]))
        if self.kind != "PLAID":
            self.change("remove", lambda index: index.remove_documents(removed))
            back = self.documents.take(removed)
            self.change("put back", lambda index: index.update_documents(removed, back))
            self.index.close()
            self.index = opened(*self.open_with)
            self.compare("opened again")
        return {**self.steps, "xtr": self.xtr()}

    def xtr(self) -> dict[str, Any]:
        """XTR by this index and by exact search for tokens, beside MaxSim."""
        queries = self.queries[:XTR_QUERIES]
        found: dict[str, Any] = {"maxsim": quality(self.exact(queries, k=100), self.collection)}
        for name, index in (("index", self.index), ("exact", self.exact)):
            for k_token in (1_000, 10_000):
                start = time.perf_counter()
                rankings = XTR(index).retrieve(queries, k=100, k_token=k_token)
                seconds = time.perf_counter() - start
                found[f"{name}, k_token={k_token}"] = {
                    **quality(rankings, self.collection), "ms_per_query": 1e3 * seconds / len(queries)
                }  # fmt: skip
                print(f"{self.kind}, xtr: {name}, k_token={k_token}: {found[f'{name}, k_token={k_token}']}", flush=True)
        return found


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection")
    parser.add_argument("--index", choices=("Voyager", "ScaNN", "PLAID"), default="Voyager")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--m", type=int, help="Voyager's M")
    parser.add_argument("--ef-construction", type=int, help="Voyager's")
    parser.add_argument("--first", type=int, help="documents to take, for a trial")
    parser.add_argument("--embeddings", type=Path, help="folder of the collections, if not that of the bundled model")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message="XTR ranks by retrieved tokens")
    if arguments.embeddings:
        embeddings.CACHE = arguments.embeddings
    collection = cached(arguments.collection)
    if arguments.first:
        collection = collection._replace(documents=collection.documents.first(arguments.first))
    with tempfile.TemporaryDirectory() as folder:
        settings = {"M": arguments.m, "ef_construction": arguments.ef_construction}
        report = Bench(collection, arguments.index, folder, arguments.threads, settings).run()
    facts = {"collection": arguments.collection, "num_tokens": collection.documents.num_tokens,
             "num_queries": len(collection.queries.ids), "threads": arguments.threads}  # fmt: skip
    if not arguments.first:
        write_result(
            f"token-index-{arguments.index.lower()}-{arguments.collection}", {**facts, "steps": report},
            packages=("numpy", "voyager", "scann"),
        )  # fmt: skip


if __name__ == "__main__":
    main()
