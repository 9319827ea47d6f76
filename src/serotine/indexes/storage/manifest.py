"""What does an index folder hold?  The layout, and the one file that says which files make up the index.

Layout of ``<index_folder>/<index_name>/``; numbers are little-endian:

``manifest``
    The state of the index: one commit, replaced in one step by the next. Text: the line
    ``serotine-<kind> <version> <crc32 of the rest, 8 hex digits>``, then one JSON object with the fields of `Manifest`.
    The kind says which index it is, see `KINDS`; what is below is the same for all.
``segment-<uuid>.bin``
    Documents of one add or merge, never changed (see `segment_file`): 64-byte header, vectors row by row, zeros up to a
    multiple of 8, int64 offsets of the documents, their ids as a JSON list.
``removed-<uuid>.bin``
    Which rows of a segment were removed, never changed: 64-byte header, one bit per row, the first row in the lowest
    bit of the first byte. A later removal from the same segment writes a new file.
``finder-<uuid>.bin``
    What a library made of a large segment's vectors to find the nearest of them, in the library's own format (see
    `serotine.indexes.tokens`), never changed. A segment can do without: its vectors are then compared one by one.
``lock``
    Held with ``flock`` by a writer during a change; its text, a process number, is information only.

A header is the magic (8 bytes), the version (uint32), four zeros, the uuid of the segment (16 bytes) and zeros.
Every other file of these names (and ``manifest.tmp``) that the manifest does not name is garbage of a crash or of
an earlier state; the next writer deletes it. File names derive from uuids alone: no path is ever read from a file.

The crc32 (zlib's) of everything that is used as a position (header, offsets, ids, removed rows, manifest) is checked
whenever it is read, that of a finder before its library sees it, that of the vectors by an index's `check`.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from serotine.errors import CorruptIndex, IndexTooNew
from serotine.indexes.storage.files import open_to_read

__all__ = [
    "FORMAT_VERSION",
    "KINDS",
    "MANIFEST_NAME",
    "FinderFile",
    "Manifest",
    "RemovedFile",
    "SegmentFile",
    "decode_manifest",
    "encode_manifest",
    "is_manifest",
    "kind_of_manifest",
]

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest"

KINDS = ("exact", "voyager", "scann")
"""`Exact`, `Voyager` and `ScaNN`."""

_MAGIC = re.compile(rb"serotine-(%s) " % "|".join(KINDS).encode())
_FIRST_LINE = re.compile(_MAGIC.pattern + rb"(\d{1,9}) ([0-9a-f]{8})")
_UUID = re.compile(r"[0-9a-f]{32}")
_UINT32 = range(2**32)
_COUNT = range(2**62)  # of bytes, tokens, documents: products with an item size are Python's, which cannot overflow

_T = TypeVar("_T")


@dataclass(frozen=True)
class RemovedFile:
    """A file of removed rows. crc32: of the whole file."""

    uuid: str
    crc32: int

    @property
    def name(self) -> str:
        """File name in the folder."""
        return f"removed-{self.uuid}.bin"


@dataclass(frozen=True)
class FinderFile:
    """A file of a library of nearest neighbours. crc32: of the whole file."""

    uuid: str
    num_bytes: int
    crc32: int

    @property
    def name(self) -> str:
        """File name in the folder."""
        return f"finder-{self.uuid}.bin"


@dataclass(frozen=True)
class SegmentFile:
    """A segment's file. vectors_crc32: of the vectors' bytes; structure_crc32: of header, offsets and ids."""

    uuid: str
    num_bytes: int
    num_documents: int
    num_tokens: int
    vectors_crc32: int
    structure_crc32: int
    removed: RemovedFile | None = None
    finder: FinderFile | None = None

    @property
    def name(self) -> str:
        """File name in the folder."""
        return f"segment-{self.uuid}.bin"


@dataclass(frozen=True)
class Manifest:
    """One state of an index. generation: commits since it was made. dim: None before the first document.

    segments: oldest documents first. kind: one of `KINDS`; it stands in the first line. settings: what else the index
    was made with; each kind checks its own.
    """

    generation: int
    dtype: str
    dim: int | None
    segments: tuple[SegmentFile, ...]
    kind: str = "exact"
    settings: dict[str, Any] = field(default_factory=dict)

    def names(self) -> set[str]:
        """Names of all files that the state is made of."""
        return {
            file.name
            for segment in self.segments
            for file in (segment, segment.removed, segment.finder)
            if file is not None
        }


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the content of the manifest file."""
    fields = asdict(manifest)
    kind = fields.pop("kind")
    body = json.dumps(fields, indent=1).encode() + b"\n"
    return f"serotine-{kind} {FORMAT_VERSION} {zlib.crc32(body):08x}\n".encode() + body


def is_manifest(content: bytes) -> bool:
    """Whether a file was written as a manifest, of whatever version and in whatever condition."""
    return _MAGIC.match(content) is not None


def kind_of_manifest(path: Path) -> str | None:
    """Return which of `KINDS` a manifest's first line names, None if it is no manifest or cannot be read."""
    try:
        with open_to_read(path) as file:
            found = _MAGIC.match(file.read(64))
    except (OSError, CorruptIndex):
        return None
    return None if found is None else found[1].decode()


def decode_manifest(content: bytes, path: Path) -> Manifest:
    """Return the manifest in a file's content.

    Raises:
        IndexTooNew: a later version of the format. CorruptIndex: not a manifest, damaged, or with impossible values.
    """
    head, _, body = content.partition(b"\n")
    match = _FIRST_LINE.fullmatch(head)
    if match is None:
        raise CorruptIndex(path, offset=0, expected="the first line of a manifest", found=repr(head[:60]))
    version = int(match[2])
    if version > FORMAT_VERSION:
        raise IndexTooNew(
            f"{path}: the index has format version {version}, this program reads up to {FORMAT_VERSION}; "
            "install a newer version of serotine"
        )
    if version < 1:
        raise CorruptIndex(path, offset=0, expected=f"format version 1 to {FORMAT_VERSION}", found=str(version))
    if f"{zlib.crc32(body):08x}".encode() != match[3]:
        raise CorruptIndex(path, expected=f"crc32 {match[3].decode()}", found=f"{zlib.crc32(body):08x}")
    try:
        return _manifest(match[1].decode(), json.loads(body))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CorruptIndex(
            path, expected="the fields of a manifest", found=f"{type(error).__name__}: {error}"
        ) from error


def _manifest(kind: str, fields: Any) -> Manifest:
    if fields["dtype"] not in ("float32", "float16"):
        raise ValueError(f"dtype {fields['dtype']!r}")
    settings = fields.get("settings", {})  # indexes made before there were settings and finders lack them
    if not isinstance(settings, dict):
        raise ValueError(f"settings {settings!r}")
    dim = fields["dim"]
    manifest = Manifest(
        generation=_whole(fields, "generation", _COUNT),
        dtype=fields["dtype"],
        dim=None if dim is None else _whole(fields, "dim", range(1, 2**31)),
        segments=tuple(_segment(entry) for entry in fields["segments"]),
        kind=kind,
        settings=settings,
    )
    uuids = [segment.uuid for segment in manifest.segments]
    if len(set(uuids)) < len(uuids) or (uuids and dim is None):
        raise ValueError("a segment twice, or segments without a dim")
    return manifest


def _segment(fields: Any) -> SegmentFile:
    removed, finder = fields["removed"], fields.get("finder")
    return SegmentFile(
        uuid=_uuid(fields),
        num_bytes=_whole(fields, "num_bytes", _COUNT),
        num_documents=_whole(fields, "num_documents", _COUNT),
        num_tokens=_whole(fields, "num_tokens", _COUNT),
        vectors_crc32=_whole(fields, "vectors_crc32", _UINT32),
        structure_crc32=_whole(fields, "structure_crc32", _UINT32),
        removed=None if removed is None else RemovedFile(_uuid(removed), _whole(removed, "crc32", _UINT32)),
        finder=None if finder is None else _finder(finder),
    )


def _finder(fields: Any) -> FinderFile:
    return FinderFile(_uuid(fields), _whole(fields, "num_bytes", _COUNT), _whole(fields, "crc32", _UINT32))


def _whole(fields: Any, name: str, allowed: range) -> int:
    value = fields[name]
    if type(value) is not int or value not in allowed:
        raise ValueError(f"{name} is {value!r}, expected a whole number in {allowed.start}..{allowed.stop - 1}")
    return value


def _uuid(fields: Any) -> str:
    value = fields["uuid"]
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise ValueError(f"uuid is {value!r}, expected 32 hexadecimal digits")
    return value
