"""What does growth cost Serotine?  Many times the tokens, and many commits of one document instead of one of all.

Called by benchmarks/engines.py: `growth` for ``--growth``, `commits` for ``--commits``.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

import engines_run
from embeddings import Collection, Texts
from engines_adapters import statistics_of
from engines_growth import BLOCK, Block, replica_ids, replica_rows
from engines_judge import Truth, cached_exact, exact, overlap
from engines_run import INDEXES, Client, Run, Variant
from engines_worker import folder_bytes

JUDGED_QUERIES = 50
"""Queries whose exact answer is computed over a grown collection: 20 million tokens take seconds a query."""


def growth(collection: Collection, arguments: argparse.Namespace) -> dict[str, Any]:
    """Build, open and search indexes over ever more copies, each in processes of its own, one after the other."""
    sizes: dict[str, Any] = {}
    for copies in arguments.growth:
        run = Run(collection, threads=arguments.threads, copies=copies)
        nbits = arguments.nbits[0]
        variant = Variant(f"serotine nbits={nbits}", "serotine", {"nbits": nbits})
        entry: dict[str, Any] = {"tokens": copies * collection.documents.num_tokens}
        entry["build"] = engines_run.build(run, variant, reuse=arguments.reuse)
        client = Client(run, variant)
        try:
            entry |= {"bytes": client.hello["bytes"], "bytes_per_token": client.hello["bytes"] / entry["tokens"]}
            entry |= {"opened": client.hello["opened"], "facts": client.hello["facts"]}
            rounds = {"rounds": arguments.rounds, "budget_s": arguments.budget_s}
            timing = engines_run.measure([client], k=10, deep_k=100, **rounds)[variant.name]["default"]
            if client.failed:
                raise RuntimeError(client.failed)
            entry["search_memory"] = client.ask("memory")
        finally:
            client.close()
        asked = collection.queries.first(JUDGED_QUERIES)
        truth = cached_exact(collection.folder, collection.documents, asked, copies=copies, threads=arguments.threads)
        entry["search"] = {**engines_run.speed(timing), **engines_run.quality(timing, truth, None)}
        sizes[str(copies)] = entry
        print_growth(copies, entry)
    return {"collection": collection.name, "threads": arguments.threads, "copies": sizes}


def print_growth(copies: int, entry: dict[str, Any]) -> None:
    """Print the line of one size."""
    build, opening, searched = entry["build"], entry["opened"], entry["search"]
    open_growth = opening["after"]["rss_bytes"] - opening["before"]["rss_bytes"]
    print(
        f"{copies}x: {entry['tokens']} tokens, built in {build['seconds']:.1f} s (of which making the copies "
        f"{build['of_which_source_s']:.1f}), peak {build['after']['peak_rss_bytes'] / 1e6:.0f} MB; "
        f"{entry['bytes_per_token']:.1f} bytes a token; opened in {opening['seconds'] * 1000:.1f} ms, "
        f"+{open_growth / 1e6:.1f} MB; p50 {searched['p50_ms']:.2f} ms, p99 {searched['p99_ms']:.2f} ms, "
        f"of the fastest rounds {searched['fastest_p50_ms']:.2f} and {searched['fastest_p99_ms']:.2f} ms; after the "
        f"search {entry['search_memory']['own_bytes'] / 1e6:.0f} MB own and "
        f"{entry['search_memory']['mapped_bytes'] / 1e6:.0f} MB mapped; overlap@10 {searched['overlap_at_10']:.4f}",
        flush=True,
    )


def commits(collection: Collection, arguments: argparse.Namespace) -> dict[str, Any]:
    """Add documents one commit each, then search that index and a bulk-built one over the same documents in turn."""
    from serotine.indexes import PLAID

    count, documents = arguments.commits, collection.documents
    copies = -(-count // len(documents.ids))
    ids = replica_ids(documents, copies)[:count]
    folder = INDEXES / f"{collection.name}-commits"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    options = {"nbits": arguments.nbits[0], "num_threads": arguments.threads}
    one_by_one, bulk = (PLAID(str(folder), name, override=True, **options) for name in ("one-by-one", "bulk"))
    adding = add_one_by_one(one_by_one, zip(ids, replica_rows(documents, copies), strict=False))
    start = time.perf_counter()
    bulk.add_documents(ids, itertools.islice(replica_rows(documents, copies), count))
    bulk_s = time.perf_counter() - start
    rows = itertools.islice(replica_rows(documents, copies), count)
    truth = exact(collection.queries, joined(rows), threads=arguments.threads)
    indexes = {"one by one": one_by_one, "bulk": bulk}
    searched = search_in_turn(indexes, ids, collection.queries, truth, rounds=arguments.rounds)
    for name, index in indexes.items():
        searched[name]["facts"] = statistics_of(index)
        searched[name]["bytes"] = folder_bytes(folder / name.replace(" ", "-"))
        print(f"{name}: {searched[name]}")
    ratio = searched["one by one"]["p50_ms"] / searched["bulk"]["p50_ms"]
    lost = searched["bulk"]["overlap_at_10"] - searched["one by one"]["overlap_at_10"]
    print(f"search p50 {ratio:.2f} times the bulk build's, overlap {lost:+.4f} below it; bulk build {bulk_s:.1f} s")
    facts = {"collection": collection.name, "commits": count, "threads": arguments.threads, "adding": adding}
    return {**facts, "bulk_build_s": bulk_s, "search": searched, "p50_over_bulk": ratio, "overlap_below_bulk": lost}


def add_one_by_one(index: Any, documents: Iterable[tuple[str, npt.NDArray[np.float16]]]) -> dict[str, Any]:
    """Add each document in a call of its own. Returns the milliseconds of a call, also by thousands of commits."""
    seconds: list[float] = []
    processor: list[float] = []
    course: list[dict[str, Any]] = []
    for name, vectors in documents:
        start, start_cpu = time.perf_counter(), time.process_time()
        index.add_documents([name], [vectors])
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - start_cpu)
        if len(seconds) % 1000 == 0:
            recent = seconds[-1000:]
            course.append({"commits": len(seconds), **milliseconds(recent), "facts": statistics_of(index)})
            print({key: value for key, value in course[-1].items() if key != "facts"}, flush=True)
    facts = {**milliseconds(seconds), "total_s": sum(seconds), "of_processor_time": milliseconds(processor)}
    return {**facts, "course": course}


def milliseconds(seconds: list[float]) -> dict[str, float]:
    """Median, 99th percentile and largest."""
    values = np.array(seconds) * 1000
    return {
        "p50_ms": float(np.median(values)),
        "p99_ms": float(np.percentile(values, 99)),
        "max_ms": float(values.max()),
    }


def joined(rows: Iterator[npt.NDArray[np.float16]]) -> Iterator[Block]:
    """Documents as blocks of `BLOCK`."""
    while some := list(itertools.islice(rows, BLOCK)):
        yield np.concatenate(some), np.array([len(row) for row in some])


def search_in_turn(
    indexes: dict[str, Any], ids: list[str], queries: Texts, truth: Truth, *, rounds: int
) -> dict[str, dict[str, Any]]:
    """Ask every index every query in a call of its own, round by round. Returns latency and overlap of each."""
    position = {name: number for number, name in enumerate(ids)}
    asked = [row.astype(np.float32) for row in queries.rows()]
    singles: dict[str, list[list[float]]] = {name: [] for name in indexes}
    found: dict[str, list[list[int]]] = {}
    for _ in range(rounds + 1):
        for name, index in indexes.items():
            seconds, answers = [], []
            for query in asked:
                start = time.perf_counter()
                answer = index([query], k=10)
                seconds.append(time.perf_counter() - start)
                answers.append([position[hit["id"]] for hit in answer[0]])
            singles[name].append(seconds)
            found[name] = answers
    return {
        name: {**engines_run.latency_figures(singles[name][1:]), "overlap_at_10": overlap(found[name], truth)}
        for name in indexes
    }
