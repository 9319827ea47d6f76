"""How does a package export names without importing what defines them?  PEP 562, in one place.

``import serotine`` must stay under 100 ms and ``serotine.indexes`` must never import torch, so each
``__init__`` lists where its names live and imports a module when one of its names is first asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from serotine.errors import MissingExtra

__all__ = ["lazy_exports", "require"]


def lazy_exports(
    package: str, exports: Mapping[str, str], *, needs: Sequence[str] = (), extra: str = ""
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``(__getattr__, __dir__)`` for a package whose names live in other modules.

    exports: name -> absolute module that defines it; a name that equals the module's own last part exports the module
    itself. needs: packages without which none of them can be imported, installed by ``serotine[extra]``: asking for a
    name without them raises MissingExtra.
    """

    def __getattr__(name: str) -> Any:
        target = exports.get(name)
        if target is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        for needed in needs:
            if importlib.util.find_spec(needed) is None:
                raise MissingExtra(needed, extra=extra, purpose=f"{package}.{name}")
        module = importlib.import_module(target)
        value = module if target == f"{package}.{name}" else getattr(module, name)
        setattr(importlib.import_module(package), name, value)
        return value

    def __dir__() -> list[str]:
        return sorted({*vars(importlib.import_module(package)), *exports})

    return __getattr__, __dir__


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional module, or raise MissingExtra with the pip command that installs it.

    An ImportError from *inside* an installed module is passed on unchanged: its cause is another.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top_level = module.split(".")[0]
        if error.name is None or error.name.split(".")[0] != top_level:
            raise
        raise MissingExtra(top_level, extra=extra, purpose=purpose) from error
