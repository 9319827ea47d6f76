"""How are the small parts of a model read when its files may come from anywhere?  JSON, and headers of safetensors.

Within limits, and everything that can be wrong before the numbers themselves is a typed error.

A safetensors file: 8 bytes, little-endian, the length of the header; the header, JSON; the numbers. For every tensor
the header has dtype, shape and where its bytes begin and end, counted from the end of the header.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from serotine.errors import CorruptModel

__all__ = ["MAX_HEADER_BYTES", "MAX_JSON_BYTES", "TensorInfo", "read_header", "read_json"]

# The list of shards of the largest public models has 8 MB; everything else has some KB.
MAX_JSON_BYTES = 32 << 20

# About 100 bytes a tensor: a model of 100,000 tensors has 10 MB. The format itself allows 100 MB.
MAX_HEADER_BYTES = 32 << 20

_BITS = {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8}
_BITS |= {"F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32}
_BITS |= {"F32": 32, "F64": 64, "I64": 64, "U64": 64, "C64": 64}


class TensorInfo(NamedTuple):
    """What a header says of a tensor."""

    dtype: str
    shape: tuple[int, ...]


def read_json(path: Path, *, kind: type[Any] = dict) -> Any:
    """Read a JSON file that holds an object (``kind=list``: an array).

    Raises:
        CorruptModel: it is larger than MAX_JSON_BYTES, not JSON, or holds something else.
    """
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise CorruptModel(f"{path}: expected at most {MAX_JSON_BYTES} bytes of settings, found {size}")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CorruptModel(f"{path}: expected JSON, found: {error}") from error
    if not isinstance(value, kind):
        raise CorruptModel(f"{path}: expected a JSON {kind.__name__}, found a {type(value).__name__}")
    return value


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Return the tensors of a safetensors file by name.

    Raises:
        CorruptModel: the header is longer than MAX_HEADER_BYTES or than the file, is not JSON, or its tensors do not
            fill the rest of the file exactly.

    Cost: reads the header, and nothing of a header that is too long.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise CorruptModel(f"{path}: expected a safetensors file, found {size} bytes with a header of {length}")
        if length > MAX_HEADER_BYTES:
            raise CorruptModel(f"{path}: expected a header of at most {MAX_HEADER_BYTES} bytes, found {length}")
        text = file.read(length)
    try:
        header = {name: entry for name, entry in json.loads(text).items() if name != "__metadata__"}
        tensors = {name: TensorInfo(entry["dtype"], tuple(entry["shape"])) for name, entry in header.items()}
        spans = sorted(
            (*_span(entry["data_offsets"]), _num_bytes(tensors[name]), name) for name, entry in header.items()
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        raise CorruptModel(f"{path}: expected a safetensors header, found something else: {error!r}") from error
    end = 0
    for start, stop, num_bytes, name in spans:
        if start != end or stop - start != num_bytes:
            raise CorruptModel(
                f"{path}: expected {name!r} of {num_bytes} bytes at {end}, found bytes {start} to {stop}"
            )
        end = stop
    if end != size - 8 - length:
        raise CorruptModel(f"{path}: expected {end} bytes of tensors, found {size - 8 - length}. Is the copy complete?")
    return tensors


def _span(offsets: list[int]) -> tuple[int, int]:
    start, stop = offsets
    return start, stop


def _num_bytes(tensor: TensorInfo) -> int:
    if not all(type(width) is int and width >= 0 for width in tensor.shape):
        raise ValueError(f"shape {tensor.shape}")
    return math.prod(tensor.shape) * _BITS[tensor.dtype] // 8
