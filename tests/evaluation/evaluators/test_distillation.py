"""Proves that the divergence is the loss's, that rank correlations are scipy's, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sentence_transformers import MultiVectorEncoder

from serotine.errors import InvalidInput
from serotine.evaluation import ColBERTDistillationEvaluator
from serotine.evaluation.evaluators import distillation
from serotine.losses import Distillation
from serotine.models import ColBERT
from serotine.scores import SimilarityMLP
from tests.losses.conftest import NEGATIVES, POSITIVES, QUERIES, column

LISTS = [[positive, negative, "moth"] for positive, negative in zip(POSITIVES, NEGATIVES, strict=True)]
TEACHER = np.random.default_rng(0).random((6, 3)).round(2).tolist()


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_the_divergence_is_the_value_of_the_loss(model: ColBERT, normalize: bool, temperature: float) -> None:
    model.eval()
    documents = [text for row in LISTS for text in row]
    loss = Distillation(model, normalize_scores=normalize, temperature=temperature)
    with torch.no_grad():
        expected = loss([column(model, QUERIES, "query"), column(model, documents)], torch.tensor(TEACHER)).item()
    options: dict[str, Any] = {"normalize_scores": normalize, "temperature": temperature}
    found = ColBERTDistillationEvaluator(QUERIES, LISTS, TEACHER, **options)(model)
    assert expected > 0.001
    assert found["kl_divergence"] == pytest.approx(expected, rel=1e-4)


def test_lists_may_differ_in_length_and_pieces_do_not_matter(model: ColBERT, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = [row[: 1 + number % 3] for number, row in enumerate(LISTS)]
    teacher = [row[: 1 + number % 3] for number, row in enumerate(TEACHER)]
    expected = ColBERTDistillationEvaluator(QUERIES, lists, teacher)(model)
    each = [
        ColBERTDistillationEvaluator([query], [texts], [row])(model)["kl_divergence"]
        for query, texts, row in zip(QUERIES, lists, teacher, strict=True)
    ]
    assert expected["kl_divergence"] == pytest.approx(np.mean(each))
    assert each[0] == each[3] == 0.0  # one document: nothing to diverge
    for size in (1, 4):
        monkeypatch.setattr(distillation, "_DOCUMENTS_AT_ONCE", size)
        assert ColBERTDistillationEvaluator(QUERIES, lists, teacher)(model) == pytest.approx(expected)


def test_the_rank_correlation_is_scipys_mean_over_queries_with_an_order(model: ColBERT) -> None:
    model.use_scorer(None)
    teacher = [*TEACHER[:4], [0.5, 0.5, 0.1], [1.0, 1.0, 1.0]]
    documents = model.encode_document([text for row in LISTS for text in row])
    expected = []
    for number, query in enumerate(model.encode_query(QUERIES)[:5]):
        scores = model.similarity([query], documents[3 * number : 3 * number + 3])[0]
        expected.append(spearmanr(scores.numpy(), teacher[number]).statistic)
    found = ColBERTDistillationEvaluator(QUERIES, LISTS, teacher)(model)
    assert found["spearman"] == pytest.approx(np.mean(expected))
    constant = ColBERTDistillationEvaluator(QUERIES[:1], LISTS[:1], [[1.0, 1.0, 1.0]])
    assert constant(model)["spearman"] == 0.0


def test_a_learnt_score_is_the_student_if_the_model_has_one(model: ColBERT) -> None:
    torch.manual_seed(0)
    plain = ColBERTDistillationEvaluator(QUERIES, LISTS, TEACHER)(model)
    scorer = SimilarityMLP(query_tokens=12, document_tokens=40)
    for parameter in scorer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    model.use_scorer(scorer)
    learnt = ColBERTDistillationEvaluator(QUERIES, LISTS, TEACHER)(model)
    assert abs(learnt["kl_divergence"] - plain["kl_divergence"]) > 1e-3


def test_names_files_and_the_direction(model: ColBERT, tmp_path: Path) -> None:
    evaluator = ColBERTDistillationEvaluator(QUERIES, LISTS, torch.tensor(TEACHER), name="dev")
    found = evaluator(model, str(tmp_path), 1, 5)
    assert list(found) == ["dev_kl_divergence", "dev_spearman"]
    assert (evaluator.primary_metric, evaluator.greater_is_better) == ("dev_kl_divergence", False)
    text = (tmp_path / "distillation_evaluation_dev_results.csv").read_text().splitlines()
    assert text == ["epoch,steps,kl_divergence,spearman", f"1,5,{found['dev_kl_divergence']},{found['dev_spearman']}"]
    assert evaluator.get_config_dict() == {"normalize_scores": True, "temperature": 1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": TEACHER[:5]}, "6 queries, 6 lists of documents and 5 lists of scores"),
        ({"scores": [*TEACHER[:5], [1.0]]}, r"query 5 has 3 documents and scores of shape \(1,\)"),
        ({"documents": [*LISTS[:5], []]}, "query 5 has 0 documents"),
        ({"documents": POSITIVES}, "documents of query 0 is one text"),
        ({"scores": [*TEACHER[:5], [1.0, float("nan"), 0.0]]}, "query 5 has a score that is not finite"),
        ({"scores": [*TEACHER[:5], ["a", "b", "c"]]}, "must be numbers"),
        ({"queries": [], "documents": [], "scores": []}, "no queries"),
        ({"temperature": 0}, "temperature"),
    ],
)
def test_lists_that_do_not_match_are_refused_by_position(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ColBERTDistillationEvaluator(**{"queries": QUERIES, "documents": LISTS, "scores": TEACHER, **change})


def test_a_model_that_training_has_ruined_is_an_error(model: ColBERT) -> None:
    torch.nn.init.constant_(model[1].linear.weight, float("nan"))
    with pytest.raises(InvalidInput, match="scores for query 0 are not finite"):
        ColBERTDistillationEvaluator(QUERIES, LISTS, TEACHER)(model)


def test_a_plain_sentence_transformers_model_is_evaluated_alike(model: ColBERT, tmp_path: Path) -> None:
    model.save_pretrained(str(tmp_path), create_model_card=False)
    evaluator = ColBERTDistillationEvaluator(QUERIES, LISTS, TEACHER)
    expected = evaluator(model)
    assert evaluator(MultiVectorEncoder(str(tmp_path), device="cpu")) == pytest.approx(expected, abs=1e-6)
