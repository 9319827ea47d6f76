"""May a model be loaded, and is it whole?  Everything that can be told before a class is chosen or a number read.

Sentence Transformers and transformers read the same files later; what is refused here never reaches them.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from serotine.errors import CorruptModel, UntrustedModel
from serotine.models.formats.classes import ACTIVATIONS, activation, module_class
from serotine.models.formats.layout import Checkpoint
from serotine.models.formats.source import Source, inside
from serotine.models.formats.weights import Weights, find_weights

__all__ = ["EXPORTED", "check"]

EXPORTED = {"onnx": ("model.onnx", "onnx"), "openvino": ("openvino_model.xml", "openvino")}
"""File and usual folder of an exported backbone, by backend."""

_OTHERS_WITH_WEIGHTS = ("LayerNorm",)
"""Of the classes in `classes`, beside backbones and projections; the rest have settings only."""


@dataclass(frozen=True)
class _Rules:
    """What is allowed, and what is loaded; see `check`."""

    backend: str
    trust_remote_code: bool
    allow_pickles: bool
    known_classes: Container[str]


def check(
    checkpoint: Checkpoint,
    *,
    backend: str = "torch",
    trust_remote_code: bool = False,
    allow_pickles: bool = False,
    known_classes: Container[str] = (),
) -> Weights | None:
    """Check the files of a model; return the weights of its backbone, None if they are not plain ones.

    backend: with "onnx" and "openvino" an exported model may take the place of the weights. trust_remote_code: allow
    code of the model's own, and then any name in its configuration. known_classes: names of module classes that the
    caller has the classes of.

    The modules of a Router are checked as those of modules.json are; its backbones are not plain ones.

    Raises:
        UntrustedModel: a class or activation that is not known, code of its own, or pickles, and not allowed.
        CorruptModel: a file is missing, not what it should be, or has other shapes than its configuration.
    """
    source = checkpoint.source
    rules = _Rules(backend, trust_remote_code, allow_pickles, known_classes)
    modules = [_module(source, entry, rules) for entry in checkpoint.modules or []]
    routed = [module for kind, folder in modules if kind == "Router" for module in _routed(source, folder, rules, ())]
    weights = None
    for kind, folder in (*modules, *routed):
        if kind == "Transformer":
            weights = _check_backbone(checkpoint, folder, rules)
        elif kind == "Dense":
            _check_projection(source, folder, rules)
        elif kind in _OTHERS_WITH_WEIGHTS:
            find_weights(source, folder, allow_pickles=allow_pickles)
    kinds = [kind for kind, _ in modules]
    if "Router" in kinds:
        return None
    return weights if "Transformer" in kinds else _check_backbone(checkpoint, "", rules)


def _module(source: Source, entry: Any, rules: _Rules) -> tuple[str | None, str]:
    """Return the name of the class of an entry of modules.json, None for a class that is not ours, and its folder."""
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str) or not isinstance(entry.get("path"), str):
        raise CorruptModel(f"{source.name}: modules.json: expected entries with name, path and type, found {entry!r}")
    inside(source.name, entry["path"])
    return _known_class(source, entry["type"], rules), entry["path"]


def _routed(source: Source, folder: str, rules: _Rules, routers: tuple[str, ...]) -> list[tuple[str | None, str]]:
    """Return class and folder of each module of a Router, and of the Routers in it. routers: those that it is in."""
    if folder in routers:
        raise CorruptModel(f"{source.name}: {folder or '.'}: expected a Router of other modules, found itself in it")
    # Not optional: without any types, Sentence Transformers would take those of config.json.
    types = source.required_json("router_config.json", folder).get("types")
    if not isinstance(types, dict) or not types or not all(isinstance(name, str) for name in types.values()):
        raise CorruptModel(
            f"{source.name}: router_config.json: expected types, the class of each module by folder, found {types!r}"
        )
    found: list[tuple[str | None, str]] = []
    for module, name in types.items():
        inside(source.name, module)
        place = PurePosixPath(folder, module).as_posix()
        kind = _known_class(source, name, rules)
        found.append((kind, "" if place == "." else place))
        if kind == "Router":
            found += _routed(source, found[-1][1], rules, (*routers, folder))
    return found


def _known_class(source: Source, name: str, rules: _Rules) -> str | None:
    if name in rules.known_classes:
        return None
    kind = module_class(name)
    if kind is None and not rules.trust_remote_code:
        raise UntrustedModel(
            f"{source.name} names the module class {name!r}, which is not one of Sentence Transformers' that a model "
            "with one vector a token can have. Nothing was imported. If it is code of the model's own, read it and "
            "pass trust_remote_code=True"
        )
    return None if kind is None else kind.__name__


def _check_projection(source: Source, folder: str, rules: _Rules) -> None:
    config = source.required_json("config.json", folder)
    wanted = config.get("activation_function", "torch.nn.Tanh")
    if activation(wanted) is None and not rules.trust_remote_code:
        raise UntrustedModel(
            f"{source.name}: {folder}/config.json names the activation {wanted!r}. Nothing was imported. Known without "
            f"trust_remote_code=True are those of torch.nn: {', '.join(sorted(ACTIVATIONS))}"
        )
    weights = find_weights(source, folder, allow_pickles=rules.allow_pickles)
    inner, outer = config.get("in_features"), config.get("out_features")
    expected: dict[str, tuple[Any, ...]] = {"linear.weight": (outer, inner)}
    if config.get("bias", True):
        expected["linear.bias"] = (outer,)
    if config.get("use_residual") and inner != outer:
        expected["residual.weight"] = (outer, inner)
    found = {name: info.shape for name, info in weights.tensors.items()}
    if found != expected:
        raise CorruptModel(f"{source.name}: {folder}: expected tensors of shapes {expected}, found {found}")


def _check_backbone(checkpoint: Checkpoint, folder: str, rules: _Rules) -> Weights | None:
    source = checkpoint.source
    if source.path("adapter_config.json", folder) is not None:
        find_weights(source, folder, allow_pickles=rules.allow_pickles, stem="adapter_model")
        return None
    config = source.required_json("config.json", folder)
    _check_architecture(checkpoint, config, trust_remote_code=rules.trust_remote_code)
    if rules.backend in EXPORTED and _is_exported(source, folder, rules.backend):
        return None
    return find_weights(source, folder, allow_pickles=rules.allow_pickles)


def _check_architecture(checkpoint: Checkpoint, config: dict[str, Any], *, trust_remote_code: bool) -> None:
    name, model_type = checkpoint.source.name, config.get("model_type")
    if (isinstance(model_type, str) and model_type in CONFIG_MAPPING) or (trust_remote_code and "auto_map" in config):
        return
    if "auto_map" in config:
        raise UntrustedModel(
            f"{name} brings code of its own ({config['auto_map']}), which was not run. Read it, and then pass "
            "trust_remote_code=True"
        )
    raise CorruptModel(
        f"{name}: config.json: expected a model_type that the installed transformers knows, found {model_type!r}. "
        "If it is a new one, update transformers"
    )


def _is_exported(source: Source, folder: str, backend: str) -> bool:
    file, usual = EXPORTED[backend]
    return any(source.path(file, place) is not None for place in (folder, f"{folder}/{usual}".strip("/")))
