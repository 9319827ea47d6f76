"""Proves the life of a learnt score: trained, restored with the best checkpoint, saved, loaded, used to rerank."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from serotine import evaluation, indexes, rank, retrieve
from serotine.losses import CachedContrastive, Contrastive, Distillation
from serotine.models import ColBERT
from serotine.scores import SimilarityMLP, TokenWeights, maxsim
from tests.training.conftest import lists, trainer_of, triplets


def scorer_of(name: str):
    return TokenWeights(16) if name == "weights" else SimilarityMLP(query_tokens=12, document_tokens=40)


def trained(model: ColBERT, scorer, folder: Path, loss=Contrastive, **options):
    data = lists() if loss is Distillation else triplets()
    trainer = trainer_of(
        model,
        loss(model, scorer),
        data,
        folder,
        learning_rate_mapping={r"^score_metric\.": 0.05},
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        num_train_epochs=4,
        trainer_options={"eval_dataset": data},
        **options,
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize("name", ["weights", "mlp"])
@pytest.mark.parametrize("loss", [Contrastive, CachedContrastive, Distillation])
def test_it_is_trained_and_the_best_checkpoint_has_the_best_score(calm, tmp_path, name, loss):
    scorer = scorer_of(name)
    before = {key: value.clone() for key, value in scorer.state_dict().items()}
    # The highest loss counts as the best, so that the best checkpoint is not the last.
    trainer = trained(calm, scorer, tmp_path, loss, metric_for_best_model="eval_loss", greater_is_better=True)
    assert not trainer.state.best_model_checkpoint.endswith(str(trainer.state.global_step))
    assert calm.scorer is scorer
    assert all(not torch.equal(value, before[key]) for key, value in scorer.state_dict().items())
    # The weights that the best checkpoint holds, model and score together, are in use again.
    assert trainer.evaluate()["eval_loss"] == pytest.approx(trainer.state.best_metric, rel=1e-5)
    best = ColBERT(trainer.state.best_model_checkpoint, device="cpu")
    for key, value in best.scorer.state_dict().items():
        torch.testing.assert_close(value, scorer.state_dict()[key])


@pytest.mark.parametrize("name", ["weights", "mlp"])
def test_evaluators_and_rerank_use_it_after_loading(calm, tmp_path, name):
    trained(calm, scorer_of(name), tmp_path)
    calm.save_pretrained(str(tmp_path / "final"))
    model = ColBERT(str(tmp_path / "final"), device="cpu")
    data = triplets()
    queries = model.encode(data["query"], is_query=True)
    documents = model.encode(data["positive"], is_query=False)
    scores = model.similarity(queries, documents)
    torch.testing.assert_close(scores, model.scorer(queries, documents))
    assert not torch.allclose(scores, torch.as_tensor(maxsim(queries, documents)), atol=1e-3)

    ids = [f"d{number}" for number in range(8)]
    ranked = rank.rerank([ids] * 8, queries, [documents] * 8, score_metric=model.scorer)
    for row, hits in zip(scores, ranked, strict=True):
        order = np.argsort(-row.detach().numpy(), kind="stable")
        assert [hit["id"] for hit in hits] == [ids[number] for number in order]

    texts = [list(data[name]) for name in ("query", "positive", "negative")]
    found = evaluation.ColBERTTripletEvaluator(*texts, write_csv=False)(model)["accuracy"]
    negatives = model.encode(texts[2], is_query=False)
    better = model.scorer.pairwise(queries, documents) > model.scorer.pairwise(queries, negatives)
    assert found == pytest.approx(better.float().mean().item())


def test_weights_of_tokens_fold_into_vectors_so_that_an_index_searches_by_them(calm, tmp_path):
    trained(calm, scorer_of("weights"), tmp_path)
    data = triplets()
    queries, documents = (calm.encode(data[name], is_query=name == "query") for name in ("query", "positive"))
    folded = [calm.scorer.fold(each, is_query=is_query) for each, is_query in ((queries, True), (documents, False))]
    assert not np.allclose(np.linalg.norm(folded[1][0], axis=1), 1, atol=1e-3)  # the norm is the weight
    scores = calm.similarity(queries, documents)
    torch.testing.assert_close(torch.as_tensor(maxsim(*folded)), scores.detach(), rtol=1e-4, atol=1e-4)

    index = indexes.Exact()
    index.add_documents(list(range(8)), folded[1])
    for row, hits in zip(scores, retrieve.ColBERT(index).retrieve(folded[0], k=8), strict=True):
        found = {hit["id"]: hit["score"] for hit in hits}
        assert [found[number] for number in range(8)] == pytest.approx(row.tolist(), rel=1e-4)


def test_it_reranks_what_maxsim_retrieves(calm, tmp_path):
    trained(calm, scorer_of("mlp"), tmp_path)
    data = triplets()
    queries, documents = (calm.encode(data[name], is_query=name == "query") for name in ("query", "positive"))
    index = indexes.Exact()
    index.add_documents(list(range(8)), documents)
    candidates = [[hit["id"] for hit in hits] for hits in retrieve.ColBERT(index).retrieve(queries, k=3)]
    expected = torch.as_tensor(maxsim(queries, documents)).topk(3).indices.tolist()
    assert [sorted(ids) for ids in candidates] == [sorted(ids) for ids in expected]
    embeddings = [[documents[number] for number in ids] for ids in candidates]
    ranked = rank.rerank(candidates, queries, embeddings, score_metric=calm.scorer)
    scores = calm.similarity(queries, documents)
    for number, hits in enumerate(ranked):
        assert {hit["id"] for hit in hits} == set(candidates[number])
        assert [hit["score"] for hit in hits] == pytest.approx(
            [scores[number, hit["id"]].item() for hit in hits], rel=1e-4
        )
