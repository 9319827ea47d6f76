"""Which small collection do the file tests write?  Five texts about bats in BEIR's layout, made for these tests."""

import gzip
import json
from pathlib import Path

CORPUS = [
    {"_id": "serotine", "title": "Serotine", "text": "A large bat that leaves its roost late in the evening."},
    {"_id": "noctule", "title": "Noctule", "text": "A fast flier that feeds high above the trees."},
    {"_id": "untitled", "text": "Some bats hang from the ceiling of a cave."},
    {"_id": 4, "title": None, "text": "Bats find moths by listening to echoes."},
    {"_id": "empty", "title": "", "text": ""},
]
QUERIES = [
    {"_id": "late", "text": "which bat flies late?"},
    {"_id": "unjudged", "text": "nobody judged this"},
    {"_id": "echo", "text": "how do bats hunt?", "metadata": {"written": "by hand"}},
]
TEST_QRELS = "query-id\tcorpus-id\tscore\necho\t4\t2\necho\tnoctule\t0\nlate\tserotine\t1\n"


def write(folder: Path, *, compress: bool = False) -> Path:
    """Write the collection with the splits test and dev into a new folder and return it."""
    files = {
        "corpus.jsonl": "".join(json.dumps(record) + "\n" for record in CORPUS),
        "queries.jsonl": "".join(json.dumps(record) + "\n" for record in QUERIES),
        "qrels/test.tsv": TEST_QRELS,
        "qrels/dev.tsv": "query-id\tcorpus-id\tscore\nlate\tserotine\t1\n",
    }
    (folder / "qrels").mkdir(parents=True)
    for name, text in files.items():
        if compress:
            (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / name).write_text(text)
    return folder
