"""By which name does a programmer write this?  Public names of definitions, found by following what modules bind.

``_bisect.bisect_left`` is written ``bisect.bisect_left``, ``unittest.case.TestCase`` is written ``unittest.TestCase``
and ``random.randint`` is a method of a hidden instance. A definition without any public name has no document.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from serotine.demo._source import Alias, Binding, Definition, Import, Module

__all__ = ["Namespace", "PublicName", "is_public"]


def is_public(dotted_name: str) -> bool:
    """True if no part of a name begins with an underscore."""
    return not any(part.startswith("_") for part in dotted_name.split("."))


_Rank: TypeAlias = tuple[int, bool, bool, bool, int, str]


class PublicName(NamedTuple):
    """A module to import and the name, maybe dotted, to write after it."""

    module: str
    name: str

    def __str__(self) -> str:
        return self.name if self.module == "builtins" else f"{self.module}.{self.name}"


class Namespace:
    """The modules of a corpus as one graph of names.

    implementation_modules: modules whose own names nobody writes though they have no underscore (``posix``).
    """

    def __init__(self, modules: Mapping[str, Module], *, implementation_modules: Collection[str] = ()) -> None:
        self.modules = modules
        self._implementation_modules = frozenset(implementation_modules)
        self._known_star_names: dict[str, set[str]] = {}

    def public_modules(self) -> list[str]:
        """Names of the modules that a programmer imports by that name."""
        return [name for name in self.modules if self.is_public_module(name)]

    def named_definitions(self) -> dict[Definition, list[PublicName]]:
        """Map every top-level definition to its public names, the one to use first, the others as aliases."""
        names: dict[Definition, dict[PublicName, _Rank]] = {}
        for module_name in self.public_modules():
            module = self.modules[module_name]
            for name in sorted(self._interface(module)):
                for definition in self.resolve(module_name, name):
                    public_name = PublicName(module_name, name)
                    names.setdefault(definition, {})[public_name] = self._rank(definition, module, name)
        return {definition: sorted(ranks, key=ranks.__getitem__) for definition, ranks in names.items()}

    def resolve(self, module_name: str, dotted_name: str) -> list[Definition]:
        """Return every definition that a dotted name, written inside a module, may stand for."""
        found = self._resolve(module_name, dotted_name, frozenset())
        return [definition for definition in found if isinstance(definition, Definition)]

    def copy_docstrings(self) -> None:
        """Give definitions the docstrings that the source copies to them, ``this.__doc__ = other.__doc__``."""
        for module in self.modules.values():
            for definition, source in module.copied_docstrings:
                originals = [original.docstring for original in self.resolve(module.name, source)]
                definition.docstring = max([definition.docstring, *originals], key=len)

    def parents(self, definition: Definition) -> Iterator[Definition]:
        """Yield the classes that a class names as its bases, as far as the corpus holds them."""
        for base in definition.bases:
            yield from self.resolve(definition.home, base)

    def docstring(self, module: Module) -> str:
        """Return a module's own docstring, or the one that it imports (``from _struct import __doc__``)."""
        imported = [
            self.modules[binding.module].docstring
            for binding in module.members.get("__doc__", [])
            if isinstance(binding, Import) and binding.module in self.modules
        ]
        return max([module.docstring, *imported], key=len)

    def is_public_module(self, name: str) -> bool:
        """Does a programmer import this module by its own name?"""
        return is_public(name) and name not in self._implementation_modules

    def _resolve(
        self, module_name: str, dotted_name: str, seen: frozenset[tuple[str, str]]
    ) -> list[Definition | Module]:
        module = self.modules.get(module_name)
        if module is None or (module_name, dotted_name) in seen:  # not part of the corpus, or a cycle of imports
            return []
        seen = seen | {(module_name, dotted_name)}
        first, _, rest = dotted_name.partition(".")
        found: list[Definition | Module] = []
        for binding in [*module.members.get(first, []), *module.lazy.get(first, [])]:
            found += self._follow(module_name, binding, seen)
        for star in module.stars:
            if star in self.modules and first in self._star_names(self.modules[star]):
                found += self._resolve(star, first, seen)
        if f"{module_name}.{first}" in self.modules:
            found.append(self.modules[f"{module_name}.{first}"])
        for part in rest.split(".") if rest else []:
            found = [target for owner in found for target in self._member(owner, part, seen)]
        return list(dict.fromkeys(found))

    def _follow(
        self, module_name: str, binding: Binding, seen: frozenset[tuple[str, str]]
    ) -> list[Definition | Module]:
        if isinstance(binding, Definition):
            return [binding]
        if isinstance(binding, Import):
            if binding.name is not None:
                return self._resolve(binding.module, binding.name, seen)
            return [self.modules[binding.module]] if binding.module in self.modules else []
        # An instance has the attributes of its class, which is all that is asked of it.
        return self._resolve(module_name, binding.target if isinstance(binding, Alias) else binding.of, seen)

    def _member(
        self, owner: Definition | Module, name: str, seen: frozenset[tuple[str, str]]
    ) -> list[Definition | Module]:
        if isinstance(owner, Module):
            return self._resolve(owner.name, name, seen)
        own: list[Definition | Module] = [
            binding for binding in owner.members.get(name, []) if isinstance(binding, Definition)
        ]
        if own:
            return own
        return [
            member
            for base in owner.bases
            for parent in self._resolve(owner.home, base, seen)
            for member in self._member(parent, name, seen | {(owner.home, base)})  # ends at "class A(A)"
        ]

    def _interface(self, module: Module) -> set[str]:
        """Public names that are written after the name of a module: what it lists, and whatever else it defines."""
        defined = {name for name, bindings in module.members.items() if _holds_definition(bindings)}
        return {name for name in self._star_names(module) | defined if is_public(name)}

    def _star_names(self, module: Module) -> set[str]:
        """Names that ``from module import *`` may bind. Longer than ``__all__``, which code can extend at run time."""
        if module.name not in self._known_star_names:
            self._known_star_names[module.name] = names = set(module.exported or ())  # early: ends a cycle of stars
            if module.exported is None:
                names |= {name for name, bindings in module.members.items() if self._is_offered(module, bindings)}
            for star in module.stars:
                if star in self.modules and self._is_part_of(star, module):
                    names |= self._star_names(self.modules[star])
        return self._known_star_names[module.name]

    def _is_offered(self, module: Module, bindings: list[Binding]) -> bool:
        """Does a module without ``__all__`` mean this name for others? An import for its own use is not meant so."""
        return any(
            isinstance(binding, (Definition, Alias))
            or (isinstance(binding, Import) and self._is_part_of(binding.module, module))
            for binding in bindings
        )

    def _is_part_of(self, source: str, module: Module) -> bool:
        """Is a module that another imports from an implementation of it, rather than a tool that it uses?"""
        return not self.is_public_module(source) or source.startswith(f"{module.name}.")

    def _rank(self, definition: Definition, module: Module, name: str) -> _Rank:
        """Sort key of a public name among those of one definition; the least is the name to use."""
        if definition.home.startswith(f"{module.name}."):
            relation = 0  # a package offers what its modules define
        elif definition.home == module.name:
            relation = 1
        else:
            relation = 2
        is_listed = name in (module.exported or ())
        is_own_name = name == definition.name
        is_twin = module.name == definition.home.lstrip("_")  # _bisect and bisect
        return relation, not is_listed, not is_own_name, not is_twin, len(module.name), f"{module.name}.{name}"


def _holds_definition(bindings: list[Binding]) -> bool:
    return any(isinstance(binding, Definition) for binding in bindings)
