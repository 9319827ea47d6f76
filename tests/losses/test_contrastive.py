"""Proves that `Contrastive` is the loss it says it is, on every shape of batch, and says what is wrong with a batch."""

from __future__ import annotations

import logging

import pytest
import torch
from sentence_transformers.multi_vector_encoder import losses as peer
from sentence_transformers.multi_vector_encoder import scoring as peer_scoring

from serotine.errors import InvalidInput, SerotineError
from serotine.losses import CachedContrastive, Contrastive
from serotine.losses.embedding import read_columns
from serotine.scores import ColBERTScores, XTRScores, maxsim
from tests.losses.conftest import NEGATIVES, POSITIVES, QUERIES, assert_same, batch_of, column, run


@pytest.mark.parametrize("columns", [2, 3])
@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_value_and_gradients_are_those_of_sentence_transformers(quiet, columns, temperature):
    features = batch_of(quiet)[:columns]
    expected = run(peer.MultiVectorMultipleNegativesRankingLoss(quiet, scale=1 / temperature), features)
    assert_same(run(Contrastive(quiet, temperature=temperature), features), expected)


def test_xtr_scores_train_as_in_sentence_transformers(quiet):
    expected = run(
        peer.MultiVectorMultipleNegativesRankingLoss(
            quiet, similarity_fct=peer_scoring.XTRScores(top_k=20), scale=10.0
        ),
        batch_of(quiet),
    )
    assert_same(run(Contrastive(quiet, XTRScores(k=20), temperature=0.1), batch_of(quiet)), expected)


@pytest.mark.parametrize("size", [1, 2, 4, 100])
def test_scoring_in_parts_changes_nothing(quiet, size):
    expected = run(Contrastive(quiet), batch_of(quiet))
    assert_same(run(Contrastive(quiet, score_mini_batch_size=size), batch_of(quiet)), expected)


def test_the_sum_is_the_mean_times_the_number_of_queries(quiet):
    mean, total = (run(Contrastive(quiet, size_average=average), batch_of(quiet))[0] for average in (True, False))
    assert total == pytest.approx(mean * len(QUERIES), rel=1e-5)


def test_the_scoring_mask_decides_and_not_the_attention_mask(quiet):
    features = batch_of(quiet)[:2]
    with torch.no_grad():
        loss = Contrastive(quiet)(features)
        queries = quiet.encode_query(QUERIES, convert_to_numpy=False)
        documents = quiet.encode_document(POSITIVES, convert_to_numpy=False)
    assert {len(query) for query in queries} == {12}  # expansion tokens are not attended to, but scored
    assert any(len(one) < (features[1]["attention_mask"][i].sum()) for i, one in enumerate(documents))
    scores = torch.as_tensor(maxsim(queries, documents))
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(scores, torch.arange(6)), rtol=1e-5, atol=1e-5)


def test_padding_changes_nothing(quiet):
    features = batch_of(quiet)
    expected = run(Contrastive(quiet), features)
    wide = [features[0], *(quiet.tokenize(texts, is_query=False, pad=True) for texts in (POSITIVES, NEGATIVES))]
    assert wide[1]["input_ids"].shape[1] == 40 > features[1]["input_ids"].shape[1]
    assert_same(run(Contrastive(quiet), wide), expected)


def test_a_column_of_lists_is_as_good_as_columns(quiet):
    expected = run(Contrastive(quiet), batch_of(quiet))
    interleaved = [text for pair in zip(POSITIVES, NEGATIVES, strict=True) for text in pair]
    assert_same(run(Contrastive(quiet), [column(quiet, QUERIES, "query"), column(quiet, interleaved)]), expected)


def test_lists_of_different_lengths_are_scored_without_the_missing_ones(quiet):
    lists = [[POSITIVES[0], NEGATIVES[0], NEGATIVES[1]], [POSITIVES[1]], [POSITIVES[2], NEGATIVES[2]]]
    documents = column(quiet, [text for texts in lists for text in texts])
    documents["num_documents"] = torch.tensor([3, 1, 2])
    loss, _ = run(Contrastive(quiet), [column(quiet, QUERIES[:3], "query"), documents])
    queries = quiet.encode_query(QUERIES[:3], convert_to_numpy=False)
    texts = quiet.encode_document([text for each in lists for text in each], convert_to_numpy=False)
    scores = torch.as_tensor(maxsim(queries, texts))
    expected = torch.nn.functional.cross_entropy(scores, torch.tensor([0, 3, 4]))
    assert loss == pytest.approx(float(expected), rel=1e-4)


def test_positives_and_lists_of_negatives_may_stand_in_two_columns(quiet):
    negatives = [text for i in range(6) for text in (NEGATIVES[i], POSITIVES[i - 1])]
    more = [POSITIVES[i - 1] for i in range(6)]
    expected = run(Contrastive(quiet), [*batch_of(quiet), column(quiet, more)])
    found = run(Contrastive(quiet), [*batch_of(quiet)[:2], column(quiet, negatives)])
    assert_same(found, expected)


def test_a_batch_of_one_with_a_negative_trains(quiet):
    value, gradients = run(Contrastive(quiet), batch_of(quiet, slice(1)))
    assert value > 0
    assert any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("kind", [Contrastive, CachedContrastive])
def test_a_batch_of_one_without_negatives_is_an_error_at_first_and_said_once_later(quiet, caplog, kind):
    loss, alone = kind(quiet), batch_of(quiet, slice(1))[:2]
    with pytest.raises(
        InvalidInput, match=f"training batch 1: {kind.__name__} got a batch of one query with one document"
    ):
        run(loss, alone)
    run(loss, batch_of(quiet)[:2])
    with caplog.at_level(logging.WARNING, "serotine.losses"):
        for _ in range(2):
            value, gradients = run(loss, alone)
    assert value == 0
    assert not any(gradient.any() for gradient in gradients)
    said = [record.message.split(":")[0] for record in caplog.records if "one document" in record.message]
    assert said == ["training batch 2"]
    with torch.no_grad():
        assert kind(quiet)(batch_of(quiet, slice(1))[:2]) == 0  # an evaluation says nothing about training


def test_columns_whose_names_begin_alike_keep_their_own_features(quiet):
    features = batch_of(quiet)
    mixed = {**features[1], **{f"1_{key}": value for key, value in features[2].items()}}
    assert_same(run(Contrastive(quiet), [features[0], mixed, features[2]]), run(Contrastive(quiet), features))
    assert read_columns([features[0], mixed], loss="it").features[1].keys() == features[1].keys()


def test_a_column_that_was_tokenised_without_a_task_is_refused(quiet):
    features = batch_of(quiet)
    del features[1]["task"]
    with pytest.raises(InvalidInput, match=r"column 1 was tokenised neither as queries nor as documents"):
        Contrastive(quiet)(features)


def test_missing_columns_and_rows_are_named(quiet):
    loss, features = Contrastive(quiet), batch_of(quiet)
    with pytest.raises(InvalidInput, match=r"got 1 column\(s\)"):
        loss(features[:1])
    with pytest.raises(InvalidInput, match="column 2 has 4 rows for 6 queries"):
        loss([*features[:2], column(quiet, NEGATIVES[:4])])
    bad = {**features[1], "num_documents": torch.tensor([1, 1, 1, 1, 1, 2])}
    with pytest.raises(InvalidInput, match="column 1 has 6 documents, but the lists of the 6 queries have 7"):
        loss([features[0], bad])


@pytest.mark.parametrize("position", [0, 1])
def test_a_loss_that_is_not_a_number_names_batch_and_row(quiet, position):
    loss, features = Contrastive(quiet), batch_of(quiet)[:2]
    loss(features)
    with torch.no_grad():
        loss(features)  # an evaluation counts as no batch
    forward = type(quiet).forward

    class Broken(type(quiet)):
        def forward(self, features, **kwargs):
            outputs = forward(self, features, **kwargs)
            if kwargs["task"] == ("query", "document")[position]:
                outputs["token_embeddings"] = outputs["token_embeddings"].clone()
                outputs["token_embeddings"][2, 0, 0] = torch.nan
            return outputs

    quiet.__class__ = Broken
    expected = "column 0 .queries., row 2" if position == 0 else "document 0 of row 2"
    with pytest.raises(SerotineError, match=f"in training batch 2: {expected}"):
        loss(batch_of(quiet)[:2])
    with torch.no_grad(), pytest.raises(SerotineError, match=f"in an evaluation after training batch 2: {expected}"):
        loss(batch_of(quiet)[:2])


def test_a_positive_without_a_scored_token_is_named(quiet):
    features = batch_of(quiet)[:2]
    features[1]["attention_mask"] = features[1]["attention_mask"].clone()
    features[1]["attention_mask"][3] = 0
    with pytest.raises(SerotineError, match="document 0 of row 3 has no token"):
        Contrastive(quiet)(features)


def test_a_score_of_the_wrong_shape_is_refused(quiet):
    with pytest.raises(InvalidInput, match=r"returned shape \(6,\), expected \(6, 12\)"):
        Contrastive(quiet, lambda queries, documents, **masks: queries.sum((1, 2)))(batch_of(quiet))


@pytest.mark.parametrize(
    "options", [{"temperature": 0}, {"temperature": float("inf")}, {"score_mini_batch_size": 0}, {"score_metric": "x"}]
)
def test_settings_that_make_no_sense_are_refused(quiet, options):
    with pytest.raises(InvalidInput, match=next(iter(options))):
        Contrastive(quiet, **options)


def test_the_settings_are_told_to_model_cards(quiet):
    config = Contrastive(quiet, ColBERTScores(length_normalize=True), temperature=0.05).get_config_dict()
    assert config["temperature"] == 0.05
    assert "length_normalize=True" in config["score_metric"]
