"""What is trained of the base model?  Two thin factors beside each of its matrices, and the projection."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from tokens import Packed, encoded, projected
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from serotine.models.bundle import _add_factors
from serotine.scores import TokenWeights

LAYERS = r"encoder\.layer\.{numbers}\..*(query|key|value|dense)"


def merge(base: Any, path: Path) -> Tensor:
    """Add what `Adapted.save` wrote to the base model's weights, and return its projection."""
    tensors = load_file(path, device=str(base.device))
    _add_factors(base[0].model, tensors)
    return tensors["projection"]


class Factors(nn.Module):
    """What a matrix is once a product of two thin ones, which begins at zero, has been added to it.

    PEFT multiplies by the factors apart from the matrix, which is less work where matrices are large. Here it would be
    more kernels than the interpreter can start while a GPU works off those of one layer.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(weight.new_empty(rank, weight.shape[1]))
        self.up = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
        self.scale = 1.0
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the sum."""
        with torch.autocast(weight.device.type, enabled=False):
            return weight + self.scale * (self.up @ self.down)


class Adapted(NamedTuple):
    """A base model with adapters, and a projection."""

    base: Any
    projection: Tensor
    layers: dict[str, Factors]  # by the name of a linear layer of the transformer
    importance: TokenWeights | None = None  # of query tokens; their vectors' lengths

    @classmethod
    def of(cls, base: Any, projection: Tensor, *, rank: int, importance: bool = False, depth: int = 0) -> Adapted:
        """Put adapters, which change nothing yet, beside the linear layers of the base's transformer.

        depth: of that many layers from below there are none.
        """
        model = base[0].model
        numbers = "|".join(map(str, range(depth, len(model.encoder.layer))))
        adapted = re.compile(LAYERS.format(numbers=f"({numbers})"))
        layers = {}
        for name in [name for name, _ in model.named_modules() if adapted.fullmatch(name)]:
            layer = model.get_submodule(name)
            layers[name] = Factors(layer.weight, rank)
            parametrize.register_parametrization(layer, "weight", layers[name])
        weights = TokenWeights(len(projection), documents=False).to(projection.device) if importance else None
        return cls(base.eval(), projection.detach().clone().requires_grad_(), layers, weights)

    def projected(self, vectors: Tensor, task: str) -> Tensor:
        """Return vectors in the projection's dimensions, of length 1 or, of queries, of the token's importance."""
        unit = projected(vectors, self.projection)
        if self.importance is None or task != "query":
            return unit
        layer = self.importance.query_importance
        return unit * functional.softplus(layer(unit))

    @torch.no_grad()
    def load(self, path: Path) -> None:
        """Read what `save` wrote of a model of this rank."""
        tensors = load_file(path)
        self.projection.copy_(tensors["projection"])
        for name, layer in self.layers.items():
            layer.down.copy_(tensors[f"{name}.down"])
            layer.up.copy_(tensors[f"{name}.up"])

    def factors(self) -> list[Tensor]:
        """Return what is trained of the adapters."""
        return [factor for layer in self.layers.values() for factor in layer.parameters()]

    def at(self, scale: float) -> Callable[[Packed, str], Packed]:
        """Return an encoder whose adapters count `scale` times."""

        def encode(ids: Packed, task: str) -> Packed:
            for layer in self.layers.values():
                layer.scale = scale
            with parametrize.cached():
                vectors = encoded(self.base, ids, task)
            for layer in self.layers.values():
                layer.scale = 1.0
            return vectors._replace(values=self.projected(vectors.values, task).detach().half())

        return encode

    def save(self, path: Path, *, scale: float) -> None:
        """Write the projection (float32) and the factors (float16): ``weight += up @ down``."""
        tensors = {"projection": self.projection.detach()}
        for name, layer in self.layers.items():
            tensors[f"{name}.down"] = layer.down.detach().half()
            tensors[f"{name}.up"] = (layer.up.detach() * scale).half()
        if self.importance is not None:
            tensors |= {f"importance.{name}": weight for name, weight in self.importance.state_dict().items()}
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, path)
