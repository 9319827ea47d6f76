"""What is trained of the base model?  Two thin factors beside each of its matrices, and the projection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from tokens import Packed, encoded
from torch import Tensor
from torch.nn import functional

LAYERS = r"encoder\.layer\.\d+\..*(query|key|value|dense)"


class Adapted(NamedTuple):
    """A base model with adapters, and a projection."""

    base: Any
    projection: Tensor
    layers: dict[str, Any]  # name of a linear layer of the transformer -> its adapter

    @classmethod
    def of(cls, base: Any, projection: Tensor, *, rank: int) -> Adapted:
        """Put adapters, which change nothing yet, beside the linear layers of the base's transformer."""
        configuration = LoraConfig(r=rank, lora_alpha=rank, lora_dropout=0.0, target_modules=LAYERS)
        get_peft_model(base[0].model, configuration)
        layers = {name: layer for name, layer in base[0].model.named_modules() if isinstance(layer, LoraLayer)}
        return cls(base.eval(), projection.detach().clone().requires_grad_(), layers)

    def factors(self) -> list[Tensor]:
        """Return what is trained of the adapters."""
        return [weight for name, weight in self.base.named_parameters() if "lora_" in name]

    def at(self, scale: float) -> Callable[[Packed, str], Packed]:
        """Return an encoder whose adapters count `scale` times."""

        def encode(ids: Packed, task: str) -> Packed:
            for layer in self.layers.values():
                layer.scaling["default"] = scale
            vectors = encoded(self.base, ids, task)
            for layer in self.layers.values():
                layer.scaling["default"] = 1.0
            values = functional.normalize(functional.linear(vectors.values.float(), self.projection), dim=-1)
            return vectors._replace(values=values.detach().half())

        return encode

    def save(self, path: Path, *, scale: float) -> None:
        """Write the projection (float32) and the factors (float16): ``weight += up @ down``."""
        tensors = {"projection": self.projection.detach()}
        for name, layer in self.layers.items():
            tensors[f"{name}.down"] = layer.lora_A["default"].weight.detach().half()
            tensors[f"{name}.up"] = (layer.lora_B["default"].weight.detach() * scale).half()
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, path)
