"""Which errors can Serotine raise?  Every exception class of the package, and nothing else.

A message says what happened, where, what was expected and what to do, with the values. Classes that
stand for a standard kind of mistake also derive from the built-in one, so ``except ValueError`` works.
"""

from __future__ import annotations

import os
from typing import Literal

__all__ = [
    "CommitFailed",
    "CorruptIndex",
    "CorruptModel",
    "DimensionMismatch",
    "DownloadFailed",
    "DuplicateDocument",
    "IndexLocked",
    "IndexTooNew",
    "InvalidInput",
    "MissingExtra",
    "OutOfSpace",
    "SerotineError",
    "StorageError",
    "UnknownDocument",
    "UntrustedModel",
]


class SerotineError(Exception):
    """Base of every error that this package raises on purpose."""


class InvalidInput(SerotineError, ValueError):
    """An argument has a value that the call cannot accept."""


class DimensionMismatch(InvalidInput):
    """Vectors of one dimension were given where another is required."""


class DuplicateDocument(InvalidInput):
    """A document id occurs twice, within one call or in the index already."""


class UnknownDocument(SerotineError, KeyError):
    """A document id that the index does not hold."""

    def __str__(self) -> str:
        # KeyError shows repr(args[0]); a message should read as a sentence.
        return str(self.args[0]) if self.args else ""


class DownloadFailed(SerotineError, OSError):
    """A file could not be fetched from the network, or what came is not what was asked for."""


class StorageError(SerotineError):
    """Base of the errors about files on disk."""


class CorruptIndex(StorageError):
    """A file of an index is not what was written.

    path: the file. offset: byte position of the first thing wrong, None if it is the file as a whole.
    expected, found: the two values, in words.
    """

    def __init__(self, path: str | os.PathLike[str], *, expected: str, found: str, offset: int | None = None) -> None:
        self.path = os.fspath(path)
        self.offset = offset
        self.expected = expected
        self.found = found
        where = self.path if offset is None else f"{self.path} at byte {offset}"
        super().__init__(
            f"{where}: expected {expected}, found {found}. Restore the index from a backup, build it again "
            '(override=True), or read the state before (PLAID: recover="previous").'
        )


class IndexTooNew(StorageError):
    """An index was written in a format that this version does not know."""


class IndexLocked(StorageError):
    """Another writer holds the index."""


class CommitFailed(StorageError):
    """A change could not be made durable.

    outcome: ``"unchanged"``: the old state holds. ``"unknown"``: a flush failed, and whether the change survives a loss
    of power is not known; open the index again to see what it holds.
    """

    def __init__(self, message: str, *, outcome: Literal["unchanged", "unknown"] = "unchanged") -> None:
        self.outcome = outcome
        super().__init__(message)


class OutOfSpace(CommitFailed):
    """The disk is full: nothing was changed, and the change can be tried again once there is space.

    needed, free: bytes; 0 if not known.
    """

    def __init__(self, message: str, *, needed: int, free: int) -> None:
        self.needed = needed
        self.free = free
        super().__init__(message)


class CorruptModel(StorageError):
    """The files of a model are not what was expected: missing, of another shape or checksum, or no model at all."""


class UntrustedModel(StorageError):
    """Loading a model would run code that it brings or names, or read pickles. Nothing was run.

    The message says which argument allows it.
    """


class MissingExtra(SerotineError, ImportError):
    """An optional dependency is not installed.

    extra: the name in ``pip install 'serotine[extra]'``.
    """

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        self.extra = extra
        super().__init__(
            f"{purpose} needs the package {package!r}. Install it with: pip install 'serotine[{extra}]'",
            name=package,
        )
