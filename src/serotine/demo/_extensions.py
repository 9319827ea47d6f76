"""What do the modules written in C define?  They have no source to read, so their objects' ``__doc__`` is read.

Only the modules of a fixed list are imported, and only from the interpreter itself or an extension file: a
``math.py`` in the working directory is never run. A module is on the list because it was seen, on CPython 3.10 to
3.13, to do nothing on import but create its types and functions: no output, no terminal or signal set-up, no
warning, and no Python module run beyond those that this one loads already (`collections`, `functools`, `copyreg`)
and ``_compat_pickle``, a table of names. Left out for that reason: readline (sets up the terminal), _tkinter
(loads a window system), _asyncio, _decimal, _elementtree and _zoneinfo (run Python modules; each has a documented
Python twin), audioop, nis and spwd (warn; gone in 3.13), and the test extensions. A module that the list does not
know yet is not in the corpus: someone has to look at it first.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import inspect
import re
import sys
import types
from dataclasses import replace
from types import ModuleType

from serotine.demo._source import Alias, Binding, Definition, Import, Module

__all__ = ["IMPORTED_MODULES", "inspect_modules", "runtime_names"]

IMPORTED_MODULES = (
    *("_abc", "_ast", "_bisect", "_blake2", "_bz2", "_codecs", "_collections", "_contextvars", "_csv", "_ctypes"),
    *("_curses", "_curses_panel", "_datetime", "_functools", "_hashlib", "_heapq", "_imp", "_io", "_json"),
    *("_locale", "_lsprof", "_lzma", "_opcode", "_operator", "_pickle", "_queue", "_random", "_signal", "_socket"),
    *("_sqlite3", "_sre", "_ssl", "_stat", "_statistics", "_string", "_struct", "_symtable", "_thread"),
    *("_tokenize", "_tracemalloc", "_typing", "_uuid", "_warnings", "_weakref", "array", "atexit", "binascii"),
    *("builtins", "cmath", "errno", "faulthandler", "fcntl", "gc", "grp", "itertools", "marshal", "math", "mmap"),
    *("nt", "posix", "pwd", "pyexpat", "resource", "select", "sys", "syslog", "termios", "time"),
    *("unicodedata", "zlib"),
)
"""C modules that are imported where the Python has them."""

_DOCUMENTED = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    property,
)


def inspect_modules() -> dict[str, Module]:
    """Import the C modules of `IMPORTED_MODULES` and describe what they define; returns name -> module."""
    modules = {}
    for name in IMPORTED_MODULES:
        loaded = _import(name)
        if loaded is not None:
            modules[name] = _module(name, loaded)
    return modules


def _import(name: str) -> ModuleType | None:
    """Return a C module, None where this Python has none of that name."""
    if name in sys.builtin_module_names:
        return importlib.import_module(name)
    spec = importlib.util.find_spec(name)
    if spec is None or not isinstance(spec.loader, importlib.machinery.ExtensionFileLoader):
        return None
    return importlib.import_module(name)


def _module(name: str, loaded: ModuleType) -> Module:
    """Describe a module under the name that it was imported by: ``_io`` calls itself ``io``."""
    module = Module(name, docstring=inspect.cleandoc(loaded.__doc__ or "").strip())
    for attribute, value in sorted(vars(loaded).items()):
        if isinstance(value, (type, *_DOCUMENTED)) and _is_defined_by(value, name):
            module.members[attribute] = [_definition(value, name)]
    return module


def _is_defined_by(value: object, module: str) -> bool:
    """False for what a module only borrows: ``select.error`` is OSError, pytest adds functions to builtins.

    C types often call themselves by their public module: ``_collections.deque`` says ``collections``.
    """
    owner = str(getattr(value, "__module__", None) or module)
    if module == "builtins":
        return owner in ("builtins", "_io", "io") and (not isinstance(value, type) or not _is_python_class(value))
    return owner != "builtins"


def _is_python_class(value: type) -> bool:
    return any(isinstance(member, types.FunctionType) for member in vars(value).values())


def _definition(value: object, home: str) -> Definition:
    name = str(getattr(value, "__name__", ""))
    docstring = getattr(value, "__doc__", None)
    docstring = inspect.cleandoc(docstring).strip() if isinstance(docstring, str) else ""
    signature = _without_self(getattr(value, "__text_signature__", None) or "")
    definition = Definition(home, name, signature, docstring, is_class=isinstance(value, type))
    if not isinstance(value, type):
        return definition
    for name, member in sorted(vars(value).items()):
        member = member.__func__ if isinstance(member, staticmethod) else member
        if isinstance(member, _DOCUMENTED) or (isinstance(member, type) and member.__module__ == value.__module__):
            definition.members[name] = [replace(_definition(member, home), is_member=True)]
    return definition


def _without_self(signature: str) -> str:
    """``($self, width, /)`` -> ``(width, /)``."""
    return re.sub(r"^\(\$\w+(, /)?(, )?", "(", signature)


def runtime_names() -> dict[str, dict[str, Binding]]:
    """Names that the library makes while it runs, which its source therefore does not show: module -> name -> binding.

    Types that Python code gets with ``type(...)``, hash functions made in a loop, and multiprocessing's functions,
    which are the methods of one context.
    """
    hashes = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_224", "sha3_256", "sha3_384", "sha3_512")
    contextual = (
        *("Array", "Barrier", "BoundedSemaphore", "Condition", "Event", "JoinableQueue", "Lock", "Manager", "Pipe"),
        *("Pool", "Queue", "RLock", "RawArray", "RawValue", "Semaphore", "SimpleQueue", "Value", "cpu_count"),
        *("freeze_support", "get_context", "get_logger", "log_to_stderr", "set_executable", "set_forkserver_preload"),
    )
    unnamed = {
        name: value
        for name, value in vars(types).items()
        if name in types.__all__ and isinstance(value, type) and not _is_python_class(value)
    }
    return {
        "hashlib": {
            **{name: Import("_hashlib", f"openssl_{name}") for name in (*hashes, "shake_128", "shake_256")},
            **{name: Import("_blake2", name) for name in ("blake2b", "blake2s")},
            "scrypt": Import("_hashlib", "scrypt"),
        },
        "multiprocessing": {
            **{name: Alias(f"context.BaseContext.{name}") for name in contextual},
            "Process": Alias("process.BaseProcess"),
        },
        "re": {"Match": _definition(re.Match, "re"), "Pattern": _definition(re.Pattern, "re")},
        "threading": {"Lock": _definition(importlib.import_module("_thread").LockType, "threading")},
        "types": {name: _definition(value, "types") for name, value in unnamed.items()},
    }
