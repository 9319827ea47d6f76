"""Where does the training of the projection start?  At the principal directions of the base model's token vectors.

MaxSim compares unit vectors by their dot products, so the 128 directions that keep most of the vectors'
second moment (not centred: a mean that all tokens share is part of their dot products) keep most of the
scores. No labels are used. The texts are the standard library's docstrings and positives of training pairs;
collections that the model is evaluated on are never among them.

    python examples/train/bundled/directions.py --pairs ms-docs/pairs.jsonl.gz wordnet/pairs.jsonl.gz ...

Each file of pairs holds one JSON object a line with a "positive". Takes about three minutes on two cores.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import platform
import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tqdm import tqdm

from serotine.demo.corpus import standard_library_documents
from serotine.models import bundled

SEED = 42
DIM = 128
HERE = Path(__file__).parent


def positives(path: Path, count: int) -> list[str]:
    """Return a sample of the distinct positives of a file of training pairs."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        texts = sorted({json.loads(line)["positive"] for line in file})
    return random.Random(SEED).sample(texts, min(count, len(texts)))


def second_moment(texts: Iterable[str]) -> tuple[np.ndarray, int]:
    """Return the float64 ``(384, 384)`` sum of outer products of unit token vectors, and their number."""
    model = bundled(projected=False)
    moment = np.zeros((384, 384))
    num_tokens = 0
    for chunk in model.encode_stream(texts, chunk_size=512):
        vectors = chunk.values.astype(np.float64)
        moment += vectors.T @ vectors
        num_tokens += len(vectors)
    return moment, num_tokens


def principal_directions(moment: np.ndarray, dim: int) -> np.ndarray:
    """Return the ``(dim, 384)`` eigenvectors of the largest eigenvalues, each with its largest entry positive."""
    _, vectors = np.linalg.eigh(moment)
    directions = vectors[:, ::-1][:, :dim].T
    largest = np.abs(directions).argmax(axis=1)
    return directions * np.sign(directions[np.arange(dim), largest])[:, None]


def main() -> None:
    """Write directions.safetensors and directions.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pairs", type=Path, nargs="+", required=True, help="files of training pairs (jsonl, jsonl.gz)"
    )
    parser.add_argument("--per-file", type=int, default=2500, help="positives taken from each file")
    parser.add_argument("--docstrings", type=int, default=2500, help="docstrings of the standard library")
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    documents = [document.text for document in standard_library_documents()]
    texts = random.Random(SEED).sample(documents, min(arguments.docstrings, len(documents)))
    for path in arguments.pairs:
        texts += positives(path, arguments.per_file)
    moment, num_tokens = second_moment(tqdm(texts))
    directions = principal_directions(moment, DIM)
    kept = float(np.trace(directions @ moment @ directions.T) / np.trace(moment))
    arguments.out.mkdir(parents=True, exist_ok=True)
    weights = arguments.out / "directions.safetensors"
    save_file({"linear.weight": torch.from_numpy(directions.astype(np.float32)).contiguous()}, weights)
    recipe = {
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "method": "eigenvectors of the second moment of unit token vectors",
        "base": "sentence-transformers/all-MiniLM-L6-v2",
        "dim": DIM,
        "seed": SEED,
        "texts": {"standard library docstrings": arguments.docstrings}
        | {f"{path.parent.name}/{path.name}": arguments.per_file for path in arguments.pairs},
        "python": platform.python_version(),
        "num_tokens": num_tokens,
        "share_of_second_moment_kept": round(kept, 4),
    }
    (arguments.out / "directions.json").write_text(json.dumps(recipe, indent=2) + "\n")
    print(json.dumps(recipe, indent=2))


if __name__ == "__main__":
    main()
