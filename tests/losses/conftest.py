"""Batches for losses, of a tiny model: rows of different lengths, skipped punctuation, expansion, hard negatives."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from serotine.models import ColBERT
from tests.models.conftest import backbone, model

__all__ = ["backbone", "model"]

QUERIES = ["where is the bat", "a moth?", "which river, at night", "what fly", "sound", "what is late and long"]
POSITIVES = [
    "Bats fly at night.",
    "moth",
    "the river and the sound of wings that fly to the tree at night in the cave",
    "insects, insects, insects",
    "sound of wings, of a species",
    "it is late!",
]
NEGATIVES = [
    "tree",
    "a small cave; under the tree; it is long",
    "wings",
    "the bat",
    "the moth and the bat",
    "night fly",
]
# The first document of each row is POSITIVES', the second NEGATIVES'.
FURTHER = ["a cave at night", "the bat", "insects", "under the tree; wings", "long river", "a species of moth"]
TEACHER = torch.tensor(
    [[0.9, 0.1, 0.3], [1.0, 0.0, 0.5], [0.3, 0.4, 0.0], [0.8, 0.7, 0.1], [0.5, 0.0, 0.6], [0.2, 0.1, 0.9]]
)


def column(model: ColBERT, texts: list[str], task: str = "document") -> dict[str, Any]:
    return model.preprocess(texts, task=task)


def batch_of(model: ColBERT, rows: slice = slice(None)) -> list[dict[str, Any]]:
    """(query, positive, negative), each column padded to its own longest text."""
    return [
        column(model, QUERIES[rows], "query"),
        column(model, POSITIVES[rows]),
        column(model, NEGATIVES[rows]),
    ]


def taught_batch(model: ColBERT, rows: slice = slice(None)) -> list[dict[str, Any]]:
    """`batch_of` with a third document, for TEACHER's scores: of two normalised scores there is nothing to learn."""
    return [*batch_of(model, rows), column(model, FURTHER[rows])]


def run(loss: torch.nn.Module, features: list[dict[str, Any]], labels: Any = None) -> tuple[float, list[torch.Tensor]]:
    """Return the value of a loss and the gradients of all parameters, of the score's too."""
    parameters = [parameter for parameter in loss.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.grad = None
    value = loss([dict(each) for each in features], labels)
    value.backward()
    return value.item(), [torch.zeros_like(each) if each.grad is None else each.grad.clone() for each in parameters]


def assert_same(found: tuple[float, list[torch.Tensor]], expected: tuple[float, list[torch.Tensor]]) -> None:
    """Compare values and gradients within 1e-5; of gradients near 0, which would be equal whatever they are, fail."""
    assert found[0] == pytest.approx(expected[0], rel=1e-5, abs=1e-6)
    assert max(gradient.abs().max() for gradient in expected[1]) > 1e-2
    for one, other in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.fixture
def quiet(model: ColBERT) -> ColBERT:
    """The tiny model without dropout."""
    torch.set_num_threads(1)
    return model.eval()
