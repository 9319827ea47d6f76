"""How does a pickle become safetensors?  ``python -m serotine.models.formats.convert FOLDER``.

Rewrites every pytorch_model.bin (in one file or in shards) and adapter_model.bin in the folder and below, beside the
original, which stays.
The pickles are read with torch's restricted unpickler; a file that asks for more than tensors is refused.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import save_file

from serotine._model_files import read_json
from serotine.errors import InvalidInput, SerotineError
from serotine.models.formats.weights import load_pickle

__all__ = ["convert"]


def convert(folder: str | Path) -> list[Path]:
    """Write safetensors for the pickled weights of a model and its modules; return the files written.

    Tensors that share memory (tied weights) are written once each. A file appears under its name when it is complete.

    Raises:
        InvalidInput: there is no such folder, or no pickled weights in it.
        UntrustedModel, CorruptModel: as `load_pickle`.
    """
    folder = Path(folder)
    pickles = [*sorted(folder.rglob("pytorch_model*.bin")), *sorted(folder.rglob("adapter_model.bin"))]
    if not pickles:
        raise InvalidInput(f"{folder}: there is no pytorch_model.bin or adapter_model.bin to convert")
    written = [_convert_file(path) for path in pickles]
    return written + [_convert_index(path) for path in sorted(folder.rglob("pytorch_model.bin.index.json"))]


def _convert_file(path: Path) -> Path:
    target = path.with_name(_safe_name(path.name))
    tensors = {name: tensor.clone().contiguous() for name, tensor in load_pickle(path).items()}
    with _replacing(target) as temporary:
        save_file(tensors, str(temporary), metadata={"format": "pt"})
    return target


def _convert_index(path: Path) -> Path:
    index = read_json(path)
    index["weight_map"] = {name: _safe_name(str(file)) for name, file in dict(index.get("weight_map") or {}).items()}
    target = path.with_name("model.safetensors.index.json")
    with _replacing(target) as temporary:
        temporary.write_text(json.dumps(index, indent=2) + "\n")
    return target


def _safe_name(name: str) -> str:
    return name.replace("pytorch_model", "model").removesuffix(".bin") + ".safetensors"


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """Give a name to write to, which becomes the target's when everything is written."""
    temporary = target.with_name(f"{target.name}.tmp")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def main() -> None:
    """Run the command line."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m serotine.models.formats.convert FOLDER")
    try:
        written = convert(sys.argv[1])
    except SerotineError as error:
        raise SystemExit(f"serotine: {error}") from None
    sys.stdout.write("".join(f"wrote {path}\n" for path in written))


if __name__ == "__main__":
    main()
