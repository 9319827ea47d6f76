"""Proves that similarity functions are found by every name in use and compute what the name says."""

import numpy as np
import pytest

from serotine.errors import InvalidInput
from serotine.scores import SimilarityFunction, colbert_scores, colbert_scores_pairwise

QUERIES, DOCUMENTS = np.random.default_rng(0).standard_normal((2, 3, 4, 8)).astype(np.float32)


@pytest.mark.parametrize("name", ["MaxSim", "maxsim", "MAXSIM", SimilarityFunction.MAXSIM])
def test_maxsim_is_found_by_every_spelling(name):
    assert SimilarityFunction(name) is SimilarityFunction.MAXSIM
    assert SimilarityFunction.to_similarity_fn(name) is colbert_scores
    assert SimilarityFunction.to_similarity_pairwise_fn(name) is colbert_scores_pairwise


@pytest.mark.parametrize("name", ["MeanMaxSim", "meanmaxsim", SimilarityFunction.MEAN_MAXSIM])
def test_mean_maxsim_divides_by_the_number_of_query_tokens(name):
    np.testing.assert_allclose(
        SimilarityFunction.to_similarity_fn(name)(QUERIES, DOCUMENTS), colbert_scores(QUERIES, DOCUMENTS) / 4
    )
    np.testing.assert_allclose(
        SimilarityFunction.to_similarity_pairwise_fn(name)(QUERIES, DOCUMENTS),
        colbert_scores_pairwise(QUERIES, DOCUMENTS) / 4,
    )


def test_the_names_are_listed_as_models_store_them():
    assert SimilarityFunction.possible_values() == ["MaxSim", "MeanMaxSim"]


@pytest.mark.parametrize("name", ["cosine", "", None, 3])
def test_an_unknown_name_is_refused_with_the_names_that_exist(name):
    with pytest.raises(InvalidInput, match=r"unknown similarity function .* \['MaxSim', 'MeanMaxSim'\]"):
        SimilarityFunction.to_similarity_fn(name)
