"""What does a Python source file define?  Its definitions, imports and aliases, read with `ast`; nothing is run.

A module is described by what each of its names may be bound to. A name can have several bindings (both arms of an
``if``, a Python version beside its C accelerator); all are kept, because which one runs cannot be known statically.
"""

from __future__ import annotations

import ast
import inspect
import os
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

__all__ = ["Alias", "Binding", "Definition", "Import", "Instance", "Module", "read_modules"]


@dataclass(frozen=True, slots=True)
class Import:
    """``from module import name``, or ``import module`` where name is None."""

    module: str
    name: str | None


@dataclass(frozen=True, slots=True)
class Alias:
    """``this = dotted.name``."""

    target: str


@dataclass(frozen=True, slots=True)
class Instance:
    """``this = DottedClass(...)``."""

    of: str


@dataclass(eq=False, slots=True)
class Definition:
    """A class, a function or an attribute (a property, a slot of a C type), compared by identity.

    home: the module that defines it. name: its own name there. signature: ``(width, /)`` without self; empty if it has
    none or it is unknown. docstring: cleaned of indentation; a class carries that of its constructor below its own.
    bases: as written. is_member: defined inside a class.
    """

    home: str
    name: str
    signature: str = ""
    docstring: str = ""
    is_class: bool = False
    is_member: bool = False
    bases: tuple[str, ...] = ()
    members: dict[str, list[Binding]] = field(default_factory=dict)


Binding: TypeAlias = Import | Alias | Instance | Definition


@dataclass(eq=False, slots=True)
class Module:
    """What one module binds.

    members: name -> everything that it may be bound to. stars: modules of ``from module import *``.
    exported: the strings of ``__all__``, None without a literal one. lazy: what the imports inside a module-level
    ``__getattr__`` bind. copied_docstrings: definitions, with the dotted name whose docstring they are given.
    """

    name: str
    docstring: str = ""
    is_package: bool = False
    members: dict[str, list[Binding]] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    exported: set[str] | None = None
    lazy: dict[str, list[Binding]] = field(default_factory=dict)
    copied_docstrings: list[tuple[Definition, str]] = field(default_factory=list)


def read_modules(root: Path, *, prefix: str, skipped_folders: Collection[str]) -> dict[str, Module]:
    """Read every module below a folder (or the one module of a file); returns name -> module, in order of names.

    prefix: the name of the package that the folder is, empty for a folder of top-level modules.
    A file that this Python cannot read or parse is left out, and one warning names all such files.
    """
    modules: dict[str, Module] = {}
    unreadable: list[str] = []
    for path, name in sorted(_source_files(root, prefix, skipped_folders), key=lambda pair: pair[1]):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # invalid escapes in other people's literals
                tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError):  # OSError: a dangling link; ValueError: null bytes
            unreadable.append(str(path))
            continue
        modules[name] = _ModuleReader(name, is_package=path.name == "__init__.py").read(tree)
    if unreadable:
        warnings.warn(
            f"{len(unreadable)} source files cannot be read as Python and are left out: {', '.join(unreadable)}",
            stacklevel=3,
        )
    return modules


def _source_files(root: Path, prefix: str, skipped_folders: Collection[str]) -> Iterator[tuple[Path, str]]:
    if root.is_file():
        yield root, prefix
        return
    for folder, folders, files in os.walk(root):
        # A folder with a dash or a dot is no package: config-3.11-x86_64-linux-gnu, lib-dynload, x.dist-info.
        folders[:] = [name for name in folders if name.isidentifier() and name not in skipped_folders]
        package = ".".join(filter(None, [prefix, *Path(folder).relative_to(root).parts]))
        for file in files:
            stem, extension = os.path.splitext(file)
            if extension != ".py" or stem == "__main__":
                continue
            name = package if stem == "__init__" else f"{package}.{stem}".lstrip(".")
            if name:
                yield Path(folder, file), name


class _ModuleReader:
    """Fills a `Module` from a syntax tree: the module body, its class bodies, and the blocks inside both."""

    def __init__(self, name: str, *, is_package: bool) -> None:
        self.module = Module(name, is_package=is_package)

    def read(self, tree: ast.Module) -> Module:
        self.module.docstring = _docstring(tree)
        self._read_body(tree.body, self.module.members, in_class=False)
        return self.module

    def _read_body(self, body: list[ast.stmt], members: dict[str, list[Binding]], *, in_class: bool) -> None:
        for node in _flat(body):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                signature = _signature(node, is_method=in_class)
                definition = Definition(self.module.name, node.name, signature, _docstring(node), is_member=in_class)
                members.setdefault(node.name, []).append(definition)
                if node.name == "__getattr__" and not in_class:
                    self._read_imports(ast.walk(node), self.module.lazy)
            elif isinstance(node, ast.ClassDef):
                members.setdefault(node.name, []).append(self._class(node))
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                self._read_imports([node], members)
            elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
                self._read_assignment(node, members)
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and not in_class:
                self._read_export_call(node.value)

    def _class(self, node: ast.ClassDef) -> Definition:
        bases = tuple(name for base in node.bases if (name := _dotted(base)))
        definition = Definition(self.module.name, node.name, docstring=_docstring(node), is_class=True, bases=bases)
        self._read_body(node.body, definition.members, in_class=True)
        for binding in definition.members.get("__doc__", []):
            if isinstance(binding, Alias):  # "__doc__ = other.__doc__"
                self.module.copied_docstrings.append((definition, binding.target.removesuffix(".__doc__")))
        for constructor in ("__init__", "__new__"):
            for binding in definition.members.get(constructor, []):
                if isinstance(binding, Definition):
                    definition.signature = definition.signature or binding.signature
                    if binding.docstring not in definition.docstring:
                        definition.docstring = f"{definition.docstring}\n\n{binding.docstring}".strip()
        return definition

    def _read_imports(self, nodes: Iterator[ast.AST] | list[ast.AST], members: dict[str, list[Binding]]) -> None:
        for node in nodes:
            if isinstance(node, ast.Import):
                for name in node.names:
                    # "import a.b" binds a; the other forms bind the module that they name.
                    target = name.name if name.asname else name.name.split(".")[0]
                    members.setdefault(name.asname or target, []).append(Import(target, None))
            elif isinstance(node, ast.ImportFrom):
                source = self._absolute(node)
                for name in node.names:
                    if name.name == "*":
                        self.module.stars.append(source)
                        continue
                    bound_name = name.asname or name.name
                    # Inside __getattr__ the local name means nothing: "from .thread import Pool as p; return p".
                    if members is self.module.lazy:
                        bound_name = name.name
                    members.setdefault(bound_name, []).append(Import(source, name.name))

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.module.name.split(".")
        parts = parts[: len(parts) - node.level + self.module.is_package]
        return ".".join([*parts, node.module] if node.module else parts)

    def _read_assignment(
        self, node: ast.Assign | ast.AnnAssign | ast.AugAssign, members: dict[str, list[Binding]]
    ) -> None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            if node.value is None:
                continue
            if isinstance(target, ast.Subscript) and ast.unparse(target) == "sys.modules[__name__]":
                self._read_replacement(node.value)
            if isinstance(target, ast.Attribute) and target.attr == "__doc__":
                self._read_docstring(members.get(_dotted(target.value) or "", []), node.value)
            if not isinstance(target, ast.Name):
                continue
            if target.id == "__doc__" and members is self.module.members and isinstance(node.value, ast.Constant):
                self.module.docstring = inspect.cleandoc(str(node.value.value)).strip()
            if target.id == "__all__" and members is self.module.members:
                self._export(node.value)
            elif name := _dotted(node.value):
                members.setdefault(target.id, []).append(Alias(name))
            elif isinstance(node.value, ast.Call) and (name := _dotted(node.value.func)):
                members.setdefault(target.id, []).append(Instance(name))

    def _read_replacement(self, value: ast.expr) -> None:
        """``sys.modules[__name__] = other``: an import of this module gives the other, so all its names are here."""
        for binding in self.module.members.get(_dotted(value) or "", []):
            if isinstance(binding, Import) and binding.name is None:
                self.module.stars.append(binding.module)

    def _read_docstring(self, bindings: list[Binding], value: ast.expr) -> None:
        """``function.__doc__ = "..."`` or ``function.__doc__ = other.__doc__``."""
        for definition in bindings:
            if not isinstance(definition, Definition):
                continue
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                definition.docstring = inspect.cleandoc(value.value).strip()
            elif isinstance(value, ast.Attribute) and value.attr == "__doc__" and (source := _dotted(value.value)):
                self.module.copied_docstrings.append((definition, source))

    def _read_export_call(self, call: ast.Call) -> None:
        """``__all__.append("name")`` and ``__all__.extend([...])``."""
        if isinstance(call.func, ast.Attribute) and _dotted(call.func.value) == "__all__":
            for argument in call.args:
                self._export(argument)

    def _export(self, value: ast.expr) -> None:
        names = {node.value for node in ast.walk(value) if isinstance(node, ast.Constant)}
        strings = {name for name in names if isinstance(name, str)}
        if strings:
            self.module.exported = (self.module.exported or set()) | strings


def _flat(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body and of the if, try and with blocks inside it, in order of the file."""
    for node in body:
        yield node
        for block in ("body", "handlers", "orelse", "finalbody"):
            if isinstance(node, (ast.If, ast.Try, ast.With, ast.ExceptHandler)):
                yield from _flat(getattr(node, block, []))


def _docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return (ast.get_docstring(node) or "").strip()


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef, *, is_method: bool) -> str:
    """``(a, *, b=1)`` without annotations and self; empty for a property."""
    decorators = [(_dotted(decorator) or "").rpartition(".")[2] for decorator in node.decorator_list]
    if any("property" in name.lower() or name in ("setter", "getter", "deleter") for name in decorators):
        return ""
    arguments = node.args
    for argument in ast.walk(arguments):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    if is_method and "staticmethod" not in decorators:
        del (arguments.posonlyargs or arguments.args)[:1]
    return f"({ast.unparse(arguments)})"


def _dotted(node: ast.AST) -> str | None:
    """``a.b.c`` as text, None if the expression is anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (value := _dotted(node.value)):
        return f"{value}.{node.attr}"
    return None
