"""Proves that caching gradients changes neither the loss nor the gradients, however the batch is cut."""

from __future__ import annotations

import pytest
import torch

from serotine.errors import InvalidInput, SerotineError
from serotine.losses import CachedContrastive, Contrastive
from serotine.losses.cached_contrastive import _lengths, _plan, _ranges
from serotine.losses.embedding import Documents, Texts
from serotine.scores import SimilarityMLP, TokenWeights, XTRScores, colbert_scores
from tests.losses.conftest import NEGATIVES, POSITIVES, QUERIES, assert_same, batch_of, column, run


@pytest.mark.parametrize(
    "options",
    [
        {"mini_batch_size": 1},
        {"mini_batch_size": 4},
        {"mini_batch_size": 100},
        {"mini_batch_size": 3, "score_mini_batch_size": 1},
        {"mini_batch_num_tokens": 1},
        {"mini_batch_num_tokens": 50},
        {"mini_batch_num_tokens": 10_000, "score_mini_batch_size": 4},
    ],
    ids=str,
)
@pytest.mark.parametrize("average", [True, False])
def test_gradients_are_those_of_contrastive_at_any_mini_batch(quiet, options, average):
    expected = run(Contrastive(quiet, size_average=average, temperature=0.5), batch_of(quiet))
    found = run(CachedContrastive(quiet, size_average=average, temperature=0.5, **options), batch_of(quiet))
    assert_same(found, expected)


def test_xtr_scores_and_lists_of_different_lengths_are_cached_as_well(quiet):
    documents = column(quiet, [*POSITIVES, *NEGATIVES])
    documents["num_documents"] = torch.tensor([3, 1, 2, 4, 1, 1])
    features = [column(quiet, QUERIES, "query"), documents]
    expected = run(Contrastive(quiet, XTRScores(k=30)), features)
    assert_same(run(CachedContrastive(quiet, XTRScores(k=30), mini_batch_size=2), features), expected)


@pytest.mark.parametrize("make", [lambda: TokenWeights(16), lambda: SimilarityMLP(query_tokens=12, document_tokens=40)])
def test_a_learnt_score_gets_its_gradients_once(quiet, make):
    torch.manual_seed(0)
    scorer = make()
    for parameter in scorer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    expected = run(Contrastive(quiet, scorer), batch_of(quiet))
    assert_same(run(CachedContrastive(quiet, scorer, mini_batch_size=2), batch_of(quiet)), expected)


def test_scores_of_a_few_queries_are_differentiated_before_the_next_are_made(quiet):
    events = []

    def metric(queries, documents, **masks):
        scores = colbert_scores(queries, documents, **masks)
        events.append(tuple(scores.shape))
        scores.register_hook(lambda _: events.append("differentiated"))
        return scores

    run(CachedContrastive(quiet, metric, mini_batch_size=2), batch_of(quiet))
    assert events == [(2, 12), "differentiated"] * 3


def test_dropout_draws_the_same_in_both_passes(model):
    torch.set_num_threads(1)
    model.train()
    # In the order of their lengths already, and in one mini-batch each, so that both losses draw alike.
    features = [
        column(model, QUERIES, "query"),
        column(model, sorted(POSITIVES, key=lambda t: len(model.tokenizer(t)["input_ids"]))),
    ]
    found = []
    for loss in (Contrastive(model), CachedContrastive(model, mini_batch_size=100)):
        torch.manual_seed(7)
        found.append(run(loss, features))
    assert_same(*found)
    torch.manual_seed(8)
    assert run(Contrastive(model), features)[0] != found[0][0]


def test_the_gradients_follow_the_scale_of_the_callers_backward_pass(quiet):
    scorer = TokenWeights(16)
    loss = CachedContrastive(quiet, scorer, mini_batch_size=2)
    _, expected = run(loss, batch_of(quiet))
    for parameter in loss.parameters():
        parameter.grad = None
    (loss(batch_of(quiet)) * 3).backward()
    found = [torch.zeros_like(each) if each.grad is None else each.grad for each in loss.parameters()]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other * 3, rtol=1e-4, atol=1e-5)


def test_nothing_reaches_the_parameters_before_the_backward_pass(quiet):
    loss = CachedContrastive(quiet, TokenWeights(16), mini_batch_size=2)
    quiet.zero_grad()
    loss(batch_of(quiet))
    assert all(parameter.grad is None for parameter in loss.parameters())


def test_two_forward_passes_before_the_backward_passes_do_not_mix(quiet):
    loss = CachedContrastive(quiet, mini_batch_size=2)
    expected = run(Contrastive(quiet), batch_of(quiet, slice(3)))
    quiet.zero_grad()
    first = loss(batch_of(quiet, slice(3)))
    loss(batch_of(quiet, slice(3, 6)))
    first.backward()
    found = [torch.zeros_like(each) if each.grad is None else each.grad for each in quiet.parameters()]
    assert_same((first.item(), found), expected)


def test_autocast_of_the_forward_pass_holds_in_the_backward_pass(quiet):
    values = []
    for loss in (Contrastive(quiet), CachedContrastive(quiet, mini_batch_size=100)):
        quiet.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = loss(batch_of(quiet))
        value.backward()
        values.append(
            (value.item(), torch.cat([each.grad.flatten() for each in quiet.parameters() if each.grad is not None]))
        )
    assert values[0][0] == pytest.approx(values[1][0], rel=1e-2)
    cosine = torch.nn.functional.cosine_similarity(values[0][1], values[1][1], dim=0)
    assert cosine > 0.99


def test_16_bit_embeddings_get_gradients_that_are_summed_in_32_bits(quiet):
    generator = torch.Generator().manual_seed(0)
    tokens = [torch.randn(256, *size, 16, generator=generator).bfloat16() for size in ((4,), (1, 6))]
    masks = [torch.ones(each.shape[:-1], dtype=torch.bool) for each in tokens]

    def sides(dtype):
        queries, documents = (each.detach().to(dtype, copy=True).requires_grad_() for each in tokens)
        return Texts(queries, masks[0]), Documents(documents, masks[1], None)

    queries, documents = sides(torch.bfloat16)
    # One query at a time: the gradient of a document is the sum of 256, most of them small.
    CachedContrastive(quiet, score_mini_batch_size=1, temperature=10.0)._cache_gradients(queries, documents)
    expected = sides(torch.float32)
    torch.stack(list(Contrastive(quiet, temperature=10.0)._part_losses(*expected))).sum().backward()
    for found, exact in zip((queries, documents), expected, strict=True):
        assert found.tokens.grad.dtype is torch.bfloat16
        error = (found.tokens.grad.float() - exact.tokens.grad).norm() / exact.tokens.grad.norm()
        assert error < 3e-3


def test_without_gradients_the_loss_is_the_same(quiet):
    with torch.no_grad():
        found = CachedContrastive(quiet, mini_batch_size=2)(batch_of(quiet))
    assert not found.requires_grad
    assert found.item() == pytest.approx(run(Contrastive(quiet), batch_of(quiet))[0], rel=1e-5)


def test_ranges_cover_every_row_once_within_their_budget():
    lengths = [1, 1, 2, 3, 5, 8, 40]
    for budget in (1, 4, 10, 16, 1000):
        ranges = _ranges(lengths, 32, budget)
        assert [begin for begin, _ in ranges] == [0, *[end for _, end in ranges[:-1]]]
        assert ranges[-1][1] == len(lengths)
        for begin, end in ranges:
            assert end - begin == 1 or max(lengths[begin:end]) * (end - begin) <= budget
    assert _ranges(lengths, 3, None) == [(0, 3), (3, 6), (6, 7)]


def test_expansion_tokens_count_for_the_budget(quiet):
    queries = column(quiet, QUERIES, "query")
    assert queries["attention_mask"].sum(dim=1).min() < 12
    assert _lengths(queries).tolist() == [12] * 6


def test_texts_are_embedded_in_the_order_of_their_lengths(quiet):
    features = {**column(quiet, POSITIVES), "task": "document"}
    plan = _plan(features, 2, None)
    lengths = plan.features["attention_mask"].sum(dim=1)
    assert (lengths.diff() >= 0).all()
    assert torch.equal(plan.features["input_ids"][plan.places], features["input_ids"])


def test_a_loss_that_is_not_a_number_is_reported(quiet):
    with torch.no_grad():
        quiet[1].linear.weight.fill_(torch.nan)
    with pytest.raises(SerotineError, match="nan in training batch 1: column 0"):
        CachedContrastive(quiet, mini_batch_size=2)(batch_of(quiet))


@pytest.mark.parametrize("options", [{"mini_batch_size": 0}, {"mini_batch_num_tokens": -1}, {"mini_batch_size": None}])
def test_sizes_that_make_no_sense_are_refused(quiet, options):
    with pytest.raises(InvalidInput, match=next(iter(options))):
        CachedContrastive(quiet, **options)
