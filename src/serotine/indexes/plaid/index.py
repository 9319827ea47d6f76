"""`PLAID`: compressed search on disk, fast and updatable, with PyLate's API."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from serotine._engine import PlaidIndex
from serotine._unused import NOT_GIVEN, warn_of_unused
from serotine.errors import InvalidInput
from serotine.indexes.base import Index
from serotine.indexes.checks import index_path, new_ids, read_ids, seconds
from serotine.indexes.chunks import document_chunks
from serotine.indexes.plaid.options import (
    SearchSettings,
    check_choice,
    check_device,
    check_requirements,
    flag_or_none,
    native_path,
    recall_or_none,
    required_settings,
    setting_or_none,
)
from serotine.indexes.plaid.progress import is_shown
from serotine.indexes.plaid.snapshot import Snapshot, describe
from serotine.indexes.plaid.stats import Stats
from serotine.indexes.plaid.writer import LOCK_WAIT_S, Writer, lock_waits
from serotine.indexes.storage.foreign import refuse_foreign_plaid_folder
from serotine.indexes.tokens.hits import NearestTokens
from serotine.scores.packed import thread_count
from serotine.types import DocumentId, Embeddings, RerankResult

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["PLAID"]

DEFAULT_NAME = "colbert"
DEFAULT_NBITS = 4
DEFAULT_SEED = 42


class PLAID(Index):
    """Searches token vectors of ``nbits`` bits per component: cells first, then codes, never every document.

    ``PLAID(folder, name)`` lives in ``folder/name``: opened if there, made by the first change if not.
    ``PLAID(None)`` lives in memory. Opening locks and writes nothing, and works in a folder that cannot be written.
    Every call answers from the newest commit of any process; a change is on the disk, or not made at all, when its call
    ends, and survives a crash or a loss of power from then on. Up to some 30,000 tokens vectors are kept as float16 and
    scored exactly; beyond, they are coded, and the float16 vectors are dropped (see keep_originals).

    The arguments up to low_memory are PyLate's, in its order. Those that have no meaning here (use_fast, kmeans_niters,
    max_points_per_centroid, n_samples_kmeans, use_triton, batch_size, low_memory, a device other than the CPU, and
    those of the old Stanford index) are accepted, with one warning that names them.

    Args:
        index_folder: where indexes are kept; None: this one is in memory.
        index_name: the index's own folder in there, a plain name.
        override: start empty even if there is an index. The first change that succeeds replaces the old one in one
            step; until then, and if nothing succeeds, the old one is on the disk.
        nbits: bits per component, 1, 2, 4 or 8. None: what the index has, 4 for a new one.
        seed: of the training. The same documents in the same calls with the same seed make the same index. None: what
            the index has, 42 for a new one.
        n_ivf_probe: cells probed per query token. None: recall decides.
        n_full_scores: documents that are looked at more closely per query. None: recall decides.
        num_threads: of changes and searches, 1 to 1,024; None: as many as the processors that this process may use.
        show_progress: bars for what takes more than a second. None: if standard error is a terminal.
        recall: share of the ten best of an exhaustive scan that a search should find, 0 < recall <= 1, measured when
            the index is built. None: .998. 1: scan everything.
        keep_originals: keep the float16 vectors too, 2 * dim bytes per token more: `get_documents_embeddings` returns
            them, and ``optimize(retrain=True)`` can train new codes from them. None: what the index has, no for a
            new one.
        verify: ``"structure"``: checksums of all that is used as a number or an offset are compared at opening.
            ``"full"``: those of codes and vectors too, for an index from elsewhere.
        recover: ``"previous"``: if the newest generation is damaged, its manifest or any of its files, open the one
            before, for reading. None: that is an error.
        lock_timeout_s: seconds that a change waits for another writer.

    Raises:
        InvalidInput: an argument is wrong, one that was given is not what the index was made with, or the folder holds
            something else than an index of this class; override does not replace that.
        CorruptIndex: the index is damaged. IndexTooNew: it was written by a later version.

    Safe to use from several threads, and by readers in processes forked after opening. Memory: 4 bytes
    for each document, everything else is mapped; a search takes some MB for each thread.
    Source: Santhanam et al. 2022 (PLAID); what differs is in docs/engine.md.

    Example:
        >>> import numpy as np
        >>> from serotine.indexes import PLAID
        >>> index = PLAID(None)
        >>> index.add_documents(["north", "east"], [np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]])])
        PLAID(2 documents, 2 tokens, ... bytes/token, 1 segment, generation 1, 4 bits, in memory)
        >>> index(np.array([[1.0, 0.0]]), k=1)
        [[{'id': 'east', 'score': 1.0}]]
    """

    def __init__(
        self,
        index_folder: str | os.PathLike[str] | None = "indexes",
        index_name: str | None = DEFAULT_NAME,
        override: bool = False,
        use_fast: Any = NOT_GIVEN,
        nbits: int | None = None,
        kmeans_niters: Any = NOT_GIVEN,
        max_points_per_centroid: Any = NOT_GIVEN,
        n_samples_kmeans: Any = NOT_GIVEN,
        seed: int | None = None,
        use_triton: Any = NOT_GIVEN,
        n_ivf_probe: int | None = None,
        n_full_scores: int | None = None,
        batch_size: Any = NOT_GIVEN,
        num_threads: int | None = None,
        show_progress: bool | None = None,
        device: Any = None,
        low_memory: Any = NOT_GIVEN,
        *,
        recall: float | None = None,
        keep_originals: bool | None = None,
        verify: Literal["structure", "full"] = "structure",
        recover: Literal["previous"] | None = None,
        lock_timeout_s: float = LOCK_WAIT_S,
        embedding_size: Any = NOT_GIVEN,
        nranks: Any = NOT_GIVEN,
        index_bsize: Any = NOT_GIVEN,
        ndocs: Any = NOT_GIVEN,
        centroid_score_threshold: Any = NOT_GIVEN,
        ncells: Any = NOT_GIVEN,
        search_batch_size: Any = NOT_GIVEN,
    ) -> None:
        if use_fast is not NOT_GIVEN and not isinstance(use_fast, bool):
            raise InvalidInput(f"use_fast must be True or False, got {use_fast!r}; pass nbits and what follows by name")
        self._settings = SearchSettings(
            recall_or_none(recall),
            setting_or_none(n_ivf_probe, name="n_ivf_probe"),
            setting_or_none(n_full_scores, name="n_full_scores"),
            thread_count(num_threads),
        )
        self._show_progress = flag_or_none(show_progress, name="show_progress")
        self._lock_timeout_s = seconds(lock_timeout_s, name="lock_timeout_s")
        self._required = required = required_settings(nbits, seed, flag_or_none(keep_originals, name="keep_originals"))
        check_choice(verify, ("structure", "full"), name="verify")
        check_choice(recover, ("previous", None), name="recover")
        is_in_memory = index_folder is None and index_name == DEFAULT_NAME
        self._path = index_path(index_folder, None if is_in_memory else index_name)
        has_device = check_device(device)
        warn_of_unused(
            "PLAID",
            "recall= says how thorough a search is, and it runs on the CPU",
            use_fast=use_fast,
            kmeans_niters=kmeans_niters,
            max_points_per_centroid=max_points_per_centroid,
            n_samples_kmeans=n_samples_kmeans,
            use_triton=use_triton,
            batch_size=batch_size,
            device=NOT_GIVEN if has_device else device,
            low_memory=low_memory,
            embedding_size=embedding_size,
            nranks=nranks,
            index_bsize=index_bsize,
            ndocs=ndocs,
            centroid_score_threshold=centroid_score_threshold,
            ncells=ncells,
            search_batch_size=search_batch_size,
        )
        self._open_native: PlaidIndex | None = PlaidIndex(
            native_path(self._path),
            nbits=required.get("nbits", DEFAULT_NBITS),
            seed=required.get("seed", DEFAULT_SEED),
            keep_originals=bool(required.get("keep_originals", False)),
            lock_timeout_s=lock_waits(self._lock_timeout_s)[1],
            override=flag_or_none(override, name="override") is True,
            verify_values=verify == "full",
            recover_previous=recover is not None,
        )
        if self._path is not None:
            refuse_foreign_plaid_folder(self._path)
        check_requirements(self._path, self._open_native.snapshot(), required)

    @property
    def is_end_to_end_index(self) -> bool:
        """True: a call returns ranked documents."""
        return True

    @property
    def dim(self) -> int | None:
        """Width of the vectors, None as long as no document told it."""
        return self._native.snapshot().dim or None

    @property
    def nbits(self) -> int:
        """Bits per coded component."""
        return self._native.snapshot().nbits

    @property
    def recall(self) -> float | None:
        """How thorough a search is, see the class; can be set. Setting it unsets n_ivf_probe and n_full_scores."""
        return self._settings.recall

    @recall.setter
    def recall(self, value: float | None) -> None:
        self._settings = replace(self._settings, recall=recall_or_none(value), cells=None, candidates=None)

    @property
    def n_ivf_probe(self) -> int | None:
        """Cells probed per query token, None if recall decides; can be set."""
        return self._settings.cells

    @n_ivf_probe.setter
    def n_ivf_probe(self, value: int | None) -> None:
        self._settings = replace(self._settings, cells=setting_or_none(value, name="n_ivf_probe"))

    @property
    def n_full_scores(self) -> int | None:
        """Documents looked at more closely per query, None if recall decides; can be set."""
        return self._settings.candidates

    @n_full_scores.setter
    def n_full_scores(self, value: int | None) -> None:
        self._settings = replace(self._settings, candidates=setting_or_none(value, name="n_full_scores"))

    def add_documents(self, documents_ids: Any, documents_embeddings: Embeddings, batch_size: Any = NOT_GIVEN) -> Self:
        """Add documents: their ids, and ``(num_tokens, dim)`` vectors for each.

        documents_ids: str or int, which stay what they are: ``1`` and ``"1"`` are two documents. A bare id is one.
        documents_embeddings: see `serotine.types.Embeddings`, or a generator of arrays or tensors, of which about
        100 MB are held at a time (the codes are trained from a sample of all of it, so what is beyond 64 MiB waits in
        the index's folder as float16). Vectors are rounded to float16; all-zero rows of a padded 3-D array are
        padding. A document without tokens is stored and counted, but never returned. No documents: nothing happens.
        batch_size: PyLate's; has no effect, with a warning.

        Cost: that of what is added, times log(number of adds) over time; training when the index has grown eightfold.
        Ctrl-C ends it within a second and changes nothing.

        Raises:
            DuplicateDocument: an id occurs twice or is in the index. InvalidInput: an id is not valid, there are not as
                many embeddings as ids, a document has more than 65,535 tokens, or a value is NaN, infinite or too large
                for float16 (65,504).
            DimensionMismatch: a document has another width. IndexLocked: another writer is at work.
            OutOfSpace, CommitFailed: the disk refused. After any error the index is what it was.
        """
        warn_of_unused("PLAID.add_documents", "", batch_size=batch_size)
        return self._write(new_ids(documents_ids), documents_embeddings, may_replace=False)

    def update_documents(self, documents_ids: Any, documents_embeddings: Embeddings) -> Self:
        """Replace the documents of these ids and add those that are not in the index, in one step.

        They then count as the newest ones. Arguments, cost and errors: as `add_documents`.
        """
        return self._write(new_ids(documents_ids), documents_embeddings, may_replace=True)

    def _write(self, ids: list[DocumentId], embeddings: Embeddings, *, may_replace: bool) -> Self:
        if not ids:
            self._native.snapshot()  # a closed index refuses this too
            next(document_chunks(ids, embeddings, dim=self.dim, dtype=np.dtype(np.float16)), None)
            return self
        with self.writer() as writer:
            writer.stage(ids, embeddings, may_replace=may_replace)
        return self

    def remove_documents(self, documents_ids: Any, *, missing_ok: bool = True) -> Self:
        """Remove documents. Ids that the index does not hold are ignored unless missing_ok is False.

        Raises:
            UnknownDocument: missing_ok is False and an id is unknown; nothing is removed.
            InvalidInput: an id is neither str nor int. IndexLocked, OutOfSpace, CommitFailed: as `add_documents`.
        """
        ids = read_ids(documents_ids)
        with self.writer() as writer:
            writer.remove_documents(ids, missing_ok=missing_ok)
        return self

    def writer(self) -> Writer:
        """Return a writer that makes one commit of several changes, at the end of its ``with`` statement.

        Raises, when the statement begins:
            IndexLocked: another writer is at work. InvalidInput: since this index was opened, another process has made
                or replaced it with other settings than those that were given here.

        Example:
            >>> import numpy as np
            >>> index = PLAID(None)
            >>> with index.writer() as writer:
            ...     for number in range(3):
            ...         _ = writer.add_documents([number], [np.ones((2, 4))])
            >>> len(index), index.generation
            (3, 1)
        """
        return Writer(
            self._native,
            num_threads=self._settings.num_threads,
            show_progress=is_shown(self._show_progress),
            lock_timeout_s=self._lock_timeout_s,
            check_base=lambda base: check_requirements(self._path, base, self._required),
        )

    def __call__(
        self,
        queries_embeddings: Embeddings,
        k: int = 10,
        subset: Any = None,
        *,
        recall: float | None = None,
        weights: Any = None,
    ) -> list[list[RerankResult]]:
        """Return for each query its k best documents as ``{"id", "score"}``, best first, ties oldest first.

        The score is MaxSim with the stored vectors: exact for float16 ones, of the codes for coded ones.

        queries_embeddings: see `serotine.types.Embeddings`; one 2-D array is one query; no queries: ``[]``.
        k: at least 1; if there are fewer documents, all of them are returned.
        subset: ids of the documents that may be returned, one list for all queries or one list per query; unknown ids
        are ignored, and a subset without a known id returns nothing. A small subset is scored as a whole.
        recall: for this call, in place of the index's recall, n_ivf_probe and n_full_scores.
        weights: one factor >= 0 for each query token: a 1-D array per query. A factor times a component of its token's
        vector is at most 1e15, as a component itself is. None: 1 each.

        Raises:
            InvalidInput: an argument or a query is not valid (no tokens, more than 4,096, NaN, infinity).
            DimensionMismatch: a query has another width.
        """
        return self.snapshot()(queries_embeddings, k, subset, recall=recall, weights=weights)

    def nearest_tokens(self, queries_embeddings: Embeddings, k: int = 10, subset: Any = None) -> NearestTokens:
        """Return the k stored tokens of the largest dot product with each query token, as far as cells lead to them.

        Cells are looked into, nearest first, until they hold four times k tokens (with recall=1 all of them); the
        tokens in them are compared by their codes. For `serotine.retrieve.XTR`. Arguments and errors: as a call's.

        Cost: that of decoding what the cells hold, some 8 bytes for each hit and query token.
        """
        return self.snapshot().nearest_tokens(queries_embeddings, k, subset)

    def get_documents_embeddings(self, documents_ids: Any) -> list[Any]:
        """Return vectors ``(num_tokens, dim)``, read-only, in the order of the ids.

        float16, as they were given, where the index keeps them (all, with keep_originals); float32, decoded from
        their codes, elsewhere. A list of lists of ids gives a list of lists. Arrays stay valid when the index changes.

        Raises:
            UnknownDocument: an id is not in the index.
        """
        return self.snapshot().get_documents_embeddings(documents_ids)

    def documents_ids(self) -> list[DocumentId]:
        """Return the ids of all documents, oldest first."""
        return self.snapshot().documents_ids()

    @property
    def generation(self) -> int:
        """Number of the newest commit, 0 before the first."""
        return self.snapshot().generation

    def snapshot(self) -> Snapshot:
        """Pin the newest commit: a view that answers from it, whatever is committed later."""
        return Snapshot(self._native.snapshot(), self._settings)

    def stats(self) -> Stats:
        """Return sizes, drift and calibration of the newest commit."""
        return self.snapshot().stats()

    def optimize(self, *, retrain: bool = False) -> Self:
        """Merge everything into as few files as there can be and drop what is deleted. Nothing has to call this.

        The files of the generation before stay until the next commit, as after every change (see `Stats`).

        retrain: also train new codes from the float16 vectors of all documents; needs keep_originals.

        Raises:
            InvalidInput: retrain without all float16 vectors.
            IndexLocked, OutOfSpace, CommitFailed: as `add_documents`.
        """
        retrain = flag_or_none(retrain, name="retrain") is True
        with self.writer() as writer:
            writer.optimize(retrain=retrain)
        return self

    def check(self) -> None:
        """Read every byte of the newest commit and compare checksums.

        Raises:
            CorruptIndex: a file is not what was written; the message names it.
        """
        self._native.check()

    def close(self) -> None:
        """Release memory and mapped files; every later use but another close raises InvalidInput."""
        self._open_native = None

    @property
    def _native(self) -> PlaidIndex:
        native = self._open_native
        if native is None:
            raise InvalidInput("this index was closed; open it again to use it")
        return native

    def __len__(self) -> int:
        return len(self.snapshot())

    def __contains__(self, document_id: object) -> bool:
        return document_id in self.snapshot()

    def __repr__(self) -> str:
        where = "in memory" if self._path is None else str(self._path)
        if self._open_native is None:
            return f"PLAID(closed, {where})"
        return f"PLAID({describe(self._open_native.snapshot())}, {where})"
