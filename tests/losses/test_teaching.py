"""Proves that `Distillation` and `MarginMSE` learn what the teacher says, and name the row that does not fit."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers.multi_vector_encoder import losses as peer

from serotine.errors import InvalidInput
from serotine.losses import Distillation, MarginMSE
from serotine.scores import ColBERTScores, XTRKDScores, colbert_kd_scores
from tests.losses.conftest import NEGATIVES, POSITIVES, QUERIES, assert_same, batch_of, column, run

TEACHER = torch.tensor([[0.9, 0.1], [1.0, 0.0], [0.3, 0.4], [0.8, 0.7], [0.5, 0.0], [0.2, 0.1]])


@pytest.mark.parametrize(
    "temperatures", [{}, {"temperature": 0.5}, {"student_temperature": 2.0, "teacher_temperature": 0.3}]
)
def test_distillation_is_that_of_sentence_transformers(quiet, temperatures):
    expected = run(peer.MultiVectorDistillKLDivLoss(quiet, **temperatures), batch_of(quiet), TEACHER)
    assert_same(run(Distillation(quiet, normalize_scores=False, **temperatures), batch_of(quiet), TEACHER), expected)


@pytest.mark.parametrize("average", [True, False])
def test_the_students_scores_are_moved_to_0_and_1_by_default(quiet, average):
    seen = []

    def spy(*arguments, **masks):
        seen.append(colbert_kd_scores(*arguments, **masks))
        return seen[-1]

    value, _ = run(Distillation(quiet, spy, size_average=average), batch_of(quiet), TEACHER)
    scores = seen[0].detach()
    low, high = scores.amin(1, keepdim=True), scores.amax(1, keepdim=True)
    student = ((scores - low) / (high - low + 1e-8)).log_softmax(1)
    expected = torch.nn.functional.kl_div(
        student, TEACHER.log_softmax(1), reduction="batchmean" if average else "sum", log_target=True
    )
    assert value == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("loss", [Distillation, MarginMSE])
def test_a_column_of_lists_is_as_good_as_columns(quiet, loss):
    interleaved = [text for pair in zip(POSITIVES, NEGATIVES, strict=True) for text in pair]
    lists = [column(quiet, QUERIES, "query"), column(quiet, interleaved)]
    assert_same(run(loss(quiet), lists, TEACHER), run(loss(quiet), batch_of(quiet), TEACHER))


@pytest.mark.parametrize("loss", [Distillation, MarginMSE])
def test_lists_of_different_lengths_are_the_mean_over_their_own_documents(quiet, loss):
    lists = [[POSITIVES[0], NEGATIVES[0], NEGATIVES[1]], [POSITIVES[1], NEGATIVES[2]]]
    labels = [[0.9, 0.2, 0.1], [0.8, 0.3]]
    queries = column(quiet, QUERIES[:2], "query")
    documents = column(quiet, [text for texts in lists for text in texts])
    if loss is MarginMSE:
        documents["num_documents"] = torch.tensor([3, 2])
    value, gradients = run(loss(quiet), [queries, documents], labels)
    padded = torch.tensor([[0.9, 0.2, 0.1], [0.8, 0.3, torch.nan]])
    assert run(loss(quiet), [queries, documents], padded)[0] == pytest.approx(value)
    alone = [
        run(loss(quiet), [column(quiet, [query], "query"), column(quiet, texts)], [scores])
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
    expected = run(loss(quiet), batch_of(quiet), TEACHER)
    assert_same(run(loss(quiet, score_mini_batch_size=size), batch_of(quiet), TEACHER), expected)


def test_a_score_of_every_pair_is_understood(quiet):
    expected = run(Distillation(quiet), batch_of(quiet), TEACHER)
    assert_same(run(Distillation(quiet, ColBERTScores()), batch_of(quiet), TEACHER), expected)


def test_xtr_scores_distil_over_the_whole_batch_only(quiet):
    value, _ = run(Distillation(quiet, XTRKDScores(k=10)), batch_of(quiet), TEACHER)
    assert value > 0
    with pytest.raises(InvalidInput, match="score_mini_batch_size"):
        Distillation(quiet, XTRKDScores(), score_mini_batch_size=2)


@pytest.mark.parametrize("margins", [True, False])
def test_margins_are_those_of_sentence_transformers(quiet, margins):
    labels = TEACHER[:, :1] - TEACHER[:, 1:] if margins else TEACHER
    expected = run(peer.MultiVectorMarginMSELoss(quiet), batch_of(quiet), labels)
    assert_same(run(MarginMSE(quiet), batch_of(quiet), labels), expected)
    if margins:
        assert_same(run(MarginMSE(quiet), batch_of(quiet), labels[:, 0]), expected)


def test_a_batch_of_one_trains(quiet):
    for loss in (Distillation(quiet, normalize_scores=False), MarginMSE(quiet)):
        assert run(loss, batch_of(quiet, slice(1)), TEACHER[:1])[0] > 0


def test_scores_that_do_not_fit_name_the_row(quiet):
    loss, features = Distillation(quiet), batch_of(quiet)
    with pytest.raises(InvalidInput, match="needs the teacher's scores"):
        loss(features)
    with pytest.raises(InvalidInput, match="for 5 queries, expected 6"):
        loss(features, TEACHER[:5])
    with pytest.raises(InvalidInput, match="row 0 has 3 scores for 2 documents"):
        loss(features, torch.ones(6, 3))
    ragged = TEACHER.clone()
    ragged[4, 1] = torch.nan
    with pytest.raises(InvalidInput, match="row 4 has 1 scores for 2 documents"):
        loss(features, ragged)
    ragged[2, 0] = torch.nan
    with pytest.raises(InvalidInput, match="row 2 hold NaN"):
        loss(features, ragged)
    with pytest.raises(InvalidInput, match="two documents per query at least, got 1"):
        loss(features[:2], TEACHER[:, :1])
    with pytest.raises(InvalidInput, match=r"got 1 column\(s\)"):
        loss(features[:1], TEACHER)
    with pytest.raises(InvalidInput, match="row 0 has 4 scores for 2 documents"):
        MarginMSE(quiet)(features, torch.ones(6, 4))


def test_lists_that_do_not_fit_their_scores_are_refused(quiet):
    documents = column(quiet, POSITIVES[:5])
    with pytest.raises(InvalidInput, match="column 1 has 5 documents"):
        Distillation(quiet)([column(quiet, QUERIES[:2], "query"), documents], [[0.1, 0.2, 0.3], [0.5]])
