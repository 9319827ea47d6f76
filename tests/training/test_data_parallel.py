"""Proves that torch's DataParallel can divide our features and join what the model returns.

Its scatter and gather move tensors between GPUs. Here the two that copy are replaced by ones that cut and join on the
CPU; what walks through the features and outputs is torch's.
"""

from __future__ import annotations

import pytest
import torch
from torch.nn.parallel import scatter_gather

from serotine.losses import CachedContrastive, Contrastive, Distillation
from serotine.utils import ColBERTCollator
from tests.training.conftest import lists, triplets


class OnTheCPU(torch.nn.Module):
    """DataParallel over two devices that are the CPU."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs, **kwargs):
        parts, options = scatter_gather.scatter_kwargs(inputs, kwargs, [0, 1])
        outputs = [self.module(*part, **each) for part, each in zip(parts, options, strict=True)]
        return scatter_gather.gather(outputs, 0)


@pytest.fixture(autouse=True)
def copying_on_the_cpu(monkeypatch):
    monkeypatch.setattr(
        scatter_gather.Scatter, "apply", lambda devices, sizes, dim, x: tuple(x.chunk(len(devices), dim))
    )
    monkeypatch.setattr(scatter_gather.Gather, "apply", lambda device, dim, *parts: torch.cat(parts, dim))


@pytest.mark.parametrize("kind", [Contrastive, CachedContrastive, Distillation])
def test_losses_and_gradients_are_those_of_one_device(calm, kind):
    calm.prompts["query"] += "at night: "
    rows = list((lists() if kind is Distillation else triplets()).select(range(4)))
    found = []
    for model in (calm, OnTheCPU(calm)):
        batch = ColBERTCollator(calm.tokenize)(rows)
        names = [name.removesuffix("input_ids") for name in batch if name.endswith("_input_ids")]
        features = [
            {key.removeprefix(name): value for key, value in batch.items() if key.startswith(name)} for name in names
        ]
        loss = kind(calm)
        loss.model = model
        calm.zero_grad()
        value = loss(features, batch.get("label"))
        value.backward()
        found.append((value.item(), [parameter.grad for parameter in calm.parameters() if parameter.grad is not None]))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    assert any(gradient.any() for gradient in found[0][1])
    for one, other in zip(*(gradients for _, gradients in found), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_outputs_hold_tensors_only(calm):
    features = calm.preprocess(["bats", "moth"], task="query")
    assert {type(value) for value in calm(features).values()} == {torch.Tensor}
    assert features["task"] == "query"  # features keep it: it decides how they are embedded
