"""Where do the BEIR collections come from?  The public server, once, into a cache folder; then from there."""

from __future__ import annotations

import os
import re
from pathlib import Path

from serotine.errors import InvalidInput
from serotine.evaluation._download import fetch_zip_folder
from serotine.evaluation.datasets import Dataset, load_custom_dataset

__all__ = ["BEIR_DATASETS", "BEIR_URL", "load_beir"]

BEIR_URL = "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets"
"""Where ``<name>.zip`` of each collection lies."""

BEIR_DATASETS = (
    "arguana",
    "climate-fever",
    "cqadupstack",
    "dbpedia-entity",
    "fever",
    "fiqa",
    "hotpotqa",
    "msmarco",
    "nfcorpus",
    "nq",
    "quora",
    "scidocs",
    "scifact",
    "trec-covid",
    "webis-touche2020",
)
"""The collections of BEIR that may be downloaded freely. cqadupstack has parts: ``"cqadupstack/android"``."""

_PART = re.compile(r"[a-z0-9_-]+")


def load_beir(
    dataset_name: str | os.PathLike[str],
    split: str = "test",
    *,
    cache_folder: str | os.PathLike[str] | None = None,
    base_url: str = BEIR_URL,
    timeout_s: float = 60.0,
    show_progress_bar: bool = False,
) -> Dataset:
    """Return ``(documents, queries, qrels)`` of a BEIR collection, downloading it if it is not in the cache folder yet.

    dataset_name: a name of `BEIR_DATASETS`, a part of one such as ``"cqadupstack/android"``, or an existing local
    folder in the same layout, which is read in place (an existing folder wins over a name). split: ``"test"`` for most,
    ``"dev"`` for msmarco. cache_folder: ``$SEROTINE_CACHE/beir`` if None, else ``$XDG_CACHE_HOME/serotine/beir`` or
    ``~/.cache/serotine/beir``. base_url: another server, or ``file://`` folder, with the same zip files.

    The result is that of `load_custom_dataset`. A download is unpacked aside and renamed into the cache as a whole, so
    that an interrupted one leaves nothing that looks complete.

    Raises:
        InvalidInput: an unknown name, or a file that `load_custom_dataset` refuses.
        DownloadFailed: no connection, or an archive that is damaged, unsafe or too large.

    Example:
        >>> documents, queries, qrels = load_beir("scifact", split="test")  # doctest: +SKIP
    """
    text = os.fspath(dataset_name)
    if text and Path(text).is_dir():  # Path("") is the current folder
        return load_custom_dataset(text, split)
    name, _, part = text.partition("/")
    if name not in BEIR_DATASETS or (part and not _PART.fullmatch(part)):
        raise InvalidInput(f"{text!r} is neither an existing folder nor one of: {', '.join(BEIR_DATASETS)}")
    cache = _default_cache_folder() if cache_folder is None else Path(cache_folder)
    folder = cache / name
    if not folder.is_dir():
        url = f"{base_url.rstrip('/')}/{name}.zip"
        fetch_zip_folder(url, folder, timeout_s=timeout_s, show_progress_bar=show_progress_bar)
    return load_custom_dataset(folder / part if part else folder, split)


def _default_cache_folder() -> Path:
    if "SEROTINE_CACHE" in os.environ:
        return Path(os.environ["SEROTINE_CACHE"], "beir")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "serotine", "beir")
