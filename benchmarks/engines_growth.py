"""How does a collection grow to many times its size and stay like real ones?  Copies whose every token is moved.

A copy of a document is its tokens plus two differences of random tokens of the collection, one for the document and one
for each token, of unit length again. Differences of real tokens spread as the collection does, so cells fill as they
would with more documents of the kind, and no two copies are alike. Copy 0 is the collection itself. The same numbers
in every process, made block by block: nothing is held.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from embeddings import Texts

BLOCK = 256
DOCUMENT_SHIFT, TOKEN_SHIFT = 0.25, 0.35
"""Share of a difference that is added. Cosine of a token with its copy: .86 on average on SciFact."""

Block = tuple[npt.NDArray[np.float16], npt.NDArray[np.int64]]


def replica_ids(documents: Texts, copies: int) -> list[str]:
    """Return the ids of all copies, in the order of `replica_rows`."""
    return [f"{name}#{copy}" if copy else name for copy in range(copies) for name in documents.ids]


def replica_rows(documents: Texts, copies: int) -> Iterator[npt.NDArray[np.float16]]:
    """Yield the vectors of each document of all copies."""
    for values, lengths in replica_blocks(documents, copies):
        stop = 0
        for length in lengths.tolist():
            yield values[stop : stop + length]
            stop += length


def replica_blocks(documents: Texts, copies: int) -> Iterator[Block]:
    """Yield ``(values, lengths of the documents)`` of `BLOCK` documents at a time, copy after copy."""
    for copy in range(copies):
        for first in range(0, len(documents.ids), BLOCK):
            offsets = documents.offsets[first : first + BLOCK + 1]
            values, lengths = documents.values[offsets[0] : offsets[-1]], np.diff(offsets)
            yield (_moved(documents, values, lengths, seed=(copy, first)) if copy else values), lengths


def _moved(
    documents: Texts, values: npt.NDArray[np.float16], lengths: npt.NDArray[np.int64], *, seed: tuple[int, int]
) -> npt.NDArray[np.float16]:
    rng = np.random.default_rng(seed)

    def differences(count: int) -> npt.NDArray[np.float32]:
        # Partners come from one window of the collection: random reads all over a mapped file would cost more than
        # everything else, and a window holds hundreds of documents.
        width = min(documents.num_tokens, 1 << 16)
        start = rng.integers(0, documents.num_tokens - width + 1)
        window = documents.values[start : start + width].astype(np.float32)
        return window[rng.integers(0, width, count)] - window[rng.integers(0, width, count)]

    moved = values.astype(np.float32)
    moved += TOKEN_SHIFT * differences(len(values))
    moved += np.repeat(DOCUMENT_SHIFT * differences(len(lengths)), lengths, axis=0)
    moved /= np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-6)
    return moved.astype(np.float16)
