"""`ScaNN`: token vectors in leaves of quantised vectors, by Google's library of that name, with PyLate's API.

The library proposes neighbours, and no more: vectors, ids, commits and removals are Serotine's own; no pickles.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serotine._lazy import require
from serotine._unused import NOT_GIVEN, warn_of_unused
from serotine.errors import InvalidInput
from serotine.indexes.checks import optional_positive_int
from serotine.indexes.storage.segment import Rows, Snapshot
from serotine.indexes.tokens.index import TokenIndex
from serotine.indexes.tokens.search import Vectors
from serotine.types import TokenMatrix

__all__ = ["ScaNN"]

DEFAULT_LEAVES = 2_000
DEFAULT_LEAVES_TO_SEARCH = 200
DEFAULT_SAMPLE = 250_000
"""PyLate's, at most; fewer for fewer vectors."""

TOKENS_PER_LEAF = 16
"""At least so many vectors for each leaf: a segment that just became large has no leaves of eight."""

OVERSAMPLING = 2
"""Candidates taken by their codes for each neighbour wanted; the stored vectors choose among them."""

LEAST_CANDIDATES = 64
"""And so many at least: the nearest by its codes alone is often not the nearest."""

_FILE_NAME = re.compile(r"[a-z][a-z0-9_]*\.(npy|pb|pbtxt)")
_ASSETS = "scann_assets.pbtxt"
_ASSET = r'assets \{\n  asset_type: [A-Z_]+\n  asset_path: "([a-z0-9_.]+)"\n\}\n'
_HEADER_BYTES = 1 << 16
_PIECE_BYTES = 1 << 20


class ScaNN(TokenIndex):
    """Finds the nearest stored vectors of each query token among the codes of the leaves nearest to it.

    ``ScaNN()`` lives in memory, ``ScaNN(name, index_folder=folder)`` in ``folder/name``. Unlike PyLate's, it takes any
    number of adds, removes and updates; commits are as in `Exact`. Use it through `serotine.retrieve.ColBERT` or
    `serotine.retrieve.XTR`.

    The arguments up to verbose_level are PyLate's, in its order. Those that have no meaning here (num_neighbors,
    verbose, use_autopilot, verbose_level) are accepted, with one warning that names them.

    Args:
        index_name: the index's own folder in index_folder, a plain name.
        embedding_size: width of the vectors; None: that of the index that is there, or of the first document.
        num_leaves: leaves of a segment's tree. None: what the index has; 2,000 at most for a new one.
        num_leaves_to_search: leaves that a query token looks into. None: 200.
        dimensions_per_block: dimensions that share a code. None: what the index has, 2 for a new one.
        anisotropic_quantization_threshold: of the codes' training. None: as above, 0.2.
        training_sample_size: vectors that the tree is trained from. None: as above, 250,000 at most.
        store_embeddings: True: vectors are always stored, since candidates are scored by them.
        index_folder: where indexes are kept; None: this one is in memory.
        override: start empty even if there is an index. The old one is deleted by the first change that succeeds.
        dtype: how vectors are stored for scoring, ``"float32"`` or ``"float16"``.
        num_threads: of the training, 1 to 1,024; None: as many as the processors that this process may use.
        lock_timeout_s: seconds that a change waits for another writer.

    Raises:
        MissingExtra: the package scann is not installed; it has no wheels for some systems. InvalidInput: an argument
            is wrong, or not what the index was made with. DimensionMismatch, CorruptIndex, IndexTooNew, CommitFailed:
            as `Exact`.

    Source: Guo et al. 2020 (anisotropic vector quantization).
    """

    kind = "scann"

    def __init__(
        self,
        index_name: str = "ScaNN_index",
        embedding_size: int | None = None,
        num_neighbors: Any = NOT_GIVEN,
        num_leaves: int | None = None,
        num_leaves_to_search: int | None = None,
        dimensions_per_block: int | None = None,
        anisotropic_quantization_threshold: float | None = None,
        training_sample_size: int | None = None,
        verbose: Any = NOT_GIVEN,
        use_autopilot: Any = NOT_GIVEN,
        store_embeddings: bool = True,
        index_folder: str | os.PathLike[str] | None = None,
        override: bool = False,
        verbose_level: Any = NOT_GIVEN,
        *,
        dtype: npt.DTypeLike | None = None,
        num_threads: int | None = None,
        lock_timeout_s: float = 1.0,
    ) -> None:
        self._library = require(
            "scann",
            extra="scann",
            purpose="serotine.indexes.ScaNN (on a system for which scann has no wheel, use PLAID or Voyager instead)",
        ).scann_ops_pybind
        if store_embeddings is not True:
            raise InvalidInput(
                f"store_embeddings must be True: candidates are scored by them; got {store_embeddings!r}"
            )
        warn_of_unused(
            "ScaNN",
            "",
            num_neighbors=num_neighbors,
            verbose=verbose,
            use_autopilot=use_autopilot,
            verbose_level=verbose_level,
        )
        leaves = optional_positive_int(num_leaves_to_search, name="num_leaves_to_search")
        self._leaves_to_search = DEFAULT_LEAVES_TO_SEARCH if leaves is None else leaves
        self._open_tokens(
            index_folder,
            index_name,
            override=override,
            embedding_size=embedding_size,
            dtype=dtype,
            defaults={
                "num_leaves": DEFAULT_LEAVES,
                "dimensions_per_block": 2,
                "anisotropic_quantization_threshold": 0.2,
                "training_sample_size": DEFAULT_SAMPLE,
            },
            given={
                "num_leaves": optional_positive_int(num_leaves, name="num_leaves"),
                "dimensions_per_block": optional_positive_int(dimensions_per_block, name="dimensions_per_block"),
                "anisotropic_quantization_threshold": _threshold(anisotropic_quantization_threshold),
                "training_sample_size": optional_positive_int(training_sample_size, name="training_sample_size"),
            },
            num_threads=num_threads,
            lock_timeout_s=lock_timeout_s,
        )

    def _make_finder(self, documents: TokenMatrix, settings: Mapping[str, Any]) -> _Leaves:
        directions = documents.values.astype(np.float32)
        lengths = np.linalg.norm(directions, axis=1, keepdims=True)
        np.divide(directions, lengths, out=directions, where=lengths > 0)
        num_leaves = max(1, min(settings["num_leaves"], len(directions) // TOKENS_PER_LEAF))
        searcher = (
            self._library.builder(directions, 1, "dot_product")
            .set_n_training_threads(self._num_threads)
            .tree(
                num_leaves=num_leaves,
                num_leaves_to_search=min(num_leaves, self._leaves_to_search),
                training_sample_size=min(settings["training_sample_size"], len(directions)),
                spherical=True,
            )
            .score_ah(
                settings["dimensions_per_block"],
                anisotropic_quantization_threshold=settings["anisotropic_quantization_threshold"],
            )
            .build()
        )
        return _Leaves(searcher, len(directions), self._leaves_to_search)

    def _load_finder(self, data: memoryview, documents: TokenMatrix, settings: Mapping[str, Any]) -> _Leaves:  # noqa: ARG002
        with tempfile.TemporaryDirectory(prefix="serotine-scann-") as folder:
            _unpack(data, Path(folder))
            searcher = self._library.load_searcher(folder, assets_backcompat_shim=False)
        if searcher.size() != documents.num_tokens:
            raise ValueError(f"leaves of {searcher.size()} vectors, expected {documents.num_tokens}")
        return _Leaves(searcher, documents.num_tokens, self._leaves_to_search)

    def _description(self, snapshot: Snapshot) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in snapshot.settings.items())
        return f"dim={snapshot.dim}, {snapshot.dtype.name}, {settings}"


class _Leaves:
    """A searcher of the library over the directions of a segment's tokens."""

    def __init__(self, searcher: Any, num_tokens: int, leaves_to_search: int) -> None:
        self._searcher = searcher
        self._num_tokens = num_tokens
        self._leaves_to_search = leaves_to_search

    def nearest(self, queries: Vectors, k: int) -> Rows | None:
        """Return some more than k tokens whose codes are nearest, -1 where the leaves held fewer."""
        positions, scores = self._searcher.search_batched(
            np.array(queries),
            final_num_neighbors=min(self._num_tokens, max(OVERSAMPLING * k, LEAST_CANDIDATES)),
            leaves_to_search=self._leaves_to_search,
        )
        if positions.max(initial=0) >= self._num_tokens:
            return None
        found: Rows = np.where(np.isnan(scores), -1, positions.astype(np.int64))
        return found

    def save(self, write: Callable[[bytes], object]) -> None:
        """Write the library's files one after the other: a line of JSON with names and sizes, then the contents."""
        with tempfile.TemporaryDirectory(prefix="serotine-scann-") as folder:
            self._searcher.serialize(folder, relative_path=True)
            paths = sorted(Path(folder).iterdir())
            write(json.dumps([[path.name, path.stat().st_size] for path in paths]).encode() + b"\n")
            for path in paths:
                with path.open("rb") as file:
                    while piece := file.read(_PIECE_BYTES):
                        write(piece)


def _unpack(data: memoryview, folder: Path) -> None:
    """Write the files that `save` packed to a folder; ValueError if they are not such files.

    Only plain names of the library's kinds are written (so none that it would unpickle), and its list of files may
    name nothing else.
    """
    header, newline, _ = bytes(data[:_HEADER_BYTES]).partition(b"\n")
    entries = json.loads(header)
    if not newline or not isinstance(entries, list):
        raise ValueError("no list of files")
    start = len(header) + 1
    for entry in entries:
        name, size = entry
        if not isinstance(name, str) or not _FILE_NAME.fullmatch(name) or type(size) is not int or size < 0:
            raise ValueError(f"the file {name!r} of {size!r} bytes")
        (folder / name).write_bytes(data[start : start + size])
        start += size
    if start != len(data):
        raise ValueError(f"files of {start} bytes, expected {len(data)}")
    names = {name for name, _ in entries}
    assets = (folder / _ASSETS).read_text("utf-8") if _ASSETS in names else "none"
    if not re.fullmatch(f"(?:{_ASSET})*", assets):
        raise ValueError("a list of files of another form than the library's")
    for path in re.findall(_ASSET, assets):
        if path not in names:
            raise ValueError(f"it refers to the file {path!r}, which is not among its own")


def _threshold(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1 <= value <= 1:
        raise InvalidInput(f"anisotropic_quantization_threshold must be a cosine, -1 to 1, got {value!r}")
    return float(value)
