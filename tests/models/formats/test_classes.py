"""Names of classes are looked up in a table, never imported."""

from __future__ import annotations

import pytest
from sentence_transformers.base.modules import Dense, Transformer
from torch import nn

from serotine.models import SharedPooling
from serotine.models.formats.classes import activation, module_class


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sentence_transformers.models.Transformer", Transformer),
        ("sentence_transformers.base.modules.transformer.Transformer", Transformer),
        ("sentence_transformers.models.Dense", Dense),
        ("pylate.models.Dense.Dense", Dense),
        ("serotine.models.pooling.SharedPooling", SharedPooling),
        ("os.system", None),
        ("sentence_transformers.util.misc.importlib", None),
        ("evil.Dense", None),
        ("Dense", None),
        ("sentence_transformers_evil.Dense", None),
        ("", None),
        (None, None),
        (["a"], None),
    ],
)
def test_only_known_modules_have_a_class(name: object, kind: type | None) -> None:
    assert module_class(name) is kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("torch.nn.modules.linear.Identity", nn.Identity),
        ("torch.nn.modules.activation.Tanh", nn.Tanh),
        ("torch.nn.GELU", nn.GELU),
        ("torch.nn.modules.linear.Linear", None),
        ("torch.hub.load", None),
        ("os.system", None),
        ("Tanh", None),
        (None, None),
    ],
)
def test_only_known_activations_have_a_class(name: object, kind: type | None) -> None:
    assert activation(name) is kind
