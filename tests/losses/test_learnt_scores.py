"""Proves that a learnt score is trained by every loss, saved with the model, and used to rerank and to evaluate."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.multi_vector_encoder.evaluation import MultiVectorRerankingEvaluator

from serotine.errors import InvalidInput
from serotine.losses import CachedContrastive, Contrastive, Distillation, MarginMSE
from serotine.models import ColBERT
from serotine.rank import rerank
from serotine.scores import SimilarityMLP, TokenWeights, colbert_scores, maxsim
from tests.losses.conftest import NEGATIVES, POSITIVES, QUERIES, TEACHER, run, taught_batch


def scorer_of(name: str):
    torch.manual_seed(0)
    scorer = TokenWeights(16) if name == "weights" else SimilarityMLP(query_tokens=12, document_tokens=40)
    for parameter in scorer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return scorer


@pytest.mark.parametrize("name", ["weights", "mlp"])
@pytest.mark.parametrize("loss", [Contrastive, CachedContrastive, Distillation, MarginMSE])
def test_every_loss_trains_it(quiet, loss, name):
    scorer = scorer_of(name)
    made = loss(quiet, scorer)
    assert {id(each) for each in scorer.parameters()} <= {id(each) for each in made.parameters()}
    run(made, taught_batch(quiet), TEACHER)
    assert all(each.grad is not None and each.grad.abs().max() > 1e-5 for each in scorer.parameters())


@pytest.mark.parametrize("loss", [Contrastive, CachedContrastive, Distillation, MarginMSE])
def test_a_loss_of_a_model_that_has_one_trains_it_unless_told_otherwise(quiet, loss):
    assert not isinstance(loss(quiet).score_metric, TokenWeights)
    scorer = scorer_of("weights")
    quiet.use_scorer(scorer)
    assert loss(quiet).score_metric is scorer
    run(loss(quiet), taught_batch(quiet), TEACHER)
    assert all(each.grad is not None and each.grad.abs().max() > 1e-5 for each in scorer.parameters())
    assert loss(quiet, colbert_scores).score_metric is colbert_scores
    assert quiet.scorer is scorer


def test_a_score_that_was_taken_away_is_gone_from_the_folder_too(quiet, tmp_path):
    for options in ({}, {"format": "pylate"}):
        quiet.use_scorer(scorer_of("weights"))
        quiet.save_pretrained(str(tmp_path))
        assert ColBERT(str(tmp_path), device="cpu").scorer is not None
        quiet.use_scorer(None)
        quiet.save_pretrained(str(tmp_path), **options)
        assert not (tmp_path / "scorer").exists()
        assert ColBERT(str(tmp_path), device="cpu").scorer is None


def test_other_files_in_the_folder_of_a_score_stay(quiet, tmp_path):
    (tmp_path / "scorer").mkdir()
    (tmp_path / "scorer" / "notes.txt").write_text("mine")
    quiet.save_pretrained(str(tmp_path))
    assert (tmp_path / "scorer" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["weights", "mlp"])
def test_it_is_saved_with_the_model_and_loaded_again(quiet, name, tmp_path):
    scorer = scorer_of(name)
    Contrastive(quiet, scorer)
    quiet.save_pretrained(str(tmp_path))
    loaded = ColBERT(str(tmp_path), device="cpu")
    queries, documents = quiet.encode_query(QUERIES), quiet.encode_document(POSITIVES)
    torch.testing.assert_close(loaded.similarity(queries, documents), quiet.similarity(queries, documents))
    assert not torch.allclose(loaded.similarity(queries, documents), torch.as_tensor(maxsim(queries, documents)))
    # The plain class loads the model without it, and without running anything of the folder.
    plain = MultiVectorEncoder(str(tmp_path), device="cpu")
    torch.testing.assert_close(
        plain.encode_document(POSITIVES[0]), loaded.encode_document(POSITIVES[0], convert_to_numpy=False)
    )


def test_it_is_the_models_similarity_until_it_is_taken_away(quiet):
    scorer = scorer_of("weights")
    queries, documents = quiet.encode_query(QUERIES), quiet.encode_document(POSITIVES)
    usual = quiet.similarity(queries, documents)
    quiet.use_scorer(scorer)
    torch.testing.assert_close(quiet.similarity(queries, documents), scorer(queries, documents))
    torch.testing.assert_close(quiet.similarity_pairwise(queries, documents), scorer(queries, documents).diagonal())
    with pytest.raises(InvalidInput, match="chunk_elements"):
        quiet.similarity(queries, documents, chunk_elements=5)
    quiet.use_scorer(None)
    torch.testing.assert_close(quiet.similarity(queries, documents), usual)
    with pytest.raises(InvalidInput, match="Scorer"):
        quiet.use_scorer(maxsim)


@pytest.mark.parametrize("name", ["weights", "mlp"])
def test_rerank_orders_by_it(quiet, name):
    scorer = scorer_of(name)
    queries, documents = quiet.encode_query(QUERIES[:2]), quiet.encode_document(POSITIVES)
    ids = [[f"d{number}" for number in range(6)]] * 2
    ranked = rerank(ids, queries, [documents, documents], score_metric=scorer)
    for query, hits in zip(queries, ranked, strict=True):
        scores = {hit["id"]: hit["score"] for hit in hits}
        expected = scorer([query], documents)[0].tolist()
        assert [scores[f"d{number}"] for number in range(6)] == pytest.approx(expected, rel=1e-5)
        assert [hit["score"] for hit in hits] == sorted(scores.values(), reverse=True)
    assert rerank([[]], queries[:1], [[]], score_metric=scorer) == [[]]
    with pytest.raises(InvalidInput, match=r"query 0: score_metric returned shape"):
        rerank(ids[:1], queries[:1], [documents], score_metric=lambda queries, documents: torch.zeros(3))
    with pytest.raises(InvalidInput, match="either device or score_metric"):
        rerank(ids[:1], queries[:1], [documents], device="cpu", score_metric=scorer)


def test_an_evaluator_of_sentence_transformers_uses_it(quiet):
    samples = [{"query": q, "positive": [p], "negative": NEGATIVES} for q, p in zip(QUERIES, POSITIVES, strict=True)]
    evaluator = MultiVectorRerankingEvaluator(samples, write_csv=False)
    asked = []
    scorer = scorer_of("weights")
    scorer.register_forward_hook(lambda *_: asked.append(1))
    quiet.use_scorer(scorer)
    evaluator(quiet)
    assert asked
