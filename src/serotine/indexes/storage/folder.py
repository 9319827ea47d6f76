"""Where does an index live on disk?  `FolderStore`: commits to a folder, and reads what others committed.

The layout is described in `serotine.indexes.storage.manifest`. A commit is: write and flush the new files; flush the
folder; write and flush the new manifest under another name; rename it; flush the folder. A process that dies at any
point leaves the old state or the new one, and at worst files that nothing names. These are deleted only once the
manifest that is seen is on the disk: else a loss of power could bring the one before back, without its files.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from serotine.errors import CommitFailed, StorageError
from serotine.indexes.storage import files
from serotine.indexes.storage.folder_reader import FolderReader, State, holds_index
from serotine.indexes.storage.lock import folder_lock
from serotine.indexes.storage.manifest import MANIFEST_NAME, Manifest, SegmentFile, decode_manifest, encode_manifest
from serotine.indexes.storage.segment import Segment, Snapshot
from serotine.indexes.storage.segment_file import (
    check_vectors,
    read_finder,
    read_segment,
    write_finder,
    write_removed,
    write_segment,
)
from serotine.indexes.storage.store import Save
from serotine.types import DocumentId, TokenMatrix

__all__ = ["FolderStore"]

_NEW_MANIFEST = "manifest.tmp"
_LOCK = "lock"
_REPLACEABLE = re.compile(r"(segment|removed|finder)-[0-9a-f]{32}\.bin")


class FolderStore:
    """Keeps an index in a folder, made if missing. See `serotine.indexes.storage.store.Store` for the contract.

    kind: of the index, see `KINDS`. empty: the state of a new one. override: show an empty index whose first commit
    replaces the one that is there.

    Raises:
        CorruptIndex: the folder holds a damaged index. IndexTooNew. CommitFailed: cannot be made.
        InvalidInput: it holds something else, or an index of another kind.
    """

    def __init__(self, folder: Path, kind: str, empty: Snapshot, *, override: bool, lock_timeout_s: float) -> None:
        self._folder = folder
        self._kind = kind
        self._empty = empty
        self._lock_timeout_s = lock_timeout_s
        self._reader = FolderReader(folder, kind)
        self._new_files: dict[str, files.NewFile] = {}
        self._new_entries: dict[str, SegmentFile] = {}
        self._broken: CommitFailed | None = None
        self._flush_failed = False
        self._replaces = override and holds_index(folder)
        if not holds_index(folder):
            files.make_folder(folder)
            with self._locked():
                if not holds_index(folder):  # nobody else made it meanwhile
                    self.commit(empty)
        self.current()

    def current(self) -> Snapshot:
        """Return the newest committed snapshot; costs the reading of the manifest, a few kilobytes."""
        if self._replaces:
            return self._empty
        snapshot = self._reader.state().snapshot
        return snapshot if snapshot.dim is not None else replace(snapshot, dim=self._empty.dim)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Snapshot]:
        """Hold the folder's lock and yield the newest snapshot; files that no commit took in are deleted."""
        if self._broken is not None:
            raise CommitFailed(
                f"{self._folder}: an earlier change ended with an unknown outcome; open the index again"
            ) from self._broken
        with self._locked():
            yield self.current()

    def write_segment(self, ids: Sequence[DocumentId], chunks: Iterable[TokenMatrix]) -> Segment:
        """Write the pieces to a new file as they come and map it; memory for one piece is enough."""
        name = uuid.uuid4().hex
        file = self._new_file(f"segment-{name}.bin")
        entry, dim, dtype = write_segment(file, name, ids, chunks)
        with files.refused("map", file.path):
            stored_ids, documents = read_segment(self._folder, entry, dim=dim, dtype=dtype)
        self._new_entries[name] = entry
        return Segment.of(stored_ids, documents, uuid=name)

    def attach(self, segment: Segment, save: Save) -> Segment:
        """Write what finds the nearest vectors of a segment of this change to a file of its own, and map it."""
        name = str(segment.content.uuid)
        uuid_of_finder = uuid.uuid4().hex
        file = self._new_file(f"finder-{uuid_of_finder}.bin")
        entry = write_finder(file, uuid_of_finder, save)
        with files.refused("map", file.path):
            finder = read_finder(self._folder, entry)
        self._new_entries[name] = replace(self._new_entries[name], finder=entry)
        return Segment(replace(segment.content, finder=finder), segment.alive)

    def commit(self, snapshot: Snapshot) -> None:
        """Make the snapshot durable, then current.

        Raises:
            CommitFailed: the system refused something. The index is unchanged, unless the message says that the
                outcome is unknown; this object then refuses further changes.
        """
        before = self._reader.state() if not self._replaces and holds_index(self._folder) else None
        files_before = {} if before is None else before.files()
        manifest = Manifest(
            generation=0 if before is None else before.manifest.generation + 1,
            dtype=snapshot.dtype.name,
            dim=snapshot.dim,
            segments=tuple(self._entry(segment, files_before) for segment in snapshot.segments),
            kind=self._kind,
            settings=dict(snapshot.settings),
        )
        text = encode_manifest(manifest)
        for name in manifest.names() & self._new_files.keys():
            self._new_files[name].seal()
        files.sync_folder(self._folder)
        new_manifest = self._new_file(_NEW_MANIFEST)
        new_manifest.write(text)
        new_manifest.seal()
        files.replace(new_manifest.path, self._folder / MANIFEST_NAME)
        self._replaces = False
        self._promise()
        self._reader.remember(State(text, manifest, snapshot))

    def check(self) -> None:
        """Read all vectors and compare their checksums; all else was checked when it was opened."""
        for entry, segment in self._reader.state().files().values():
            check_vectors(self._folder, entry, segment.documents)
            if segment.content.finder is not None:
                segment.content.finder.checked()

    def _promise(self) -> None:
        """Make the rename durable. A flush that failed must not be tried again: it may then wrongly succeed."""
        try:
            files.sync_folder(self._folder)
        except CommitFailed as error:
            self._flush_failed = True
            self._broken = CommitFailed(
                f"could not flush {self._folder} after the change: {error.__cause__}. Whether the change survives a "
                "loss of power is unknown; open the index again to see what it holds",
                outcome="unknown",
            )
            raise self._broken from error

    def _entry(self, segment: Segment, before: dict[str, tuple[SegmentFile, Segment]]) -> SegmentFile:
        """A segment's entry in the new manifest; which rows are removed is written if that changed."""
        name = str(segment.content.uuid)
        if name in self._new_entries:
            return self._new_entries[name]
        entry, old_segment = before[name]
        if segment is old_segment:
            return entry
        removed_uuid = uuid.uuid4().hex
        file = self._new_file(f"removed-{removed_uuid}.bin")
        return replace(entry, removed=write_removed(file, removed_uuid, name, segment.alive))

    def _new_file(self, name: str) -> files.NewFile:
        file = files.NewFile(self._folder / name)
        self._new_files[name] = file
        return file

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with folder_lock(self._folder / _LOCK, timeout_s=self._lock_timeout_s):
            self._flush_what_others_left()
            self._collect_garbage()
            try:
                yield
            finally:
                for file in self._new_files.values():
                    file.close()
                self._new_files.clear()
                self._new_entries.clear()
                self._collect_garbage()

    def _flush_what_others_left(self) -> None:
        """Make the manifest that is seen durable: the writer before may have died between its rename and its flush."""
        try:
            files.sync_folder(self._folder)
        except CommitFailed:
            self._flush_failed = True  # the change goes on: its own flushes tell whether it can be kept

    def _collect_garbage(self) -> None:
        """Delete the files that the manifest on disk does not name; nothing if it cannot be read. Never raises.

        That manifest decides, and not what this object believes it committed: so it is right after any failure, once
        it is durable. After a flush that failed nothing is deleted, for good: a later one may wrongly succeed.
        """
        files.remove_quietly(self._folder / _NEW_MANIFEST)
        if self._flush_failed:
            return
        path = self._folder / MANIFEST_NAME
        try:
            with files.open_to_read(path) as file:
                named = decode_manifest(file.read(), path).names()
            names = [entry.name for entry in self._folder.iterdir()]
        except (OSError, StorageError):
            return
        for name in names:
            if name not in named and _REPLACEABLE.fullmatch(name):
                files.remove_quietly(self._folder / name)
