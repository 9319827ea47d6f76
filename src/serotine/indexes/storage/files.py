"""How does an index touch its folder?  Every change of a file goes through here, and every opening of one.

A folder may come from anywhere, so what has a file's name may be something else; see `open_to_read`.

An operation that the system refuses raises CommitFailed: each of these happens before the commit or replaces a name
in one step, so the index is then what it was. (What comes after the commit is `folder.py`'s to judge.)
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from serotine.errors import CommitFailed, CorruptIndex
from serotine.types import Array

__all__ = [
    "NewFile",
    "is_file",
    "make_folder",
    "open_to_read",
    "raw_bytes",
    "refused",
    "remove_quietly",
    "replace",
    "sync_folder",
]


@contextlib.contextmanager
def refused(action: str, path: Path) -> Iterator[None]:
    """Turn an OSError into CommitFailed."""
    try:
        yield
    except OSError as error:
        raise CommitFailed(f"could not {action} {path}: {error.strerror}. The index is unchanged.") from error


def open_to_read(path: Path) -> BinaryIO:
    """Open a file of an index, or one that a link leads to, as in a folder of the Hugging Face cache.

    Raises:
        CorruptIndex: it is no file; a pipe would wait for ever, and a device never end. OSError: it cannot be opened.
    """
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if not is_file(file.fileno()):
        file.close()
        raise CorruptIndex(path, expected="a file", found="a pipe, a device or the like")
    return file


def is_file(descriptor: int) -> bool:
    """Whether what was opened is a regular file."""
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def raw_bytes(data: bytes | Array) -> memoryview:
    """Return the memory of bytes, or of a C-contiguous array, without a copy."""
    flat: Any = data if isinstance(data, bytes) else data.reshape(-1).view(np.uint8)
    return memoryview(flat)


class NewFile:
    """A file being written, which must not exist before. It is durable after `seal`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.num_bytes = 0
        with refused("create", path):
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._is_open = True

    def write(self, data: bytes | Array) -> None:
        """Append bytes, or the memory of a C-contiguous array."""
        left = raw_bytes(data)
        self.num_bytes += len(left)
        with refused("write", self.path):
            while left:
                left = left[os.write(self._descriptor, left) :]  # may take less than it was given

    def seal(self) -> None:
        """Return once the content is on the disk, and close."""
        with refused("flush", self.path):
            os.fsync(self._descriptor)
        self.close()

    def close(self) -> None:
        """Close the file; does not raise, and may be called again."""
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(OSError):  # what matters was flushed by `seal`
                os.close(self._descriptor)


def replace(source: Path, target: Path) -> None:
    """Give source the name target in one step; what had that name is gone."""
    with refused("rename to", target):
        os.replace(source, target)


def sync_folder(folder: Path) -> None:
    """Return once the names in a folder are on the disk."""
    with refused("flush", folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents where missing, durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with refused("make the folder", folder):
        folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def remove_quietly(path: Path) -> None:
    """Delete a file that nothing refers to; if that fails it stays as garbage for the next writer."""
    with contextlib.suppress(OSError):
        os.unlink(path)
