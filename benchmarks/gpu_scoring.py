"""Are the scores of training on CUDA right, and what do they cost?  Kernels beside torch and Sentence Transformers.

    PYTHONPATH=src python benchmarks/gpu_scoring.py [--out gpu_scoring.json] [--rounds 20]

Needs a CUDA device with triton, and no engine. Three parts, about a minute with the compilation of the kernels:

checks: maxima, winners and gradients of the kernels against torch's path on the same device, in each dtype: ragged
documents, an empty one, ties, NaN, tensors beyond 2**31 elements, and the same bits from a second run. Gradients are
taken at the winners of the reference, since two sums of other order may prefer one or the other of two close tokens.
A check that fails makes the exit status 1.

steps: scores, their cross-entropy and the backward pass, as contrastive losses run them, in turn: the kernels, torch's
path, and `colbert_scores` of Sentence Transformers with its defaults. Wall seconds up to the device's end, and the peak
of device memory above the inputs; it contains their gradients, whose size stands beside it.

kernels: device time of each kernel alone, at other tiles and precisions than the chosen ones too.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
import torch.nn.functional as functional
from torch import Tensor

from harness import interleaved, machine_facts, paired_ratio, summary, write_result
from serotine.scores import autograd, colbert_scores, triton_maxima

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

# Of a gradient: sums of float32 in another order, rounded once to the dtype.
GRADIENT_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2**-7, torch.float16: 2**-10}

# groups, documents, query tokens, document tokens, dim
SHAPES = {
    "one of each": (1, 1, 1, 1, 16),
    "in batch": (1, 48, 48 * 32, 180, 128),
    "own documents": (16, 8, 32, 300, 128),
    "odd sizes": (3, 5, 33, 71, 48),
    "wide vectors": (1, 6, 40, 100, 384),
}


class Inputs(NamedTuple):
    """What `autograd.token_maxima` takes."""

    queries: Tensor  # (groups, query_tokens, dim)
    documents: Tensor  # (groups, num_documents, document_tokens, dim)
    mask: Tensor  # bool (groups, num_documents, document_tokens)


def ragged(shape: tuple[int, ...], dtype: torch.dtype) -> Inputs:
    """Return unit vectors and masks of documents of any length with gaps; the last document is empty."""
    groups, num_documents, query_tokens, document_tokens, dim = shape
    generator = torch.Generator("cuda").manual_seed(0)
    random = {"generator": generator, "device": "cuda"}
    queries = functional.normalize(torch.randn(groups, query_tokens, dim, **random), dim=-1).to(dtype)
    documents = torch.randn(groups, num_documents, document_tokens, dim, **random)
    lengths = torch.randint(1, document_tokens + 1, (groups, num_documents, 1), **random)
    mask = torch.arange(document_tokens, device="cuda") < lengths
    mask &= torch.rand(mask.shape, **random) < 0.9
    mask[..., 0] = True
    if num_documents > 1:
        mask[-1, -1] = False
    return Inputs(queries, functional.normalize(documents, dim=-1).to(dtype), mask)


@contextmanager
def torch_path() -> Iterator[None]:
    with mock.patch.object(autograd, "_triton_kernels", return_value=None):
        yield


def reference(inputs: Inputs, weights: Tensor) -> tuple[Tensor, ...]:
    """Return maxima, winners and gradients by torch."""
    with torch_path():
        maxima, winners = autograd._forward(*inputs, None, with_winners=True)
        sides = (inputs.queries, inputs.documents)
        return maxima, winners, *autograd._backward(*sides, winners, weights, wanted=(True, True))


def compare(inputs: Inputs) -> dict[str, Any]:
    """Return how far the kernels are from torch, and whether that is near enough."""
    num_texts, query_tokens = inputs.documents.shape[:2], inputs.queries.shape[1]
    weights = torch.sin(torch.arange(num_texts.numel() * query_tokens, device="cuda").float())
    weights = weights.view(*num_texts, query_tokens)
    maxima, winners, *expected = reference(inputs, weights)
    found, positions = triton_maxima.maxima(*inputs, with_winners=True)
    again, _ = triton_maxima.maxima(*inputs, with_winners=True)
    run = (inputs.queries, inputs.documents, winners, weights)
    gradients = triton_maxima.maxima_gradients(*run, wanted=(True, True))
    repeated = triton_maxima.maxima_gradients(*run, wanted=(True, True))
    counts = inputs.mask.any(dim=-1)
    difference = float((found - maxima)[counts].abs().max())
    other = (positions != winners)[counts]
    gaps = (_at(inputs, positions) - _at(inputs, winners))[counts][other].abs()
    figures = {
        "maxima_difference": difference,
        "winners_that_differ": int(other.sum()),
        "of_winners": other.numel(),
        "largest_gap_between_their_similarities": float(gaps.max()) if len(gaps) else 0.0,
        "empty_is_minus_infinity": bool(found[~counts].isneginf().all()),
        "same_bits_again": all(
            torch.equal(*pair) for pair in zip((found, *gradients), (again, *repeated), strict=True)
        ),
    }
    good = difference < 1e-5 and figures["largest_gap_between_their_similarities"] < 1e-5
    for name, one, two in zip(("queries", "documents"), gradients, expected, strict=True):
        largest = float(two.abs().max())
        figures[f"{name}_gradient_difference"] = _largest_difference(one, two)
        figures[f"{name}_gradient_largest"] = largest
        good &= figures[f"{name}_gradient_difference"] <= GRADIENT_TOLERANCE[one.dtype] * max(1.0, largest)
    good &= figures["empty_is_minus_infinity"] and figures["same_bits_again"]
    return {"good": good, **figures}


def _largest_difference(one: Tensor, two: Tensor) -> float:
    """Compare piece by piece: as float32 the whole may be too much."""
    pieces = zip(one.flatten().split(2**28), two.flatten().split(2**28), strict=True)
    return max(float((a.float() - b.float()).abs().max()) for a, b in pieces)


def _at(inputs: Inputs, winners: Tensor) -> Tensor:
    """Return the similarities of query tokens with the given document tokens, in float32."""
    groups, num_documents, _ = winners.shape
    result = torch.empty(winners.shape, device="cuda")
    for group in range(groups):
        for document in range(num_documents):
            rows = inputs.documents[group, document][winners[group, document].long()].float()
            result[group, document] = (inputs.queries[group].float() * rows).sum(dim=-1)
    return result


def check_ties() -> dict[str, Any]:
    """Of equal maxima the first wins, within a tile and across tiles."""
    documents = torch.zeros(1, 1, 200, 16, device="cuda")
    documents[0, 0, [90, 91, 150]] = 1.0
    winners = triton_maxima.maxima(torch.ones(1, 70, 16, device="cuda"), documents, None, with_winners=True)[1]
    return {"good": bool((winners == 90).all()), "winners": sorted(set(winners.flatten().tolist()))}


def check_nan() -> dict[str, Any]:
    """NaN counts where its token does, and nowhere else."""
    inputs = ragged((1, 2, 20, 100, 32), torch.float32)
    inputs.mask[...] = True
    inputs.documents[:, :, 77] = torch.nan
    inputs.mask[0, 1, 77] = False
    found, _ = triton_maxima.maxima(*inputs, with_winners=True)
    return {"good": bool(found[0, 0].isnan().all() and found[0, 1].isfinite().all())}


def check_huge() -> dict[str, Any]:
    """Offsets beyond 2**31: 33,000 documents of 512 tokens and 128 dimensions are 4.3 GB of bfloat16."""
    num_documents, document_tokens, dim = 33_000, 512, 128
    generator = torch.Generator("cuda").manual_seed(0)
    random = {"generator": generator, "device": "cuda", "dtype": torch.bfloat16}
    queries = torch.randn(1, 32, dim, **random)
    documents = torch.randn(1, num_documents, document_tokens, dim, **random)
    mask = torch.ones(1, num_documents, document_tokens, dtype=torch.bool, device="cuda")
    weights = torch.ones(1, num_documents, 32, device="cuda")
    maxima, winners, of_queries, of_documents = reference(Inputs(queries, documents, mask), weights)
    found, _ = triton_maxima.maxima(queries, documents, mask, with_winners=True)
    gradients = triton_maxima.maxima_gradients(queries, documents, winners, weights, wanted=(True, True))
    figures = {
        "maxima_difference": float((found - maxima).abs().max()),
        "queries_gradient_difference": float((gradients[0].float() - of_queries.float()).abs().max()),
        "queries_gradient_largest": float(of_queries.abs().max()),
        "documents_gradient_difference": _largest_difference(gradients[1], of_documents),
        "documents_gradient_largest": float(of_documents.abs().max()),
    }
    good = figures["maxima_difference"] < 1e-3
    for side in ("queries", "documents"):
        good &= figures[f"{side}_gradient_difference"] <= 2**-7 * figures[f"{side}_gradient_largest"]
    return {"good": good, "elements": documents.numel(), **figures}


def measure_checks() -> dict[str, Any]:
    results = {
        f"{name}, {str(dtype).removeprefix('torch.')}": compare(ragged(shape, dtype))
        for name, shape in SHAPES.items()
        for dtype in DTYPES
    }
    return {**results, "ties": check_ties(), "nan": check_nan(), "huge": check_huge()}


def peer_scores() -> Callable[..., Tensor] | None:
    try:
        module = importlib.import_module("sentence_transformers.multi_vector_encoder.scoring")
    except ImportError:
        return None
    scorer: Callable[..., Tensor] = module.colbert_scores
    return scorer


def measure_steps(arguments: argparse.Namespace) -> dict[str, Any]:
    results = {}
    for batch in arguments.batch:
        for tokens in arguments.document_tokens:
            for dtype in (torch.float32, torch.bfloat16):
                name = f"B={batch}, Ld={tokens}, {str(dtype).removeprefix('torch.')}"
                results[name] = measure_step(batch, arguments.query_tokens, tokens, dtype, rounds=arguments.rounds)
    return results


def measure_step(
    batch: int, query_tokens: int, document_tokens: int, dtype: torch.dtype, *, rounds: int
) -> dict[str, Any]:
    queries, documents, mask = ragged((batch, 1, query_tokens, document_tokens, 128), dtype)
    mask[-1] = mask[0]  # no empty document: its loss would be infinite
    queries.requires_grad_(), documents.requires_grad_()
    queries_mask = torch.ones(batch, query_tokens, dtype=torch.bool, device="cuda")
    labels = torch.arange(batch, device="cuda")

    def step(scorer: Callable[..., Tensor]) -> None:
        queries.grad = documents.grad = None
        scores = scorer(queries, documents, queries_mask=queries_mask, documents_mask=mask)
        functional.cross_entropy(scores, labels).backward()
        torch.cuda.synchronize()

    def by_torch() -> None:
        with torch_path():
            step(colbert_scores)

    candidates = {"serotine": lambda: step(colbert_scores), "serotine, torch": by_torch}
    peer = peer_scores()
    if peer is not None:
        candidates["sentence_transformers"] = lambda: step(peer)
    memory = {}
    for name, candidate in candidates.items():
        candidate()
        queries.grad = documents.grad = None
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        candidate()
        memory[name] = torch.cuda.max_memory_allocated() - before
    seconds = interleaved(candidates, rounds=rounds, warmup=3)
    others = [name for name in candidates if name != "serotine"]
    return {
        "seconds": {name: summary(runs) for name, runs in seconds.items()},
        "times_faster_than": {name: paired_ratio(seconds[name], seconds["serotine"]) for name in others},
        "peak_extra_bytes": memory,
        "of_these_gradients_bytes": queries.nbytes + documents.nbytes,
        "times_less_memory_than": {name: memory[name] / memory["serotine"] for name in others},
    }


def measure_kernels() -> dict[str, Any]:
    """Return milliseconds of each kernel at B=64, Lq=32, Ld=180, 128 dimensions, with one choice changed at a time."""
    results: dict[str, Any] = {}
    for dtype in (torch.float32, torch.bfloat16):
        inputs = ragged((1, 64, 64 * 32, 180, 128), dtype)
        maxima, winners = triton_maxima.maxima(*inputs, with_winners=True)
        weights = maxima.where(maxima.isfinite(), 0)
        sides = (inputs.queries, inputs.documents, winners, weights)

        def forward(inputs: Inputs = inputs) -> None:
            triton_maxima.maxima(*inputs, with_winners=True)

        def of_queries(sides: Any = sides) -> None:
            triton_maxima.maxima_gradients(*sides, wanted=(True, False))

        def of_documents(sides: Any = sides) -> None:
            triton_maxima.maxima_gradients(*sides, wanted=(False, True))

        found = {"maxima": _device_ms(forward)}
        if dtype is torch.float32:
            with mock.patch.object(triton_maxima, "_product_precision", return_value="ieee"):
                found["maxima, ieee"] = _device_ms(forward)
                found["maxima, ieee: difference"] = float(
                    (triton_maxima.maxima(*inputs, with_winners=False)[0] - maxima).nan_to_num(0.0).abs().max()
                )
        for tile in (8, 16, 64):
            with mock.patch.object(triton_maxima, "_GATHER_TILE", tile):
                found[f"queries' gradient, tile {tile}"] = _device_ms(of_queries)
        exact = triton_maxima.maxima_gradients(*sides, wanted=(False, True))[1]
        for precision in ("ieee", "tf32x3"):
            with mock.patch.object(triton_maxima, "_GRADIENT_PRECISION", precision):
                found[f"documents' gradient, {precision}"] = _device_ms(of_documents)
                other = triton_maxima.maxima_gradients(*sides, wanted=(False, True))[1]
                found[f"documents' gradient, {precision}: difference"] = float((other - exact).abs().max())
        for tile in (32, 128):
            with mock.patch.object(triton_maxima, "_TILE", tile):
                found[f"maxima, tile {tile}"] = _device_ms(forward)
                found[f"documents' gradient, tile {tile}"] = _device_ms(of_documents)
        results[str(dtype).removeprefix("torch.")] = found
    return results


def _device_ms(call: Callable[[], None], repeats: int = 10) -> float | str:
    try:
        call()
    except Exception as error:  # a tile that does not fit the device is a finding, not an end
        return f"{type(error).__name__}: {str(error)[:200]}"
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--query-tokens", type=int, default=32)
    parser.add_argument("--document-tokens", type=int, nargs="+", default=[180, 256])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/gpu_scoring.json")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if not torch.cuda.is_available():
        raise SystemExit("gpu_scoring.py needs a CUDA device, and this machine shows none")
    packages = ("torch", "triton", "sentence-transformers")
    figures: dict[str, Any] = {"device": torch.cuda.get_device_name()}
    parts = {
        "checks": measure_checks,
        "steps": lambda: measure_steps(arguments),
        "kernels": measure_kernels,
    }
    for name, measure in parts.items():
        figures[name] = measure()
        print(json.dumps({name: figures[name]}, indent=2), flush=True)
        if arguments.out is None:
            write_result("gpu_scoring", figures, packages=packages)
        else:
            arguments.out.write_text(json.dumps({"machine": machine_facts(packages), **figures}, indent=2) + "\n")
    failed = [name for name, check in figures["checks"].items() if not check["good"]]
    print("failed:", failed or "nothing")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
