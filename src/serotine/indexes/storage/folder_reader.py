"""What does an index folder say now?  Reads the committed state; changes nothing and takes no lock.

A reader keeps what it has mapped, so a search that runs is not disturbed when a writer deletes the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serotine.errors import CorruptIndex, InvalidInput, StorageError
from serotine.indexes.storage.files import open_to_read
from serotine.indexes.storage.foreign import foreign_folder, names_in, some_of
from serotine.indexes.storage.manifest import MANIFEST_NAME, Manifest, SegmentFile, decode_manifest, is_manifest
from serotine.indexes.storage.segment import Content, Segment, Snapshot
from serotine.indexes.storage.segment_file import read_finder, read_removed, read_segment

__all__ = ["FolderReader", "State", "holds_index"]

_MAX_ATTEMPTS = 20
"""How often a reader tries: a writer's commit may delete a file between the reading of the manifest and of the file."""

_NAMES_OF_AN_UNBORN_INDEX = {"lock", "manifest.tmp"}

_IS_OURS = re.compile(r"manifest|(segment|removed|finder)-[0-9a-f]{32}\.bin")
"""Names that an index which has lost its manifest, or whose manifest is damaged, still has."""


@dataclass(frozen=True, eq=False)
class State:
    """What one manifest says. text: its bytes; segment i of the snapshot is file i of the manifest."""

    text: bytes
    manifest: Manifest
    snapshot: Snapshot

    def files(self) -> dict[str, tuple[SegmentFile, Segment]]:
        """The segments by uuid."""
        pairs = zip(self.manifest.segments, self.snapshot.segments, strict=True)
        return {entry.uuid: (entry, segment) for entry, segment in pairs}


def holds_index(folder: Path) -> bool:
    """Whether a folder holds an index, in whatever condition; False if it is empty or missing.

    Raises:
        InvalidInput: it holds something else. CorruptIndex: an index without a manifest, or with one that is none.
        StorageError: it cannot be read.
    """
    names = names_in(folder)
    try:
        if MANIFEST_NAME in names:
            with open_to_read(folder / MANIFEST_NAME) as file:
                if is_manifest(file.read(64)):
                    return True
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StorageError(f"could not read {folder}: {error.strerror}") from error
    others = [name for name in names if name not in _NAMES_OF_AN_UNBORN_INDEX]
    if others and not any(_IS_OURS.fullmatch(name) for name in others):
        raise foreign_folder(folder, names)
    if others:
        expected = "an index with its manifest, or an empty folder"
        raise CorruptIndex(folder, expected=expected, found=some_of(others))
    return False


class FolderReader:
    """Gives the newest state of a folder, reading only what it has not read before. kind: what it must hold."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder = folder
        self._kind = kind
        self._state: State | None = None

    def state(self) -> State:
        """Return the state that the manifest describes now. Cost if nothing changed: reading the manifest, ~50 us.

        Raises:
            CorruptIndex, IndexTooNew: see `decode_manifest` and `read_segment`. StorageError: a file cannot be read.
            InvalidInput: it holds another kind of index.
        """
        return self._newest(attempts=_MAX_ATTEMPTS)

    def _newest(self, *, attempts: int) -> State:
        path = self._folder / MANIFEST_NAME
        known = self._state
        try:
            with open_to_read(path) as file:
                text = file.read()
            if known is None or known.text != text:
                known = self._state = _read(self._folder, self._kind, text, known)
        except FileNotFoundError as error:
            missing = Path(error.filename)
            if missing == path or attempts == 1:
                raise CorruptIndex(missing, expected="a file of the index", found="none") from error
            return self._newest(attempts=attempts - 1)
        except OSError as error:
            raise StorageError(f"could not read {error.filename or self._folder}: {error.strerror}") from error
        return known

    def remember(self, state: State) -> None:
        """Take a state that was just written instead of reading it."""
        self._state = state


def _read(folder: Path, kind: str, text: bytes, known: State | None) -> State:
    manifest = decode_manifest(text, folder / MANIFEST_NAME)
    if manifest.kind != kind:
        raise InvalidInput(
            f"{folder} holds an index of the kind {manifest.kind!r}, not {kind!r}; open it with the class that "
            "made it, or build it again with override=True"
        )
    dtype = np.dtype(manifest.dtype)
    known_files = {} if known is None else known.files()
    segments = []
    for entry in manifest.segments:
        old_entry, segment = known_files.get(entry.uuid, (None, None))
        if segment is None:
            ids, documents = read_segment(folder, entry, dim=manifest.dim or 0, dtype=dtype)
            segment = Segment(
                Content(ids, documents, entry.uuid, read_finder(folder, entry.finder)), read_removed(folder, entry)
            )
        elif old_entry != entry:
            segment = Segment(segment.content, read_removed(folder, entry))
        segments.append(segment)
    return State(text, manifest, Snapshot(dtype, manifest.dim, tuple(segments), manifest.settings))
