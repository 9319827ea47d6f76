"""By which name does a programmer write this?  Public names of definitions, found by following what modules bind.

``_bisect.bisect_left`` is written ``bisect.bisect_left``, ``unittest.case.TestCase`` is written ``unittest.TestCase``
and ``random.randint`` is a method of a hidden instance. A definition without any public name has no document.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from serotine.demo._source import Alias, Binding, Definition, Import, Instance, Module

__all__ = ["Namespace", "is_public"]


def is_public(dotted_name: str) -> bool:
    """True if no part of a name begins with an underscore."""
    return not any(part.startswith("_") for part in dotted_name.split("."))


class Namespace:
    """The modules of a corpus as one graph of names.

    implementation_modules: modules whose own names nobody writes though they have no underscore (``posix``).
    """

    def __init__(self, modules: Mapping[str, Module], *, implementation_modules: Collection[str] = ()) -> None:
        self.modules = modules
        self._implementation_modules = frozenset(implementation_modules)

    def public_modules(self) -> list[str]:
        """Names of the modules that a programmer imports by that name."""
        return [name for name in self.modules if self._is_public_module(name)]

    def named_definitions(self) -> dict[Definition, list[str]]:
        """Map every top-level definition to its public names, the one to use first, the others as aliases."""
        names: dict[Definition, dict[str, tuple[int, bool, bool, int, str]]] = {}
        for module_name in self.public_modules():
            module = self.modules[module_name]
            for name in sorted(self._exports(module)):
                public_name = f"{module_name}.{name}"
                for definition in self.resolve(module_name, name):
                    rank = self._rank(definition, module, name)
                    names.setdefault(definition, {})[public_name] = rank
        return {definition: sorted(ranks, key=ranks.__getitem__) for definition, ranks in names.items()}

    def resolve(self, module_name: str, dotted_name: str) -> list[Definition]:
        """Return every definition that a dotted name, written inside a module, may stand for."""
        return [
            found for found in self._resolve(module_name, dotted_name, frozenset()) if isinstance(found, Definition)
        ]

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
            if star in self.modules and first in self._exports(self.modules[star]):
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
            for member in self._member(parent, name, seen)
        ]

    def _is_public_module(self, name: str) -> bool:
        return is_public(name) and name not in self._implementation_modules

    def _exports(self, module: Module, seen: frozenset[str] = frozenset()) -> set[str]:
        """Names of a module that are meant to be written with it."""
        exported = {name for name in module.exported or () if name in module.members or name in module.lazy}
        for name, bindings in module.members.items():
            if is_public(name) and any(self._is_offered(module, binding) for binding in bindings):
                exported.add(name)
        for star in module.stars:
            source = self.modules.get(star)
            if source and star not in seen and self._is_part_of(star, module):
                exported |= self._exports(source, seen | {module.name})
        return exported | {name for name in module.exported or () if self._has_star(module, name, seen)}

    def _has_star(self, module: Module, name: str, seen: frozenset[str]) -> bool:
        return any(
            name in self._exports(self.modules[star], seen | {module.name})
            for star in module.stars
            if star in self.modules and star not in seen
        )

    def _is_offered(self, module: Module, binding: Binding) -> bool:
        """Is a name without underscore, bound so and maybe not in ``__all__``, part of the module's interface?"""
        if isinstance(binding, Definition):
            return True
        if isinstance(binding, Instance) or module.exported is not None:
            return False
        return isinstance(binding, Alias) or self._is_part_of(binding.module, module)

    def _is_part_of(self, source: str, module: Module) -> bool:
        """Is a module that another imports from an implementation of it, rather than a tool that it uses?"""
        return not self._is_public_module(source) or source.startswith(f"{module.name}.")

    def _rank(self, definition: Definition, module: Module, name: str) -> tuple[int, bool, bool, int, str]:
        """Sort key of a public name among those of one definition; the least is the name to use."""
        if definition.home.startswith(f"{module.name}."):
            relation = 0  # a package offers what its modules define
        elif definition.home == module.name:
            relation = 1
        else:
            relation = 2
        own_module = module.name == definition.home.lstrip("_")
        listed = name in (module.exported or ())
        return relation, not listed, not own_module, len(module.name), f"{module.name}.{name}"


def parents(namespace: Namespace, definition: Definition) -> Iterator[Definition]:
    """Yield the classes that a class names as its bases, as far as the corpus holds them."""
    for base in definition.bases:
        yield from namespace.resolve(definition.home, base)
