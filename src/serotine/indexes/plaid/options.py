"""What do the arguments of `PLAID` mean?  Each is checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serotine.errors import InvalidInput
from serotine.indexes.checks import positive_int

__all__ = [
    "SearchSettings",
    "check_choice",
    "check_device",
    "check_requirements",
    "flag_or_none",
    "native_path",
    "recall_or_none",
    "required_settings",
    "setting_or_none",
]

_DEVICE = re.compile(r"(cpu|cuda|mps|xpu|hpu|npu)(:\d+)?")
_UINT32_MAX = 2**32 - 1


@dataclass(frozen=True)
class SearchSettings:
    """How a search spends its time. None: what was measured when the index was built decides.

    recall: share of an exhaustive scan's ten best that a search finds on average; 1 scans everything.
    cells: cells probed per query token. candidates: documents looked at more closely.
    """

    recall: float | None = None
    cells: int | None = None
    candidates: int | None = None
    num_threads: int = 1


def recall_or_none(value: Any) -> float | None:
    """Return a recall, 0 < recall <= 1, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise InvalidInput(f"recall must be a number above 0 and at most 1, got {value!r}")
    return float(value)


def setting_or_none(value: Any, *, name: str) -> int | None:
    """Return a whole number from 1 to 2**32 - 1, or None."""
    return None if value is None else min(positive_int(value, name=name), _UINT32_MAX)


def required_settings(nbits: Any, seed: Any, keep_originals: bool | None) -> dict[str, int]:
    """Return the settings that were given, checked: what a new index is made with, and what an old one must have."""
    required: dict[str, int] = {}
    if nbits is not None:
        if isinstance(nbits, bool) or not isinstance(nbits, (int, np.integer)) or nbits not in (1, 2, 4, 8):
            raise InvalidInput(f"nbits must be 1, 2, 4 or 8, got {nbits!r}")
        required["nbits"] = int(nbits)
    if seed is not None:
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**64:
            raise InvalidInput(f"seed must be a whole number from 0 to 2**64 - 1, got {seed!r}")
        required["seed"] = int(seed)
    if keep_originals is not None:
        required["keep_originals"] = keep_originals
    return required


def check_requirements(path: Path | None, found: Any, required: dict[str, int]) -> None:
    """Raise InvalidInput if the index at path was made with other settings than those that were asked for."""
    for name, value in required.items():
        stored = getattr(found, name)
        if stored != value:
            raise InvalidInput(
                f"{path} was made with {name}={stored}, but {name}={value} was asked for; leave {name} out, or build "
                "the index again with override=True"
            )


def flag_or_none(value: Any, *, name: str) -> bool | None:
    """Return True, False or None."""
    if value is not None and not isinstance(value, bool):
        raise InvalidInput(f"{name} must be True or False, got {value!r}")
    return value


def check_choice(value: Any, choices: tuple[Any, ...], *, name: str) -> None:
    """Raise InvalidInput unless a value is one of some."""
    if not any(isinstance(value, type(choice)) and value == choice for choice in choices):
        raise InvalidInput(f"{name} must be one of {choices}, got {value!r}")


def native_path(path: Path | None) -> str | None:
    """Return where an index lives as the engine takes it: in UTF-8."""
    if path is None:
        return None
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InvalidInput(
            f"index_folder and index_name must be UTF-8, got {str(path)!r}; rename the folder, or choose another"
        ) from None
    return str(path)


def check_device(device: Any) -> bool:
    """Whether a device (a name, a torch.device, or a list of them) is one that has an effect here: None or the CPU.

    Raises:
        InvalidInput: it is no name of a device.
    """
    devices = device if isinstance(device, (list, tuple)) else [device]
    names = ["cpu" if each is None else str(each) for each in devices]
    for each, name in zip(devices, names, strict=True):
        if not _DEVICE.fullmatch(name):
            raise InvalidInput(f"device must be 'cpu' (or another device's name, with a warning), got {each!r}")
    return all(name.partition(":")[0] == "cpu" for name in names)
