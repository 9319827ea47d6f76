"""Do the late-interaction models of the Hugging Face Hub load, and rank as they should?

``python examples/verify_checkpoints.py`` takes the models named below (some GB, from the network); names or folders as
arguments take their place. Each is loaded with its own settings, and eight short texts of our own are encoded: vectors
must have unit length, and each of four queries must find its document first.

With ``--peer build/pylate-env/bin/python`` (`make pylate-env`) PyLate encodes the same texts, and the largest
difference must be below 1e-4. With ``--trust`` models may run code of their own. The exit status is 1 if a model fails
a check and 2 if one could not be had.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from serotine.errors import InvalidInput, StorageError
from serotine.models import ColBERT
from serotine.scores import maxsim

JINA = {"query_prefix": "[QueryMarker]", "document_prefix": "[DocumentMarker]", "attend_to_expansion_tokens": True}

MODELS: dict[str, dict[str, Any]] = {
    "colbert-ir/colbertv2.0": {},
    "lightonai/colbertv2.0": {},
    "lightonai/GTE-ModernColBERT-v1": {},
    "lightonai/Reason-ModernColBERT": {},
    "answerdotai/answerai-colbert-small-v1": {},
    "jinaai/jina-colbert-v2": JINA,
    "antoinelouis/colbert-xm": {},
    "mixedbread-ai/mxbai-edge-colbert-v0-17m": {},
    "LiquidAI/LFM2-ColBERT-350M": {},
    "nanoColBERT/ColBERTv1": {},
    "samheym/GerColBERT": {},
    "Crystalcareai/Colbertv2": {},
}
"""Arguments by name; PyLate is given the same."""

PAIRS = [
    ("Which mammals can fly?", "Bats are the only mammals that fly; their wings are skin between long fingers."),
    ("How long is the Danube?", "The Danube runs for some 2,850 kilometres from the Black Forest to the Black Sea."),
    ("What is bread made of?", "Flour, water, salt and yeast are kneaded to a dough, which rises and is baked."),
    ("Who directs an orchestra?", "A conductor stands before the musicians and gives them the beat with a baton."),
]
QUERIES, DOCUMENTS = [query for query, _ in PAIRS], [document for _, document in PAIRS]
TOLERANCE = 1e-4


class Verdict(NamedTuple):
    """What came of a model: "ok", "differs", "fails" or "missing", and the details in words."""

    status: str
    details: str


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="names on the Hub or folders; the list in this file by default")
    parser.add_argument("--peer", type=Path, help="the Python of PyLate's environment, to compare with PyLate")
    parser.add_argument("--trust", action="store_true", help="allow code that models bring")
    options = parser.parse_args(arguments)
    statuses = []
    for name in options.models or MODELS:
        verdict = verify(name, peer=options.peer, trust=options.trust)
        statuses.append(verdict.status)
        print(f"{verdict.status:<8} {name}: {verdict.details}", flush=True)
    return 1 if {"fails", "differs"} & {*statuses} else 2 if "missing" in statuses else 0


def verify(name: str, *, peer: Path | None = None, trust: bool = False) -> Verdict:
    """Load one model and check it."""
    given = MODELS.get(name, {})
    try:
        model = ColBERT(name, device="cpu", trust_remote_code=trust, **given)
    except Exception as error:  # the network and the Hub raise all kinds
        status = "fails" if isinstance(error, (InvalidInput, StorageError)) else "missing"
        return Verdict(status, f"{type(error).__name__}: {str(error).splitlines()[0]}")
    queries, documents = model.encode(QUERIES), model.encode(DOCUMENTS, is_query=False)
    norms = np.linalg.norm(np.concatenate([*queries, *documents]), axis=1)
    if not np.allclose(norms, 1, atol=1e-2):
        return Verdict("fails", f"vectors of length {norms.min():.3f} to {norms.max():.3f}, expected 1")
    first = np.asarray(maxsim(queries, documents)).argmax(axis=1).tolist()
    details = f"{model.get_embedding_dimension()} dimensions, queries of {model.query_length} tokens"
    details += f"{' (expanded)' if model.do_query_expansion else ''}, documents of {model.document_length}"
    if first != list(range(len(PAIRS))):
        return Verdict("fails", f"{details}; the queries find documents {first} first")
    if peer is None:
        return Verdict("ok", details)
    difference = compare(name, queries, documents, peer=peer, options={**given, "trust_remote_code": trust})
    return Verdict("ok" if difference < TOLERANCE else "differs", f"{details}, {difference:.1e} from PyLate")


def compare(name: str, queries: list[Any], documents: list[Any], *, peer: Path, options: dict[str, Any]) -> float:
    """Return the largest difference of our vectors from PyLate's, infinite if their numbers differ."""
    script = Path(__file__).resolve().parents[1] / "benchmarks" / "peers" / "pylate_goldens.py"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "texts.json").write_text(json.dumps([*QUERIES, *DOCUMENTS]))
        command = [str(peer), str(script), "--encode", temporary, "--model", name, "--options", json.dumps(options)]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - what the user named
        theirs = np.load(next(folder.glob("*.npz")))
    number = len(QUERIES)
    their_queries = np.split(theirs["queries"], np.cumsum(theirs["query_lengths"]))[:number]
    their_documents = np.split(theirs["documents"], np.cumsum(theirs["document_lengths"]))[number:-1]
    pairs = list(zip([*queries, *documents], [*their_queries, *their_documents], strict=True))
    if any(mine.shape != other.shape for mine, other in pairs):
        return float("inf")
    return max(float(np.abs(mine - other).max()) for mine, other in pairs)


if __name__ == "__main__":
    sys.exit(main())
