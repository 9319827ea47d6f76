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
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from serotine.demo._extensions import inspect_modules, runtime_names
from serotine.demo._names import Namespace, PublicName, is_public
from serotine.demo._source import Alias, Definition, Module, read_modules
from serotine.errors import InvalidInput

__all__ = ["Docstring", "package_documents", "standard_library_documents"]

_TEST_FOLDERS = ("test", "tests")
# distutils was deprecated in each Python here that has it, and is gone since 3.12; the others are programs and data.
_SKIPPED_FOLDERS = (*_TEST_FOLDERS, "idlelib", "lib2to3", "turtledemo", "pydoc_data", "distutils", "_bundled")

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
    docstring: without indentation, never empty. Lone surrogates, which no encoding has, are replaced by U+FFFD here
        and in the signature.
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

    Without test folders, ``idlelib``, ``lib2to3``, ``turtledemo`` and ``distutils``. About 7,000 documents of 260
    characters on average, in 4 s on one core, on CPython 3.10 to 3.13.

    Raises:
        InvalidInput: this Python has no source files of its library (a frozen or zipped installation).

    Example:
        >>> by_id = {document.id: document for document in standard_library_documents()}
        >>> by_id["str.zfill"].signature
        '(width, /)'
    """
    root = Path(os.__file__).parent  # sysconfig would run a module of build settings to find the same folder
    modules = read_modules(root, prefix="", skipped_folders=(*_SKIPPED_FOLDERS, "site-packages", "dist-packages"))
    if "textwrap" not in modules:
        raise InvalidInput(
            f"the standard library at {root} holds no Python sources; use an installation that ships them"
        )
    for module_name, names in runtime_names().items():
        module = modules[module_name]
        module.exported = (module.exported or set()) | names.keys()
        for name, binding in names.items():
            module.members.setdefault(name, []).append(binding)
    modules["os.path"] = replace(modules[os.path.__name__], name="os.path")
    return _documents({**inspect_modules(), **modules}, implementation_modules=_IMPLEMENTATION_MODULES)


def package_documents(name: str) -> list[Docstring]:
    """Return every public docstring of an installed package, or module, in order of id; it is not imported.

    name: as one imports it (``sklearn``, not ``scikit-learn``), with dots for a part of a package. Test folders and
    modules written in C are left out. Cost: about 0.3 s per megabyte of source.

    Raises:
        InvalidInput: no such package, or it holds no Python source with docstrings.

    Example:
        >>> [document.id for document in package_documents("textwrap")][:3]
        ['textwrap', 'textwrap.TextWrapper', 'textwrap.TextWrapper.fill']
    """
    modules: dict[str, Module] = {}
    for root in _source_roots(name):
        modules |= read_modules(root, prefix=name, skipped_folders=_TEST_FOLDERS)
    documents = _documents(modules, implementation_modules=())
    if not documents:
        raise InvalidInput(f"package {name!r} has no Python source with docstrings of public names; choose another one")
    return documents


def _source_roots(name: str) -> list[Path]:
    """The folders (several for a namespace package) or the file that an import of a dotted name would read."""
    search_path: list[str] | None = None
    for depth, part in enumerate(name.split("."), start=1):
        # PathFinder looks a name up and runs nothing; importlib.util.find_spec would import the parents of a.b.
        qualified_name = ".".join(name.split(".")[:depth])
        spec = importlib.machinery.PathFinder.find_spec(qualified_name, search_path) if part.isidentifier() else None
        if spec is None:
            raise InvalidInput(
                f"no package {name!r} is installed in {sys.prefix} (nothing named {qualified_name!r} was found); "
                "give the name that is imported, which may differ from the name that is installed"
            )
        search_path = list(spec.submodule_search_locations or [])
    if search_path:
        return [Path(folder) for folder in search_path]
    return [Path(spec.origin)] if spec and spec.origin and spec.origin.endswith(".py") else []


def _documents(modules: Mapping[str, Module], *, implementation_modules: Collection[str]) -> list[Docstring]:
    namespace = Namespace(modules, implementation_modules=implementation_modules)
    namespace.copy_docstrings()
    best: dict[str, Docstring] = {}
    aliases: dict[str, set[str]] = {}
    for document in _all_documents(namespace):
        aliases.setdefault(document.id, set()).update(document.aliases)
        known = best.get(document.id)
        says_something = document.docstring not in ("", document.id.rpartition(".")[2])  # ast.Sub says "Sub"
        # Twins in Python and C, or one per platform: the more talkative docstring is kept.
        if says_something and (known is None or len(document.docstring) > len(known.docstring)):
            best[document.id] = document
    return _without_repetitions(
        [replace(document, aliases=tuple(sorted(aliases[name] - {name}))) for name, document in best.items()]
    )


def _all_documents(namespace: Namespace) -> Iterator[Docstring]:
    for module_name in namespace.public_modules():
        yield Docstring(module_name, module_name, "", namespace.docstring(namespace.modules[module_name]))
    named = namespace.named_definitions()
    for definition, names in named.items():
        for name, aliases in _grouped_names(definition, names):
            yield from _definition_documents(namespace, definition, name, aliases, named)


def _grouped_names(definition: Definition, names: list[PublicName]) -> Iterator[tuple[PublicName, list[PublicName]]]:
    """Split the names of a definition into documents: the first name with its aliases, then the borrowed names.

    ``secrets.choice`` is the method ``random.Random.choice``, and yet another thing to a reader than ``random.choice``.
    """
    own, borrowed = names[:1], names[:0]
    for name in names[1:]:
        is_elsewhere = name.module.split(".")[0] != names[0].module.split(".")[0]
        (borrowed if definition.is_member and is_elsewhere else own).append(name)
    yield own[0], own[1:]
    for name in borrowed:
        yield name, []


def _definition_documents(
    namespace: Namespace,
    definition: Definition,
    name: PublicName,
    aliases: list[PublicName],
    named: Mapping[Definition, list[PublicName]],
) -> Iterator[Docstring]:
    """Yield the document of a definition and, for a class, those of its members."""
    yield _document(name, definition, aliases)
    first_names: dict[Definition, PublicName] = {}
    for member_name, members in _members(namespace, definition, named).items():
        for member in members:
            qualified_name = PublicName(name.module, f"{name.name}.{member_name}")
            if member in named:  # random.Random.choice is random.choice already
                yield _document(named[member][0], member, [qualified_name])
            elif member in first_names:  # "configure = config"
                yield _document(first_names[member], member, [qualified_name])
            else:
                first_names[member] = qualified_name
                yield from _definition_documents(namespace, member, qualified_name, [], named)


def _document(name: PublicName, definition: Definition, aliases: list[PublicName]) -> Docstring:
    signature, docstring = _encodable(definition.signature), _encodable(definition.docstring)
    return Docstring(str(name), name.module, signature, docstring, tuple(map(str, aliases)))


def _encodable(text: str) -> str:
    """Replace lone surrogates: a literal may spell them, but tokenizers and files refuse them."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _members(
    namespace: Namespace,
    definition: Definition,
    named: Mapping[Definition, list[PublicName]],
    seen: frozenset[Definition] = frozenset(),
) -> dict[str, list[Definition]]:
    """The public members of a class, and those of its bases that have no public name, argparse's _ActionsContainer.

    seen: classes on the way down, against an endless descent at ``class A(A)``.
    """
    seen |= {definition}
    members: dict[str, list[Definition]] = {}
    for name, bindings in definition.members.items():
        if is_public(name):
            for binding in bindings:
                # "configure = config": the same definition again, under the name of the assignment.
                targets = definition.members.get(binding.target, []) if isinstance(binding, Alias) else [binding]
                members.setdefault(name, []).extend(target for target in targets if isinstance(target, Definition))
    for parent in namespace.parents(definition):
        if parent not in named and parent not in seen:
            for name, inherited in _members(namespace, parent, named, seen).items():
                if not any(member.docstring for member in members.get(name, [])):
                    members[name] = inherited
    return members


def _without_repetitions(documents: Iterable[Docstring]) -> list[Docstring]:
    """Merge documents of one module that differ in the class alone: ``bytearray.zfill`` is an alias of ``bytes.zfill``.

    They share the last part of the name, the signature and the whole docstring. The shortest id stays.
    """
    groups: dict[tuple[str, str, str, str], list[Docstring]] = {}
    for document in documents:
        last_part = document.id.rpartition(".")[2]
        groups.setdefault((document.module, last_part, document.signature, document.docstring), []).append(document)
    merged = []
    for group in groups.values():
        kept, *others = sorted(group, key=lambda document: (len(document.id), document.id))
        names = {name for document in group for name in (document.id, *document.aliases)} - {kept.id}
        merged.append(replace(kept, aliases=tuple(sorted(names))) if others else kept)
    return sorted(merged, key=lambda document: document.id)
