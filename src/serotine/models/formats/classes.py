"""Which classes may a model's configuration name?  Those in the tables here; a name is looked up, never imported.

modules.json and config.json of a module hold dotted names of Python classes, which other loaders import. What they
may mean in a model with one vector a token is known, so nothing has to be.
"""

from __future__ import annotations

from typing import Any

from sentence_transformers.base.modules import Dense, Normalize, Router, Transformer
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling, MultiVectorMask
from sentence_transformers.sentence_transformer.modules import Dropout, LayerNorm, Pooling
from torch import nn

from serotine.models.pooling import SharedPooling

__all__ = ["ACTIVATIONS", "activation", "module_class"]

_CLASSES: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (
        Transformer,
        Dense,
        Normalize,
        Router,
        MultiVectorMask,
        HierarchicalTokenPooling,
        SharedPooling,
        Pooling,
        Dropout,
        LayerNorm,
    )
}

# Where these classes are, were in earlier versions ("sentence_transformers.models.Dense" and its kin), or are ours.
_PACKAGES = ("sentence_transformers", "pylate", "serotine")

ACTIVATIONS: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (
        nn.CELU,
        nn.ELU,
        nn.GELU,
        nn.Hardsigmoid,
        nn.Hardswish,
        nn.Hardtanh,
        nn.Identity,
        nn.LeakyReLU,
        nn.LogSigmoid,
        nn.Mish,
        nn.ReLU,
        nn.ReLU6,
        nn.SELU,
        nn.Sigmoid,
        nn.SiLU,
        nn.Softplus,
        nn.Softsign,
        nn.Tanh,
        nn.Tanhshrink,
    )
}


def module_class(name: Any) -> type[nn.Module] | None:
    """Return the class that modules.json means by a dotted name, None if it is not one of ours."""
    parts = name.split(".") if isinstance(name, str) else []
    return _CLASSES.get(parts[-1]) if len(parts) > 1 and parts[0] in _PACKAGES else None


def activation(name: Any) -> type[nn.Module] | None:
    """Return the activation that a projection's configuration means by a dotted name, None if it is not one of ours."""
    parts = name.split(".") if isinstance(name, str) else []
    return ACTIVATIONS.get(parts[-1]) if parts[:2] == ["torch", "nn"] else None
