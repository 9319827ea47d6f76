"""`from_pylate`: make a PLAID index of one that PyLate, or fast-plaid, wrote."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from serotine.errors import InvalidInput
from serotine.indexes.plaid.index import DEFAULT_NAME, PLAID
from serotine.indexes.pylate.fast_plaid import FastPlaidFolder
from serotine.indexes.pylate.id_maps import read_id_map
from serotine.types import DocumentId

__all__ = ["from_pylate"]

_INNER_NAME = "fast_plaid_index"


def from_pylate(
    folder: str | os.PathLike[str],
    index_folder: str | os.PathLike[str] | None = None,
    index_name: str = DEFAULT_NAME,
    *,
    override: bool = False,
    nbits: int | None = None,
    seed: int | None = None,
    keep_originals: bool | None = None,
    num_threads: int | None = None,
    show_progress: bool | None = None,
) -> PLAID:
    """Read a folder of PyLate's PLAID index and return a PLAID index of ours with its documents, in one commit.

    folder: ``<index_folder>/<index_name>`` of PyLate, with its maps of ids (``.pkl``, or ``.sqlite`` of PyLate before
    1.5); or a folder of fast-plaid itself, whose documents then get their numbers as ids. It is only read.
    index_folder, index_name, and what follows: where the new index goes and how it is made, see `PLAID`; in memory by
    default. nbits None: that of the old index, if PLAID knows it, else 4. The new index must be empty.

    The vectors are what the old index's codes stand for, so what its quantisation lost stays lost, and that of the new
    one adds to it; encode the texts again if you have them. Documents that no id leads to (PyLate keeps old copies of
    what was added twice) are left out, with a warning.

    Nothing in the folder is executed: the maps are read by an unpickler that looks up no names, and
    ``embeddings.npy`` and ``buffer.npy``, which are pickles, are not read.

    Raises:
        InvalidInput: the folder is no such index, a map holds anything but ids and numbers, or the new index has
            documents. CorruptIndex: a file is missing or does not fit the others. Else as `PLAID.add_documents`.
    """
    source = Path(folder)
    if not source.is_dir():
        raise InvalidInput(f"{source} is no folder; expected an index that PyLate or fast-plaid wrote")
    stored = FastPlaidFolder(source / _INNER_NAME if (source / _INNER_NAME).is_dir() else source)
    id_of = read_id_map(source)
    if id_of is None:
        id_of = {number: number for number in range(len(stored.lengths))}
    unknown = [number for number in id_of if number >= len(stored.lengths)]
    if unknown:
        raise InvalidInput(
            f"{source}: document {id_of[unknown[0]]!r} has the number {unknown[0]}, but the index has "
            f"{len(stored.lengths)} documents; its map of ids belongs to another state of it"
        )
    if len(id_of) < len(stored.lengths):
        warnings.warn(
            f"{len(stored.lengths) - len(id_of)} of {len(stored.lengths)} documents of {source} are left out: no id "
            "leads to them",
            UserWarning,
            stacklevel=2,
        )
    index = PLAID(
        index_folder,
        index_name,
        override,
        nbits=nbits if nbits is not None or stored.nbits not in (1, 2, 4, 8) else stored.nbits,
        seed=seed,
        keep_originals=keep_originals,
        num_threads=num_threads,
        show_progress=show_progress,
    )
    if len(index):
        raise InvalidInput(f"{index!r} is not empty; import into a new index, or pass override=True to replace it")
    return index.add_documents(list(id_of.values()), _named(stored, id_of))


def _named(stored: FastPlaidFolder, id_of: dict[int, DocumentId]) -> Iterator[npt.NDArray[np.float32]]:
    """The vectors of the documents that have an id, in the order of the ids."""
    for number, vectors in enumerate(stored.documents()):
        if number in id_of:
            yield vectors
