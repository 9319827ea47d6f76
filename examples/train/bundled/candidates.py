"""Which documents might the teacher rank for a query?  Texts of each source, and the best of BM25.

    python examples/train/bundled/candidates.py --data DATA --out build/bundled

Reads what pairs.py wrote. Writes one folder per source with texts.json.gz (queries, documents), and arrays: `positives`
(num_queries,), `lexical` (num_queries, CANDIDATES) and `lexical_scores`, the documents that BM25 puts first, -1 where
there are fewer. The documents of a source are its positives and up to EXTRA_DOCUMENTS more. A document that repeats the
query's words in the query's order is no candidate: it is an answer that nobody judged. Needs no model: what needs one
can run elsewhere.

The dev sets, which choose settings and are never trained on, are written the same way into dev/.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import bm25s
import numpy as np
import Stemmer
from pairs import SEED, document_text, read_lines, read_qrels, usable_pairs

CANDIDATES = 100
EXTRA_DOCUMENTS = 2_000  # no source may have more than 32,767 in all: their numbers are 16 bits
DEV_QUERIES = 800


class Lexical:
    """BM25 over a list of documents."""

    def __init__(self, documents: list[str]) -> None:
        self._documents = [fold(text) for text in documents]
        self._stemmer = Stemmer.Stemmer("english")
        self._bm25 = bm25s.BM25(method="lucene", k1=0.9, b=0.4)
        self._bm25.index(bm25s.tokenize(documents, stemmer=self._stemmer, show_progress=False), show_progress=False)

    def best(self, queries: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the documents of each query and their scores, ``(num_queries, CANDIDATES)``."""
        words = bm25s.tokenize(queries, stemmer=self._stemmer, show_progress=False, return_ids=False)
        documents = np.full((len(queries), CANDIDATES), -1, dtype=np.int16)
        scores = np.zeros((len(queries), CANDIDATES), dtype=np.float16)
        for row, (query, terms) in enumerate(zip(queries, words, strict=True)):
            if not terms:
                continue
            of_all = self._bm25.get_scores(terms)
            count = min(CANDIDATES, len(of_all))
            top = np.argpartition(-of_all, count - 1)[:count]
            top = top[np.argsort(-of_all[top], kind="stable")]
            text = fold(query)
            top = [d for d in top.tolist() if of_all[d] > 0 and text not in self._documents[d]]
            documents[row, : len(top)], scores[row, : len(top)] = top, of_all[top]
        return documents, scores


def fold(text: str) -> str:
    """Text without regard to case and white space."""
    return " ".join(text.casefold().split())


def write(folder: Path, texts: Mapping[str, object], **arrays: np.ndarray) -> None:
    """Write texts and arrays of a source or dev set."""
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(folder / "texts.json.gz", "wt", encoding="utf-8") as file:
        json.dump(texts, file, ensure_ascii=False)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def write_source(folder: Path, rows: list[dict[str, str]], others: Iterable[str]) -> None:
    """Write a source: its pairs' texts and BM25's candidates."""
    documents = list(dict.fromkeys(row["positive"] for row in rows))
    remaining = sorted(set(others) - set(documents))
    documents += random.Random(SEED).sample(remaining, min(EXTRA_DOCUMENTS, len(remaining)))
    number = {text: position for position, text in enumerate(documents)}
    queries = [row["query"] for row in rows]
    lexical, scores = Lexical(documents).best(queries)
    positives = np.array([number[row["positive"]] for row in rows], dtype=np.int32)
    texts = {"queries": queries, "documents": documents}
    write(folder, texts, positives=positives, lexical=lexical, lexical_scores=scores)


def write_dev(folder: Path, data: Path, name: str, split: str, articles: list[str]) -> None:
    """Write a dev set: its queries in an order by id, at most DEV_QUERIES, and all documents."""
    corpus = list(read_lines(data / name / "corpus.jsonl"))
    position = {str(document["_id"]): number for number, document in enumerate(corpus)}
    texts = {str(query["_id"]): query["text"] for query in read_lines(data / name / "queries.jsonl")}
    relevant: dict[str, list[int]] = {}
    for query, document in read_qrels(data / name / "qrels" / f"{split}.tsv"):
        if not articles or corpus[position[document]]["title"] in articles:
            relevant.setdefault(query, []).append(position[document])
    chosen = sorted(relevant)
    random.Random(SEED).shuffle(chosen)
    chosen = chosen[:DEV_QUERIES]
    documents = [document_text(document) for document in corpus]
    lexical, scores = Lexical(documents).best([texts[query] for query in chosen])
    content = {
        "queries": [texts[query] for query in chosen],
        "documents": documents,
        "relevant": [relevant[query] for query in chosen],
    }
    write(folder, content, lexical=lexical, lexical_scores=scores)


def main() -> None:
    """Write the folders of all sources and dev sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the collections")
    parser.add_argument("--out", type=Path, default=Path("build/bundled"), help="folder that pairs.py wrote to")
    arguments = parser.parse_args()
    articles = json.loads((arguments.out / "dev.json").read_text())["squad-dev articles"]
    for name, split, titles in (("scifact", "train", []), ("scitldr", "dev", []), ("squad-dev", "train", articles)):
        write_dev(arguments.out / "dev" / name, arguments.data, name, split, titles)
    rows = list(read_lines(arguments.out / "pairs.jsonl"))
    for source in dict.fromkeys(row["source"] for row in rows):
        start = time.perf_counter()
        pairs = [row for row in rows if row["source"] == source]
        sentences = source.endswith(" sentences")
        others = [] if sentences else [pair.positive for pair in usable_pairs(arguments.data, source, articles)]
        write_source(arguments.out / "sources" / source.replace(" ", "-"), pairs, others)
        print(f"{source}: {len(pairs)} queries, {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
