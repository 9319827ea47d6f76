"""Whose is a folder that holds files, but not the index that is wanted?  Told by their names; nothing is changed.

An index is made only in a folder that is missing, empty, or holds what a crash of its own first change leaves: files of
others would lie in the way of it, and it in the way of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from serotine.errors import InvalidInput, StorageError
from serotine.indexes.storage.manifest import MANIFEST_NAME, kind_of_manifest

__all__ = ["foreign_folder", "names_in", "refuse_foreign_plaid_folder", "some_of"]

_PLAID_MANIFEST = re.compile(r"manifest-\d{20}")
_FOLDERS_OF_PLAID = ("tmp", "segments", "deletes", "codebooks")
_NAMES_OF_AN_UNBORN_PLAID = {"LOCK", *_FOLDERS_OF_PLAID}
"""What the engine makes before its first manifest: a crash may leave any of them."""


def refuse_foreign_plaid_folder(folder: Path) -> None:
    """Return if a PLAID index is in a folder, or may be made there.

    Raises:
        InvalidInput: the folder holds something else. StorageError: it cannot be read, or a folder in it is a link.
    """
    names = names_in(folder)
    for name in _FOLDERS_OF_PLAID:  # the engine refuses one when it first needs it; some only a change does
        if (folder / name).is_symlink():
            raise StorageError(
                f"{folder / name} is a link to another folder. Folders of an index must lie in it: copy what it links "
                "to into its place."
            )
    if not any(_PLAID_MANIFEST.fullmatch(name) for name in names) and set(names) - _NAMES_OF_AN_UNBORN_PLAID:
        raise foreign_folder(folder, names)


def names_in(folder: Path) -> list[str]:
    """Return what a folder holds, in order; nothing if it is missing.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        return sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"could not read {folder}: {error.strerror}") from error


def some_of(names: Sequence[str]) -> str:
    """Return the first names, for a message."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def foreign_folder(folder: Path, names: Sequence[str]) -> InvalidInput:
    """Return the error for a folder that holds files of something else. names: all that is in it."""
    owner, advice = _owner(folder, set(names))
    return InvalidInput(
        f"{folder} holds {owner}, expected an index of this class or an empty folder, found {some_of(names)}. Nothing "
        f"was changed, and override=True changes nothing either: {advice}"
    )


def _owner(folder: Path, names: set[str]) -> tuple[str, str]:
    """Whose the files are, and what to do, in words."""
    elsewhere = "choose another index_folder or index_name"
    is_fast_plaid = "fast_plaid_index" in names or {"metadata.json", "centroids.npy"} <= names
    if is_fast_plaid or any(name.startswith("documents_ids_to_plaid_ids.") for name in names):
        return "a PLAID index of PyLate's", (
            f"import it with serotine.indexes.from_pylate({str(folder)!r}, index_folder, another index_name), or "
            f"{elsewhere}"
        )
    if "index.voyager" in names:
        return "a Voyager index of PyLate's, which is not read", (
            f"{elsewhere}, and add the documents' embeddings to it"
        )
    if any(_PLAID_MANIFEST.fullmatch(name) for name in names):
        return "a PLAID index", f"open it with serotine.indexes.PLAID, or {elsewhere}"
    kind = kind_of_manifest(folder / MANIFEST_NAME) if MANIFEST_NAME in names else None
    if kind is not None:
        return f"an index of the kind {kind!r}", f"open it with the class that made it, or {elsewhere}"
    return "files of something else", elsewhere
