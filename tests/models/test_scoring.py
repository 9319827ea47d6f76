"""A learnt score travels with its model: in the state dict, to the Hub's layout and back, through the trainer."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from huggingface_hub.utils import EntryNotFoundError
from sentence_transformers import MultiVectorEncoderTrainer, MultiVectorEncoderTrainingArguments

from serotine.losses import Contrastive
from serotine.models import ColBERT
from serotine.scores import Scorer, TokenWeights


def random_weights(seed: int) -> TokenWeights:
    scorer = TokenWeights(16)
    torch.manual_seed(seed)
    for parameter in scorer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return scorer


def weights_of(model: ColBERT) -> dict[str, torch.Tensor]:
    assert model.scorer is not None
    return {name: value.clone() for name, value in model.scorer.state_dict().items()}


def test_the_state_dict_restores_it_also_below_another_module(model: ColBERT) -> None:
    model.use_scorer(random_weights(0))
    expected, loss = weights_of(model), Contrastive(model)
    states = [(model, dict(model.state_dict())), (loss, {k: v.clone() for k, v in loss.state_dict().items()})]
    for module, state in states:
        state = {name: value.clone() for name, value in state.items()}
        torch.nn.init.zeros_(next(model.scorer.parameters()))
        module.load_state_dict(state)
        torch.testing.assert_close(weights_of(model), expected)


def test_a_state_without_it_leaves_it_and_one_with_it_needs_a_place(model: ColBERT) -> None:
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.use_scorer(random_weights(0))
    expected, with_scorer = weights_of(model), model.state_dict()
    model.load_state_dict(state)
    torch.testing.assert_close(weights_of(model), expected)
    model.use_scorer(None)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*scorer\."):
        model.load_state_dict(with_scorer)


def test_a_model_on_the_hub_brings_its_score(model: ColBERT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model.use_scorer(random_weights(0))
    model.save_pretrained(str(tmp_path / "hub"))
    plain = tmp_path / "plain"
    shutil.copytree(tmp_path / "hub", plain, ignore=shutil.ignore_patterns("scorer"))
    asked = []

    def download(repo: str, filename: str, subfolder: str, **options: Any) -> str:
        asked.append((repo, options["revision"]))
        path = tmp_path / repo.split("/")[1] / subfolder / filename
        if not path.exists():
            raise EntryNotFoundError(f"no {path}")
        return str(path)

    monkeypatch.setattr("sentence_transformers.util.file_io.hf_hub_download", download)
    loaded = ColBERT(str(plain), device="cpu")
    assert loaded.scorer is None
    loaded._load_scorer("user/plain", revision="v1")
    assert loaded.scorer is None
    loaded._load_scorer("user/hub", revision="v1")
    torch.testing.assert_close(weights_of(loaded), weights_of(model))
    assert set(asked) == {("user/plain", "v1"), ("user/hub", "v1")}


def test_its_similarity_has_gradients_only_where_the_embeddings_have(model: ColBERT) -> None:
    model.use_scorer(random_weights(0))
    query, document = torch.ones(1, 3, 16), torch.ones(1, 4, 16)
    assert not model.similarity(query, document).requires_grad
    assert not model.similarity([query[0]], [document[0].numpy()]).requires_grad
    model.similarity(query, document.clone().requires_grad_()).sum().backward()
    assert all(parameter.grad is not None for parameter in model.scorer.parameters())


@pytest.mark.slow
def test_the_trainer_restores_the_score_of_the_best_checkpoint(model: ColBERT, tmp_path: Path) -> None:
    loss = Contrastive(model, TokenWeights(16))
    data = Dataset.from_dict({"query": ["a bat", "a moth"] * 4, "answer": ["night bat", "river moth"] * 4})
    seen: list[dict[str, torch.Tensor]] = []

    class First(MultiVectorEncoderTrainer):
        def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
            seen.append(weights_of(self.model))
            return super()._determine_best_metric({**metrics, "eval_loss": float(self.state.global_step)}, trial)

    arguments = MultiVectorEncoderTrainingArguments(
        output_dir=str(tmp_path),
        num_train_epochs=3,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        report_to="none",
        use_cpu=True,
    )
    trainer = First(model=model, args=arguments, train_dataset=data, eval_dataset=data, loss=loss)
    trainer.train()
    assert len(seen) == 3
    first, last = seen[0], seen[-1]
    assert not torch.allclose(first["query_importance.weight"], last["query_importance.weight"])
    torch.testing.assert_close(weights_of(model), first)
    assert isinstance(model.scorer, Scorer)
    assert model.scorer is loss.score_metric
