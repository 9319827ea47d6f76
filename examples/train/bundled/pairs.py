"""Which pairs is the bundled model trained on?  Pairs of eight sources, checked against every test split.

    python examples/train/bundled/pairs.py --data DATA --out build/bundled

DATA holds one folder per collection in BEIR's layout with `pairs.jsonl.gz` (query, positive). Writes pairs.jsonl
(source, query, positive), dev.json (the squad articles that are left out for choosing settings) and held_out.npz:
64-bit hashes of all queries of test splits, of the documents that only those judge relevant, and of what is trained on.
The run fails if any two of them meet.

A positive is repeated at most MAX_REPEATS times; wordnet's short examples are a sprinkle; half of openstax's headings
are removed from the passages that begin with them, or they would teach to match the first words. To these come
*sentences*: a sentence of a passage as the query, and the passage without its queries as what it belongs to. They are
long and state facts, as claims do and questions do not.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

SEED = 42
MAX_REPEATS = 8
DEV_ARTICLES = 4  # of squad-dev's 38 training articles
MIN_WORDNET_WORDS = 8

# Pairs taken from each source, at most.
BUDGET = {
    "squad-dev": 8_000,
    "nq-open-gold": 2_000,
    "medquad": 8_000,
    "tldr": 4_000,
    "openstax": 6_000,
    "scitldr": 2_000,
    "ms-docs": 8_000,
    "wordnet": 1_500,
}
# Sentences taken from each source, at most; each is a source of its own, named "<source> sentences".
SENTENCES = {"scitldr": 5_000, "medquad": 6_000, "openstax": 6_000, "squad-dev": 2_000, "nq-open-gold": 2_000}
SENTENCE_WORDS = range(8, 31)
MIN_SENTENCES, SENTENCES_EACH, SENTENCES_SHARE = 4, 3, 0.34  # of a passage: at least; taken at most; and as a share
# Splits that are only ever evaluated on. Where a collection is also trained on, its held-out part.
TEST_SPLITS = {
    "scifact": "test",
    "cranfield": "test",
    "npl": "test",
    "medquad": "test",
    "squad-dev": "test_heldout",
    "nq-open-gold": "test_heldout",
    "selqa": "test",
    "tldr": "test",
    "openstax": "test",
    "scitldr": "test",
    "stackfaq": "test",
}


class Pair(NamedTuple):
    """A query and a text that answers it."""

    source: str
    query: str
    positive: str


def read_lines(path: Path) -> Iterator[dict]:
    """Yield the JSON objects of a file, one a line."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def text_hash(text: str) -> int:
    """64 bits of a text without regard to case and white space."""
    plain = " ".join(text.casefold().split())
    return int.from_bytes(hashlib.blake2b(plain.encode(), digest_size=8).digest(), "little")


def document_text(document: dict) -> str:
    """Title and text of a document, as they are encoded."""
    return f"{document.get('title') or ''} {document['text']}".strip()


def read_qrels(path: Path) -> list[tuple[str, str]]:
    """Return (query id, document id) of the judgements that say relevant."""
    rows = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:])
    return [(row[0], row[1]) for row in rows if int(row[2]) > 0]


def held_out(data: Path) -> tuple[set[int], set[int]]:
    """Return the hashes of all test queries, and of the documents that only test queries judge relevant."""
    queries: set[int] = set()
    documents: set[int] = set()
    for name, split in TEST_SPLITS.items():
        folder = data / name
        tested = read_qrels(folder / "qrels" / f"{split}.tsv")
        elsewhere = {
            document
            for other in ("train", "dev")
            if (folder / "qrels" / f"{other}.tsv").exists()
            for _, document in read_qrels(folder / "qrels" / f"{other}.tsv")
        }
        query_ids = {query for query, _ in tested}
        document_ids = {document for _, document in tested} - elsewhere
        queries |= {text_hash(q["text"]) for q in read_lines(folder / "queries.jsonl") if str(q["_id"]) in query_ids}
        documents |= {
            text_hash(document_text(d)) for d in read_lines(folder / "corpus.jsonl") if str(d["_id"]) in document_ids
        }
    return queries, documents


def dev_articles(data: Path) -> list[str]:
    """Return the titles of the squad articles that are never trained on, chosen by hash."""
    corpus = {str(d["_id"]): d["title"] for d in read_lines(data / "squad-dev" / "corpus.jsonl")}
    titles = {corpus[document] for _, document in read_qrels(data / "squad-dev" / "qrels" / "train.tsv")}
    return sorted(titles, key=text_hash)[:DEV_ARTICLES]


def usable_pairs(data: Path, source: str, left_out: Iterable[str]) -> list[Pair]:
    """Return the pairs of a source in a random order, with repeated and too short positives thinned."""
    generator = random.Random(f"{SEED} {source}")
    rows = list(read_lines(data / source / "pairs.jsonl.gz"))
    generator.shuffle(rows)
    titles = tuple(f"{title} " for title in left_out) if source == "squad-dev" else ()
    seen: Counter[str] = Counter()
    pairs = []
    for row in rows:
        query, positive = row["query"].strip(), row["positive"].strip()
        if not query or not positive or (titles and positive.startswith(titles)):
            continue
        if source == "wordnet" and len(positive.split()) < MIN_WORDNET_WORDS:
            continue
        if source == "openstax" and generator.random() < 0.5 and positive.casefold().startswith(query.casefold()):
            positive = positive[len(query) :].lstrip(" :.-") or positive
        seen[positive] += 1
        if seen[positive] <= MAX_REPEATS:
            pairs.append(Pair(source, query, positive))
    return pairs


def sentence_pairs(source: str, passages: Iterable[str], budget: int) -> list[Pair]:
    """Take some sentences out of each passage that has enough: (sentence, the rest of the passage) for each."""
    generator = random.Random(f"{SEED} {source} sentences")
    pairs = []
    for passage in sorted(set(passages), key=text_hash):
        sentences = re.split(r"(?<=[.!?]) (?=[A-Z])", passage)
        places = [place for place, text in enumerate(sentences) if place and len(text.split()) in SENTENCE_WORDS]
        if len(sentences) < MIN_SENTENCES or not places:
            continue
        count = min(len(places), SENTENCES_EACH, max(1, int(len(sentences) * SENTENCES_SHARE)))
        taken = sorted(generator.sample(places, count))
        rest = " ".join(text for place, text in enumerate(sentences) if place not in taken)
        pairs += [Pair(f"{source} sentences", sentences[place], rest) for place in taken]
        if len(pairs) >= budget:
            break
    return pairs[:budget]


def check_disjoint(pairs: list[Pair], test_queries: set[int], test_documents: set[int]) -> None:
    """Exit with what is wrong if a pair touches a test split."""
    for pair in pairs:
        if text_hash(pair.query) in test_queries:
            raise SystemExit(f"a training query of {pair.source} is a test query: {pair.query!r}")
        if text_hash(pair.positive) in test_documents:
            raise SystemExit(f"a positive of {pair.source} is judged by tests only: {pair.positive[:100]!r}")


def main() -> None:
    """Write pairs.jsonl, dev.json and held_out.npz."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the collections")
    parser.add_argument("--out", type=Path, default=Path("build/bundled"))
    arguments = parser.parse_args()
    articles = dev_articles(arguments.data)
    test_queries, test_documents = held_out(arguments.data)
    chosen: list[Pair] = []
    counts: dict[str, int] = defaultdict(int)
    for source, budget in BUDGET.items():
        candidates = usable_pairs(arguments.data, source, articles)
        kept = [pair for pair in candidates if text_hash(pair.query) not in test_queries]
        chosen += kept[:budget]
        counts[source] = len(kept[:budget])
        print(f"{source}: {counts[source]} of {len(candidates)} usable, {len(candidates) - len(kept)} are test queries")
        check_disjoint(kept, test_queries, test_documents)
        if source in SENTENCES:
            sentences = sentence_pairs(source, (pair.positive for pair in kept), SENTENCES[source])
            chosen += [pair for pair in sentences if text_hash(pair.query) not in test_queries]
            print(f"{source} sentences: {len(sentences)}")
    check_disjoint(chosen, test_queries, test_documents)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / "pairs.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(pair._asdict(), ensure_ascii=False) + "\n" for pair in chosen)
    (arguments.out / "dev.json").write_text(json.dumps({"squad-dev articles": articles}, indent=2) + "\n")
    np.savez_compressed(
        arguments.out / "held_out.npz",
        test_queries=np.array(sorted(test_queries), dtype=np.uint64),
        test_documents=np.array(sorted(test_documents), dtype=np.uint64),
        train_queries=np.array(sorted({text_hash(pair.query) for pair in chosen}), dtype=np.uint64),
        train_positives=np.array(sorted({text_hash(pair.positive) for pair in chosen}), dtype=np.uint64),
    )
    print(f"{len(chosen)} pairs, {len(test_queries)} test queries and {len(test_documents)} test documents held out")


if __name__ == "__main__":
    main()
