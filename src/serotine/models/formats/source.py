"""Where are the files of a model?  In a folder, or on the Hugging Face Hub, which is asked for one file at a time.

Reads small JSON files within a size limit; knows nothing of what they mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from sentence_transformers.util import load_file_path

from serotine._model_files import read_json
from serotine.errors import CorruptModel

__all__ = ["Source"]


@dataclass(frozen=True)
class Source:
    """A model by folder or name, and how to reach it.

    The other fields are the arguments of Sentence Transformers of the same names.
    """

    name: str
    token: bool | str | None = None
    cache_folder: str | None = None
    revision: str | None = None
    local_files_only: bool = False

    def path(self, filename: str, folder: str = "") -> Path | None:
        """Return where a file is, None if there is none; one on the Hub is fetched.

        Raises:
            CorruptModel: the name or folder points outside of the model.
        """
        inside(self.name, filename)
        inside(self.name, folder)
        found = load_file_path(
            self.name,
            filename,
            subfolder=folder,
            token=self.token,
            cache_folder=self.cache_folder,
            revision=self.revision,
            local_files_only=self.local_files_only,
        )
        return None if found is None else Path(found)

    def json(self, filename: str, folder: str = "", *, kind: type[Any] = dict) -> Any:
        """Read a JSON file that holds an object (``kind=list``: an array); None if there is no such file.

        Raises:
            CorruptModel: it is too large, not JSON, or holds something else; see `read_json`.
        """
        path = self.path(filename, folder)
        return None if path is None else read_json(path, kind=kind)

    def required_json(self, filename: str, folder: str = "") -> dict[str, Any]:
        """Read a JSON object from a file that must be there."""
        found: dict[str, Any] | None = self.json(filename, folder)
        if found is None:
            raise self.missing(filename, folder)
        return found

    def missing(self, filename: str, folder: str = "") -> CorruptModel:
        """Return the error for a file that must be there and is not."""
        where = f"{folder}/{filename}" if folder else filename
        return CorruptModel(f"{self.name}: {where} is missing. Copy or download the model again, with all its files")


def inside(name: str, path: Any) -> None:
    """Raise CorruptModel unless a path from a model's files stays inside the model."""
    if not isinstance(path, str):
        raise CorruptModel(f"{name}: expected the name of a file, found {path!r}")
    posix, windows = PurePosixPath(path), PureWindowsPath(path)
    if posix.is_absolute() or windows.drive or windows.root or ".." in posix.parts or ".." in windows.parts:
        raise CorruptModel(f"{name}: a file of the model points outside of it: {path!r}")
