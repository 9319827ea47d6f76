"""How is each engine called?  The same few methods over every engine of benchmarks/engines.py, with its own defaults.

Runs in a process of its own, for the peers by another interpreter: numpy and the one engine, nothing else. What an
adapter does around the engine's call (its form of the queries, ours of the answers) is outside the timed part, except
where the engine itself leaves it to the caller (voyager's reranking).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embeddings import Texts, load_texts

Rows = Iterable[npt.NDArray[np.float16]]


class Engine:
    """One index. folder: its own, empty before `build`. options: of the build. threads: of build and search."""

    def __init__(self, folder: Path, *, threads: int, options: dict[str, Any]) -> None:
        self.folder, self.threads, self.options = folder, threads, options
        self.index: Any = None

    def build(self, ids: list[str], rows: Rows, source: Path | None) -> None:
        """Index documents and leave everything a search needs in the folder. source: where their vectors lie."""
        raise NotImplementedError

    def open(self) -> None:
        """Make ready to search."""
        raise NotImplementedError

    def prepare(self, queries: Sequence[npt.NDArray[np.float32]]) -> Any:
        """Return queries in the form that the engine takes; not timed."""
        return list(queries)

    def search(self, queries: Any, k: int, **setting: Any) -> Any:
        """Return the engine's own answer; this is what is timed."""
        raise NotImplementedError

    def hits(self, answer: Any) -> list[list[int | str]]:
        """Return the documents of each query, best first: positions, or ids where the engine keeps ids."""
        return [[int(position) for position, _ in result] for result in answer]

    def extra_bytes(self) -> int:
        """Bytes outside the folder that a search reads."""
        return 0

    def facts(self) -> dict[str, Any]:
        """What the engine says of itself after it was opened."""
        return {}


class _Serotine(Engine):
    """What both indexes of Serotine share. Documents keep the collection's string ids."""

    def new(self, *, override: bool) -> Any:
        """Return the index object."""
        raise NotImplementedError

    def build(self, ids: list[str], rows: Rows, source: Path | None) -> None:
        """Add everything in one call, from a generator."""
        del source
        index = self.new(override=True)
        index.add_documents(ids, rows)
        index.close()

    def open(self) -> None:
        """Open the folder."""
        self.index = self.new(override=False)

    def search(self, queries: Any, k: int, **setting: Any) -> Any:
        """setting: keyword arguments of the index's call."""
        return self.index(queries, k=k, **setting)

    def hits(self, answer: Any) -> list[list[int | str]]:
        """Return ids: a map to positions would count as memory of this process."""
        return [[hit["id"] for hit in result] for result in answer]

    def facts(self) -> dict[str, Any]:
        """The index's own statistics."""
        return statistics_of(self.index)


class Serotine(_Serotine):
    """`serotine.indexes.PLAID`. options: nbits and others of its constructor."""

    def new(self, *, override: bool) -> Any:
        """Return the index object."""
        from serotine.indexes import PLAID

        options = self.options if override else {}
        return PLAID(str(self.folder), "index", override=override, num_threads=self.threads, **options)


class Exact(_Serotine):
    """`serotine.indexes.Exact` over float16 vectors on disk."""

    def new(self, *, override: bool) -> Any:
        """Return the index object."""
        from serotine.indexes import Exact as Index

        return Index(str(self.folder), "index", override=override, dtype="float16", num_threads=self.threads)


class FastPlaid(Engine):
    """fast-plaid with its defaults: 4 bits, 8 probes, 4,096 full scores."""

    def _new(self) -> Any:
        import torch
        from fast_plaid import search

        torch.set_num_threads(self.threads)
        return search.FastPlaid(index=str(self.folder / "index"), device="cpu")

    def build(self, ids: list[str], rows: Rows, source: Path | None) -> None:
        """Create the index from tensors of float16; ids are positions."""
        del ids, source
        self._new().create(documents_embeddings=_tensors(rows))

    def open(self) -> None:
        """The constructor loads."""
        self.index = self._new()

    def prepare(self, queries: Sequence[npt.NDArray[np.float32]]) -> Any:
        """Return tensors."""
        return _tensors(queries)

    def search(self, queries: Any, k: int, **setting: Any) -> Any:
        """setting: n_ivf_probe, n_full_scores."""
        return self.index.search(queries_embeddings=queries, top_k=k, show_progress=False, **setting)


class XtrWarp(Engine):
    """xtr-warp-rs with its defaults: 4 bits; probes and bounds as it derives them from k and the index."""

    def _new(self) -> Any:
        import torch
        from xtr_warp.search import XTRWarp

        torch.set_num_threads(self.threads)
        return XTRWarp(index=str(self.folder / "index"), device="cpu")

    def build(self, ids: list[str], rows: Rows, source: Path | None) -> None:
        """Create the index from tensors of float16; ids are positions."""
        del ids, source
        self._new().create(embeddings_source=_tensors(rows), device="cpu", show_progress=False)

    def open(self) -> None:
        """Map the index."""
        self.index = self._new()
        self.index.load("cpu")

    def prepare(self, queries: Sequence[npt.NDArray[np.float32]]) -> Any:
        """Return tensors."""
        return _tensors(queries)

    def search(self, queries: Any, k: int, **setting: Any) -> Any:
        """setting: nprobe, bound and others of its search."""
        return self.index.search(queries, top_k=k, num_threads=self.threads, show_progress=False, **setting)


class Voyager(Engine):
    """A graph (HNSW) over all tokens: neighbours of each query token, their documents scored exactly in float32.

    M 12 and ef_construction 200 are voyager's own defaults, 100 neighbours with ef 200 a query token are PyLate's.
    Reranking reads the collection's float16 vectors, whose bytes therefore count.
    """

    TOKEN_NEIGHBOURS, EF = 100, 200

    def build(self, ids: list[str], rows: Rows, source: Path | None) -> None:
        """Add tokens in pieces: voyager wants float32."""
        import voyager

        del ids
        if source is None:
            raise ValueError("voyager's reranking needs the vectors in a folder of the cache")
        index: Any = None
        for piece in _pieces(rows, 1 << 16):
            if index is None:
                index = voyager.Index(voyager.Space.InnerProduct, num_dimensions=piece.shape[1], **self.options)
            index.add_items(piece, num_threads=self.threads)
        index.save(str(self.folder / "tokens.voyager"))
        (self.folder / "source").write_text(str(source))

    def open(self) -> None:
        """Load the graph, map the vectors."""
        import voyager

        self.index = voyager.Index.load(str(self.folder / "tokens.voyager"))
        self.documents: Texts = load_texts(Path((self.folder / "source").read_text()), "documents")

    def search(self, queries: Any, k: int, **setting: Any) -> Any:
        """All query tokens of the call in one call of voyager, then reranking query by query."""
        tokens = np.concatenate(queries)
        ef = max(self.EF, self.TOKEN_NEIGHBOURS)
        asked = {"k": self.TOKEN_NEIGHBOURS, "query_ef": ef, "num_threads": self.threads, **setting}
        neighbours, _ = self.index.query(tokens, **asked)
        documents = np.searchsorted(self.documents.offsets, neighbours.astype(np.int64), side="right") - 1
        ends = np.cumsum([len(query) for query in queries])
        return [
            self._rerank(query, np.unique(documents[end - len(query) : end]), k)
            for query, end in zip(queries, ends, strict=True)
        ]

    def _rerank(
        self, query: npt.NDArray[np.float32], candidates: npt.NDArray[np.int64], k: int
    ) -> list[tuple[int, float]]:
        values, offsets, _ = self.documents
        tokens = np.concatenate([values[offsets[i] : offsets[i + 1]] for i in candidates]).astype(np.float32)
        lengths = offsets[candidates + 1] - offsets[candidates]
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        scores = np.maximum.reduceat(tokens @ query.T, starts, axis=0).sum(axis=1)
        best = np.argsort(-scores, kind="stable")[:k]
        return [(int(candidates[i]), float(scores[i])) for i in best]

    def extra_bytes(self) -> int:
        """The float16 vectors."""
        return int(self.documents.values.nbytes)


def statistics_of(index: Any) -> dict[str, Any]:
    """Return what ``index.stats()`` says, as JSON takes it; nothing for an index without."""
    stats = index.stats() if hasattr(index, "stats") else {}
    if not isinstance(stats, dict):
        stats = stats._asdict() if hasattr(stats, "_asdict") else dataclasses.asdict(stats)
    return {name: value for name, value in stats.items() if isinstance(value, (int, float, str, tuple))}


def _tensors(rows: Iterable[npt.NDArray[Any]]) -> list[Any]:
    import torch

    # Copied: torch warns of tensors over read-only maps, and both peers keep what they are given in memory anyway.
    return [torch.from_numpy(np.array(row)) for row in rows]


def _pieces(rows: Rows, num_tokens: int) -> Iterable[npt.NDArray[np.float32]]:
    """Documents joined to float32 matrices of about num_tokens rows."""
    pending: list[npt.NDArray[np.float16]] = []
    for row in rows:
        pending.append(row)
        if sum(map(len, pending)) >= num_tokens:
            yield np.concatenate(pending).astype(np.float32)
            pending = []
    if pending:
        yield np.concatenate(pending).astype(np.float32)


ENGINES: dict[str, type[Engine]] = {
    "serotine": Serotine,
    "exact": Exact,
    "fast-plaid": FastPlaid,
    "xtr-warp": XtrWarp,
    "voyager": Voyager,
}

PEERS = ("fast-plaid", "xtr-warp", "voyager")
"""Engines that run with the interpreter of build/peers-env."""
