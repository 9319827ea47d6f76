"""How does a zip file from the network become a folder?  With limits, no path outside it, and all or nothing."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import stat
import tempfile
import urllib.request
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tqdm import tqdm

from serotine.errors import DownloadFailed, InvalidInput

__all__ = ["MAX_DOWNLOAD_BYTES", "MAX_MEMBERS", "MAX_UNPACKED_BYTES", "fetch_zip_folder"]

# The largest BEIR archives are a little above 1 GB, 6 GB unpacked; the limits leave room and still stop a zip bomb.
MAX_DOWNLOAD_BYTES = 4 * 2**30
MAX_UNPACKED_BYTES = 32 * 2**30
MAX_MEMBERS = 10_000

_BLOCK_BYTES = 2**20


def fetch_zip_folder(
    url: str,
    folder: Path,
    *,
    timeout_s: float,
    md5: str | None = None,
    show_progress_bar: bool = False,
    max_download_bytes: int = MAX_DOWNLOAD_BYTES,
    max_unpacked_bytes: int = MAX_UNPACKED_BYTES,
) -> None:
    """Make ``folder`` from the folder of the same name inside the zip file at ``url``.

    Works in a temporary folder beside it and renames at the end. If another process made the folder meanwhile, that one
    stays. Entries of the archive outside the folder are passed over.

    url: ``https://`` or ``file://``. timeout_s: for each wait on the network. md5: of the zip file, in hexadecimal; it
    is compared before anything is unpacked. (It guards against damage and mix-ups. It is what collections publish.)

    Raises:
        InvalidInput: another kind of URL.
        DownloadFailed: no connection; the archive is damaged, has another checksum, holds no such folder, is beyond a
            limit, or has an entry whose path leads elsewhere or that is a link.
    """
    if not url.startswith(("https://", "file://")):
        raise InvalidInput(f"url must begin with https:// or file://, got {url!r}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        archive = Path(temporary, "archive.zip")
        _download(url, archive, timeout_s=timeout_s, max_bytes=max_download_bytes, show_progress_bar=show_progress_bar)
        if md5 is not None:
            _verify(url, archive, md5)
        unpacked = Path(temporary, "unpacked")
        _unpack(url, archive, unpacked, top_folder=folder.name, max_bytes=max_unpacked_bytes)
        try:
            os.rename(unpacked / folder.name, folder)
        except OSError as error:
            if not folder.is_dir():
                raise DownloadFailed(f"cannot place {folder}: {error}. Choose another cache folder") from error


def _download(url: str, target: Path, *, timeout_s: float, max_bytes: int, show_progress_bar: bool) -> None:
    try:
        # The scheme was checked: https or file.
        with urllib.request.urlopen(url, timeout=timeout_s) as response, target.open("wb") as file:  # noqa: S310
            length = response.headers.get("Content-Length")
            with tqdm(
                total=int(length) if length else None, unit="B", unit_scale=True, disable=not show_progress_bar
            ) as progress:
                received = _copy(response, file, max_bytes=max_bytes, progress=progress)
    except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
        raise DownloadFailed(
            f"cannot download {url}: {error}. Without a network, unpack the zip file elsewhere and pass its folder"
        ) from error
    if received is None:
        raise DownloadFailed(f"{url} is larger than the limit of {max_bytes} bytes")
    if length and received != int(length):
        raise DownloadFailed(f"{url} ended after {received} of {length} bytes; try again")


def _verify(url: str, archive: Path, md5: str) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    with archive.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    if digest.hexdigest() != md5:
        raise DownloadFailed(
            f"{url} has the MD5 {digest.hexdigest()}, expected {md5}: the file was changed or damaged; try again"
        )


def _copy(source: IO[bytes], target: IO[bytes], *, max_bytes: int, progress: tqdm[Any]) -> int | None:
    """Copy a stream and return its length in bytes, or None as soon as it is longer than max_bytes."""
    copied = 0
    while block := source.read(_BLOCK_BYTES):
        copied += len(block)
        if copied > max_bytes:
            return None
        target.write(block)
        progress.update(len(block))
    return copied


def _unpack(url: str, archive: Path, target: Path, *, top_folder: str, max_bytes: int) -> None:
    """Unpack the files below ``top_folder`` of the archive into ``target``, after checking every entry."""
    try:
        with zipfile.ZipFile(archive) as file:
            members = [member for member in file.infolist() if _is_wanted(url, member, top_folder)]
            # zipfile never yields more bytes of an entry than its header declares, so the sum is a true bound.
            total = sum(member.file_size for member in members)
            if len(members) > MAX_MEMBERS or total > max_bytes:
                raise DownloadFailed(
                    f"{url} holds {len(members)} files of {total} bytes, above the limits of {MAX_MEMBERS} files "
                    f"and {max_bytes} bytes"
                )
            if not members:
                raise DownloadFailed(f"{url} holds no folder {top_folder!r}")
            for member in members:
                _unpack_member(file, member, target.joinpath(*PurePosixPath(member.filename).parts))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        # RuntimeError: an encrypted entry; NotImplementedError: an unknown compression.
        raise DownloadFailed(f"{url} is not a readable zip file: {error}") from error


def _unpack_member(file: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with file.open(member) as source, path.open("wb") as unpacked:
            shutil.copyfileobj(source, unpacked, _BLOCK_BYTES)
    except OSError as error:
        raise DownloadFailed(f"cannot unpack {member.filename!r} to {path}: {error}. Is the disk full?") from error


def _is_wanted(url: str, member: zipfile.ZipInfo, top_folder: str) -> bool:
    """Return whether an entry is a file below top_folder; refuse the whole archive if it could write elsewhere."""
    path = PurePosixPath(member.filename)
    is_link = stat.S_ISLNK(member.external_attr >> 16)
    if path.is_absolute() or ".." in path.parts or "\\" in member.filename or ":" in member.filename or is_link:
        raise DownloadFailed(f"{url} has an entry that leads outside its folder: {member.filename!r}; nothing was kept")
    return not member.is_dir() and len(path.parts) > 1 and path.parts[0] == top_folder
