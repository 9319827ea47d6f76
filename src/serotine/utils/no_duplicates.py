"""Which rows may share a batch, if every document of another row is a negative?  `NoDuplicatesSampler`."""

from __future__ import annotations

import hashlib
import logging
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from sentence_transformers.base.sampler import DefaultBatchSampler

from serotine.utils.columns import LABEL_COLUMNS, assign_roles, read_texts

__all__ = ["NoDuplicatesSampler"]

logger = logging.getLogger(__name__)

_ROWS_AT_ONCE = 1000
# What a text is in a row, as bits; and what it must not be in another row of the batch, by what it is in this one.
_QUERY, _POSITIVE, _OTHER = 1, 2, 4
_REFUSED_BY = {_QUERY: _QUERY | _POSITIVE, _POSITIVE: _QUERY | _POSITIVE | _OTHER, _OTHER: _POSITIVE}


class NoDuplicatesSampler(DefaultBatchSampler):  # type: ignore[misc]
    """Batches without false negatives that can be seen: no row's positive is another row's document or query.

    Two rows with the same query, too, never share a batch, because the positive of one would be a negative of the
    other. Rows may share a negative. Columns are told apart as the collator does; the first document is the positive.

    For the trainer's arguments: ``batch_sampler=utils.NoDuplicatesSampler``; where names do not tell what columns are,
    ``functools.partial(utils.NoDuplicatesSampler, router_mapping={"sentence1": "query"})``.

    Every row is in one batch of an epoch. Batches that other rows cannot fill are short and come last; with
    ``dataloader_drop_last=True`` they are left out, as many rows as are logged. ``len`` is exact for the epoch that was
    asked for last, and almost the same for others. In each epoch the order is another, from ``seed``.

    Memory: 8 bytes per text and 9 per hash of it, read once; texts are compared by 64 bits of BLAKE2, without spaces at
    their ends.

    Raises:
        InvalidInput: columns cannot be told apart, or a row holds no text; they are named.

    Example:
        >>> from datasets import Dataset
        >>> rows = Dataset.from_dict({"query": ["a", "b", "c", "d"], "positive": ["x", "x", "y", "z"]})
        >>> for batch in NoDuplicatesSampler(rows, batch_size=2, drop_last=False):
        ...     assert sorted(batch) != [0, 1]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: list[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int = 0,
        *,
        router_mapping: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(dataset, batch_size, drop_last, valid_label_columns, generator, seed)
        self.dataset = dataset
        self.router_mapping = router_mapping
        self._hashes: _RowHashes | None = None
        self._planned: tuple[int, list[list[int]]] | None = None

    def __iter__(self) -> Iterator[list[int]]:
        yield from self._plan()

    def __len__(self) -> int:
        return len(self._plan())

    def _plan(self) -> list[list[int]]:
        """Return the batches of this epoch."""
        if self._planned is None or self._planned[0] != self.epoch:
            if self._hashes is None:
                self._hashes = _hash_rows(self.dataset, self.valid_label_columns or LABEL_COLUMNS, self.router_mapping)
            # Not the trainer's generator, whose state depends on what else has drawn from it.
            generator = torch.Generator().manual_seed((self.seed or 0) + self.epoch)
            order = torch.randperm(len(self.dataset), generator=generator).tolist()
            full, short = _fill(order, self._hashes, self.batch_size)
            if self.drop_last and short:
                rows = sum(map(len, short))
                logger.info("%d of %d rows are left out: they filled no batch of their own", rows, len(order))
            self._planned = self.epoch, full if self.drop_last else full + short
        return self._planned[1]


class _RowHashes(NamedTuple):
    """The texts of all rows: those of row i are ``offsets[i]`` to ``offsets[i + 1]``."""

    values: np.ndarray[Any, np.dtype[np.uint64]]
    kinds: np.ndarray[Any, np.dtype[np.uint8]]
    offsets: np.ndarray[Any, np.dtype[np.int64]]

    def of(self, row: int) -> list[tuple[int, int]]:
        part = slice(self.offsets[row], self.offsets[row + 1])
        return list(zip(self.values[part].tolist(), self.kinds[part].tolist(), strict=True))


def _hash_rows(dataset: Any, label_columns: Sequence[str], tasks: Mapping[str, str] | None) -> _RowHashes:
    values: list[int] = []
    kinds: list[int] = []
    offsets = [0]
    for start in range(0, len(dataset), _ROWS_AT_ONCE):
        columns = dataset[start : start + _ROWS_AT_ONCE]
        names = [name for name in columns if name != "dataset_name"]
        roles = assign_roles(names, label_columns=label_columns, tasks=tasks)
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        for row in rows:
            queries, _ = read_texts(roles.query, [row], lists=False)
            documents = [text for name in roles.documents for text in read_texts(name, [row], lists=True)[0]]
            texts = [*queries, *documents]
            values.extend(map(_hash, texts))
            kinds.extend([_QUERY, _POSITIVE, *[_OTHER] * (len(texts) - 2)][: len(texts)])
            offsets.append(len(values))
    return _RowHashes(np.array(values, np.uint64), np.array(kinds, np.uint8), np.array(offsets, np.int64))


def _hash(text: Any) -> int:
    data = str(text).strip().encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def _fill(order: list[int], hashes: _RowHashes, batch_size: int) -> tuple[list[list[int]], list[list[int]]]:
    """Put each row into the first open batch that it may join; return the full batches and the short ones.

    About linear in the number of rows, however often a text is repeated: what a batch does not take, it never will, so
    that the search for a text begins where it ended for the same text before.
    """
    full: list[list[int]] = []
    rows_of: list[list[int]] = []
    kinds_in: list[dict[int, int]] = []  # of each batch: hash -> kinds, as bits
    open_numbers: list[int] = []
    first_open: dict[tuple[int, int], int] = {}  # the batches before this one do not take that text
    for row in order:
        texts = hashes.of(row)
        place = bisect_left(open_numbers, max(first_open.get(text, 0) for text in texts))
        while place < len(open_numbers):
            number = open_numbers[place]
            refused = [text for text in texts if kinds_in[number].get(text[0], 0) & _REFUSED_BY[text[1]]]
            if not refused:
                break
            for text in refused:
                if bisect_left(open_numbers, first_open.get(text, 0)) == place:
                    first_open[text] = number + 1
            place += 1
        else:
            open_numbers.append(len(rows_of))
            rows_of.append([])
            kinds_in.append({})
        number = open_numbers[place]
        rows_of[number].append(row)
        for value, kind in texts:
            kinds_in[number][value] = kinds_in[number].get(value, 0) | kind
        if len(rows_of[number]) == batch_size:
            full.append(rows_of[number])
            del open_numbers[place]
            kinds_in[number] = {}
    return full, [rows_of[number] for number in open_numbers]
