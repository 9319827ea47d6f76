"""What do fewer dimensions and fewer vectors cost?  The bundled model's vectors cut and pooled, nDCG@10.

    python benchmarks/smaller_vectors.py --data DATA

For each collection and variant: exact search (float16) and a PLAID index (4 bits, its own default) over the same
documents and queries. Cut vectors keep their leading dimensions and get length 1 again; pooled documents have a half,
a third or a quarter of their vectors, as `encode(pool_factor=...)` makes them (all documents of a chunk share what is
kept) and as `HierarchicalPooling` does (each its own part). Differences are to exact search over the vectors as they
are, paired over queries, with 95 % bootstrap intervals. Where the collection names queries that had no part in
training (qrels/test_heldout.tsv), only these count. Uses the embeddings that benchmarks/embeddings.py keeps, and makes
those that are missing.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from embeddings import Collection, Texts, cached
from harness import write_result
from serotine.evaluation import Run, evaluate_run, read_qrels
from serotine.evaluation.significance import bootstrap
from serotine.indexes import PLAID, Exact
from serotine.models import HierarchicalPooling, SharedPooling, TokenPooling
from serotine.models.batching import chunks
from serotine.types import TokenMatrix

METRIC = "ndcg@10"
COLLECTIONS = ["scifact", "cranfield", "npl", "selqa", "stackfaq"]


class Variant(NamedTuple):
    """Documents and queries with fewer dimensions or vectors."""

    name: str
    documents: TokenMatrix
    queries: TokenMatrix


def cut(texts: Texts, dim: int) -> TokenMatrix:
    """Leading dimensions, of length 1."""
    values = texts.values[:, :dim].astype(np.float32)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return TokenMatrix(values.astype(np.float16), texts.offsets)


def pooled(texts: Texts, pooling: TokenPooling, chunk_size: int) -> TokenMatrix:
    """Documents with fewer vectors, a chunk at a time."""
    rows = (torch.from_numpy(row.astype(np.float32)) for row in texts.rows())
    fewer = (vectors for chunk in chunks(rows, chunk_size) for vectors in pooling.pool(chunk))
    return TokenMatrix.from_arrays([vectors.numpy().astype(np.float16) for vectors in fewer])


def variants(collection: Collection, chunk_size: int, dims: list[int], factors: list[int]) -> Iterator[Variant]:
    """Yield the vectors as they are, cut, and pooled."""
    documents, queries = collection.documents, collection.queries
    full = cut(queries, queries.values.shape[1])
    yield Variant("as they are", cut(documents, documents.values.shape[1]), full)
    for dim in dims:
        yield Variant(f"{dim} dimensions", cut(documents, dim), cut(queries, dim))
    for factor in factors:
        yield Variant(f"pool_factor={factor}", pooled(documents, SharedPooling(factor), chunk_size), full)
        method = HierarchicalPooling(factor)
        yield Variant(f"HierarchicalPooling({factor})", pooled(documents, method, chunk_size), full)


def held_out(collection: Collection, data: Path | None) -> Collection:
    """Return the collection with the judged queries alone; if some had no part in training, with these alone."""
    judged = set(collection.qrels)
    file = None if data is None else data / collection.name / "qrels" / "test_heldout.tsv"
    if file is not None and file.exists():
        judged &= set(read_qrels(file))
    queries = collection.queries
    places = [place for place, query in enumerate(queries.ids) if query in judged]
    rows = queries.rows()
    kept = TokenMatrix.from_arrays([rows[place] for place in places])
    texts = Texts(kept.values, kept.offsets, [queries.ids[place] for place in places])
    return collection._replace(queries=texts)


def per_query(index: Exact | PLAID, queries: TokenMatrix, collection: Collection) -> list[float]:
    """nDCG@10 of each judged query."""
    ids = collection.queries.ids
    run = Run.from_results(index(queries, k=10), ids)
    judged = {query: collection.qrels[query] for query in ids}
    values = evaluate_run(run, judged, [METRIC]).per_query(METRIC)
    return [values[query] for query in judged]


def measure(collection: Collection, some: Iterator[Variant], threads: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the figures of each variant."""
    reference: list[float] = []
    for name, documents, queries in some:
        exact = Exact(dtype="float16").add_documents(collection.documents.ids, documents)
        found = {"exact": per_query(exact, queries, collection)}
        with tempfile.TemporaryDirectory() as folder:
            index = PLAID(folder, "index", num_threads=threads, show_progress=False)
            index.add_documents(collection.documents.ids, documents)
            found["PLAID"] = per_query(index, queries, collection)
            num_bytes = index.stats().num_bytes
        reference = reference or found["exact"]
        entry: dict[str, Any] = {
            "tokens": documents.num_tokens,
            "bytes": {"exact": documents.values.nbytes, "PLAID": num_bytes},
        }
        for system, values in found.items():
            interval = bootstrap(values, reference)
            difference = {"mean": interval.mean, "low": interval.low, "high": interval.high}
            entry[system] = {METRIC: float(np.mean(values)), "difference": difference}
        yield name, entry


def means(report: dict[str, dict[str, dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """Mean difference of each variant over the collections."""
    names = next(iter(report.values()))
    return {
        name: {
            system: float(np.mean([entries[name][system]["difference"]["mean"] for entries in report.values()]))
            for system in ("exact", "PLAID")
        }
        for name in names
    }


def text(values: dict[str, float]) -> str:
    """An interval as it is printed."""
    return f"{values['mean']:+.4f} ({values['low']:+.4f} .. {values['high']:+.4f})"


def main() -> None:
    """Measure, print a line per variant, write results/<name>.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--collections", nargs="+", default=COLLECTIONS)
    parser.add_argument("--dims", nargs="*", type=int, default=[96, 64, 48])
    parser.add_argument("--factors", nargs="*", type=int, default=[2, 3, 4])
    parser.add_argument("--chunk-size", type=int, default=4096, help="documents pooled together, as encode does")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="smaller_vectors", help="of the file in results/")
    arguments = parser.parse_args()
    report: dict[str, dict[str, Any]] = {}
    for name in arguments.collections:
        report[name] = {}
        collection = held_out(cached(name, arguments.data), arguments.data)
        some = variants(collection, arguments.chunk_size, arguments.dims, arguments.factors)
        for variant, entry in measure(collection, some, arguments.threads):
            report[name][variant] = entry
            print(
                f"{name:12} {variant:22} {entry['bytes']['PLAID'] / 1e6:7.1f} MB  "
                f"exact {entry['exact'][METRIC]:.4f} {text(entry['exact']['difference'])}  "
                f"PLAID {entry['PLAID'][METRIC]:.4f} {text(entry['PLAID']['difference'])}",
                flush=True,
            )
    summary = means(report)
    for variant, differences in summary.items():
        print(f"mean         {variant:22} exact {differences['exact']:+.4f}  PLAID {differences['PLAID']:+.4f}")
    result = {"chunk_size": arguments.chunk_size, "collections": report, "mean_difference": summary}
    write_result(arguments.name, result, packages=["numpy", "torch", "scipy"])


if __name__ == "__main__":
    main()
