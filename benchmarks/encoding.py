"""How fast are documents encoded, beside Sentence Transformers and beside the bare forward passes?

    python benchmarks/encoding.py --data DATA --collection squad-dev --documents 2000 --threads 2

The same model (all-MiniLM-L6-v2's tokens, 384 dimensions, float32), texts, batch size and threads in all three:

    serotine        `ColBERT.encode_document`
    plain           `sentence_transformers.MultiVectorEncoder.encode_document` on the same modules
    forward only    the bare forward passes over serotine's batches, already tokenised and padded
    forward, fast   the same with the linear layers that serotine uses (models/cpu_linear.py)

in turn, round by round, in one process. Also says which share of the computed positions is padding in each, and
the largest difference of the outputs.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import MultiVectorEncoder

from harness import interleaved, paired_ratio, summary, write_result
from serotine import evaluation, models
from serotine.models.batching import padding_share, plan_batches
from serotine.models.cpu_linear import fast_linear

# Private: the bare forward passes must see the very batches that the library cuts.
from serotine.models.inference import _CPU_BATCH_TOKENS, EncodeOptions, _text_batches


def padding_shares(model: Any, texts: list[str], batch_size: int, batch_tokens: int) -> dict[str, float]:
    """Share of the computed positions that is padding: by exact length, by characters, in the given order."""
    lengths = np.array(
        [len(ids) for ids in model.tokenizer(texts, truncation=True, max_length=model.document_length)["input_ids"]]
    )
    by_characters = np.argsort([-len(text) for text in texts], kind="stable")
    order = np.arange(len(texts))

    def cut(positions: np.ndarray) -> list[np.ndarray]:
        return [positions[start : start + batch_size] for start in range(0, len(positions), batch_size)]

    return {
        "serotine": padding_share(lengths, plan_batches(lengths, batch_size=batch_size, batch_tokens=batch_tokens)),
        "exact lengths, rows only": padding_share(lengths, plan_batches(lengths, batch_size=batch_size)),
        "plain": padding_share(lengths, cut(by_characters)),
        "given order": padding_share(lengths, cut(order)),
    }


def parsed_arguments() -> argparse.Namespace:
    """Return the settings of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--collection", default="squad-dev")
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--length", type=int, default=300, help="tokens of a document at most")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--batch-tokens", type=int, default=_CPU_BATCH_TOKENS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def candidates(model: Any, texts: list[str], batch_size: int, batch_tokens: int) -> dict[str, Callable[[], Any]]:
    """Return the four calls that are timed, by name; the first two return the texts' vectors."""
    plain = MultiVectorEncoder(modules=list(model), device="cpu")
    options = EncodeOptions(task="document", batch_size=batch_size, batch_tokens=batch_tokens)
    prepared = [batch.features for batch in _text_batches(model, texts, options)]

    def forward_only(context: Callable[[], Any] = contextlib.nullcontext) -> None:
        with torch.inference_mode(), context():
            for features in prepared:
                model(dict(features), task="document")

    return {
        "serotine": lambda: model.encode_document(texts, batch_size=batch_size, batch_tokens=batch_tokens),
        "plain": lambda: plain.encode_document(texts, batch_size=batch_size),
        "forward only": forward_only,
        "forward, fast": lambda: forward_only(
            lambda: fast_linear(model, torch.device("cpu"), num_positions=batch_tokens)
        ),
    }


def main() -> None:
    """Measure one collection and write results/encoding-<collection>.json."""
    arguments = parsed_arguments()
    batch_size, batch_tokens = arguments.batch_size, arguments.batch_tokens
    torch.set_num_threads(arguments.threads)
    documents = evaluation.load_custom_dataset(arguments.data / arguments.collection).documents
    texts = [document["text"] for document in documents][: arguments.documents]
    model = models.bundled(projected=False, device="cpu", document_length=arguments.length)
    calls = candidates(model, texts, batch_size, batch_tokens)
    ours, theirs = calls["serotine"](), calls["plain"]()
    seconds = interleaved(calls, rounds=arguments.rounds, warmup=0)
    figures = {
        "documents": len(texts),
        "tokens": sum(len(vectors) for vectors in ours),
        "document_length": arguments.length,
        "batch_size": batch_size,
        "batch_tokens": batch_tokens,
        "threads": arguments.threads,
        "largest_difference": max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True)),
        "padding_share": padding_shares(model, texts, batch_size, batch_tokens),
        "seconds": {name: summary(values) for name, values in seconds.items()},
        "plain_over_serotine": paired_ratio(seconds["plain"], seconds["serotine"]),
        "serotine_over_forward_only": paired_ratio(seconds["serotine"], seconds["forward only"]),
        "serotine_over_forward_fast": paired_ratio(seconds["serotine"], seconds["forward, fast"]),
    }
    for name, value in figures.items():
        print(f"{name}: {value}")
    write_result(f"encoding-{arguments.collection}", figures)


if __name__ == "__main__":
    main()
