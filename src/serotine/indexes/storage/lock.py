"""Who may change an index folder?  One writer at a time, over all processes and threads.

The lock is ``flock`` on a file that is never deleted: the system frees it when its holder dies, whatever the cause.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from serotine.errors import CommitFailed, IndexLocked
from serotine.indexes.storage.files import is_file, refused

__all__ = ["folder_lock"]

_POLL_S = 0.01


@contextlib.contextmanager
def folder_lock(path: Path, *, timeout_s: float) -> Iterator[None]:
    """Hold the lock file exclusively, waiting up to timeout_s for another holder.

    Each call opens the file anew, so two threads or two objects of one process exclude each other as well.

    Raises:
        IndexLocked: not free in time; the message names the process that holds it, as it wrote itself down.
        CommitFailed: the file cannot be opened for writing (a read-only folder), or is no file.
    """
    descriptor = _open(path)
    try:
        if not is_file(descriptor):
            raise _no_file(path, "a pipe, a device or the like")
        _wait(descriptor, path, timeout_s)
        try:
            with contextlib.suppress(OSError):  # information for the message above; a full disk must not matter
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            yield
        finally:
            # Not left to close: a child forked meanwhile holds the same lock through its copy of the descriptor.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    # What is opened is written into: a link, which came with somebody's folder, must not lead to a file elsewhere.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with refused("open for writing", path):
        try:
            return os.open(path, flags, 0o666)
        except OSError as error:
            if path.is_symlink():
                raise _no_file(path, "a symbolic link") from error
            raise


def _no_file(path: Path, found: str) -> CommitFailed:
    return CommitFailed(
        f"could not lock {path}: expected a file or nothing, found {found}. The index is unchanged; find out who put "
        "it there, delete it and try again."
    )


def _wait(descriptor: int, path: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not _try_lock(descriptor):
        if time.monotonic() >= deadline:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace") or "unknown"
            raise IndexLocked(
                f"{path.parent}: another writer (process {holder}) did not finish within {timeout_s} s; "
                "try again, or give a longer lock_timeout_s"
            )
        time.sleep(_POLL_S)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
