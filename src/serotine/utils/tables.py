"""How is a data set opened, wherever it is?  Hugging Face data sets by name, files and folders by path.

Files are read by Hugging Face's ``datasets``, which keeps rows on disk, memory-mapped. Nothing that is read is run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serotine._lazy import require
from serotine.errors import InvalidInput

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["load_table"]

_READERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".jsonl": ("json", {}),
    ".json": ("json", {}),
    ".csv": ("csv", {}),
    ".tsv": ("csv", {"sep": "\t"}),
    ".parquet": ("parquet", {}),
}
# What numbers the parts of one table: "train-00000-of-00003", "part-7", "queries_12".
_PART_NUMBER = re.compile(r"[-_.]?\d+(-of-\d+)?$")


def load_table(source: Any, *, name: str | None = None, split: str = "train") -> Dataset:
    """Return the rows of a data set, on disk where they were.

    source: a `datasets.Dataset`; a `DatasetDict`, of which ``split`` is taken; a list of dicts; the path of a file
    (.jsonl, .json, .csv, .tsv, .parquet; all but the last also .gz); the path of a folder that ``save_to_disk`` wrote,
    or that holds such files: those whose names begin with ``split``, or all if they are parts of one table; or the
    name of a data set on the Hugging Face Hub.
    name: configuration of a data set on the Hub, or subfolder of a folder.

    Raises:
        InvalidInput: there is no such file or split, the files of a folder are of several tables, or a file cannot be
            read; the path is named.
        MissingExtra: the package datasets is not installed.

    Example:
        >>> load_table([{"query_id": 1, "text": "what flies at night"}])[0]["text"]
        'what flies at night'
    """
    datasets = require("datasets", extra="train", purpose="serotine.utils.load_table")
    if isinstance(source, datasets.Dataset):
        return source
    if isinstance(source, datasets.DatasetDict):
        return _take_split(source, split)
    if isinstance(source, list):
        return datasets.Dataset.from_list(source)
    if not isinstance(source, (str, Path)):
        raise InvalidInput(
            f"expected a Dataset, a DatasetDict, a list of dicts, a path or a name, got {type(source).__name__}"
        )
    path = Path(source) if name is None or not Path(source).is_dir() else Path(source) / name
    if path.is_dir():
        return _load_folder(path, split)
    if path.is_file():
        return _load_files([path])
    if isinstance(source, Path) or _suffix(path) in _READERS or str(source).startswith((".", "/", "~")):
        raise InvalidInput(f"{path} does not exist")
    return _take_split(datasets.load_dataset(source, name, split=split), split)


def _load_folder(folder: Path, split: str) -> Dataset:
    datasets = require("datasets", extra="train", purpose="serotine.utils.load_table")
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return _take_split(datasets.load_from_disk(str(folder)), split)
    files = sorted(path for path in folder.iterdir() if path.is_file() and _suffix(path) in _READERS)
    chosen = [path for path in files if path.name.startswith(split)]
    tables = {_PART_NUMBER.sub("", _stem(path)) for path in chosen or files}
    if not files or len(tables) > 1:
        raise InvalidInput(
            f"{folder} holds {[path.name for path in files] or 'no file of rows'}, expected files of one table "
            f"({', '.join(_READERS)}), or files whose names begin with {split!r}"
        )
    return _load_files(chosen or files)


def _load_files(files: list[Path]) -> Dataset:
    datasets = require("datasets", extra="train", purpose="serotine.utils.load_table")
    suffixes = {_suffix(path) for path in files}
    if len(suffixes) > 1 or not suffixes <= set(_READERS):
        raise InvalidInput(f"{files[0]}: cannot read {sorted(suffixes)}, expected one of {', '.join(_READERS)}")
    reader, options = _READERS[suffixes.pop()]
    try:
        return datasets.load_dataset(reader, data_files=[str(path) for path in files], split="train", **options)
    except (datasets.exceptions.DatasetsError, ValueError, OSError) as error:
        cause = error.__cause__ or error
        raise InvalidInput(f"{files[0]}: could not be read as {reader}: {cause}") from error


def _take_split(found: Any, split: str) -> Dataset:
    if not isinstance(found, Mapping):
        return found
    if split not in found:
        raise InvalidInput(f"the data set has the splits {sorted(found)}, not {split!r}")
    return found[split]


def _suffix(path: Path) -> str:
    """Return the suffix that tells how to read a file, without that of its compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return next((suffix for suffix in reversed(suffixes) if suffix != ".gz"), "")


def _stem(path: Path) -> str:
    return path.name[: -len("".join(path.suffixes))] if path.suffixes else path.name
