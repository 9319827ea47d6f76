"""Proves that XTR's scores are those of the plain definition and of Sentence Transformers, and train as they do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers.multi_vector_encoder import scoring

from serotine.errors import DimensionMismatch, InvalidInput
from serotine.scores import XTRKDScores, XTRScores, xtr, xtr_kd_scores, xtr_scores

QUERIES, GROUPS, QUERY_TOKENS, DOCUMENT_TOKENS, DIM = 4, 3, 6, 19, 16


@pytest.fixture
def batch():
    """Queries (4, 6, 16), documents (4, 3, 19, 16) and their masks, every text with a token that counts."""
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(QUERIES, QUERY_TOKENS, DIM, generator=generator)
    documents = torch.randn(QUERIES, GROUPS, DOCUMENT_TOKENS, DIM, generator=generator)
    queries_mask = torch.rand(QUERIES, QUERY_TOKENS, generator=generator) < 0.7
    documents_mask = torch.rand(QUERIES, GROUPS, DOCUMENT_TOKENS, generator=generator) < 0.5
    documents_mask[..., 5] = queries_mask[..., 2] = True
    return queries, documents, queries_mask, documents_mask


def values_and_gradients(function, queries, documents, *masks, **options):
    queries, documents = queries.clone().requires_grad_(), documents.clone().requires_grad_()
    scores = function(queries, documents, *masks, **options)
    weights = torch.cos(torch.arange(scores.numel())).view(scores.shape)
    return scores.detach(), *torch.autograd.grad((scores * weights).sum(), (queries, documents))


def plain(queries, documents, queries_mask, documents_mask, *, k, normalization):
    """Compute the definition with every similarity in memory, one score at a time."""
    flat, counts = documents.flatten(0, 1), documents_mask.flatten(0, 1)
    scores = torch.zeros(len(queries), len(flat))
    for i, query in enumerate(queries):
        similarities = torch.einsum("sh,bth->sbt", query, flat).masked_fill(~counts, -torch.inf)
        threshold = similarities.flatten(1).sort(dim=1, descending=True).values[:, k - 1]
        for j in range(len(flat)):
            total, number = 0.0, 0
            for s in range(len(query)):
                best = float(similarities[s, j].max())
                if not queries_mask[i, s] or best < threshold[s] or (normalization == "positive" and best <= 0):
                    continue
                total, number = total + best, number + 1
            scores[i, j] = total / max(1, number)
    return scores


@pytest.mark.parametrize("k", [1, 7, 40, 10_000])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", ["xtr_scores", "xtr_kd_scores"])
def test_values_and_gradients_are_those_of_sentence_transformers(batch, name, masked, k):
    queries, documents, queries_mask, documents_mask = batch
    masks = (queries_mask, documents_mask) if masked else ()
    found = values_and_gradients(globals()[name], queries, documents, *masks, k=k)
    expected = values_and_gradients(getattr(scoring, name), queries, documents, *masks, top_k=k)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("normalization", ["retrieved", "positive"])
@pytest.mark.parametrize("k", [3, 60])
def test_both_normalisations_are_the_plain_definition(batch, normalization, k):
    expected = plain(*batch, k=k, normalization=normalization)
    torch.testing.assert_close(xtr_scores(*batch, k=k, normalization=normalization), expected)


def test_the_normalisations_differ_only_where_something_negative_is_retrieved(batch):
    few = [xtr_scores(*batch, k=2, normalization=name) for name in ("retrieved", "positive")]
    batch[3][:] = False
    batch[3][..., 5] = True
    many = [xtr_scores(*batch, k=100, normalization=name) for name in ("retrieved", "positive")]
    torch.testing.assert_close(*few)
    assert not torch.allclose(*many)


@pytest.mark.parametrize("chunk", [1, 2, 5, 12, 100])
@pytest.mark.parametrize("block", [1, 200, 2**20])
def test_the_size_of_a_chunk_changes_nothing(batch, chunk, block, monkeypatch):
    expected = values_and_gradients(xtr_scores, *batch, k=30)
    monkeypatch.setattr(xtr, "_BLOCK_ELEMENTS", block)
    found = values_and_gradients(xtr_scores, *batch, k=30, document_chunk_size=chunk)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_the_token_at_the_threshold_is_always_retrieved():
    generator = torch.Generator().manual_seed(3)
    queries = torch.randn(33, 7, 96, generator=generator)
    documents = torch.randn(50, 1, 96, generator=generator)
    number = (xtr_scores(queries[:, :1], documents, k=10) != 0).sum(dim=1)
    assert (number == 10).all()


def test_equal_similarities_are_retrieved_together():
    documents = torch.ones(5, 2, 4)
    assert xtr_scores(torch.ones(1, 3, 4), documents, k=1).tolist() == [[4.0] * 5]


def test_a_document_without_tokens_scores_minus_infinity_and_gets_no_gradient(batch):
    queries, documents, queries_mask, documents_mask = batch
    documents_mask[1, 2] = False
    documents = documents.requires_grad_()
    scores = xtr_scores(queries, documents, queries_mask, documents_mask, k=500)
    assert scores[:, 5].isneginf().all()
    assert scores.isfinite().sum() == scores.numel() - QUERIES
    scores[scores.isfinite()].sum().backward()
    assert documents.grad.isfinite().all()
    assert not documents.grad[1, 2].any()


def test_nan_propagates_but_not_from_masked_tokens(batch):
    queries, documents, queries_mask, documents_mask = batch
    documents_mask[0, 1, 3], queries_mask[2, 1] = False, False
    expected = xtr_scores(queries, documents, queries_mask, documents_mask)
    documents[0, 1, 3], queries[2, 1] = torch.nan, torch.nan
    torch.testing.assert_close(xtr_scores(queries, documents, queries_mask, documents_mask), expected)
    documents[0, 2, 5] = torch.nan
    assert xtr_scores(queries, documents, queries_mask, documents_mask)[:, 2].isnan().all()


def test_arrays_and_lists_are_scored_as_tensors_are(batch):
    queries, documents, queries_mask, documents_mask = batch
    expected = xtr_scores(*batch, k=9)
    arrays = [part.numpy() for part in batch]
    found = xtr_scores(*arrays, k=9)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    rows = [query[mask] for query, mask in zip(queries, queries_mask, strict=True)]
    texts = [text[mask] for text, mask in zip(documents.flatten(0, 1), documents_mask.flatten(0, 1), strict=True)]
    torch.testing.assert_close(xtr_scores(rows, texts, k=9), expected)


@pytest.mark.parametrize("shape", [(0, 2, 3), (2, 0, 3)])
def test_no_queries_and_no_documents_give_an_empty_matrix(shape):
    queries, documents = torch.zeros(shape[0], 4, 8), torch.zeros(shape[1], 5, 8)
    assert xtr_scores(queries, documents).shape == shape[:2]


def test_no_similarity_matrix_is_kept_for_the_backward_pass(batch):
    saved = []
    queries, documents = (part.requires_grad_() for part in batch[:2])
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        xtr_scores(queries, documents, *batch[2:])
    assert max(tensor.numel() for tensor in saved) <= documents.numel() < queries.numel() * documents.numel() / DIM**2


def test_the_classes_bind_their_options(batch):
    torch.testing.assert_close(
        XTRScores(k=5, normalization="positive")(*batch), xtr_scores(*batch, k=5, normalization="positive")
    )
    torch.testing.assert_close(XTRKDScores(k=5)(*batch), xtr_kd_scores(*batch, k=5))
    assert XTRScores(k=5).get_config_dict() == {"k": 5, "document_chunk_size": None, "normalization": "retrieved"}


@pytest.mark.parametrize(
    "options", [{"k": 0}, {"k": 2.5}, {"k": True}, {"document_chunk_size": 0}, {"normalization": "mean"}]
)
def test_options_that_make_no_sense_are_refused(batch, options):
    with pytest.raises(InvalidInput, match=next(iter(options))):
        xtr_scores(*batch, **options)
    with pytest.raises(InvalidInput, match=next(iter(options))):
        XTRScores(**options)


def test_shapes_that_do_not_fit_are_refused(batch):
    queries, documents, *_ = batch
    with pytest.raises(DimensionMismatch, match="dimension 16, documents 8"):
        xtr_scores(queries, documents[..., :8])
    with pytest.raises(DimensionMismatch, match="4-D"):
        xtr_kd_scores(queries, documents[:, 0])
    with pytest.raises(InvalidInput, match="for 3 queries, expected them for 4"):
        xtr_kd_scores(queries, documents[:3])


def test_nan_in_a_document_without_tokens_reaches_no_gradient(batch):
    queries, documents, queries_mask, documents_mask = batch
    documents_mask[1, 2] = False

    def gradients():
        sides = [part.clone().requires_grad_() for part in (queries, documents)]
        scores = xtr_scores(*sides, queries_mask, documents_mask, k=20)
        return torch.autograd.grad(scores.where(scores.isfinite(), 0).square().sum(), sides)

    expected = gradients()
    documents[1, 2] = torch.nan
    for found, one in zip(gradients(), expected, strict=True):
        torch.testing.assert_close(found, one)
