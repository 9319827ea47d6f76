"""How is a pickle read that may come from anywhere?  As plain values, or not at all.

A pickle is a program: what makes it dangerous is that it can name any function and call it. Here no name is looked up,
so nothing can be called; dicts, lists, strings and numbers need no names.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from serotine.errors import InvalidInput

__all__ = ["read_plain_pickle"]


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it names {module_name}.{global_name}, which is not looked up")

    def persistent_load(self, pid: Any) -> NoReturn:  # noqa: ARG002
        raise pickle.UnpicklingError("it refers to an object outside")


def read_plain_pickle(source: bytes | BinaryIO, path: Path) -> Any:
    """Return the dict, list, string, number, ... in a pickle. path: of the file, for the message.

    Raises:
        InvalidInput: it is none, or holds anything else; nothing in it was executed.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        return _PlainUnpickler(file).load()
    except Exception as error:  # what a damaged pickle raises is not documented
        raise InvalidInput(
            f"{path} is no pickle of plain dicts, strings and numbers ({error}); nothing in it was executed. Expected "
            "a map of ids as PyLate writes it"
        ) from error
