"""What does PyLate's PLAID index write?  Makes the folder that tests/indexes/pylate reads: small, of random vectors.

Runs in PyLate's own environment, not in this project's (1.6.0 with fast-plaid 1.4.6):

    build/pylate-env/bin/python benchmarks/peers/pylate_plaid.py

Writes tests/golden/pylate-plaid: ``index``, what PyLate wrote for 62 documents of which two were removed and two, with
numbers as ids, added later (so many tokens that there are fewer centroids, and residuals matter); and
``expected.json``, the vectors that went in and what PyLate's search returned.
"""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
from pylate import indexes

OUTPUT = Path(__file__).resolve().parents[2] / "tests" / "golden" / "pylate-plaid"
DIM = 8


def texts(lengths: list[int], seed: int) -> list[np.ndarray]:
    """Unit vectors of texts, to three digits so that JSON holds them exactly."""
    generator = np.random.default_rng(seed)
    vectors = [generator.standard_normal((length, DIM)) for length in lengths]
    return [np.round(v / np.linalg.norm(v, axis=1, keepdims=True), 3).astype(np.float32) for v in vectors]


def main() -> None:
    """Make the folder anew."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir(parents=True)
    ids = [f"document {number}" for number in range(60)]
    documents, later, queries = texts([3, 1, 7, 19, 12, 15] * 10, 1), texts([4, 2], 2), texts([3, 5], 3)
    index = indexes.PLAID(str(OUTPUT), "index", override=True, nbits=4, device="cpu", show_progress=False)
    index.add_documents(documents_ids=ids, documents_embeddings=documents)
    index.remove_documents(["document 3", "document 7"])
    index.add_documents(documents_ids=[1, 2], documents_embeddings=later)
    vectors = {**dict(zip(ids, documents, strict=True)), "1": later[0], "2": later[1]}
    expected = {
        "versions": {name: version(name) for name in ("pylate", "fast-plaid", "torch", "numpy")},
        "documents": {name: vector.tolist() for name, vector in vectors.items()},
        "queries": [query.tolist() for query in queries],
        "results": index(queries_embeddings=queries, k=62),
    }
    (OUTPUT / "expected.json").write_text(json.dumps(expected) + "\n")
    (OUTPUT / "index" / "fast_plaid_index" / "plaid.lock").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
