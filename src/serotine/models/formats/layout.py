"""In which format is a model?  Decided by its small files alone, before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from serotine.errors import CorruptModel, DownloadFailed
from serotine.models.formats.source import Source

__all__ = ["Checkpoint", "Layout", "recognize"]


class Layout(Enum):
    """A format of models on disk; the value is how a message names it."""

    NATIVE = "MultiVectorEncoder"
    PYLATE = "PyLate"
    STANFORD = "Stanford ColBERT"
    RETRIEVAL = "late-interaction model of transformers"
    DENSE = "Sentence Transformers with one vector a text"
    OTHER = "Sentence Transformers of another kind"
    BACKBONE = "Hugging Face backbone"


# Settings that only late-interaction models have in config_sentence_transformers.json.
_PYLATE_KEYS = frozenset(("query_prefix", "document_prefix", "do_query_expansion", "attend_to_expansion_tokens"))


_MODEL_TYPES = {
    "MultiVectorEncoder": Layout.NATIVE,
    "ColBERT": Layout.PYLATE,
    "SentenceTransformer": Layout.DENSE,
    "SparseEncoder": Layout.OTHER,
    "CrossEncoder": Layout.OTHER,
}


@dataclass(frozen=True)
class Checkpoint:
    """What was recognised, and the files that were read for it.

    source: where the files are. settings: config_sentence_transformers.json, {} if there is none. modules:
    modules.json, None if there is none. config: config.json of the backbone beside it, None if there is none.
    """

    source: Source
    layout: Layout
    settings: dict[str, Any]
    modules: list[dict[str, Any]] | None
    config: dict[str, Any] | None


def recognize(source: Source) -> Checkpoint:
    """Read a model's small files and say in which format it is.

    The rules, the first that holds: (1) no modules.json: Stanford's if config.json has the architecture HF_ColBERT, a
    retrieval model if its architecture ends so, else a backbone. (2) ``model_type`` says it: "MultiVectorEncoder",
    "ColBERT" (PyLate). (3) no ``model_type``, but settings that only PyLate writes: PyLate, before it wrote one. (4)
    HF_ColBERT again. (5) "SentenceTransformer", or no ``model_type``: one vector a text. (6) another kind.

    Raises:
        DownloadFailed: it is no folder, and the Hub gave nothing.
        CorruptModel: there is no model, one of two files that need each other is missing, or a file is not JSON or
            names a kind of model that there is not.
    """
    settings = source.json("config_sentence_transformers.json") or {}
    modules = source.json("modules.json", kind=list)
    config = source.json("config.json")
    _check_names(source, settings, config)
    layout = _layout_of(settings, modules, config)
    if not settings and any("pylate." in str(entry) for entry in modules or []):
        raise source.missing("config_sentence_transformers.json")
    if modules is None:
        if layout is Layout.BACKBONE and (_PYLATE_KEYS & settings.keys() or "model_type" in settings):
            raise source.missing("modules.json")
        if config is None and source.path("adapter_config.json") is None:
            raise _no_model(source)
    return Checkpoint(source, layout, settings, modules, config)


def _no_model(source: Source) -> CorruptModel | DownloadFailed:
    if Path(source.name).is_dir():
        return CorruptModel(
            f"{source.name} holds no model: neither modules.json nor config.json is there. Give the folder that `save` "
            "wrote, or a name on the Hugging Face Hub"
        )
    return DownloadFailed(
        f"{source.name} is no folder here, and the Hugging Face Hub gave neither its modules.json nor its config.json. "
        "Check the name, the network, and whether HF_HUB_OFFLINE is set"
    )


def _check_names(source: Source, settings: dict[str, Any], config: dict[str, Any] | None) -> None:
    architectures = (config or {}).get("architectures") or []
    if not isinstance(architectures, list) or not all(isinstance(name, str) for name in architectures):
        raise CorruptModel(f"{source.name}: config.json: expected a list of architectures, found {architectures!r}")
    model_type = settings.get("model_type")
    if model_type is not None and (not isinstance(model_type, str) or model_type not in _MODEL_TYPES):
        raise CorruptModel(
            f"{source.name}: config_sentence_transformers.json: expected a model_type of {sorted(_MODEL_TYPES)} or "
            f"none, found {model_type!r}"
        )


def _layout_of(settings: dict[str, Any], modules: list[dict[str, Any]] | None, config: dict[str, Any] | None) -> Layout:
    architectures = (config or {}).get("architectures") or []
    is_stanford = "HF_ColBERT" in architectures
    if modules is None:
        if is_stanford:
            return Layout.STANFORD
        is_retrieval = any(str(architecture).endswith("ForRetrieval") for architecture in architectures)
        return Layout.RETRIEVAL if is_retrieval else Layout.BACKBONE
    if settings.get("model_type") is None:
        if _PYLATE_KEYS & settings.keys():
            return Layout.PYLATE
        return Layout.STANFORD if is_stanford else Layout.DENSE
    return _MODEL_TYPES[settings["model_type"]]
