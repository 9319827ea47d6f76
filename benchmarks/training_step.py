"""What does the loss cost in a training step?  Time and memory of scoring, and a batch of 1,024 by cached gradients.

    python benchmarks/training_step.py [--parts loss cached] [--batch 64 --threads 1 2 --rounds 7]

loss: `losses.Contrastive` beside Sentence Transformers' `MultiVectorMultipleNegativesRankingLoss` with its defaults, on
the token vectors of one batch: a model that only returns them stands in, so that all that is measured is the loss,
forward and backward to the vectors. Both run in turn in one process. Processor seconds, which other programs disturb
less, stand beside wall seconds. Memory is measured in processes of their own (see scoring_backward.py), and contains
the gradients of the vectors, whose size stands beside it.

cached: one step of `losses.CachedContrastive` of the bundled model, on random words,
in a process of its own: wall seconds and the peak of resident memory of the whole process. Also the largest difference
of its gradients from those of `Contrastive` at the batch of the first part, in eval mode. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as functional
from sentence_transformers.multi_vector_encoder.losses import MultiVectorMultipleNegativesRankingLoss
from torch import nn

from harness import interleaved, paired_ratio, summary, write_result
from serotine.losses import CachedContrastive, Contrastive
from serotine.models import ColBERT, bundled

LOSSES = {"serotine": Contrastive, "sentence_transformers": MultiVectorMultipleNegativesRankingLoss}
Features = list[dict[str, Any]]


class Vectors(nn.Module):
    """A model whose output is its input: token vectors, as if just computed."""

    def forward(self, features: dict[str, Any], task: str | None = None) -> dict[str, Any]:
        """Return the features."""
        return {**features, "task": task}


def vectors(arguments: argparse.Namespace, batch: int) -> Features:
    """Return queries and documents of a quarter to all of their tokens, a tenth of the rest masked."""
    generator = torch.Generator().manual_seed(0)
    features = []
    for task, tokens in (("query", arguments.query_tokens), ("document", arguments.document_tokens)):
        values = functional.normalize(torch.randn(batch, tokens, arguments.dim, generator=generator), dim=-1)
        mask = torch.ones(batch, tokens, dtype=torch.bool)
        if task == "document":
            lengths = torch.randint(tokens // 4, tokens + 1, (batch, 1), generator=generator)
            lengths[0] = tokens
            mask = (torch.arange(tokens) < lengths) & (torch.rand(batch, tokens, generator=generator) < 0.9)
        features.append({"task": task, "token_embeddings": values.requires_grad_(), "attention_mask": mask})
    return features


def step(loss: nn.Module, features: Features) -> float:
    for each in features:
        each["token_embeddings"].grad = None
    value = loss(features)
    value.backward()
    return float(value.detach())


def measure_loss(arguments: argparse.Namespace) -> dict[str, Any]:
    features = vectors(arguments, arguments.batch)
    losses = {name: make(Vectors()) for name, make in LOSSES.items()}
    values, gradients = {}, {}
    for name, loss in losses.items():
        values[name] = step(loss, features)
        gradients[name] = [each["token_embeddings"].grad.clone() for each in features]
    difference = max(
        float((one - other).abs().max())
        for one, other in zip(gradients["serotine"], gradients["sentence_transformers"], strict=True)
    )
    memory = {name: [_child(arguments, "--memory-of", name) for _ in range(3)] for name in LOSSES}
    extra = {name: statistics.median(runs) for name, runs in memory.items()}
    return {
        "loss": values,
        "largest_difference_of_gradients": difference,
        "time": {
            f"{threads} threads": time_losses(losses, features, threads, arguments) for threads in arguments.threads
        },
        "peak_extra_bytes": extra,
        "peak_extra_bytes_of_each_process": memory,
        "of_these_gradients_bytes": sum(each["token_embeddings"].nbytes for each in features),
        "times_less_memory": extra["sentence_transformers"] / extra["serotine"],
    }


def time_losses(
    losses: dict[str, nn.Module], features: Features, threads: int, arguments: argparse.Namespace
) -> dict[str, Any]:
    torch.set_num_threads(threads)
    busy: dict[str, list[float]] = {name: [] for name in losses}

    def timed(name: str) -> None:
        start = time.process_time()
        step(losses[name], features)
        busy[name].append(time.process_time() - start)

    wall = interleaved({name: partial(timed, name) for name in losses}, rounds=arguments.rounds)
    processor = {name: runs[1:] for name, runs in busy.items()}  # as `interleaved`, without the warm-up
    return {
        key: {
            "seconds": {name: summary(runs) for name, runs in seconds.items()},
            "times_faster": paired_ratio(seconds["sentence_transformers"], seconds["serotine"]),
        }
        for key, seconds in (("wall", wall), ("processor", processor))
    }


def print_memory_of_loss(arguments: argparse.Namespace) -> None:
    """In a child: print the bytes by which one step raises the peak of resident memory."""
    torch.set_num_threads(max(arguments.threads))
    loss = LOSSES[arguments.memory_of](Vectors())
    step(loss, vectors(arguments, 2))
    features = vectors(arguments, arguments.batch)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status_bytes("VmRSS")
    step(loss, features)
    print(_status_bytes("VmHWM") - before)


def texts(model: ColBERT, batch: int, arguments: argparse.Namespace) -> Features:
    """Return queries of up to 32 tokens and documents of up to 180, of random whole words."""
    draw = random.Random(0)
    words = [word for word in model.tokenizer.get_vocab() if word.isalpha() and len(word) > 2]
    columns = []
    for task, most in (("query", arguments.query_tokens), ("document", arguments.document_tokens)):
        lines = [" ".join(draw.choices(words, k=draw.randint(most // 4, most - 2))) for _ in range(batch)]
        columns.append(model.preprocess(lines, task=task))
    return columns


def cached_step(arguments: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(max(arguments.threads))
    model = bundled(device="cpu", query_length=arguments.query_tokens, document_length=arguments.document_tokens)
    loss = CachedContrastive(model.train(), mini_batch_size=arguments.mini_batch)
    features = texts(model, arguments.cached_batch, arguments)
    start = time.perf_counter()
    value = loss(features)
    middle = time.perf_counter()
    value.backward()
    return {
        "loss": float(value.detach()),
        "forward_s": middle - start,
        "backward_s": time.perf_counter() - middle,
        "peak_resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def measure_cached(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"step": _child(arguments, "--cached-step"), "against_contrastive": measure_equality(arguments)}


def measure_equality(arguments: argparse.Namespace) -> dict[str, float]:
    """Compare the gradients of both losses over the bundled model at the batch of the first part."""
    model = bundled(device="cpu", query_length=arguments.query_tokens, document_length=arguments.document_tokens).eval()
    features = texts(model, arguments.batch, arguments)
    found = []
    for loss in (Contrastive(model), CachedContrastive(model, mini_batch_size=arguments.mini_batch)):
        model.zero_grad()
        loss([dict(each) for each in features]).backward()
        found.append([each.grad.clone() for each in model.parameters() if each.grad is not None])
    return {
        "largest_difference_of_gradients": max(
            float((one - other).abs().max()) for one, other in zip(*found, strict=True)
        ),
        "largest_gradient": max(float(each.abs().max()) for each in found[0]),
    }


def _child(arguments: argparse.Namespace, *options: str) -> Any:
    command = [sys.executable, __file__, *options]
    for name in ("batch", "query_tokens", "document_tokens", "dim", "cached_batch", "mini_batch"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    command += ["--threads", str(max(arguments.threads))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _status_bytes(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=["loss", "cached"], default=["loss", "cached"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--query-tokens", type=int, default=32)
    parser.add_argument("--document-tokens", type=int, default=180)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cached-batch", type=int, default=1024)
    parser.add_argument("--mini-batch", type=int, default=32)
    parser.add_argument("--memory-of", choices=LOSSES, help=argparse.SUPPRESS)
    parser.add_argument("--cached-step", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.memory_of:
        print_memory_of_loss(arguments)
        return
    if arguments.cached_step:
        print(json.dumps(cached_step(arguments)))
        return
    hidden = ("memory_of", "cached_step")
    shape = {key: value for key, value in vars(arguments).items() if key not in hidden}
    # Waiting threads spin by default, which costs most where other programs want their cores.
    shape["OMP_WAIT_POLICY"] = os.environ.get("OMP_WAIT_POLICY")
    for part in arguments.parts:
        figures = measure_loss(arguments) if part == "loss" else measure_cached(arguments)
        print(json.dumps(figures, indent=2))
        print("wrote", write_result(f"training_step_{part}", {"shape": shape, **figures}))


if __name__ == "__main__":
    main()
