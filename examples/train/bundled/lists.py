"""What does the teacher say?  Candidates and teacher scores for each pair, with the token vectors of all texts.

    python examples/train/bundled/lists.py --data DATA --pairs build/bundled/pairs.jsonl --out build/bundled

The teacher has no weights of its own: .8 MaxSim over the base model's 384 dimensions + .2 BM25, each standardised over
a query's candidates. Candidates are the best 100 of BM25 and of MaxSim (over the 128 principal directions) among the
positives of the pair's source; a list is the positive and 15 of the fused ranks 5 to 100, at random. Writes one folder
per source: token vectors (float16) and lists.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import bm25s
import numpy as np
import Stemmer
from pairs import SEED, read_lines, usable_pairs

from serotine.models import bundled
from serotine.scores.packed import maxsim_packed
from serotine.scores.quantized import quantize
from serotine.types import TokenMatrix

CANDIDATES = 100
SKIPPED_RANKS = 5  # the best of the rest are often answers that nobody judged
LIST_LENGTH = 16
EXTRA_DOCUMENTS = 2_000  # positives of the source that are no query's, to rank among
BM25_SHARE = 0.2
DOCUMENT_LENGTH = 256


def standardised(scores: np.ndarray) -> np.ndarray:
    """Scores of one query's candidates with mean 0 and deviation 1."""
    return (scores - scores.mean()) / (scores.std() + 1e-6)


def best(scores: np.ndarray, count: int) -> np.ndarray:
    """Positions of the `count` largest, in no order."""
    return np.arange(len(scores)) if count >= len(scores) else np.argpartition(-scores, count)[:count]


class Teacher:
    """Scores the documents of one source."""

    def __init__(self, documents: list[str], vectors: TokenMatrix, projection: np.ndarray) -> None:
        self.vectors = vectors
        self._projection = projection
        self._coarse = quantize(self._project(vectors))
        self._stemmer = Stemmer.Stemmer("english")
        self._bm25 = bm25s.BM25(method="lucene", k1=0.9, b=0.4)
        self._bm25.index(bm25s.tokenize(documents, stemmer=self._stemmer, show_progress=False), show_progress=False)

    def _project(self, vectors: TokenMatrix) -> TokenMatrix:
        values = vectors.values.astype(np.float32) @ self._projection.T
        values /= np.linalg.norm(values, axis=1, keepdims=True) + 1e-12
        return TokenMatrix(values, vectors.offsets)

    def lists(self, queries: list[str], vectors: TokenMatrix, positives: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return documents and teacher scores of each query's list, `(num_queries, LIST_LENGTH)`, positive first."""
        generator = np.random.default_rng(SEED)
        coarse = maxsim_packed(self._project(vectors), self._coarse)
        words = bm25s.tokenize(queries, stemmer=self._stemmer, show_progress=False, return_ids=False)
        documents, scores = [], []
        for number, positive in enumerate(positives):
            lexical = self._bm25.get_scores(words[number]) if words[number] else np.zeros(len(self.vectors), np.float32)
            candidates = np.union1d(best(coarse[number], CANDIDATES), best(lexical, CANDIDATES))
            candidates = np.union1d(candidates, [positive])
            exact = maxsim_packed(vectors[number : number + 1], self.vectors, selection=candidates.astype(np.int64))[0]
            fused = (1 - BM25_SHARE) * standardised(exact) + BM25_SHARE * standardised(lexical[candidates])
            order = candidates[np.argsort(-fused, kind="stable")]
            of = dict(zip(candidates.tolist(), fused.tolist(), strict=True))
            pool = [d for d in order[SKIPPED_RANKS : CANDIDATES + SKIPPED_RANKS].tolist() if d != positive]
            chosen = generator.choice(pool, LIST_LENGTH - 1, replace=len(pool) < LIST_LENGTH - 1).tolist()
            documents.append([positive, *chosen])
            scores.append([of[d] for d in documents[-1]])
        return np.array(documents, dtype=np.int32), np.array(scores, dtype=np.float32)


def encode(texts: list[str], *, is_query: bool) -> TokenMatrix:
    """Token vectors of the base model, 384 dimensions."""
    model = bundled(projected=False, document_length=DOCUMENT_LENGTH)
    return model.encode(texts, is_query=is_query, packed=True, precision="float16", show_progress_bar=False)


def main() -> None:
    """Write vectors and lists of every source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, default=Path("build/bundled/pairs.jsonl"))
    parser.add_argument("--out", type=Path, default=Path("build/bundled"))
    arguments = parser.parse_args()
    articles = json.loads((arguments.pairs.parent / "dev.json").read_text())["squad-dev articles"]
    projection = bundled()[1].linear.weight.detach().numpy()
    rows = list(read_lines(arguments.pairs))
    for source in dict.fromkeys(row["source"] for row in rows):
        start = time.perf_counter()
        pairs = [row for row in rows if row["source"] == source]
        documents = list(dict.fromkeys(row["positive"] for row in pairs))
        others = {pair.positive for pair in usable_pairs(arguments.data, source, articles)} - set(documents)
        documents += random.Random(SEED).sample(sorted(others), min(EXTRA_DOCUMENTS, len(others)))
        number = {text: position for position, text in enumerate(documents)}
        document_vectors = encode(documents, is_query=False)
        query_vectors = encode([row["query"] for row in pairs], is_query=True)
        teacher = Teacher(documents, document_vectors, projection)
        lists, scores = teacher.lists(
            [row["query"] for row in pairs], query_vectors, [number[row["positive"]] for row in pairs]
        )
        folder = arguments.out / "lists" / source
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in {
            "documents": document_vectors.values, "document_offsets": document_vectors.offsets,
            "queries": query_vectors.values, "query_offsets": query_vectors.offsets,
            "lists": lists, "scores": scores,
        }.items():  # fmt: skip
            np.save(folder / f"{name}.npy", array)
        first = float((scores.argmax(axis=1) == 0).mean())
        print(f"{source}: {len(pairs)} lists over {len(documents)} documents, teacher puts the positive first in "
              f"{first:.3f}, {time.perf_counter() - start:.0f} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
