"""Proves that training scores have the shapes and order that losses expect, and train as Sentence Transformers' own."""

import numpy as np
import pytest
import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.multi_vector_encoder import losses, scoring
from sentence_transformers.util.misc import similarity_fct_name

from serotine.errors import DimensionMismatch, InvalidInput
from serotine.scores import ColBERTScores, colbert_kd_scores, colbert_scores, colbert_scores_pairwise

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


@pytest.mark.parametrize("options", [{}, {"length_normalize": True}, {"chunk_elements": 50}])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", ["colbert_scores", "colbert_kd_scores", "colbert_scores_pairwise"])
def test_values_and_gradients_are_those_of_sentence_transformers(batch, name, masked, options):
    queries, documents, queries_mask, documents_mask = batch
    if name == "colbert_scores_pairwise":
        documents, documents_mask = documents[:, 0], documents_mask[:, 0]
    masks = (queries_mask, documents_mask) if masked else ()
    ours, theirs = globals()[name], getattr(scoring, name)
    found = values_and_gradients(ours, queries, documents, *masks, **options)
    expected = values_and_gradients(theirs, queries, documents, *masks, **options)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("gradients", [False, True])
def test_groups_of_documents_are_query_major(batch, gradients):
    queries, documents, queries_mask, documents_mask = batch
    queries = queries.requires_grad_(gradients)
    scores = colbert_scores(queries, documents, queries_mask=queries_mask, documents_mask=documents_mask)
    assert scores.shape == (QUERIES, QUERIES * GROUPS)
    for group in range(QUERIES):
        for number in range(GROUPS):
            alone = colbert_scores(queries, documents[group, [number]], queries_mask, documents_mask[group, [number]])
            torch.testing.assert_close(scores[:, [group * GROUPS + number]], alone)
    own = colbert_kd_scores(queries, documents, queries_mask, documents_mask)
    for query in range(QUERIES):
        torch.testing.assert_close(own[query], scores[query, query * GROUPS : (query + 1) * GROUPS])
    pairs = colbert_scores_pairwise(queries, documents[:, 1], queries_mask, documents_mask[:, 1])
    torch.testing.assert_close(pairs, own[:, 1])


def test_numpy_batches_give_the_same_scores_as_numpy(batch):
    arrays = [part.numpy() for part in batch]
    for function in (colbert_scores, colbert_kd_scores):
        scores = function(*arrays)
        assert isinstance(scores, np.ndarray)
        np.testing.assert_allclose(scores, function(*batch).numpy(), rtol=1e-6)


def test_documents_in_three_dimensions_give_a_square(batch):
    queries, documents, queries_mask, documents_mask = batch
    scores = colbert_scores(queries, documents[:, 0], queries_mask, documents_mask[:, 0])
    torch.testing.assert_close(scores, colbert_scores(*batch)[:, ::GROUPS])


def test_masked_as_zero_reproduces_the_multiplied_masks_of_pylate(batch):
    queries, documents, queries_mask, documents_mask = batch
    documents = documents - 1.5 * queries[:, None, :1]  # so that negative maxima occur
    similarities = torch.einsum("ash,bnth->absnt", queries, documents)
    similarities = similarities * queries_mask[:, None, :, None, None] * documents_mask[None, :, None]
    expected = similarities.max(dim=-1).values.sum(dim=2).reshape(QUERIES, -1)
    metric = ColBERTScores(masked_as_zero=True)
    torch.testing.assert_close(metric(queries, documents, queries_mask, documents_mask), expected)
    with_gradient = metric(queries.requires_grad_(), documents, queries_mask, documents_mask)
    torch.testing.assert_close(with_gradient, expected)
    assert not torch.allclose(ColBERTScores()(queries, documents, queries_mask, documents_mask), expected)


def test_a_metric_tells_its_options_to_a_model_card():
    metric = ColBERTScores(length_normalize=True)
    expected = "ColBERTScores(masked_as_zero=False, length_normalize=True, chunk_elements=None)"
    assert repr(metric) == similarity_fct_name(metric) == expected


def test_a_masked_out_document_is_never_found_and_sends_no_gradient(batch):
    queries, documents, queries_mask, documents_mask = batch
    documents_mask[1, 2] = False
    queries, documents = queries.requires_grad_(), documents.requires_grad_()
    scores = colbert_scores(queries, documents, queries_mask, documents_mask)
    assert scores[:, GROUPS + 2].isneginf().all()
    torch.nn.functional.cross_entropy(scores, torch.arange(QUERIES) * GROUPS).backward()
    assert queries.grad.isfinite().all()
    assert documents.grad.isfinite().all()
    assert not documents.grad[1, 2].any()


@pytest.mark.parametrize("name", ["colbert_scores", "colbert_kd_scores"])
@pytest.mark.parametrize("masked_as_zero", [False, True])
def test_nan_in_a_masked_out_document_reaches_no_gradient(batch, name, masked_as_zero):
    queries, documents, queries_mask, documents_mask = batch
    documents_mask[1, 2] = False
    function = {"colbert_scores": colbert_scores, "colbert_kd_scores": colbert_kd_scores}[name]

    def gradients():
        sides = [part.clone().requires_grad_() for part in (queries, documents)]
        scores = function(*sides, queries_mask, documents_mask, masked_as_zero=masked_as_zero)
        return scores, *torch.autograd.grad(scores.where(scores.isfinite(), 0).square().sum(), sides)

    expected = gradients()
    documents[1, 2] = torch.nan
    for found, one in zip(gradients(), expected, strict=True):
        torch.testing.assert_close(found, one)


def test_wrong_shapes_are_named(batch):
    queries, documents, queries_mask, documents_mask = batch
    with pytest.raises(DimensionMismatch, match=r"documents_embeddings must be 4-D .* got shape \(4, 19, 16\)"):
        colbert_kd_scores(queries, documents[:, 0])
    with pytest.raises(DimensionMismatch, match=r"documents_embeddings must be 4-D .* got list"):
        colbert_kd_scores(queries, [documents[0]])
    with pytest.raises(InvalidInput, match="3 queries with 3 documents each need 9 documents, got 12"):
        colbert_kd_scores(queries[:3], documents)
    with pytest.raises(InvalidInput, match=r"documents_mask has shape \(4, 3, 18\), expected \(4, 3, 19\)"):
        colbert_scores(queries, documents, queries_mask, documents_mask[..., :18])
    with pytest.raises(InvalidInput, match=r"queries_mask has shape \(4, 5\), expected \(4, 6\)"):
        colbert_scores(queries.requires_grad_(), documents, queries_mask[:, :5], documents_mask)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Make a random BERT of one layer with a vocabulary of its own: no download."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-bert")
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] the serotine bat flies late and eats moths at night under an old roof . ,"
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(words.split()))
    BertTokenizerFast(str(vocabulary)).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words.split()),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    BertModel(config).save_pretrained(folder)
    return MultiVectorEncoder(str(folder))


COLUMNS = [
    ["the bat", "late moths at night", "old roof", "an old bat flies"],
    ["the serotine bat flies late .", "moths , at night", "under the old roof", "bat"],
    ["moths", "the old roof , an old roof , the old roof .", "night night", "eats moths late"],
    ["an old roof", "serotine", "bat , bat , bat", "the roof at night under the bat"],
]
LOSSES = {
    "contrastive": (losses.MultiVectorMultipleNegativesRankingLoss, colbert_scores, {}, None),
    "contrastive, queries in parts": (
        losses.MultiVectorMultipleNegativesRankingLoss,
        colbert_scores,
        {"score_mini_batch_size": 3, "mini_batch_size": 2, "scale": 2.0},
        None,
    ),
    "cached": (
        losses.CachedMultiVectorMultipleNegativesRankingLoss,
        colbert_scores,
        {"mini_batch_size": 2, "score_mini_batch_size": 3},
        None,
    ),
    "distillation": (
        losses.MultiVectorDistillKLDivLoss,
        colbert_kd_scores,
        {"temperature": 0.5},
        torch.tensor([[9.0, 2.0, 1.0], [5.0, 4.0, 0.5], [3.0, 3.0, 3.0], [1.0, 2.0, 8.0]]),
    ),
    "margins": (
        losses.MultiVectorMarginMSELoss,
        colbert_scores_pairwise,
        {},
        torch.tensor([[3.0, 2.0], [1.0, 4.0], [0.5, 0.2], [-1.0, 2.0]]),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_of_sentence_transformers_trains_alike(model, name):
    loss_class, similarity, options, labels = LOSSES[name]

    def loss_and_gradients(**similarity_option):
        model.zero_grad(set_to_none=True)
        features = [
            model.preprocess(column, task="document" if number else "query") for number, column in enumerate(COLUMNS)
        ]
        value = loss_class(model, **options, **similarity_option)(features, labels)
        value.backward()
        named = {key: weight.grad for key, weight in model.named_parameters() if weight.grad is not None}
        return value.detach(), named

    expected_loss, expected = loss_and_gradients()
    found_loss, found = loss_and_gradients(similarity_fct=similarity)
    torch.testing.assert_close(found_loss, expected_loss, rtol=1e-5, atol=1e-5)
    assert found.keys() == expected.keys()
    assert any(gradient.abs().max() > 1e-3 for gradient in expected.values())
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-4, atol=1e-5, msg=key)
