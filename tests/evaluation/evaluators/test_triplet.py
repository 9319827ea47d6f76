"""Proves that triplets are counted by the model's own score, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.multi_vector_encoder.evaluation import MultiVectorTripletEvaluator

from serotine.errors import InvalidInput
from serotine.evaluation import ColBERTTripletEvaluator
from serotine.evaluation.evaluators import triplet
from serotine.models import ColBERT
from serotine.scores import TokenWeights
from tests.losses.conftest import NEGATIVES, POSITIVES, QUERIES


def test_the_accuracy_is_sentence_transformers_in_pieces_of_any_size(
    model: ColBERT, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = MultiVectorTripletEvaluator(QUERIES, POSITIVES, NEGATIVES, write_csv=False)(model)
    for size in (1, 4, 100):
        monkeypatch.setattr(triplet, "_TRIPLETS_AT_ONCE", size)
        ours = ColBERTTripletEvaluator(QUERIES, POSITIVES, NEGATIVES)(model)
        assert ours == {"accuracy": pytest.approx(theirs["maxsim_accuracy"])}
    assert 0 < ours["accuracy"] < 1


def test_a_learnt_score_decides_if_the_model_has_one(model: ColBERT) -> None:
    torch.manual_seed(0)
    scorer = TokenWeights(16)
    for parameter in scorer.parameters():
        torch.nn.init.normal_(parameter, std=2.0)
    model.use_scorer(scorer)
    queries, positives, negatives = (
        model.encode_query(QUERIES),
        model.encode_document(POSITIVES),
        model.encode_document(NEGATIVES),
    )
    expected = (scorer.pairwise(queries, positives) > scorer.pairwise(queries, negatives)).float().mean().item()
    assert ColBERTTripletEvaluator(QUERIES, POSITIVES, NEGATIVES)(model)["accuracy"] == pytest.approx(expected)


def test_equal_scores_are_no_success(model: ColBERT) -> None:
    assert ColBERTTripletEvaluator(QUERIES, POSITIVES, POSITIVES)(model) == {"accuracy": 0.0}


def test_a_name_is_before_the_metric_and_in_the_file(model: ColBERT, tmp_path: Path) -> None:
    evaluator = ColBERTTripletEvaluator(QUERIES[:1], POSITIVES[:1], NEGATIVES[:1], name="dev", truncate_dim=8)
    found = evaluator(model, str(tmp_path), 2.0, 7)
    assert (evaluator.primary_metric, list(found)) == ("dev_accuracy", ["dev_accuracy"])
    text = (tmp_path / "triplet_evaluation_dev_results.csv").read_text()
    assert text == f"epoch,steps,accuracy\n2.0,7,{found['dev_accuracy']}\n"
    assert evaluator(model) == found
    assert evaluator.get_config_dict() == {"truncate_dim": 8}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"negatives": NEGATIVES[:3]}, "6 anchors, 6 positives and 3 negatives"),
        ({"anchors": [], "positives": [], "negatives": []}, "no triplets"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_lists_that_make_no_triplets_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ColBERTTripletEvaluator(**{"anchors": QUERIES, "positives": POSITIVES, "negatives": NEGATIVES, **change})


def test_a_plain_sentence_transformers_model_is_evaluated_alike(model: ColBERT, tmp_path: Path) -> None:
    model.save_pretrained(str(tmp_path), create_model_card=False)
    evaluator = ColBERTTripletEvaluator(QUERIES, POSITIVES, NEGATIVES)
    expected = evaluator(model)
    assert evaluator(MultiVectorEncoder(str(tmp_path), device="cpu")) == pytest.approx(expected, abs=1e-6)


def test_a_model_that_training_has_ruined_is_an_error(model: ColBERT) -> None:
    torch.nn.init.constant_(model[1].linear.weight, float("nan"))
    with pytest.raises(InvalidInput, match="score of triplet 0 is NaN"):
        ColBERTTripletEvaluator(QUERIES, POSITIVES, NEGATIVES)(model)
