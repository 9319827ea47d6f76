"""How fast, and how exact, is packed MaxSim on one thread?  Beside a square matmul and the peers, in one run.

python benchmarks/maxsim.py                        32 query tokens, 2,000 documents of 20..240 tokens, d = 128
python benchmarks/maxsim.py --query-tokens 8 --dim 768 --rounds 15 --name maxsim-768

Writes ``results/maxsim.json``. Candidates run in turn, round by round, on one processor. The yardstick is the rate
of torch's 1024^3 float32 matmul in the same rounds. Errors are the largest differences from float64 scores over the
same float32 vectors, so they contain what storing in 16 or 8 bits costs. maxsim-cpu joins if it is importable:
benchmarks/peers/README.md says how to install it.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers.util import maxsim as sentence_transformers_maxsim

import harness
from serotine import _engine
from serotine.scores.packed import maxsim_packed
from serotine.scores.quantized import quantize
from serotine.types import TokenMatrix

MATMUL_SIZE = 1024
MATMUL = f"torch matmul {MATMUL_SIZE}^3"
SHORTEST, LONGEST = 20, 240

Scores = npt.NDArray[np.float32]


def random_texts(num_texts: int, dim: int, *, shortest: int, longest: int, seed: int) -> TokenMatrix:
    """Unit vectors in random directions; lengths uniform in [shortest, longest]."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(shortest, longest + 1, size=num_texts))])
    values = rng.standard_normal((int(offsets[-1]), dim), dtype=np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return TokenMatrix(values, offsets)


def exact_scores(query: TokenMatrix, documents: TokenMatrix) -> npt.NDArray[np.float64]:
    """MaxSim of one query in float64, ``(num_documents,)``."""
    tokens = query.values.astype(np.float64)
    return np.array([(document.astype(np.float64) @ tokens.T).max(axis=0).sum() for document in documents])


def bare_matmul(query: TokenMatrix, documents: TokenMatrix) -> Callable[[], object]:
    """The similarities alone, no maximum: what a two-step method pays at least."""
    left, right = torch.from_numpy(documents.values), torch.from_numpy(query.values).T
    return lambda: torch.mm(left, right)


def candidates(query: TokenMatrix, documents: TokenMatrix) -> dict[str, Callable[[], Scores]]:
    """Name -> call that scores the query against every document, ``(num_documents,)``."""
    half, small = documents.astype(np.float16), quantize(documents)
    bfloat16 = torch.from_numpy(documents.values).bfloat16().view(torch.uint16).numpy()
    bits = TokenMatrix(bfloat16, documents.offsets)
    calls: dict[str, Callable[[], Scores]] = {
        "serotine float32": lambda: maxsim_packed(query, documents, num_threads=1)[0],
        "serotine float16": lambda: maxsim_packed(query, half, num_threads=1)[0],
        "serotine bfloat16": lambda: maxsim_packed(query, bits, num_threads=1, uint16_kind="bfloat16")[0],
        "serotine int8": lambda: maxsim_packed(query, small, num_threads=1)[0],
    }
    torch_query = [torch.from_numpy(query.values)]
    torch_documents = [torch.from_numpy(document) for document in documents]
    calls["sentence-transformers"] = lambda: sentence_transformers_maxsim(torch_query, torch_documents)[0].numpy()
    if importlib.util.find_spec("maxsim_cpu") is not None:
        import maxsim_cpu

        arrays = list(documents)
        calls["maxsim-cpu"] = lambda: np.asarray(maxsim_cpu.maxsim_scores_variable(query.values, arrays))
    else:
        print("maxsim-cpu is not installed: left out (benchmarks/peers/README.md)", file=sys.stderr)
    return calls


def measure(query: TokenMatrix, documents: TokenMatrix, *, rounds: int) -> dict[str, Any]:
    """Return the figures of every candidate."""
    calls = candidates(query, documents)
    exact = exact_scores(query, documents)
    errors = {name: float(np.abs(call() - exact).max()) for name, call in calls.items()}
    left, right = (torch.randn(MATMUL_SIZE, MATMUL_SIZE) for _ in range(2))
    yardsticks = {MATMUL: lambda: torch.mm(left, right), "bare thin matmul": bare_matmul(query, documents)}
    seconds = harness.interleaved({**yardsticks, **calls}, rounds=rounds, warmup=2)

    flops = 2 * query.num_tokens * documents.num_tokens * documents.dim
    figures: dict[str, Any] = {}
    for name, times in seconds.items():
        median = statistics.median(times)
        rate = (2 * MATMUL_SIZE**3 if name == MATMUL else flops) / median / 1e9
        figures[name] = {**harness.summary(times), "gflops": rate}
        if name != MATMUL:
            per_flop = [time / flops * 2 * MATMUL_SIZE**3 for time in times]
            figures[name]["of_matmul_rate"] = harness.paired_ratio(seconds[MATMUL], per_flop)
            figures[name]["ns_per_token"] = median / documents.num_tokens * 1e9
            figures[name]["time_over_serotine_float32"] = harness.paired_ratio(times, seconds["serotine float32"])
        if name in errors:
            figures[name]["largest_error"] = errors[name]
    return figures


def print_table(figures: dict[str, Any]) -> None:
    """Print one line a candidate."""
    print(f"{'':22} {'median ms':>10} {'ns/token':>9} {'GFLOP/s':>8} {'of matmul':>10} {'x float32':>10} {'error':>9}")
    for name, figure in figures.items():
        print(
            f"{name:22} {figure['median_s'] * 1e3:10.2f} {figure.get('ns_per_token', float('nan')):9.1f} "
            f"{figure['gflops']:8.1f} {figure.get('of_matmul_rate', {}).get('median', 1.0):10.2f} "
            f"{figure.get('time_over_serotine_float32', {}).get('median', float('nan')):10.2f} "
            f"{figure.get('largest_error', float('nan')):9.1e}"
        )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--query-tokens", type=int, default=32)
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--name", default="maxsim", help="of the result file")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):  # before the first call: pools of threads are made then
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    length = arguments.query_tokens
    query = random_texts(1, arguments.dim, shortest=length, longest=length, seed=1)
    documents = random_texts(arguments.documents, arguments.dim, shortest=SHORTEST, longest=LONGEST, seed=2)
    figures = measure(query, documents, rounds=arguments.rounds)
    setting = {
        "query_tokens": length,
        "documents": len(documents),
        "document_tokens": documents.num_tokens,
        "dim": documents.dim,
        "threads": 1,
        "instruction_set": _engine.instruction_set(),
    }
    print(setting)
    print_table(figures)
    packages = ("numpy", "torch", "sentence-transformers", "maxsim-cpu")
    print(harness.write_result(arguments.name, {"setting": setting, "figures": figures}, packages=packages))


if __name__ == "__main__":
    main()
