"""How do engines compare on the same embeddings?  Build, memory, bytes, latency and quality, each in its own process.

    python benchmarks/engines.py --data DATA --collections scifact --threads 2
    python benchmarks/engines.py --data DATA --collections scifact --engines serotine exact --query-tokens 200 --reuse
    python benchmarks/engines.py --data DATA --collections large --engines serotine exact
    python benchmarks/engines.py --data DATA --collections scifact --growth 1 4 17
    python benchmarks/engines.py --data DATA --collections scifact --commits 20000

Engines: serotine (`indexes.PLAID`), exact (`indexes.Exact`, float16), and the peers of benchmarks/peers/README.md,
which `make peers` installs: fast-plaid, xtr-warp, voyager. Each with its own defaults, the same float16 vectors
(benchmarks/embeddings.py), the same threads and processors. Serotine is built with 1, 2, 4 and 8 bits and searched
with its default and at several `recall` targets, of which 1 scans all codes: what the others lose against it
(share_of_scan) is the search's, the rest the codes'.

Latency: each query in a call of its own, k = 10, all engines in turn round by round; batch: all queries in one call.
Quality: benchmarks/engines_judge.py. Memory: the peak of the process that builds and of the one that searches.

    --query-tokens N   queries of exactly N tokens, cut from documents, instead of the test queries (no nDCG)
    --growth 1 4 17    Serotine alone, on so many moved copies of the collection: build, opening, latency, memory
    --commits N        Serotine alone: N commits of one document each, beside one bulk build
    --reuse            keep the indexes that a former run left in build/engines (their build figures are that run's)

Writes results/engines-<collection>[-...].json. `python benchmarks/pareto.py scifact` draws it.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import engines_run
import engines_scale
import harness
from embeddings import Collection, cached, with_long_queries
from engines_adapters import ENGINES, PEERS
from engines_judge import Truth, cached_exact, ndcg
from engines_run import Client, Run, Variant

Entries = dict[str, dict[str, Any]]


def variants(arguments: argparse.Namespace) -> list[Variant]:
    """Return what to build and how to search it, in the order of --engines."""
    found = []
    for engine in arguments.engines:
        if engine != "serotine":
            found.append(Variant(engine, engine))
            continue
        for nbits in arguments.nbits:
            settings: dict[str, dict[str, Any]] = {"default": {}}
            settings |= {f"recall={recall}": {"recall": recall} for recall in arguments.recalls}
            found.append(Variant(f"serotine nbits={nbits}", engine, {"nbits": nbits}, settings))
    return found


def compare(collection: Collection, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure all engines on one collection. One that fails is reported as failed, and the others go on."""
    run = Run(collection, threads=arguments.threads)
    documents, queries = collection.documents, collection.queries
    truth = cached_exact(collection.folder, documents, queries, threads=arguments.threads)
    entries: Entries = {}
    with ExitStack() as stack:
        clients = []
        for variant in variants(arguments):
            entries[variant.name] = {"engine": variant.engine, "options": variant.options}
            try:
                entries[variant.name]["build"] = engines_run.build(run, variant, reuse=arguments.reuse)
            except (RuntimeError, FileNotFoundError) as error:
                _fail(entries[variant.name], error)
        for variant in variants(arguments):
            if "failed" not in entries[variant.name]:
                try:
                    clients.append(opened(run, variant, entries[variant.name]))
                    stack.callback(clients[-1].close)
                except RuntimeError as error:
                    _fail(entries[variant.name], error)
        search(clients, entries, collection, truth, arguments)
    return {
        "collection": collection.name,
        "documents": len(documents.ids),
        "tokens": documents.num_tokens,
        "queries": len(queries.ids),
        "tokens_per_query": queries.num_tokens / len(queries.ids),
        "threads": arguments.threads,
        "exact_ndcg_at_10": ndcg([row[:10].tolist() for row in truth.positions], collection),
        "engines": entries,
    }


def _fail(entry: dict[str, Any], error: object) -> None:
    entry["failed"] = str(error)
    print(error, flush=True)


def opened(run: Run, variant: Variant, entry: dict[str, Any]) -> Client:
    """Start the process that searches a variant, noting bytes and what opening cost."""
    client = Client(run, variant)
    tokens = run.copies * run.collection.documents.num_tokens
    entry["bytes"] = client.hello["bytes"]
    entry["bytes_per_token"] = client.hello["bytes"] / tokens
    entry["opened"] = client.hello["opened"]
    entry["facts"] = client.hello["facts"]
    return client


def search(
    clients: list[Client],
    entries: Entries,
    collection: Collection,
    truth: Truth,
    arguments: argparse.Namespace,
) -> None:
    """Add latency, quality and memory of every opened engine to its entry."""
    timings = engines_run.measure(clients, k=10, deep_k=100, rounds=arguments.rounds, budget_s=arguments.budget_s)
    for client in clients:
        entry, by_setting = entries[client.variant.name], timings[client.variant.name]
        if client.failed:
            _fail(entry, client.failed)
            continue
        entry["search"] = {
            setting: {**engines_run.speed(timing), **engines_run.quality(timing, truth, collection)}
            for setting, timing in by_setting.items()
        }
        for setting, share in engines_run.shares_of_scan(by_setting).items():
            entry["search"][setting]["share_of_scan"] = share
        entry["search_memory"] = client.ask("memory")


COLUMNS = (
    "build s",
    "MB built",
    "B/token",
    "p50 ms",
    "p99 ms",
    "batch ms",
    "overlap",
    "recall",
    "nDCG@10",
    "MB search",
)


def print_table(result: dict[str, Any]) -> None:
    """Print a line for each engine and setting."""
    sizes = f"{result['documents']} documents, {result['tokens']} tokens, {result['queries']} queries"
    exact = _number(result["exact_ndcg_at_10"], 4)
    print(f"\n{result['collection']}: {sizes}, {result['threads']} threads, exact nDCG@10 {exact}")
    print(" ".join([f"{'engine':30}", *(f"{column:>9}" for column in COLUMNS)]))
    for name, entry in result["engines"].items():
        if "failed" in entry:
            print(f"{name:30} failed: {entry['failed']}")
        for setting, figure in entry.get("search", {}).items():
            cells = [
                _number(entry["build"]["seconds"], 1),
                _number(entry["build"]["after"]["peak_rss_bytes"] / 1e6, 0),
                _number(entry["bytes_per_token"], 1),
                *(_number(figure[key], 2) for key in ("p50_ms", "p99_ms", "batch_ms_per_query")),
                *(_number(figure[key], 4) for key in ("overlap_at_10", "recall_of_top_10_in_100", "ndcg_at_10")),
                _number(entry["search_memory"]["peak_rss_bytes"] / 1e6, 0),
            ]
            full_name = name if setting == "default" else f"{name} {setting}"
            print(" ".join([f"{full_name:30}", *(f"{cell:>9}" for cell in cells)]))


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def result_name(collection: str, arguments: argparse.Namespace) -> str:
    """Return what the result file is called: the collection, then whatever differs from the plain comparison."""
    parts = ["engines", collection]
    if arguments.growth:
        parts.append("growth")
    if arguments.commits:
        parts.append("commits")
    if arguments.query_tokens:
        parts.append(f"{arguments.query_tokens}-query-tokens")
    if arguments.threads != 2:
        parts.append(f"{arguments.threads}-threads")
    return arguments.name or "-".join(parts)


def peer_versions() -> dict[str, str]:
    """Return what the peers' requirements pin; the peers' interpreter is another one."""
    lines = (harness.ROOT / "benchmarks" / "peers" / "engines.txt").read_text().splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="collections in BEIR's layout; needed for those not in the cache yet")
    parser.add_argument("--collections", "--collection", nargs="+", default=["scifact"])
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--nbits", nargs="+", type=int, default=[4, 8, 2, 1], help="of Serotine's indexes")
    parser.add_argument("--recalls", nargs="*", type=float, default=[0.8, 0.9, 0.95, 0.99, 0.999, 1.0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-queries", type=int, default=300)
    parser.add_argument("--query-tokens", type=int)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--budget-s", type=float, default=120, help="an engine over it has no further round")
    parser.add_argument("--reuse", action="store_true")
    parser.add_argument("--growth", nargs="+", type=int, metavar="COPIES")
    parser.add_argument("--commits", type=int, metavar="N")
    parser.add_argument("--name", help="of the result file")
    return parser.parse_args()


def main() -> None:
    """Measure each collection and write its result file."""
    arguments = read_arguments()
    for name in arguments.collections:
        collection = cached(name, arguments.data).with_queries(arguments.max_queries)
        if arguments.query_tokens:
            collection = with_long_queries(collection, arguments.query_tokens, count=arguments.max_queries)
        if arguments.growth:
            result = engines_scale.growth(collection, arguments)
        elif arguments.commits:
            result = engines_scale.commits(collection, arguments)
        else:
            result = compare(collection, arguments)
            print_table(result)
            if any(engine in PEERS for engine in arguments.engines):
                result["peer_versions"] = peer_versions()
        print(harness.write_result(result_name(name, arguments), result, packages=("serotine", "numpy")))


if __name__ == "__main__":
    main()
