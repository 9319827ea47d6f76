"""Proves that `Distillation` and `MarginMSE` learn what the teacher says, and name the row that does not fit."""

from __future__ import annotations

import logging
from functools import partial

import pytest
import torch
from sentence_transformers.multi_vector_encoder import losses as peer

from serotine.errors import InvalidInput, SerotineError
from serotine.losses import Distillation, MarginMSE
from serotine.scores import ColBERTScores, XTRKDScores, colbert_kd_scores
from tests.losses.conftest import (
    FURTHER,
    NEGATIVES,
    POSITIVES,
    QUERIES,
    TEACHER,
    assert_same,
    batch_of,
    column,
    run,
    taught_batch,
)


@pytest.mark.parametrize(
    "temperatures", [{}, {"temperature": 0.5}, {"student_temperature": 2.0, "teacher_temperature": 0.3}]
)
def test_distillation_is_that_of_sentence_transformers(quiet, temperatures):
    expected = run(peer.MultiVectorDistillKLDivLoss(quiet, **temperatures), taught_batch(quiet), TEACHER)
    assert_same(
        run(Distillation(quiet, normalize_scores=False, **temperatures), taught_batch(quiet), TEACHER), expected
    )


@pytest.mark.parametrize("average", [True, False])
def test_the_students_scores_are_moved_to_0_and_1_by_default(quiet, average):
    seen = []

    def spy(*arguments, **masks):
        seen.append(colbert_kd_scores(*arguments, **masks))
        return seen[-1]

    found = run(Distillation(quiet, spy, size_average=average), taught_batch(quiet), TEACHER)

    def plain(features, labels):
        """The loss of torch's own functions, on scores that hold every similarity."""
        queries, *documents = (quiet(each, task=each["task"]) for each in features)
        parts = []
        for each in documents:
            similarities = queries["token_embeddings"] @ each["token_embeddings"].transpose(1, 2)
            similarities = similarities.masked_fill(~each["attention_mask"].bool().unsqueeze(1), -torch.inf)
            parts.append(similarities.amax(2).where(queries["attention_mask"].bool(), 0).sum(1))
        scores = torch.stack(parts, dim=1)
        torch.testing.assert_close(scores, seen[0], rtol=1e-4, atol=1e-4)
        low, high = scores.amin(1, keepdim=True), scores.amax(1, keepdim=True)
        student = ((scores - low) / (high - low + 1e-8)).log_softmax(1)
        reduction = "batchmean" if average else "sum"
        return torch.nn.functional.kl_div(student, labels.log_softmax(1), reduction=reduction, log_target=True)

    plain.parameters = quiet.parameters
    assert_same(found, run(plain, taught_batch(quiet), TEACHER))


@pytest.mark.parametrize("loss", [Distillation, MarginMSE])
def test_a_column_of_lists_is_as_good_as_columns(quiet, loss):
    interleaved = [text for row in zip(POSITIVES, NEGATIVES, FURTHER, strict=True) for text in row]
    lists = [column(quiet, QUERIES, "query"), column(quiet, interleaved)]
    assert_same(run(loss(quiet), lists, TEACHER), run(loss(quiet), taught_batch(quiet), TEACHER))


@pytest.mark.parametrize("loss", [Distillation, MarginMSE])
def test_lists_of_different_lengths_are_the_mean_over_their_own_documents(quiet, loss):
    lists = [[POSITIVES[0], NEGATIVES[0], NEGATIVES[1]], [POSITIVES[1], NEGATIVES[2]]]
    labels = [[0.9, 0.2, 0.1], [0.8, 0.3]]
    queries = column(quiet, QUERIES[:2], "query")
    documents = column(quiet, [text for texts in lists for text in texts])
    if loss is MarginMSE:
        documents["num_documents"] = torch.tensor([3, 2])
    made = {} if loss is MarginMSE else {"normalize_scores": False}  # else a list of two alone is refused
    value, gradients = run(loss(quiet, **made), [queries, documents], labels)
    padded = torch.tensor([[0.9, 0.2, 0.1], [0.8, 0.3, torch.nan]])
    assert run(loss(quiet, **made), [queries, documents], padded)[0] == pytest.approx(value)
    alone = [
        run(loss(quiet, **made), [column(quiet, [query], "query"), column(quiet, texts)], [scores])
        for query, texts, scores in zip(QUERIES, lists, labels, strict=False)
    ]
    weights = (0.5, 0.5) if loss is Distillation else (2 / 3, 1 / 3)
    assert value == pytest.approx(sum(weight * one[0] for weight, one in zip(weights, alone, strict=True)), rel=1e-4)
    for found, *parts in zip(gradients, *(one[1] for one in alone), strict=True):
        expected = weights[0] * parts[0] + weights[1] * parts[1]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", [Distillation, MarginMSE])
@pytest.mark.parametrize("size", [1, 4])
def test_scoring_in_parts_changes_nothing(quiet, loss, size):
    expected = run(loss(quiet), taught_batch(quiet), TEACHER)
    assert_same(run(loss(quiet, score_mini_batch_size=size), taught_batch(quiet), TEACHER), expected)


def test_a_score_of_every_pair_is_understood(quiet):
    expected = run(Distillation(quiet), taught_batch(quiet), TEACHER)
    assert_same(run(Distillation(quiet, ColBERTScores()), taught_batch(quiet), TEACHER), expected)


def test_xtr_scores_distil_over_the_whole_batch_only(quiet):
    value, _ = run(Distillation(quiet, XTRKDScores(k=10)), taught_batch(quiet), TEACHER)
    assert value > 0
    with pytest.raises(InvalidInput, match="score_mini_batch_size"):
        Distillation(quiet, XTRKDScores(), score_mini_batch_size=2)


@pytest.mark.parametrize("margins", [True, False])
def test_margins_are_those_of_sentence_transformers(quiet, margins):
    labels = TEACHER[:, :1] - TEACHER[:, 1:] if margins else TEACHER
    expected = run(peer.MultiVectorMarginMSELoss(quiet), taught_batch(quiet), labels)
    assert_same(run(MarginMSE(quiet), taught_batch(quiet), labels), expected)
    if margins:  # a number for each query, where there is one negative
        expected = run(MarginMSE(quiet), batch_of(quiet), labels[:, :1])
        assert_same(run(MarginMSE(quiet), batch_of(quiet), labels[:, 0]), expected)


def test_a_batch_of_one_trains(quiet):
    for loss in (Distillation(quiet, normalize_scores=False), MarginMSE(quiet)):
        assert run(loss, taught_batch(quiet, slice(1)), TEACHER[:1])[0] > 0


@pytest.mark.parametrize("loss", [partial(Distillation, normalize_scores=False), Distillation, MarginMSE])
def test_scores_go_to_their_documents_where_two_columns_hold_lists(quiet, loss):
    # Rows have (2, 1), (1, 2) and (1, 1) documents in the two columns: the first column leaves gaps before the second.
    first = column(quiet, [POSITIVES[0], NEGATIVES[0], POSITIVES[1], POSITIVES[2]])
    first["num_documents"] = torch.tensor([2, 1, 1])
    second = column(quiet, [FURTHER[0], NEGATIVES[1], FURTHER[1], FURTHER[2]])
    second["num_documents"] = torch.tensor([1, 2, 1])
    together = column(
        quiet,
        [POSITIVES[0], NEGATIVES[0], FURTHER[0], POSITIVES[1], NEGATIVES[1], FURTHER[1], POSITIVES[2], FURTHER[2]],
    )
    together["num_documents"] = torch.tensor([3, 3, 2])
    queries = column(quiet, QUERIES[:3], "query")
    labels = [[0.9, 0.2, 0.1], [0.3, 0.8, 0.6], [0.1, 0.7]]
    expected = run(loss(quiet), [queries, together], labels)
    assert_same(run(loss(quiet), [queries, first, second], labels), expected)
    if loss is MarginMSE:
        margins = [[0.7, 0.8], [-0.5, -0.3], [-0.6]]
        assert_same(run(loss(quiet), [queries, first, second], margins), expected)


def test_two_documents_whose_scores_are_normalised_are_an_error_at_first_and_said_once_later(quiet, caplog):
    loss, two, labels = Distillation(quiet), batch_of(quiet), TEACHER[:, :2]
    with pytest.raises(InvalidInput, match=r"training batch 1: Distillation got 2 .* normalize_scores=False"):
        run(loss, two, labels)
    run(loss, taught_batch(quiet), TEACHER)
    with caplog.at_level(logging.WARNING, "serotine.losses"):
        for _ in range(2):
            _, gradients = run(loss, two, labels)
    assert max(gradient.abs().max() for gradient in gradients) < 1e-3
    assert [record.message[:16] for record in caplog.records] == ["training batch 2"]
    with torch.no_grad():
        assert Distillation(quiet)(two, labels) > 0  # an evaluation says nothing about training
    assert max(each.abs().max() for each in run(Distillation(quiet, normalize_scores=False), two, labels)[1]) > 1e-2


@pytest.mark.parametrize("loss", [Distillation, MarginMSE])
def test_a_document_without_a_scored_token_is_named(quiet, loss):
    features = taught_batch(quiet)
    features[2]["attention_mask"] = features[2]["attention_mask"].clone()
    features[2]["attention_mask"][3] = 0
    with pytest.raises(SerotineError, match="training batch 1: document 1 of row 3 has no token"):
        loss(quiet)(features, TEACHER)


def test_scores_that_do_not_fit_name_the_row(quiet):
    loss, features = Distillation(quiet), taught_batch(quiet)
    with pytest.raises(InvalidInput, match="needs the teacher's scores"):
        loss(features)
    with pytest.raises(InvalidInput, match="for 5 queries, expected 6"):
        loss(features, TEACHER[:5])
    with pytest.raises(InvalidInput, match="row 0 has 4 scores for 3 documents"):
        loss(features, torch.ones(6, 4))
    with pytest.raises(InvalidInput, match="row 0 has 2 scores for 3 documents"):  # a narrower matrix, too
        loss(features, torch.ones(6, 2))
    ragged = TEACHER.clone()
    ragged[4, 2] = torch.nan
    with pytest.raises(InvalidInput, match="row 4 has 2 scores for 3 documents"):
        loss(features, ragged)
    ragged[2, 0] = torch.nan
    with pytest.raises(InvalidInput, match="row 2 hold NaN"):
        loss(features, ragged)
    with pytest.raises(InvalidInput, match="two documents per query at least, got 1"):
        loss(features[:2], TEACHER[:, :1])
    with pytest.raises(InvalidInput, match=r"got 1 column\(s\)"):
        loss(features[:1], TEACHER)
    with pytest.raises(InvalidInput, match="row 0 has 5 scores for 3 documents"):
        MarginMSE(quiet)(features, torch.ones(6, 5))


def test_lists_that_do_not_fit_their_scores_are_refused(quiet):
    documents = column(quiet, POSITIVES[:5])
    with pytest.raises(InvalidInput, match="column 1 has 5 documents"):
        Distillation(quiet)([column(quiet, QUERIES[:2], "query"), documents], [[0.1, 0.2, 0.3], [0.5]])
