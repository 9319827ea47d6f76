"""How does a collection get into a folder in BEIR's layout?"""

import json
from pathlib import Path

from serotine.evaluation import Dataset, write_qrels


def write_beir(folder: Path, dataset: Dataset, *, split: str = "test") -> Path:
    """Write a collection as `load_custom_dataset` reads it, and return its folder."""
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": document["id"], "text": document["text"]} for document in dataset.documents]
    queries = [{"_id": query, "text": text} for query, text in dataset.queries.items()]
    for name, records in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    write_qrels(folder / "qrels" / f"{split}.tsv", dataset.qrels, format="beir")
    return folder
