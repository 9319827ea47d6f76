"""How is a segment written to a file and read back?  The layout is described in `serotine.indexes.storage.manifest`.

Vectors are written as they come and mapped when read; nothing here decides when a file becomes part of the index.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serotine.errors import CorruptIndex, InvalidInput
from serotine.indexes.storage.files import NewFile, open_to_read, raw_bytes
from serotine.indexes.storage.manifest import FORMAT_VERSION, FinderFile, RemovedFile, SegmentFile
from serotine.indexes.storage.segment import Finder
from serotine.indexes.storage.store import Save
from serotine.types import Array, DocumentId, TokenMatrix

__all__ = [
    "check_vectors",
    "read_finder",
    "read_removed",
    "read_segment",
    "write_finder",
    "write_removed",
    "write_segment",
]

_HEADER_BYTES = 64
_BUFFER_BYTES = 1 << 20
_SEGMENT_MAGIC = b"SRTNSEGM"
_REMOVED_MAGIC = b"SRTNREMV"


def write_segment(
    file: NewFile, uuid: str, ids: Sequence[DocumentId], chunks: Iterable[TokenMatrix]
) -> tuple[SegmentFile, int, np.dtype[Any]]:
    """Write documents whose vectors come in pieces, of one dim and dtype.

    Returns the entry for the manifest, the dim and the dtype.
    """
    header = _header(_SEGMENT_MAGIC, uuid)
    file.write(header)
    lengths = [np.zeros(1, dtype=np.int64)]
    vectors_crc32 = dim = 0
    dtype: np.dtype[Any] = np.dtype(np.float32)
    for chunk in chunks:
        dim, dtype = chunk.dim, chunk.dtype
        values = np.ascontiguousarray(chunk.values, dtype=dtype.newbyteorder("<"))
        if values.size:
            file.write(values)
            vectors_crc32 = zlib.crc32(raw_bytes(values), vectors_crc32)
        lengths.append(chunk.lengths)
    offsets = np.cumsum(np.concatenate(lengths)).astype("<i8")
    file.write(bytes(-file.num_bytes % 8))
    encoded_ids = json.dumps(list(ids), ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    file.write(offsets)
    file.write(encoded_ids)
    entry = SegmentFile(
        uuid=uuid,
        num_bytes=file.num_bytes,
        num_documents=len(ids),
        num_tokens=int(offsets[-1]),
        vectors_crc32=vectors_crc32,
        structure_crc32=_crc32(header, offsets, encoded_ids),
    )
    return entry, dim, dtype


def read_segment(
    folder: Path, entry: SegmentFile, *, dim: int, dtype: np.dtype[Any]
) -> tuple[list[DocumentId], TokenMatrix]:
    """Map a segment's file: its ids and its vectors, read-only. Cost: that of reading offsets and ids.

    Raises:
        FileNotFoundError: there is none. CorruptIndex: it is not what the manifest says.
    """
    path = folder / entry.name
    content = _map(path, expected_bytes=entry.num_bytes)
    vectors_bytes = entry.num_tokens * dim * dtype.itemsize
    offsets_start = _HEADER_BYTES + vectors_bytes + -vectors_bytes % 8
    ids_start = offsets_start + 8 * (entry.num_documents + 1)
    if ids_start > entry.num_bytes:
        raise CorruptIndex(path, expected=f"at least {ids_start} bytes for its documents", found=str(entry.num_bytes))
    header, ids = content[:_HEADER_BYTES], content[ids_start:]
    offsets: npt.NDArray[np.int64] = np.frombuffer(content, "<i8", entry.num_documents + 1, offsets_start)
    found = _crc32(header, offsets, ids)
    if found != entry.structure_crc32 or header != _header(_SEGMENT_MAGIC, entry.uuid):
        raise CorruptIndex(path, expected=f"structure with crc32 {entry.structure_crc32:08x}", found=f"{found:08x}")
    values = np.frombuffer(content, dtype.newbyteorder("<"), entry.num_tokens * dim, _HEADER_BYTES).reshape(-1, dim)
    try:
        return _decode_ids(ids, entry.num_documents), TokenMatrix(values, offsets)
    except (InvalidInput, ValueError, RecursionError) as error:
        raise CorruptIndex(path, expected="ids and offsets of documents", found=str(error)) from error


def check_vectors(folder: Path, entry: SegmentFile, documents: TokenMatrix) -> None:
    """Read all vectors of a segment; raises CorruptIndex if their checksum is another."""
    found = _crc32(documents.values)
    if found != entry.vectors_crc32:
        raise CorruptIndex(
            folder / entry.name,
            offset=_HEADER_BYTES,
            expected=f"vectors with crc32 {entry.vectors_crc32:08x}",
            found=f"{found:08x}",
        )


def write_removed(file: NewFile, uuid: str, segment_uuid: str, alive: npt.NDArray[np.bool_]) -> RemovedFile:
    """Write which rows of a segment are removed."""
    content = _header(_REMOVED_MAGIC, segment_uuid) + np.packbits(~alive, bitorder="little").tobytes()
    file.write(content)
    return RemovedFile(uuid, _crc32(content))


def read_removed(folder: Path, entry: SegmentFile) -> npt.NDArray[np.bool_]:
    """Return the mask of live rows of a segment. Raises as `read_segment`."""
    if entry.removed is None:
        return np.ones(entry.num_documents, dtype=np.bool_)
    path = folder / entry.removed.name
    with open_to_read(path) as file:
        content = file.read()
    num_bytes = _HEADER_BYTES + (entry.num_documents + 7) // 8
    if len(content) != num_bytes:
        raise CorruptIndex(path, expected=f"{num_bytes} bytes", found=str(len(content)))
    found = _crc32(content)
    if found != entry.removed.crc32 or content[:_HEADER_BYTES] != _header(_REMOVED_MAGIC, entry.uuid):
        raise CorruptIndex(path, expected=f"crc32 {entry.removed.crc32:08x}", found=f"{found:08x}")
    bits = np.frombuffer(content, np.uint8, offset=_HEADER_BYTES)
    return ~np.unpackbits(bits, count=entry.num_documents, bitorder="little").view(np.bool_)


def write_finder(file: NewFile, uuid: str, save: Save) -> FinderFile:
    """Write what a library made of a segment's vectors. Pieces, which may be tiny, are written 1 MiB at a time."""
    waiting = bytearray()
    crc32 = 0

    def flush() -> None:
        nonlocal crc32
        content = bytes(waiting)
        waiting.clear()
        file.write(content)
        crc32 = zlib.crc32(content, crc32)

    def write(piece: bytes) -> None:
        waiting.extend(piece)
        if len(waiting) >= _BUFFER_BYTES:
            flush()

    save(write)
    flush()
    return FinderFile(uuid, file.num_bytes, crc32)


def read_finder(folder: Path, entry: FinderFile | None) -> Finder | None:
    """Map what finds a segment's nearest vectors. Raises FileNotFoundError, or CorruptIndex for another length."""
    if entry is None:
        return None
    path = folder / entry.name
    return Finder(path, entry.crc32, memoryview(_map(path, expected_bytes=entry.num_bytes)))


def _header(magic: bytes, uuid: str) -> bytes:
    return struct.pack("<8sI4x16s32x", magic, FORMAT_VERSION, bytes.fromhex(uuid))


def _crc32(*parts: bytes | Array) -> int:
    """Checksum of bytes and arrays one after the other."""
    crc = 0
    for part in parts:
        crc = zlib.crc32(raw_bytes(part), crc)
    return crc


def _map(path: Path, *, expected_bytes: int) -> mmap.mmap:
    with open_to_read(path) as file:
        num_bytes = os.fstat(file.fileno()).st_size
        if num_bytes != expected_bytes or num_bytes == 0:
            raise CorruptIndex(path, expected=f"{expected_bytes} bytes", found=str(num_bytes))
        return mmap.mmap(file.fileno(), num_bytes, access=mmap.ACCESS_READ)


def _decode_ids(encoded: bytes, num_documents: int) -> list[DocumentId]:
    ids = json.loads(encoded)
    if not isinstance(ids, list) or len(ids) != num_documents:
        raise ValueError(f"expected a list of {num_documents} ids")
    if not all(type(document_id) in (str, int) for document_id in ids) or len(set(ids)) < len(ids):
        raise ValueError("an id is neither str nor int, or occurs twice")
    return ids
