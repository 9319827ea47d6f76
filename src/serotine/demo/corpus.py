"""Which texts does the demo search?  The docstrings of the running Python, or of one installed package.

A document is a docstring under the name that a programmer writes: ``str.zfill``, ``pathlib.Path.glob``,
``bisect.bisect_left`` (not ``_bisect.bisect_left``). Python sources are parsed, never run; the docstrings of modules
written in C are read from the objects (`serotine.demo._extensions` says which modules, and why that is safe).

Not in the corpus: names with a leading underscore, and special methods, which nobody calls by name (``__len__``;
there are hundreds of "Return repr(self)."). The docstring of ``__init__`` belongs to its class.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os.path
import sys
import sysconfig
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from serotine.demo._extensions import inspect_modules, runtime_names
from serotine.demo._names import Namespace, is_public, parents
from serotine.demo._source import Alias, Definition, Module, read_modules
from serotine.errors import InvalidInput

__all__ = ["Docstring", "package_documents", "standard_library_documents"]

_TEST_FOLDERS = ("test", "tests")
_SKIPPED_FOLDERS = (*_TEST_FOLDERS, "idlelib", "lib2to3", "turtledemo", "pydoc_data", "_bundled")

# Names nobody writes: the platform's half of os, both halves of os.path, the parts of re before 3.11, of xml.parsers.
_IMPLEMENTATION_MODULES = (
    *("posix", "nt", "posixpath", "ntpath", "genericpath", "pyexpat", "nturl2path"),
    *("sre_compile", "sre_constants", "sre_parse"),
)


@dataclass(frozen=True)
class Docstring:
    """One document of the demo.

    id: the name to write, ``pathlib.Path.glob``; without ``builtins.`` for what needs no import; unique in a corpus.
    module: the module to import, ``pathlib``; ``builtins`` for what needs none.
    signature: ``(width, /)``, without self and annotations; empty if it is none or unknown.
    docstring: without indentation, never empty.
    aliases: other public names of the same thing, sorted.
    """

    id: str
    module: str
    signature: str
    docstring: str
    aliases: tuple[str, ...] = field(default=())

    @property
    def text(self) -> str:
        """What is encoded and searched: name and signature on the first line, then the docstring."""
        return f"{self.id}{self.signature}\n{self.docstring}"

    @property
    def summary(self) -> str:
        """The first paragraph of the docstring, as one line."""
        return " ".join(self.docstring.split("\n\n", 1)[0].split())


def standard_library_documents() -> list[Docstring]:
    """Return every public docstring of the running Python's standard library, in order of id.

    Without ``test``, ``idlelib``, ``lib2to3`` and other test folders. About 7,000 documents in 3 s on CPython 3.11.

    Raises:
        InvalidInput: this Python has no source files of its library (a frozen or zipped installation).

    Example:
        >>> by_id = {document.id: document for document in standard_library_documents()}
        >>> by_id["str.zfill"].signature
        '(width, /)'
    """
    root = Path(sysconfig.get_path("stdlib"))
    modules = read_modules(root, prefix="", skipped_folders=(*_SKIPPED_FOLDERS, "site-packages", "dist-packages"))
    if "textwrap" not in modules:
        raise InvalidInput(
            f"the standard library at {root} holds no Python sources; use an installation that ships them"
        )
    for module_name, names in runtime_names().items():
        for name, binding in names.items():
            modules[module_name].members.setdefault(name, []).append(binding)
    modules["os.path"] = _renamed(modules[os.path.__name__], "os.path")
    return _documents({**inspect_modules(), **modules}, implementation_modules=_IMPLEMENTATION_MODULES)
