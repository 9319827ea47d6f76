"""What does one training step's scoring cost?  Forward and backward of in-batch MaxSim, beside Sentence Transformers.

    python benchmarks/scoring_backward.py [--batch 64 --document-tokens 256 --threads 1 2 --rounds 7]

Scores and their cross-entropy against in-batch labels, as contrastive losses do, with the masks that losses pass:
"full" (every token counts) and "ragged" (documents of a quarter to all of the tokens, punctuation left out).

Time: both libraries in turn in one process (see harness.interleaved).

Memory: a fresh process for each measurement, warmed up on a tiny batch so that libraries and threads are loaded; then
the kernel's record of peak resident memory is reset (clear_refs) and one step runs. Peak extra memory is the new peak
minus the resident memory before the step, the median of three processes because the allocator's layout varies. It
contains the gradients of the inputs, which every implementation must return; their size stands beside it. Linux only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as functional
from sentence_transformers.multi_vector_encoder.scoring import colbert_scores as peer_scores

from harness import interleaved, paired_ratio, summary, write_result
from serotine.scores import colbert_scores

SCORERS: dict[str, Callable[..., torch.Tensor]] = {"serotine": colbert_scores, "sentence_transformers": peer_scores}


class Batch(NamedTuple):
    """Leaf tensors of one step; documents are in groups of one, as losses stack them."""

    queries: torch.Tensor  # (batch, query_tokens, dim)
    documents: torch.Tensor  # (batch, 1, document_tokens, dim)
    queries_mask: torch.Tensor
    documents_mask: torch.Tensor


def make_batch(arguments: argparse.Namespace, masks: str) -> Batch:
    generator = torch.Generator().manual_seed(0)
    shapes = ((arguments.batch, arguments.query_tokens), (arguments.batch, 1, arguments.document_tokens))
    queries, documents = (
        functional.normalize(torch.randn(*shape, arguments.dim, generator=generator), dim=-1)
        .to(getattr(torch, arguments.dtype))
        .requires_grad_()
        for shape in shapes
    )
    queries_mask, documents_mask = (torch.ones(shape, dtype=torch.bool) for shape in shapes)
    if masks == "ragged":
        lengths = torch.randint(
            arguments.document_tokens // 4, arguments.document_tokens + 1, shapes[1][:2], generator=generator
        )
        documents_mask &= torch.arange(arguments.document_tokens) < lengths.unsqueeze(-1)
        documents_mask &= torch.rand(shapes[1], generator=generator) < 0.9
    return Batch(queries, documents, queries_mask, documents_mask)


def step(scorer: Callable[..., torch.Tensor], batch: Batch) -> dict[str, float]:
    """Run forward and backward once; gradients stay in the leaves. Returns the wall seconds of both halves."""
    batch.queries.grad = batch.documents.grad = None
    start = time.perf_counter()
    scores = scorer(
        batch.queries, batch.documents, queries_mask=batch.queries_mask, documents_mask=batch.documents_mask
    )
    loss = functional.cross_entropy(scores, torch.arange(len(scores)))
    middle = time.perf_counter()
    loss.backward()
    return {"forward": middle - start, "backward": time.perf_counter() - middle}


def measure_time(arguments: argparse.Namespace, masks: str) -> dict[str, Any]:
    """Return per library the timings of the halves and of the whole step, and the paired ratio of the wholes."""
    batch = make_batch(arguments, masks)
    halves: dict[str, list[dict[str, float]]] = {name: [] for name in SCORERS}
    candidates = {name: lambda name=name: halves[name].append(step(SCORERS[name], batch)) for name in SCORERS}
    totals = interleaved(candidates, rounds=arguments.rounds)
    return {
        "seconds": {
            name: {
                "total": summary(totals[name]),
                **{half: summary([each[half] for each in halves[name][1:]]) for half in ("forward", "backward")},
            }
            for name in SCORERS
        },
        "times_faster": paired_ratio(totals["sentence_transformers"], totals["serotine"]),
    }


def measure_accuracy(arguments: argparse.Namespace, masks: str) -> dict[str, float]:
    """Return the largest absolute difference between the two libraries' gradients, and the largest gradient."""
    found = []
    for scorer in SCORERS.values():
        batch = make_batch(arguments, masks)
        step(scorer, batch)
        found.append((batch.queries.grad, batch.documents.grad))
    (queries, documents), (peer_queries, peer_documents) = found
    return {
        "queries_gradient_difference": float((queries - peer_queries).abs().max()),
        "documents_gradient_difference": float((documents - peer_documents).abs().max()),
        "largest_gradient": float(max(queries.abs().max(), documents.abs().max())),
    }


def measure_memory(arguments: argparse.Namespace, masks: str) -> dict[str, Any]:
    """Return bytes of peak extra memory per library, each of three processes its own, and the ratio of the medians."""
    runs = {name: [_memory_of_child(name, arguments, masks) for _ in range(3)] for name in SCORERS}
    extra = {name: statistics.median(run) for name, run in runs.items()}
    batch = make_batch(arguments, masks)
    return {
        "peak_extra_bytes": extra,
        "peak_extra_bytes_of_each_process": runs,
        "of_these_gradients_bytes": batch.queries.nbytes + batch.documents.nbytes,
        "times_less": extra["sentence_transformers"] / extra["serotine"],
    }


def _memory_of_child(name: str, arguments: argparse.Namespace, masks: str) -> int:
    command = [sys.executable, __file__, "--memory-of", name, masks]
    for option in ("batch", "query_tokens", "document_tokens", "dim", "dtype"):
        command += [f"--{option.replace('_', '-')}", str(getattr(arguments, option))]
    command += ["--threads", str(max(arguments.threads))]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def print_own_memory(arguments: argparse.Namespace) -> None:
    """In the child: print the bytes by which one step raises the peak of resident memory."""
    name, masks = arguments.memory_of
    torch.set_num_threads(max(arguments.threads))
    tiny = argparse.Namespace(**{**vars(arguments), "batch": 2, "document_tokens": 32})
    step(SCORERS[name], make_batch(tiny, masks))
    batch = make_batch(arguments, masks)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status_bytes("VmRSS")
    step(SCORERS[name], batch)
    print(_status_bytes("VmHWM") - before)


def _status_bytes(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--query-tokens", type=int, default=32)
    parser.add_argument("--document-tokens", type=int, default=256)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory-of", nargs=2, metavar=("LIBRARY", "MASKS"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.memory_of:
        print_own_memory(arguments)
        return
    figures: dict[str, Any] = {"shape": {key: value for key, value in vars(arguments).items() if key != "memory_of"}}
    for masks in ("full", "ragged"):
        figures[masks] = {
            "accuracy": measure_accuracy(arguments, masks),
            "memory": measure_memory(arguments, masks),
            "time": {},
        }
        for threads in arguments.threads:
            torch.set_num_threads(threads)
            figures[masks]["time"][f"{threads} threads"] = measure_time(arguments, masks)
    print(json.dumps(figures, indent=2))
    print("wrote", write_result(f"scoring_backward_{arguments.dtype}", figures))


if __name__ == "__main__":
    main()
