"""How are text files opened and replaced?  Plain or gzip for reading; all or nothing for writing."""

from __future__ import annotations

import gzip
import io
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from serotine.errors import InvalidInput, StorageError

__all__ = ["numbered_lines", "write_lines"]


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""Yield ``(line number from 1, line without its line end)`` of a UTF-8 file, decompressed if it ends in ``.gz``.

    Lines end at ``\n``, ``\r\n`` or ``\r`` alone. Blank lines are passed over, but counted.

    Raises:
        InvalidInput: it is not UTF-8, or not whole gzip data; the message names the file and the line reached.
    """
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as raw:
            for number, line in enumerate(io.TextIOWrapper(raw, encoding="utf-8"), start=1):
                text = line.rstrip("\n")
                if text and not text.isspace():
                    yield number, text
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: not UTF-8 after line {number}: {error}. Convert the file to UTF-8") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InvalidInput(f"{path}: not a whole gzip file after line {number}: {error}. Fetch it again") from error


def write_lines(path: str | os.PathLike[str], lines: Iterable[str]) -> None:
    """Write lines as UTF-8, each ended by a line feed, so that ``path`` holds all of them or what it held before.

    Writes a temporary file in the same folder, fsyncs it, renames it over ``path`` and fsyncs the folder.
    Compressed if the name ends in ``.gz``. An error raised by the iterable leaves no file behind.

    Raises:
        StorageError: the folder cannot be written; the message names it.
    """
    target = Path(path)
    try:
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    except OSError as error:
        raise StorageError(f"cannot write into the folder {target.parent}: {error}. Choose another folder") from error
    try:
        with os.fdopen(descriptor, "wb") as raw:
            _write(raw, lines, compress=target.suffix == ".gz")
            raw.flush()
            os.fsync(raw.fileno())
        os.chmod(temporary, _default_mode())
        os.replace(temporary, target)
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error}. The file is as it was before") from error
    finally:
        Path(temporary).unlink(missing_ok=True)
    _sync_folder(target.parent)


def _write(raw: io.BufferedWriter, lines: Iterable[str], *, compress: bool) -> None:
    # mtime=0: the same lines give the same bytes.
    binary = gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) if compress else raw
    try:
        for line in lines:
            binary.write(f"{line}\n".encode())
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{error.object!r} cannot be written as UTF-8: {error.reason}") from error
    if compress:
        binary.close()


def _default_mode() -> int:
    """Return the mode that `open` would give a new file; mkstemp's 0600 would hide results from colleagues."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _sync_folder(folder: Path) -> None:
    # The rename itself is durable only once the folder is; after, never before, the rename.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
