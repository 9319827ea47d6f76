"""Which embeddings do all engines get?  Each collection encoded once, float16 in .npy files that every process maps.

    python benchmarks/embeddings.py --data DATA scifact cranfield large

DATA holds folders in BEIR's layout. The bundled model, documents of up to 256 tokens (title and text), queries as they
are. ``build/embeddings/<checksum of the model>/<collection>`` gets documents.npy ``(num_tokens, dim)`` float16,
documents.offsets.npy int64 ``(num_documents + 1,)``, documents.ids.json, the same for the test queries, and qrels.json.

Any other name than these three is a folder of DATA:

    ms-docs    documents only: the distinct positives of DATA/ms-docs, without the VBA pages, which repeat each other
    wordnet    documents only: words and definition of every third entry of DATA/wordnet
    large      >= 100,000 documents: all corpora of DATA and ms-docs, filled up with wordnet; up to 60 test queries of
               each corpus, judged by its own qrels alone

Reading needs numpy and nothing else: the processes of the peers, which have no Serotine, import this module.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[1]
MODEL = json.loads((ROOT / "src" / "serotine" / "models" / "weights" / "adapter.json").read_text())["sha256"][:8]
CACHE = ROOT / "build" / "embeddings" / MODEL
DOCUMENT_LENGTH = 256
LARGE_SIZE = 105_000
QUERIES_OF_EACH = 60

Qrels = dict[str, dict[str, int]]
Chunk = tuple[npt.NDArray[Any], Iterable[int]]


class Texts(NamedTuple):
    """Token vectors of many texts: rows ``offsets[i]:offsets[i + 1]`` of values are text i.

    values: float16 ``(num_tokens, dim)``, usually mapped. ids: of the texts, in order.
    """

    values: npt.NDArray[np.float16]
    offsets: npt.NDArray[np.int64]
    ids: list[str]

    @property
    def num_tokens(self) -> int:
        """Token vectors of all texts."""
        return int(self.offsets[-1])

    def rows(self) -> list[npt.NDArray[np.float16]]:
        """One 2-D view per text."""
        return [self.values[start:stop] for start, stop in zip(self.offsets[:-1], self.offsets[1:], strict=True)]

    def first(self, count: int) -> Texts:
        """Return the first texts only."""
        count = min(count, len(self.ids))
        return Texts(self.values[: self.offsets[count]], self.offsets[: count + 1], self.ids[:count])


class Collection(NamedTuple):
    """What engines are compared on. folder: where the documents lie; queries_folder: where the queries do."""

    name: str
    folder: Path
    documents: Texts
    queries: Texts
    queries_folder: Path
    qrels: Qrels

    def with_queries(self, count: int) -> Collection:
        """Return the collection with the first queries only."""
        return self._replace(queries=self.queries.first(count))


def load_texts(folder: Path, kind: str) -> Texts:
    """Map ``<kind>.npy`` of a folder of the cache. kind: "documents" or "queries"."""
    values = np.load(folder / f"{kind}.npy", mmap_mode="r")
    offsets = np.load(folder / f"{kind}.offsets.npy")
    ids = json.loads((folder / f"{kind}.ids.json").read_text())
    if len(values) != offsets[-1] or len(ids) != len(offsets) - 1:
        raise ValueError(f"{folder}/{kind}.*: {len(values)} rows, {offsets[-1]} tokens, {len(ids)} ids do not fit")
    return Texts(values, offsets, ids)


def save_texts(
    folder: Path, kind: str, chunks: Iterable[tuple[npt.NDArray[Any], Iterable[int]]], ids: list[str]
) -> int:
    """Write vectors that come in chunks of ``(values, lengths of the texts)``. Returns the number of tokens.

    Holds one chunk in memory: the header of the .npy file is written again when the number of rows is known.
    """
    lengths: list[int] = []
    with (folder / f"{kind}.npy").open("wb") as file:
        num_tokens, dim, header_bytes = 0, 0, 0
        for values, chunk_lengths in chunks:
            if not header_bytes:
                dim = values.shape[1]
                header_bytes = _write_header(file, (0, dim))
            file.write(np.ascontiguousarray(values, dtype=np.float16).data)
            num_tokens += len(values)
            lengths.extend(int(length) for length in chunk_lengths)
        file.seek(0)
        if _write_header(file, (num_tokens, dim)) != header_bytes:
            raise ValueError(f"{file.name}: the header of {num_tokens} rows does not fit into its place")
    if len(lengths) != len(ids) or sum(lengths) != num_tokens:
        raise ValueError(f"{folder}/{kind}: {len(ids)} ids, {len(lengths)} texts, {num_tokens} rows do not fit")
    np.save(folder / f"{kind}.offsets.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    (folder / f"{kind}.ids.json").write_text(json.dumps(ids))
    return num_tokens


def _write_header(file: Any, shape: tuple[int, int]) -> int:
    """Write a header that has room for any number of rows (numpy pads the first axis). Returns its bytes."""
    np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": shape})
    return int(file.tell())


def cached(name: str, data: Path | None = None) -> Collection:
    """Return a collection, encoding it if the cache lacks it (which needs data and Serotine's extra ``demo``)."""
    folder = CACHE / name
    if not (folder / "qrels.json").exists():
        if data is None:
            raise FileNotFoundError(f"{folder} is not there; benchmarks/embeddings.py --data DATA {name} makes it")
        _make(name, data, folder)
    qrels = json.loads((folder / "qrels.json").read_text())
    return Collection(name, folder, load_texts(folder, "documents"), load_texts(folder, "queries"), folder, qrels)


def _make(name: str, data: Path, folder: Path) -> None:
    """Fill a folder beside the final one, then rename: a collection in the cache is whole."""
    draft = folder.with_name(f"{name}.draft-{os.getpid()}")
    draft.mkdir(parents=True)
    start = time.perf_counter()
    try:
        (_join_large if name == "large" else _encode)(name, data, draft)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft)
        raise
    documents = load_texts(folder, "documents")
    seconds = time.perf_counter() - start
    print(f"{name}: {len(documents.ids)} documents, {documents.num_tokens} tokens, {seconds:.0f} s", flush=True)


def _encode(name: str, data: Path, folder: Path) -> None:
    from serotine import models

    ids, texts, queries, qrels = _read(name, data)
    model = models.bundled(document_length=DOCUMENT_LENGTH)

    def chunks(some: list[str], *, is_query: bool) -> Iterator[Chunk]:
        if not some:
            yield np.empty((0, 128), dtype=np.float16), []
        for matrix in model.encode_stream(some, is_query=is_query, precision="float16"):
            yield matrix.values, matrix.lengths

    save_texts(folder, "documents", chunks(texts, is_query=False), ids)
    save_texts(folder, "queries", chunks(list(queries.values()), is_query=True), list(queries))
    (folder / "qrels.json").write_text(json.dumps(qrels))


def _read(name: str, data: Path) -> tuple[list[str], list[str], dict[str, str], Qrels]:
    """Return ids and texts of the documents, texts of the queries by id, and qrels."""
    if name in ("ms-docs", "wordnet"):
        texts = list(dict.fromkeys(_pair_documents(name, data)))
        return [f"{name}-{number}" for number in range(len(texts))], texts, {}, {}
    from serotine.evaluation import load_custom_dataset

    dataset = load_custom_dataset(data / name)
    documents = dataset.documents
    return [d["id"] for d in documents], [d["text"] for d in documents], dataset.queries, dataset.qrels


def _pair_documents(name: str, data: Path) -> Iterator[str]:
    with gzip.open(data / name / "pairs.jsonl.gz", "rt") as lines:
        for number, line in enumerate(lines):
            pair = json.loads(line)
            if name == "ms-docs" and "VBA" not in pair["src"]:
                yield pair["positive"]
            if name == "wordnet" and number % 3 == 0:
                yield f"{pair['positive']}. {pair['query']}"


def _join_large(name: str, data: Path, folder: Path) -> None:
    """Copy the parts, each cached by itself, so that an interrupted encoding goes on where it was."""
    corpora = sorted(path.parent.name for path in data.glob("*/corpus.jsonl"))
    parts = {part: cached(part, data) for part in [*corpora, "ms-docs", "wordnet"]}
    documents = {part: collection.documents for part, collection in parts.items()}
    missing = LARGE_SIZE - sum(len(texts.ids) for part, texts in documents.items() if part != "wordnet")
    documents["wordnet"] = documents["wordnet"].first(max(missing, 0))
    queries = {part: parts[part].queries.first(QUERIES_OF_EACH) for part in corpora}
    for kind, some in (("documents", documents), ("queries", queries)):
        ids = [f"{part}/{identifier}" for part, texts in some.items() for identifier in texts.ids]
        save_texts(folder, kind, ((texts.values, np.diff(texts.offsets)) for texts in some.values()), ids)
    qrels = {
        f"{part}/{query}": {f"{part}/{document}": grade for document, grade in parts[part].qrels[query].items()}
        for part, texts in queries.items()
        for query in texts.ids
    }
    (folder / "qrels.json").write_text(json.dumps(qrels))
    print(f"{name}: " + ", ".join(f"{part} {len(texts.ids)}" for part, texts in documents.items()))


def with_long_queries(collection: Collection, num_tokens: int, *, count: int, seed: int = 7) -> Collection:
    """Return the collection with queries of exactly num_tokens, cut from the starts of documents and moved a little.

    The noise (a tenth of a unit vector) keeps the source document from being found by equality alone. Documents that
    are too short are continued by the next one. There are no judgements.
    """
    documents = collection.documents
    rng = np.random.default_rng(seed)
    last_start = int(np.searchsorted(documents.offsets, documents.num_tokens - num_tokens, side="right")) - 1
    starts = documents.offsets[np.sort(rng.choice(last_start + 1, size=min(count, last_start + 1), replace=False))]
    values = np.concatenate([documents.values[start : start + num_tokens] for start in starts]).astype(np.float32)
    noise = rng.standard_normal(values.shape, dtype=np.float32)
    values += 0.1 * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    folder = collection.folder / f"queries-of-{num_tokens}"
    folder.mkdir(exist_ok=True)
    save_texts(folder, "queries", [(values, [num_tokens] * len(starts))], [f"from row {start}" for start in starts])
    return collection._replace(queries=load_texts(folder, "queries"), queries_folder=folder, qrels={})


def main() -> None:
    """Fill the cache."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("collections", nargs="+")
    arguments = parser.parse_args()
    for name in arguments.collections:
        collection = cached(name, arguments.data)
        documents, queries = collection.documents, collection.queries
        print(f"{name}: {len(documents.ids)} documents, {documents.num_tokens} tokens, {len(queries.ids)} queries")


if __name__ == "__main__":
    main()
