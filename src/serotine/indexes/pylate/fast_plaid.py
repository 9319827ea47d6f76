"""Which vectors does a fast-plaid index stand for?  Centroids and codes of residuals, decoded document by document.

A token is ``normalise(centroids[code] + bucket_weights[bucket of each dimension])``; a bucket has nbits bits, the
lowest first, eight of them to a byte from its highest bit on. Read: ``metadata.json``, ``centroids.npy``,
``bucket_weights.npy``, and of each chunk ``doclens.<i>.json``, ``<i>.codes.npy`` and ``<i>.residuals.npy``, or, where
the chunks were merged, ``merged_codes.npy`` and ``merged_residuals.npy``, which end in padding. Everything is checked
before it is used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serotine.errors import CorruptIndex, InvalidInput
from serotine.types import Array

__all__ = ["FastPlaidFolder"]

BATCH_TOKENS = 1 << 14
"""Tokens decoded at a time: 8 MiB at 128 dimensions."""

_NPY_MAGIC = b"\x93NUMPY"


class FastPlaidFolder:
    """A folder that fast-plaid wrote, opened for reading. Arrays are mapped.

    Raises:
        InvalidInput: it is no such folder. CorruptIndex: a file is missing, damaged, or does not fit the others.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not (folder / "metadata.json").is_file():
            is_stanford = (folder / "centroids.pt").exists()
            raise InvalidInput(
                f"{folder} holds no index of fast-plaid: there is no metadata.json"
                + (". Its .pt files are pickles of Stanford's PLAID, which are not read" if is_stanford else "")
            )
        metadata = self._json("metadata.json")
        self.nbits = self._number(metadata, "nbits", range(1, 9))
        num_chunks = self._number(metadata, "num_chunks", range(2**31))
        self._centroids = self._array("centroids.npy", "f", 2)
        self._weights = self._array("bucket_weights.npy", "f", 1)
        self.dim = self._centroids.shape[1]
        if len(self._weights) != 2**self.nbits:
            raise self._corrupt(
                "bucket_weights.npy", f"{2**self.nbits} weights of {self.nbits} bits", f"{len(self._weights)}"
            )
        if self.dim * self.nbits % 8:
            raise self._corrupt(
                "centroids.npy",
                f"a width whose codes of {self.nbits} bits fill whole bytes",
                f"{self.dim} dimensions, {self.dim * self.nbits} bits",
            )
        for name, values in (("centroids.npy", self._centroids), ("bucket_weights.npy", self._weights)):
            if not np.isfinite(values).all():
                raise self._corrupt(name, "finite numbers", "others")
        self._chunk_lengths = [self._lengths(number) for number in range(num_chunks)]
        self.lengths = np.concatenate([np.empty(0, dtype=np.int64), *self._chunk_lengths])

    def documents(self) -> Iterator[npt.NDArray[np.float32]]:
        """Yield each document's vectors ``(num_tokens, dim)``, of length 1."""
        for lengths, codes, residuals in self._chunks():
            ends = np.cumsum(lengths)
            start = done = 0
            while start < len(lengths):
                stop = max(start + 1, int(np.searchsorted(ends, done + BATCH_TOKENS, side="right")))
                last = int(ends[stop - 1])
                vectors = self._decoded(codes[done:last], residuals[done:last])
                yield from np.split(vectors, (ends[start : stop - 1] - done).tolist())
                start, done = stop, last

    def _decoded(self, codes: Array, residuals: Array) -> npt.NDArray[np.float32]:
        bits = np.unpackbits(residuals, axis=1).reshape(len(residuals), self.dim, self.nbits)
        buckets = bits @ (1 << np.arange(self.nbits))
        vectors = self._centroids[codes].astype(np.float32) + self._weights.astype(np.float32)[buckets]
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        decoded: npt.NDArray[np.float32] = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
        return decoded

    def _chunks(self) -> Iterator[tuple[npt.NDArray[np.int64], Array, Array]]:
        """Lengths, codes and residuals of each chunk, checked."""
        if self._chunk_lengths and not (self._folder / "0.codes.npy").exists():
            names = ("merged_codes.npy", "merged_residuals.npy")
            yield (self.lengths, *self._coded(*names, int(self.lengths.sum()), may_be_longer=True))
            return
        for number, lengths in enumerate(self._chunk_lengths):
            names = (f"{number}.codes.npy", f"{number}.residuals.npy")
            yield (lengths, *self._coded(*names, int(lengths.sum())))

    def _coded(
        self, codes_name: str, residuals_name: str, num_tokens: int, *, may_be_longer: bool = False
    ) -> tuple[Array, Array]:
        """may_be_longer: rows after the tokens' are padding."""
        codes = self._array(codes_name, "iu", 1)
        residuals = self._array(residuals_name, "u", 2)
        if may_be_longer:
            codes, residuals = codes[:num_tokens], residuals[:num_tokens]
        if len(codes) != num_tokens:
            raise self._corrupt(codes_name, f"codes of {num_tokens} tokens", str(len(codes)))
        shape = (num_tokens, self.dim * self.nbits // 8)
        if residuals.dtype != np.uint8 or residuals.shape != shape:
            raise self._corrupt(residuals_name, f"bytes of shape {shape}", f"{residuals.dtype} {residuals.shape}")
        if num_tokens and not 0 <= int(codes.min()) <= int(codes.max()) < len(self._centroids):
            raise self._corrupt(codes_name, f"codes below {len(self._centroids)}", f"{codes.min()}..{codes.max()}")
        return codes, residuals

    def _lengths(self, number: int) -> npt.NDArray[np.int64]:
        name = f"doclens.{number}.json"
        lengths = self._json(name)
        if not isinstance(lengths, list) or not all(type(n) is int and 0 <= n < 2**31 for n in lengths):
            raise self._corrupt(name, "a list of lengths", type(lengths).__name__)
        return np.array(lengths, dtype=np.int64)

    def _number(self, metadata: Any, name: str, allowed: range) -> int:
        value = metadata.get(name) if isinstance(metadata, dict) else None
        if type(value) is not int or value not in allowed:
            raise self._corrupt("metadata.json", f"{name} from {allowed.start} to {allowed.stop - 1}", repr(value))
        return value

    def _json(self, name: str) -> Any:
        try:
            return json.loads((self._folder / name).read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise self._corrupt(name, "a file of JSON", str(error)) from error

    def _array(self, name: str, kinds: str, ndim: int) -> Array:
        path = self._folder / name
        try:
            with path.open("rb") as file:
                is_array = file.read(len(_NPY_MAGIC)) == _NPY_MAGIC  # np.load would take a pickle for one
            if not is_array:
                raise self._corrupt(name, "an array of numpy's format", "something else")
            array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, SyntaxError) as error:
            raise self._corrupt(name, "an array of numpy's format", str(error)) from error
        if array.dtype.kind not in kinds or array.ndim != ndim:
            raise self._corrupt(name, f"a {ndim}-D array of kind {kinds}", f"{array.dtype} {array.shape}")
        return array

    def _corrupt(self, name: str, expected: str, found: str) -> CorruptIndex:
        return CorruptIndex(self._folder / name, expected=expected, found=found)
