"""Pooling makes the cheapest merges of all documents, and takes methods from outside."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling
from torch import Tensor

from serotine.errors import InvalidInput
from serotine.models import ColBERT, HierarchicalPooling, SharedPooling, TokenPooling

from .conftest import TEXTS

Array = npt.NDArray[np.float64]


class FirstHalf(TokenPooling):
    """Keep the first half of the vectors."""

    def pool_one(self, embedding: Tensor, **_: object) -> Tensor:
        return embedding[: len(embedding) // 2]


@pytest.mark.parametrize("factor", [1, 1.5, 2, 3, 100])
@pytest.mark.parametrize("protected", [0, 1, 3])
@pytest.mark.parametrize("normalize", [True, False])
def test_their_method_gives_the_bits_of_sentence_transformers(
    model: ColBERT, factor: float, protected: int, normalize: bool
) -> None:
    method = HierarchicalTokenPooling(factor, num_protected_tokens=protected, normalize_embeddings=normalize)
    unpooled = model.encode([text for text in TEXTS if text], is_query=False, convert_to_tensor=True)
    pooled = model.encode([text for text in TEXTS if text], is_query=False, token_pooling=method)
    for left, right in zip(pooled, unpooled, strict=True):
        assert np.array_equal(left, method.pool_one(right).numpy())


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def merged_by_trial(documents: list[Array], kept: int, protected: int) -> list[Array]:
    """Merge, again and again, the two clusters of all documents whose merge adds least to the squared distances."""
    clusters = [[vectors[[row]] for row in range(protected, len(vectors))] for vectors in documents]
    while sum(len(each) for each in clusters) > kept:
        cost, number, one, other = min(
            (squares(np.concatenate([each[i], each[j]])) - squares(each[i]) - squares(each[j]), number, i, j)
            for number, each in enumerate(clusters)
            for j in range(len(each))
            for i in range(j)
        )
        assert cost > -1e-9
        clusters[number][one] = np.concatenate([clusters[number][one], clusters[number].pop(other)])
    return [
        np.concatenate([vectors[:protected], *(cluster.mean(axis=0, keepdims=True) for cluster in each)])
        for vectors, each in zip(documents, clusters, strict=True)
    ]


def squares(vectors: Array) -> float:
    """Sum of squared distances to the mean."""
    return float(((vectors - vectors.mean(axis=0)) ** 2).sum())


@pytest.mark.parametrize("factor", [1, 1.5, 2, 3, 100])
@pytest.mark.parametrize("protected", [0, 1, 3])
@pytest.mark.parametrize("lengths", [(7,), (9, 4, 1, 0, 12), (2, 3), (1, 1), (0,), ()])
def test_the_cheapest_merges_of_all_documents_are_made(
    factor: float, protected: int, lengths: tuple[int, ...], rng: np.random.Generator
) -> None:
    documents = [rng.standard_normal((length, 5)) * rng.uniform(0.2, 2) for length in lengths]
    tensors = [torch.from_numpy(vectors.astype(np.float32)) for vectors in documents]
    counts = [max(length - protected, 0) for length in lengths]
    kept = sum(max(int(count / factor), 1) for count in counts if count)
    pooled = SharedPooling(factor, num_protected_tokens=protected, normalize_embeddings=False).pool(tensors)
    assert isinstance(pooled, list)
    assert sum(map(len, pooled)) == kept + sum(min(length, protected) for length in lengths)
    for vectors, expected in zip(pooled, merged_by_trial(documents, kept, protected), strict=True):
        np.testing.assert_allclose(vectors.numpy(), expected, atol=1e-5)


def test_vectors_far_from_the_origin_are_merged_as_near_ones(rng: np.random.Generator) -> None:
    method = SharedPooling(2, normalize_embeddings=False)
    near = torch.from_numpy((0.1 * rng.standard_normal((12, 8))).astype(np.float32))
    torch.testing.assert_close(method.pool_one(near + 100) - 100, method.pool_one(near), atol=1e-4, rtol=0)


def test_pool_factor_is_shared_by_the_documents_of_a_chunk(model: ColBERT) -> None:
    texts = ["bats " * 20, "Owls hunt mice at dusk, silently.", "", "A moth hears the sonar; it drops."]
    unpooled = model.encode(texts, is_query=False, convert_to_tensor=True)
    pooled = model.encode(texts, is_query=False, pool_factor=2)
    for left, right in zip(pooled, SharedPooling(2).pool(unpooled), strict=True):
        np.testing.assert_allclose(left, right.numpy(), atol=1e-6)
    # What the repetitive text can spare, the others keep.
    alone = [model.encode(text, is_query=False, pool_factor=2) for text in texts]
    assert sum(map(len, pooled)) == sum(map(len, alone))
    assert len(pooled[0]) < len(alone[0])
    assert len(pooled[1]) > len(alone[1])
    one_by_one = model.encode_stream(texts, is_query=False, pool_factor=2, chunk_size=1)
    assert [chunk.num_tokens for chunk in one_by_one] == [len(vectors) for vectors in alone]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_equal_vectors_cost_nothing_and_dtypes_stay(dtype: torch.dtype, rng: np.random.Generator) -> None:
    distinct = torch.nn.functional.normalize(torch.from_numpy(rng.standard_normal((6, 8))), dim=-1).to(dtype)
    twice = torch.cat([distinct[:1], distinct, distinct])
    pooled = SharedPooling(2).pool_one(twice)
    assert pooled.dtype == dtype
    torch.testing.assert_close(pooled.float(), torch.cat([distinct[:1], distinct]).float(), atol=1e-2, rtol=0)


def test_padded_documents_are_pooled_as_lists_are(rng: np.random.Generator) -> None:
    rows = [torch.from_numpy(rng.standard_normal((length, 4))) for length in (5, 9, 2)]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = torch.arange(9) < torch.tensor([[5], [9], [2]])
    method = SharedPooling(2)
    expected = torch.nn.utils.rnn.pad_sequence(list(method.pool(rows)), batch_first=True)
    assert torch.equal(method.pool(padded), expected)
    assert torch.equal(method.pool(padded + ~mask[:, :, None], attention_mask=mask), expected)
    assert method.pool(padded, task="query") is padded


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([torch.zeros(3, 2), torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, float("nan")]])], "document 1 of .* with NaN"),
        ([torch.eye(4) * 1e30], "document 0 of .* largest of their type"),
        ([torch.zeros(3)], "document 0 must be 2-D"),
        (torch.zeros(3, 2), "got shape"),
    ],
)
def test_what_has_no_distances_is_named(documents: list[Tensor] | Tensor, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        SharedPooling(2).pool(documents)


def test_the_arguments_of_encode_are_those_of_the_method(model: ColBERT) -> None:
    unpooled = model.encode(TEXTS, is_query=False, convert_to_tensor=True)
    method = SharedPooling(3, num_protected_tokens=4, normalize_embeddings=False)
    pooled = model.encode(TEXTS, is_query=False, pool_factor=3, protected_tokens=4, normalize_pooled=False)
    for left, right in zip(pooled, method.pool(unpooled), strict=True):
        np.testing.assert_allclose(left, right.numpy(), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_means_are_divided_by_their_length_before_they_are_rounded(dtype: torch.dtype) -> None:
    ones = torch.eye(4)
    opposite = torch.stack([ones[0], ones[1], -ones[1]]).to(dtype)
    assert torch.equal(SharedPooling(3).pool_one(opposite).float(), torch.stack([ones[0], 0 * ones[0]]))
    assert torch.equal(SharedPooling(2).pool_one(torch.zeros(4, 3, dtype=dtype)), torch.zeros(2, 3, dtype=dtype))
    long = SharedPooling(2).pool_one((ones * 6e4).to(dtype))
    torch.testing.assert_close(long.float().norm(dim=1), torch.ones(2), atol=2e-3, rtol=0)


def test_gradients_reach_every_vector(rng: np.random.Generator) -> None:
    vectors = torch.tensor(rng.standard_normal((9, 4)), requires_grad=True)
    SharedPooling(2).pool_one(vectors).square().sum(dim=1).matmul(torch.arange(5.0, dtype=torch.float64)).backward()
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()
    bare = vectors.detach().clone().requires_grad_()
    SharedPooling(2, normalize_embeddings=False).pool_one(bare).sum().backward()
    assert bare.grad is not None
    assert (bare.grad > 0).all()


def test_a_factor_of_one_changes_nothing(model: ColBERT) -> None:
    for left, right in zip(
        model.encode(TEXTS, is_query=False, pool_factor=1), model.encode(TEXTS, is_query=False), strict=True
    ):
        assert np.array_equal(left, right)


def test_queries_are_not_pooled(model: ColBERT) -> None:
    assert np.array_equal(model.encode("bats", pool_factor=4), model.encode("bats"))


@pytest.mark.parametrize("method", [SharedPooling(2, tasks="query"), HierarchicalPooling(2, tasks=["query"])])
def test_a_method_for_queries_pools_queries_alone(model: ColBERT, method: TokenPooling) -> None:
    (full,) = model.encode(["bats hunt moths by their echoes"])
    (pooled,) = model.encode(["bats hunt moths by their echoes"], token_pooling=method)
    assert len(pooled) == 1 + (len(full) - 1) // 2
    assert np.array_equal(model.encode("bats", is_query=False, token_pooling=method), model.encode_document("bats"))


def test_another_method_plugs_in(model: ColBERT) -> None:
    full = model.encode(TEXTS, is_query=False)
    halves = model.encode(TEXTS, is_query=False, token_pooling=FirstHalf(), precision="float16")
    assert halves[0].dtype == np.float16
    for half, whole in zip(halves, full, strict=True):
        assert np.array_equal(half, whole[: len(whole) // 2].astype(np.float16))


@pytest.mark.parametrize("method", [HierarchicalPooling(2), SharedPooling(2)])
def test_pooling_inside_the_model_is_applied_and_saved(model: ColBERT, tmp_path: object, method: TokenPooling) -> None:
    unpooled = len(model.encode(TEXTS[4], is_query=False))
    model.append(method)
    assert len(model.encode(TEXTS[4], is_query=False)) == 1 + (unpooled - 1) // 2
    with pytest.raises(InvalidInput, match="pooling inside the model"):
        model.encode(TEXTS[4], is_query=False, window_overlap=4)
    model.save_pretrained(str(tmp_path), create_model_card=False)
    again = ColBERT(str(tmp_path))
    torch.testing.assert_close(again.encode_document(TEXTS[4]), model.encode_document(TEXTS[4]))
