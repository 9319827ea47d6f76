"""Proves that an alignment explains exactly the score that MaxSim gives."""

import dataclasses

import ml_dtypes
import numpy as np
import pytest
import torch

from serotine.errors import DimensionMismatch, InvalidInput
from serotine.scores import align, maxsim


def vectors(num_tokens, seed, dim=16):
    return np.random.default_rng(seed).standard_normal((num_tokens, dim)).astype(np.float32)


@pytest.mark.parametrize(("query_tokens", "document_tokens"), [(1, 1), (7, 30), (32, 5), (0, 4), (3, 0), (0, 0)])
def test_contributions_sum_to_the_score(query_tokens, document_tokens):
    query, document = vectors(query_tokens, 1), vectors(document_tokens, 2)
    alignment = align(query, document)
    assert alignment.score == pytest.approx(float(maxsim(query, document)[0, 0]), rel=1e-5)
    assert alignment.similarity.shape == (query_tokens, document_tokens)
    if document_tokens:
        assert alignment.score == float(alignment.contribution.sum())


def test_each_query_token_names_its_best_document_token():
    query, document = vectors(9, 3), vectors(40, 4)
    alignment = align(query, document)
    np.testing.assert_allclose(alignment.similarity, query @ document.T, rtol=1e-6)
    rows = np.arange(9)
    np.testing.assert_array_equal(alignment.similarity[rows, alignment.best_document_token], alignment.contribution)
    np.testing.assert_array_equal(alignment.similarity.max(axis=1), alignment.contribution)
    assert alignment.contribution.dtype == alignment.similarity.dtype == np.float32


def test_of_equal_tokens_the_first_is_the_best():
    assert align(np.ones((1, 2)), np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]])).best_document_token.tolist() == [1]


def test_a_document_without_tokens_matches_nothing():
    alignment = align(vectors(2, 5), vectors(0, 6))
    assert alignment.best_document_token.tolist() == [-1, -1]
    assert np.isneginf(alignment.contribution).all()
    assert alignment.score == -np.inf


def test_nan_makes_the_score_nan():
    document = vectors(4, 7)
    document[2, 3] = np.nan
    assert np.isnan(align(vectors(2, 8), document).score)


@pytest.mark.parametrize(
    "convert",
    [
        lambda array: array.astype(np.float16),
        lambda array: array.astype(ml_dtypes.bfloat16),
        lambda array: torch.from_numpy(array).bfloat16().requires_grad_(),
        lambda array: array.tolist(),
    ],
)
def test_every_float_type_is_read(convert):
    query, document = vectors(3, 9), vectors(5, 10)
    alignment = align(convert(query), convert(document))
    np.testing.assert_allclose(alignment.similarity, query @ document.T, atol=0.1)
    assert alignment.similarity.dtype == np.float32


def test_tokens_are_kept_beside_the_numbers():
    alignment = align(vectors(2, 11), vectors(3, 12), query_tokens=["late", "bat"], document_tokens=list("abc"))
    assert alignment.query_tokens == ("late", "bat")
    assert alignment.document_tokens == ("a", "b", "c")
    with pytest.raises(dataclasses.FrozenInstanceError):
        alignment.query_tokens = None


@pytest.mark.parametrize("tokens", [["one"], "ab", ["a", "b", "c"]])
def test_tokens_must_be_one_string_each(tokens):
    with pytest.raises(InvalidInput, match="query_tokens must hold one string per token: expected 2"):
        align(vectors(2, 13), vectors(3, 14), query_tokens=tokens)


def test_wrong_shapes_are_named():
    with pytest.raises(DimensionMismatch, match=r"document must be 2-D .* got shape \(16,\)"):
        align(vectors(2, 15), vectors(1, 16)[0])
    with pytest.raises(DimensionMismatch, match="query has dimension 16, document 8"):
        align(vectors(2, 17), vectors(2, 18, dim=8))
