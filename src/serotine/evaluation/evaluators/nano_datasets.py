"""Where do the 13 collections of NanoBEIR come from?  A local folder, or one data set of the Hugging Face Hub."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from serotine._lazy import require
from serotine.errors import DownloadFailed, InvalidInput
from serotine.evaluation.datasets import Dataset, Document, load_custom_dataset

__all__ = ["HUB_DATASET", "NANO_DATASETS", "SELF_MATCHES", "load_nano_dataset", "nano_name"]

HUB_DATASET = "sentence-transformers/NanoBEIR-en"
"""The data set that is loaded by default; one in another language has the same subsets and splits."""

NANO_DATASETS = (
    "NanoClimateFEVER",
    "NanoDBPedia",
    "NanoFEVER",
    "NanoFiQA2018",
    "NanoHotpotQA",
    "NanoMSMARCO",
    "NanoNFCorpus",
    "NanoNQ",
    "NanoQuoraRetrieval",
    "NanoSCIDOCS",
    "NanoArguAna",
    "NanoSciFact",
    "NanoTouche2020",
)
"""Names of the collections: about 50 queries and 2,000 to 5,000 documents each."""

SELF_MATCHES = frozenset({"NanoArguAna", "NanoQuoraRetrieval"})
"""Those whose queries are documents, as of the collections that they are drawn from."""

_BY_SHORT_NAME = {name.removeprefix("Nano").lower(): name for name in NANO_DATASETS}


def nano_name(dataset_name: str) -> str:
    """Return the full name for any way to write it: ``"msmarco"``, ``"MSMARCO"``, ``"NanoMSMARCO"``.

    Raises:
        InvalidInput: there is no such collection.
    """
    short = dataset_name.lower().removeprefix("nano") if isinstance(dataset_name, str) else None
    if short not in _BY_SHORT_NAME:
        raise InvalidInput(f"{dataset_name!r} is no collection of NanoBEIR; there are: {', '.join(_BY_SHORT_NAME)}")
    return _BY_SHORT_NAME[short]


def load_nano_dataset(name: str, source: str | os.PathLike[str], *, split: str = "test") -> Dataset:
    """Return ``(documents, queries, qrels)`` of a collection by its full name.

    source: an existing folder whose subfolders, named as the collections in any case and spelling of `nano_name`, are
    in BEIR's layout (``split`` names their qrels); or a data set of the Hub, with the subsets corpus, queries and
    qrels, and a split for each collection.

    Raises:
        InvalidInput: the folder lacks the collection, a file is not valid, a subset has other columns.
        DownloadFailed: the Hub's data set cannot be loaded. MissingExtra: the package datasets is not installed.
    """
    folder = Path(source)
    return _from_folder(name, folder, split) if folder.is_dir() else _from_hub(name, os.fspath(source))


def _from_folder(name: str, folder: Path, split: str) -> Dataset:
    wanted = {name.lower(), name.lower().removeprefix("nano")}
    for candidate in sorted(folder.iterdir()):
        if candidate.is_dir() and candidate.name.lower() in wanted:
            return load_custom_dataset(candidate, split)
    raise InvalidInput(f"{folder} has no subfolder {name}: one for each collection, with corpus.jsonl, queries.jsonl")


def _from_hub(name: str, dataset_id: str) -> Dataset:
    corpus = _subset(dataset_id, "corpus", name, ("_id", "text"))
    queries = _subset(dataset_id, "queries", name, ("_id", "text"))
    qrels: dict[str, dict[str, int]] = {}
    for row in _subset(dataset_id, "qrels", name, ("query-id", "corpus-id")):
        # Some translations have one row per query, with a list.
        ids = row["corpus-id"] if isinstance(row["corpus-id"], list) else [row["corpus-id"]]
        qrels.setdefault(str(row["query-id"]), {}).update(dict.fromkeys(map(str, ids), 1))
    # Empty texts are placeholders there, and no evaluation counts them.
    documents: list[Document] = [{"id": str(row["_id"]), "text": row["text"]} for row in corpus if row["text"]]
    texts = {str(row["_id"]): row["text"] for row in queries if row["text"]}
    return Dataset(documents, {query: texts[query] for query in qrels if query in texts}, qrels)


def _subset(dataset_id: str, subset: str, split: str, columns: tuple[str, ...]) -> Iterable[Mapping[str, Any]]:
    datasets = require("datasets", extra="train", purpose="NanoBEIREvaluator without a local folder")
    try:
        loaded = datasets.load_dataset(dataset_id, subset, split=split)
    except Exception as error:  # whatever datasets raises: no network, no such name, a broken cache
        raise DownloadFailed(
            f"cannot load the subset {subset!r}, split {split!r}, of {dataset_id!r} from the Hub: {error}. Without a "
            "network, pass dataset_id= a local folder with a subfolder for each collection, in BEIR's layout"
        ) from error
    missing = [column for column in columns if column not in loaded.column_names]
    if missing:
        raise InvalidInput(
            f"the subset {subset!r} of {dataset_id!r} lacks the columns {missing}; it has {loaded.column_names}"
        )
    rows: Iterable[Mapping[str, Any]] = loaded
    return rows
