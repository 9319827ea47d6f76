"""Proves that the candidates of several queries are encoded in one call, each as it is alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from serotine.errors import InvalidInput
from serotine.models import ColBERT

from .conftest import TEXTS


def test_a_list_of_lists_gives_a_list_of_lists_of_the_same_vectors(model: ColBERT) -> None:
    groups = [TEXTS[:2], [], TEXTS[2:5]]
    encoded = model.encode(groups, is_query=False)
    assert [len(group) for group in encoded] == [2, 0, 3]
    alone = model.encode(TEXTS[:5], is_query=False)
    for vectors, expected in zip([*encoded[0], *encoded[2]], alone, strict=True):
        np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_tensors_of_documents_of_different_lengths_come_in_lists_too(model: ColBERT) -> None:
    encoded = model.encode([TEXTS[:2], (TEXTS[3],)], is_query=False, convert_to_tensor=True)
    assert [[type(vectors) for vectors in group] for group in encoded] == [[torch.Tensor] * 2, [torch.Tensor]]
    assert len(encoded[0][0]) != len(encoded[1][0])


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ([["bats"], "moth"], {}, "text 0 is a list"),
        ([["bats"], [None]], {}, "text 1 is NoneType"),
        ([[["bats"]]], {}, "text 0 is a list"),
        ([[], []], {}, "no texts"),
        ([["bats"]], {"packed": True}, "neither packed nor given raw"),
        ([["bats"]], {"output_value": None}, "neither packed nor given raw"),
    ],
)
def test_what_is_no_list_of_lists_of_texts_is_refused(model: ColBERT, texts, options, message) -> None:
    with pytest.raises(InvalidInput, match=message):
        model.encode(texts, **options)
