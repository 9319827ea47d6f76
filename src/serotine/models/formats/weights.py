"""Which weights does a model have, and may they be read?  Safetensors always; pickles only where the caller says so.

A pickle is a program. What reads it here (torch's restricted unpickler) runs none of it, but it is still a parser
that has been broken before; hence the refusal, with the command that rewrites the file.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from serotine._model_files import TensorInfo, read_header, read_json
from serotine.errors import CorruptModel, UntrustedModel
from serotine.models.formats.source import Source, inside

__all__ = ["Weights", "find_weights", "load_pickle"]

_SAFE, _PICKLED = "model.safetensors", "pytorch_model.bin"


@dataclass(frozen=True)
class Weights:
    """The tensors of a model or module: what there is by name, and the file that each lies in."""

    tensors: Mapping[str, TensorInfo]
    files: Mapping[str, Path]

    def read(self, name: str) -> Tensor:
        """Read one tensor onto the CPU."""
        path = self.files[name]
        if path.suffix == ".bin":
            return load_pickle(path)[name]
        with safe_open(str(path), framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor


def find_weights(source: Source, folder: str = "", *, allow_pickles: bool = False, stem: str | None = None) -> Weights:
    """Find the weights of a model or of one of its modules, in one file or in shards, and check their headers.

    stem: name of the file without suffix, if it is not the usual one.

    Raises:
        UntrustedModel: there are only pickles, and they are not allowed.
        CorruptModel: there is nothing at all, a shard is missing, or a header is wrong.
    """
    safe, pickled = (_SAFE, _PICKLED) if stem is None else (f"{stem}.safetensors", f"{stem}.bin")
    paths = _files(source, folder, safe)
    if paths:
        return _from_headers(paths)
    pickles = _files(source, folder, pickled)
    if not pickles:
        raise source.missing(safe, folder)
    if not allow_pickles:
        raise UntrustedModel(
            f"{pickles[0]} is a pickle, which can hold code, and there is no {safe} beside it. Write one with\n"
            f"    python -m serotine.models.formats.convert {pickles[0].parent}\n"
            "or, if you trust its origin, pass allow_pickled_weights=True"
        )
    loaded = {path: load_pickle(path) for path in pickles}
    every = {name: tensor for tensors in loaded.values() for name, tensor in tensors.items()}
    return Weights(
        {name: TensorInfo(str(tensor.dtype), tuple(tensor.shape)) for name, tensor in every.items()},
        {name: path for path, tensors in loaded.items() for name in tensors},
    )


def load_pickle(path: Path) -> dict[str, Tensor]:
    """Read a pickled state dict with torch's restricted unpickler, which builds tensors and calls nothing else.

    Raises:
        UntrustedModel: the pickle asks for anything but tensors.
        CorruptModel: it is not a dict of tensors.
    """
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error):
            raise UntrustedModel(f"{path} names functions to call, which weights never do. None was called") from error
        # Not torch's own words, which advise to read the file without restrictions.
        raise CorruptModel(f"{path}: expected weights that torch.save wrote, found something else") from error
    except Exception as error:
        # The unpickler says IndexError, EOFError, KeyError and more of what is no pickle.
        raise CorruptModel(f"{path}: expected weights that torch.save wrote, found: {error!r}") from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise CorruptModel(f"{path}: expected a dict of tensors, found a {type(tensors).__name__} with other things")
    return tensors


def _files(source: Source, folder: str, name: str) -> list[Path]:
    """Return the file of that name, or the shards that its index names, or nothing."""
    single = source.path(name, folder)
    if single is not None:
        return [single]
    index = source.path(f"{name}.index.json", folder)
    if index is None:
        return []
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise CorruptModel(f"{index}: expected a weight_map of files, found {type(shards).__name__}")
    paths = []
    for shard in sorted({*map(str, shards.values())}):
        inside(source.name, shard)
        path = source.path(shard, folder)
        if path is None:
            raise source.missing(shard, folder)
        paths.append(path)
    return paths


def _from_headers(paths: list[Path]) -> Weights:
    headers = {path: read_header(path) for path in paths}
    return Weights(
        {name: info for header in headers.values() for name, info in header.items()},
        {name: path for path, header in headers.items() for name in header},
    )
