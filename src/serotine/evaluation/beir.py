"""Where do the BEIR collections come from?  The public server, once, into a cache folder; then from there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from serotine.errors import InvalidInput
from serotine.evaluation._download import fetch_zip_folder
from serotine.evaluation.datasets import Dataset, load_custom_dataset

__all__ = ["BEIR_DATASETS", "BEIR_MD5", "BEIR_URL", "CQADUPSTACK_FORUMS", "load_beir"]

BEIR_URL = "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets"
"""Where ``<name>.zip`` of each collection lies."""

BEIR_MD5: Mapping[str, str] = {
    "arguana": "8ad3e3c2a5867cdced806d6503f29b99",
    "climate-fever": "8b66f0a9126c521bae2bde127b4dc99d",
    "cqadupstack": "4e41456d7df8ee7760a7f866133bda78",
    "dbpedia-entity": "c2a39eb420a3164af735795df012ac2c",
    "fever": "5a818580227bfb4b35bb6fa46d9b6c03",
    "fiqa": "17918ed23cd04fb15047f73e6c3bd9d9",
    "hotpotqa": "f412724f78b0d91183a0e86805e16114",
    "msmarco": "444067daf65d982533ea17ebd59501e4",
    "nfcorpus": "a89dba18a62ef92f7d323ec890a0d38d",
    "nq": "d4d3d2e48787a744b6f6e691ff534307",
    "quora": "18fb154900ba42a600f84b839c173167",
    "scidocs": "38121350fc3a4d2f48850f6aff52e4a9",
    "scifact": "5f7d1de60b170fc8027bb7898e2efca1",
    "trec-covid": "ce62140cb23feb9becf6270d0d1fe6d1",
    "webis-touche2020": "46f650ba5a527fc69e0a6521c5a23563",
}
"""The MD5 of each zip file, as BEIR publishes them."""

BEIR_DATASETS = tuple(BEIR_MD5)
"""The collections of BEIR that may be downloaded freely. cqadupstack has parts: `CQADUPSTACK_FORUMS`."""

CQADUPSTACK_FORUMS = tuple(
    f"cqadupstack/{forum}"
    for forum in (
        "android",
        "english",
        "gaming",
        "gis",
        "mathematica",
        "physics",
        "programmers",
        "stats",
        "tex",
        "unix",
        "webmasters",
        "wordpress",
    )
)
"""The parts of cqadupstack, each a collection; a figure for all of it is the mean of theirs."""


def load_beir(
    dataset_name: str | os.PathLike[str],
    split: str = "test",
    *,
    cache_folder: str | os.PathLike[str] | None = None,
    base_url: str = BEIR_URL,
    checksums: Mapping[str, str] = BEIR_MD5,
    timeout_s: float = 60.0,
    show_progress_bar: bool = False,
) -> Dataset:
    """Return ``(documents, queries, qrels)`` of a BEIR collection, downloading it if it is not in the cache folder yet.

    dataset_name: a name of `BEIR_DATASETS` or `CQADUPSTACK_FORUMS`, such as ``"cqadupstack/android"``, or an existing
    local folder in the same layout, which is read in place (an existing folder wins over a name). split: ``"test"`` for
    most, ``"dev"`` for msmarco. cache_folder: ``$SEROTINE_CACHE/beir`` if None, else ``$XDG_CACHE_HOME/serotine/beir``
    or ``~/.cache/serotine/beir``. base_url: another server, or ``file://`` folder, with the same zip files. checksums:
    the MD5 that each must have; a name without one is not compared. show_progress_bar: of the download.

    The result is that of `load_custom_dataset`. A download is unpacked aside and renamed into the cache as a whole, so
    that an interrupted one leaves nothing that looks complete.

    Raises:
        InvalidInput: an unknown name, or a file that `load_custom_dataset` refuses.
        DownloadFailed: no connection, or an archive that is damaged, not the published one, unsafe or too large.

    Example:
        >>> documents, queries, qrels = load_beir("scifact", split="test")  # doctest: +SKIP
    """
    text = os.fspath(dataset_name)
    if text and Path(text).is_dir():  # Path("") is the current folder
        return load_custom_dataset(text, split)
    name, _, part = text.partition("/")
    if name == "cqadupstack":
        if text not in CQADUPSTACK_FORUMS:
            raise InvalidInput(
                f"{text!r}: cqadupstack has a collection for each forum: {', '.join(CQADUPSTACK_FORUMS)}"
            )
    elif text not in BEIR_DATASETS:
        raise InvalidInput(f"{text!r} is neither an existing folder nor one of: {', '.join(BEIR_DATASETS)}")
    cache = _default_cache_folder() if cache_folder is None else Path(cache_folder)
    folder = cache / name
    if not folder.is_dir():
        url = f"{base_url.rstrip('/')}/{name}.zip"
        fetch_zip_folder(url, folder, timeout_s=timeout_s, md5=checksums.get(name), show_progress_bar=show_progress_bar)
    return load_custom_dataset(folder / part if part else folder, split)


def _default_cache_folder() -> Path:
    if "SEROTINE_CACHE" in os.environ:
        return Path(os.environ["SEROTINE_CACHE"], "beir")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "serotine", "beir")
