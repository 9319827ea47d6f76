"""How is a learnt score stored?  A folder ``scorer`` beside a model: config.json and model.safetensors.

The configuration names one of the classes here and its arguments; nothing in the folder is run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serotine._model_files import read_header, read_json
from serotine.errors import CorruptModel, InvalidInput

if TYPE_CHECKING:
    from serotine.scores.learnable import Scorer

__all__ = ["SCORER_FOLDER", "load_scorer", "remove_scorer", "save_scorer"]

SCORER_FOLDER = "scorer"
_VERSION = 1


def save_scorer(scorer: Scorer, model_folder: str | Path) -> Path:
    """Write a score into a model's folder, replacing the one there; return its own folder.

    Raises:
        InvalidInput: it is not one of this package's classes, so that nothing could load it.
    """
    from safetensors.torch import save

    if type(scorer).__name__ not in _classes() or type(scorer) is not _classes()[type(scorer).__name__]:
        raise InvalidInput(f"can store {sorted(_classes())}, got {type(scorer).__name__}: save its state_dict yourself")
    folder = Path(model_folder) / SCORER_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    config = {"format": _VERSION, "type": type(scorer).__name__, "arguments": scorer.get_config_dict()}
    weights = {name: value.detach().cpu().contiguous() for name, value in scorer.state_dict().items()}
    (folder / "model.safetensors").write_bytes(save(weights))
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return folder


def remove_scorer(model_folder: str | Path) -> None:
    """Take a stored score away from a model's folder, if there is one. Other files in its folder stay."""
    folder = Path(model_folder) / SCORER_FOLDER
    for name in ("config.json", "model.safetensors"):  # without the first, nothing loads the second
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def load_scorer(model_folder: str | Path, *, device: Any = None) -> Scorer:
    """Read the score of a model's folder.

    Raises:
        InvalidInput: the model has none.
        CorruptModel: a file is missing, or says what no version writes; the message names it.
    """
    folder = Path(model_folder) / SCORER_FOLDER
    path = folder / "config.json"
    if not path.is_file():
        raise InvalidInput(f"{Path(model_folder)} holds no learnt score: {path} does not exist")
    scorer = _described(path, read_json(path))
    _read_weights(scorer, folder / "model.safetensors")
    return scorer if device is None else scorer.to(device)


def _described(path: Path, config: dict[str, Any]) -> Scorer:
    """Make the score that a configuration describes, without memory for its weights: any sizes may stand there."""
    import torch

    try:
        kind, arguments = _classes()[config["type"]], config["arguments"]
        if config["format"] != _VERSION:
            raise CorruptModel(f"{path}: expected format {_VERSION}, found {config['format']!r}. Update serotine")
        with torch.device("meta"):
            scorer: Scorer = kind(**arguments)
    except (ValueError, KeyError, TypeError, RuntimeError, OverflowError) as error:
        raise CorruptModel(
            f"{path}: expected format, type (one of {sorted(_classes())}) and its arguments, found {error!r}"
        ) from error
    return scorer


def _read_weights(scorer: Scorer, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise CorruptModel(f"{path}: expected the weights of a {type(scorer).__name__}, found no file")
    found = {name: tensor.shape for name, tensor in read_header(path).items()}
    expected = {name: tuple(tensor.shape) for name, tensor in scorer.state_dict().items()}
    if found != expected:
        raise CorruptModel(
            f"{path}: expected the weights of a {type(scorer).__name__} of shapes {expected}, found {found}"
        )
    try:
        scorer.to_empty(device="cpu").load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CorruptModel(f"{path}: expected the weights of a {type(scorer).__name__}, found: {error}") from error


def _classes() -> dict[str, type[Any]]:
    from serotine.scores.learnable import SimilarityMLP, TokenWeights

    return {"SimilarityMLP": SimilarityMLP, "TokenWeights": TokenWeights}
