"""Pooling gives the bits of Sentence Transformers' own, and takes methods from outside."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling
from torch import Tensor

from serotine.errors import InvalidInput
from serotine.models import ColBERT, HierarchicalPooling, TokenPooling

from .conftest import TEXTS


class FirstHalf(TokenPooling):
    """Keep the first half of the vectors."""

    def pool_one(self, embedding: Tensor, **_: object) -> Tensor:
        return embedding[: len(embedding) // 2]


@pytest.mark.parametrize("factor", [1, 1.5, 2, 3, 100])
@pytest.mark.parametrize("protected", [0, 1, 3])
@pytest.mark.parametrize("normalize", [True, False])
def test_pooled_vectors_equal_those_of_sentence_transformers(
    model: ColBERT, factor: float, protected: int, normalize: bool
) -> None:
    texts = [text for text in TEXTS if text]
    reference = HierarchicalTokenPooling(factor, num_protected_tokens=protected, normalize_embeddings=normalize)
    unpooled = model.encode(texts, is_query=False, convert_to_tensor=True)
    expected = unpooled if factor == 1 else [reference.pool_one(vectors) for vectors in unpooled]
    pooled = model.encode(
        texts, is_query=False, pool_factor=factor, protected_tokens=protected, normalize_pooled=normalize
    )
    for left, right in zip(pooled, expected, strict=True):
        assert np.array_equal(left, right.numpy())


def test_queries_are_not_pooled(model: ColBERT) -> None:
    assert np.array_equal(model.encode("bats", pool_factor=4), model.encode("bats"))


def test_another_method_plugs_in(model: ColBERT) -> None:
    full = model.encode(TEXTS, is_query=False)
    halves = model.encode(TEXTS, is_query=False, token_pooling=FirstHalf(), precision="float16")
    assert halves[0].dtype == np.float16
    for half, whole in zip(halves, full, strict=True):
        assert np.array_equal(half, whole[: len(whole) // 2].astype(np.float16))


def test_pooling_inside_the_model_is_applied_and_saved(model: ColBERT, tmp_path: object) -> None:
    unpooled = len(model.encode(TEXTS[4], is_query=False))
    model.append(HierarchicalPooling(2))
    assert len(model.encode(TEXTS[4], is_query=False)) == 1 + (unpooled - 1) // 2
    with pytest.raises(InvalidInput, match="pooling inside the model"):
        model.encode(TEXTS[4], is_query=False, window_overlap=4)
    model.save_pretrained(str(tmp_path), create_model_card=False)
    again = ColBERT(str(tmp_path))
    torch.testing.assert_close(again.encode_document(TEXTS[4]), model.encode_document(TEXTS[4]))
