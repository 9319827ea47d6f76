"""What does a query cost the processor?  Time of one thread, which other programs on the machine lengthen least.

    python benchmarks/search_cost.py scifact scifact scifact-4x scifact-20x
    python benchmarks/search_cost.py scifact scifact --query-tokens 32 200
    python benchmarks/search_cost.py scifact scifact-commits/one-by-one scifact-commits/bulk

Searches indexes that benchmarks/engines.py has left in build/engines, all of them in turn, round by round: one thread,
k = 10, a call for each query. A query counts with the processor time, and the wall time, of its fastest round; then
the median and the 99th percentile over the queries. Without --query-tokens the collection's test queries.
Writes results/search-cost-<collection>[-NAME].json.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import numpy.typing as npt

import harness
from embeddings import Collection, cached, with_long_queries
from engines_run import INDEXES
from serotine.indexes import PLAID

Figures = dict[str, float]


def open_index(name: str) -> PLAID:
    """Open an index below build/engines: its folder, or the folder of a comparison, of which it is the 4-bit one."""
    folder = INDEXES / name
    compared = folder / "serotine-nbits4" / "index"
    folder = compared if compared.exists() else folder
    index = PLAID(folder.parent, folder.name, num_threads=1)
    if len(index) == 0:
        raise FileNotFoundError(f"{folder}: no index; benchmarks/engines.py makes it")
    return index


def seconds_of(index: PLAID, query: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Processor and wall time of one call."""
    wall, processor = time.perf_counter(), time.thread_time()
    index([query], k=10)
    return time.thread_time() - processor, time.perf_counter() - wall


def measure(names: list[str], collection: Collection, rounds: int) -> dict[str, Figures]:
    """Search every index with every query, rounds times. Returns milliseconds by index."""
    indexes = {name: open_index(name) for name in names}
    queries = [row.astype(np.float32) for row in collection.queries.rows()]
    seconds = {name: np.full((2, len(queries)), np.inf) for name in names}
    for _ in range(rounds):
        for number, query in enumerate(queries):
            for name, index in indexes.items():
                best = seconds[name][:, number]
                np.minimum(best, seconds_of(index, query), out=best)
    return {
        name: {"num_tokens": index.stats().num_tokens, **percentiles(seconds[name])} for name, index in indexes.items()
    }


def percentiles(seconds: npt.NDArray[np.float64]) -> Figures:
    """Milliseconds over the queries."""
    processor, wall = 1000 * seconds
    return {
        "processor_p50_ms": float(np.median(processor)),
        "processor_p99_ms": float(np.percentile(processor, 99)),
        "wall_p50_ms": float(np.median(wall)),
        "wall_p99_ms": float(np.percentile(wall, 99)),
    }


def main() -> None:
    """Measure and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", help="whose queries are asked")
    parser.add_argument("indexes", nargs="+", help="folders below build/engines")
    parser.add_argument("--query-tokens", nargs="+", type=int, default=[])
    parser.add_argument("--max-queries", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--name", help="added to the name of the result file")
    arguments = parser.parse_args()
    plain = cached(arguments.collection).with_queries(arguments.max_queries)
    tasks = {f"{n} tokens": with_long_queries(plain, n, count=arguments.max_queries) for n in arguments.query_tokens}
    result: dict[str, Any] = {}
    for name, collection in (tasks or {"test queries": plain}).items():
        result[name] = measure(arguments.indexes, collection, arguments.rounds)
        for index, figures in result[name].items():
            print(name, index, {key: round(value, 3) for key, value in figures.items()}, flush=True)
    file = "-".join(filter(None, ["search-cost", arguments.collection, arguments.name]))
    facts = {"collection": arguments.collection, "rounds": arguments.rounds, "milliseconds": result}
    print(harness.write_result(file, facts, packages=("serotine", "numpy")))


if __name__ == "__main__":
    main()
