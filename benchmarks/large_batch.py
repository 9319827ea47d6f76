"""What does a step of cached gradients over 16,384 pairs take?  Processes that share a batch, and their memory.

    python benchmarks/large_batch.py [--batch 16384 --processes 2 --threads 1 --check 128]

Pairs are neighbouring runs of words from the docstrings of the running Python, 6 words each: about 11 tokens, at most
16. The bundled model embeds them, and `CachedContrastive` with ``gather_across_devices`` compares each query with all
documents of all processes, over gloo.

Each process is fresh and reports wall seconds and the peak of its resident memory; model, interpreter and libraries,
which stand beside it, included. A matrix of all scores alone would be ``4 * batch**2`` bytes, 1.07 GB for 16,384.

First, in processes of the same kind and in eval mode, the gradients of ``--check`` pairs are compared with those that
`Contrastive` finds in one process. Linux only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from harness import write_result
from serotine.demo.corpus import standard_library_documents
from serotine.losses import CachedContrastive, Contrastive
from serotine.models import ColBERT, bundled

WORDS = 6


def pairs(number: int) -> list[tuple[str, str]]:
    """Return runs of words of docstrings, each with the run after it. Equal documents occur once."""
    found: dict[str, str] = {}
    for document in standard_library_documents():
        words = document.docstring.split()
        for start in range(0, len(words) - 2 * WORDS + 1, WORDS):
            query, positive = (" ".join(words[begin : begin + WORDS]) for begin in (start, start + WORDS))
            found.setdefault(positive, query)
            if len(found) == number:
                return [(query, positive) for positive, query in found.items()]
    raise SystemExit(f"the docstrings of this Python make {len(found)} pairs, {number} were asked for")


def make_model(*, training: bool) -> ColBERT:
    model: ColBERT = bundled(device="cpu", query_length=16, document_length=16)
    return model.train(training)


def features(model: ColBERT, rows: list[tuple[str, str]]) -> list[dict[str, Any]]:
    queries, positives = zip(*rows, strict=True)
    return [model.preprocess(list(queries), task="query"), model.preprocess(list(positives), task="document")]


def gradients(model: ColBERT) -> Iterator[torch.Tensor]:
    return (each.grad for each in model.parameters() if each.grad is not None)


def average_gradients(model: ColBERT) -> None:
    """Do what DistributedDataParallel does, once, at the end."""
    for gradient in gradients(model):
        dist.all_reduce(gradient)
        gradient /= dist.get_world_size()


def run_process(arguments: argparse.Namespace) -> None:
    """One of the processes: check, then measure, and write what was found."""
    torch.set_num_threads(arguments.threads)
    folder, rank, world = Path(arguments.folder), arguments.rank, arguments.processes
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    rows = pairs(max(arguments.batch, arguments.check))
    found = {"check": check(arguments, rows, rank), "step": measure(arguments, rows, rank)}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def own(rows: list[tuple[str, str]], number: int, rank: int, arguments: argparse.Namespace) -> list[tuple[str, str]]:
    share = number // arguments.processes
    return rows[rank * share : (rank + 1) * share]


def check(arguments: argparse.Namespace, rows: list[tuple[str, str]], rank: int) -> dict[str, float]:
    model = make_model(training=False)
    # Each process on its own, with all rows: what the processes together must find.
    alone = Contrastive(model)(features(model, rows[: arguments.check]))
    alone.backward()
    expected = [each.clone() for each in gradients(model)]
    model.zero_grad()
    loss = make_loss(model, arguments)(features(model, own(rows, arguments.check, rank, arguments)))
    loss.backward()
    average_gradients(model)
    differences = [float((a - b).abs().max()) for a, b in zip(gradients(model), expected, strict=True)]
    return {
        "loss_of_this_process": float(loss.detach()),
        "loss_alone": float(alone.detach()),
        "largest_difference_of_gradients": max(differences),
        "largest_gradient": max(float(each.abs().max()) for each in expected),
    }


def make_loss(model: ColBERT, arguments: argparse.Namespace) -> CachedContrastive:
    return CachedContrastive(
        model,
        mini_batch_size=arguments.mini_batch,
        score_mini_batch_size=arguments.score_mini_batch,
        gather_across_devices=True,
    )


def measure(arguments: argparse.Namespace, rows: list[tuple[str, str]], rank: int) -> dict[str, Any]:
    model = make_model(training=True)
    batch = features(model, own(rows, arguments.batch, rank, arguments))
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _status_bytes("VmRSS")
    start = time.perf_counter()
    loss = make_loss(model, arguments)(batch)
    middle = time.perf_counter()
    loss.backward()
    average_gradients(model)
    return {
        "loss": float(loss.detach()),
        "forward_s": middle - start,
        "backward_s": time.perf_counter() - middle,
        "tokens": [int(each["attention_mask"].sum()) for each in batch],
        "longest_text_tokens": [int(each["attention_mask"].shape[1]) for each in batch],
        "resident_bytes_before": before,
        "peak_resident_bytes": _status_bytes("VmHWM"),
    }


def _status_bytes(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def run_all(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Start the processes and return what each found."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *sys.argv, "--folder", folder, "--rank"]
        processes = [subprocess.Popen([*command, str(rank)]) for rank in range(arguments.processes)]
        codes = [process.wait() for process in processes]
        if any(codes):
            raise SystemExit(f"the processes ended with {codes}")
        return [json.loads(Path(folder, f"{rank}.json").read_text()) for rank in range(arguments.processes)]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16_384, help="pairs of all processes together")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--mini-batch", type=int, default=64, help="texts embedded together")
    parser.add_argument("--score-mini-batch", type=int, default=64, help="queries scored together")
    parser.add_argument("--check", type=int, default=128, help="pairs whose gradients are compared")
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    for name in ("batch", "check"):
        if getattr(arguments, name) % arguments.processes:
            raise SystemExit(f"--{name} must be a multiple of --processes")
    if arguments.rank is not None:
        run_process(arguments)
        return
    shape = {key: value for key, value in vars(arguments).items() if key not in ("folder", "rank")}
    figures = {"shape": shape, "processes": run_all(arguments)}
    print(json.dumps(figures, indent=2))
    print("wrote", write_result("large_batch", figures))


if __name__ == "__main__":
    main()
