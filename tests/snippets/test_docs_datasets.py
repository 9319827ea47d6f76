"""Documentation, "Datasets": rows from lists and from a parquet file, which its trainer's programs then train on."""

from pathlib import Path

import pytest
import torch
from datasets import Dataset, load_dataset

from serotine import losses, models, utils
from tests.models.conftest import backbone
from tests.training.conftest import losses_of, trainer_of
from tests.utils.conftest import own_cache

__all__ = ["backbone", "own_cache"]


@pytest.fixture
def model(backbone):
    """A tiny model in the place of the page's."""
    torch.set_num_threads(1)
    return models.ColBERT(model_name_or_path=str(backbone), query_length=12, document_length=40, device="cpu")


def trained(model: models.ColBERT, dataset: Dataset, loss: torch.nn.Module, folder: Path) -> list[float]:
    """Train as PyLate's newest programs do, whose collator gets model.preprocess; return the losses."""
    collator = utils.ColBERTCollator(model.preprocess)
    trainer = trainer_of(model, loss, dataset, folder, num_train_epochs=4, trainer_options={"data_collator": collator})
    trainer.train()
    return losses_of(trainer)


def contrastive_rows():
    dataset = [
        {
            "query": "where do bats roost",
            "positive": "bats roost in a cave",
            "negative": "the river is long",
        },
        {
            "query": "what is a moth",
            "positive": "the moth is an insect with wings",
            "negative": "a small tree",
        },
        {
            "query": "which mammals fly",
            "positive": "the bat is a mammal that can fly",
            "negative": "insects in the night",
        },
    ]
    return Dataset.from_list(mapping=dataset)


@pytest.mark.slow
def test_docs_contrastive_dataset_from_a_list(model, tmp_path):
    values = trained(model, contrastive_rows().shuffle(seed=42), losses.Contrastive(model=model), tmp_path)
    assert values[-1] < values[0]


@pytest.mark.slow
def test_docs_contrastive_dataset_from_a_parquet_file(model, tmp_path):
    contrastive_rows().to_parquet(str(tmp_path / "dataset.parquet"))
    dataset = load_dataset(
        path="parquet",
        data_files=str(tmp_path / "dataset.parquet"),
        split="train",
    )
    values = trained(model, dataset, losses.Contrastive(model=model), tmp_path)
    assert values[-1] < values[0]


@pytest.mark.slow
@pytest.mark.parametrize("normalize_scores", [True, False])
def test_docs_knowledge_distillation_dataset_from_lists(model, tmp_path, normalize_scores):
    dataset = [
        {
            "query_id": 54528,
            "document_ids": [
                6862419,
                335116,
                339186,
            ],
            "scores": [
                0.4546215673141326,
                0.6575686537173476,
                0.26825184192900203,
            ],
        },
        {
            "query_id": 749480,
            "document_ids": [
                6862419,
                335116,
                339186,
            ],
            "scores": [
                0.2546215673141326,
                0.7575686537173476,
                0.96825184192900203,
            ],
        },
    ]
    train = Dataset.from_list(mapping=dataset)
    documents = [
        {"document_id": 6862419, "text": "bats roost in a cave"},
        {"document_id": 335116, "text": "the moth is an insect with wings"},
        {"document_id": 339186, "text": "the river is long"},
    ]
    queries = [
        {"query_id": 749480, "text": "what is late at night"},
        {"query_id": 54528, "text": "where do insects fly"},
    ]
    documents = Dataset.from_list(mapping=documents)
    queries = Dataset.from_list(mapping=queries)
    train.set_transform(
        utils.KDProcessing(queries=queries, documents=documents).transform,
    )
    assert train[1]["query"] == "what is late at night"
    assert train[1]["documents"][0] == "bats roost in a cave"
    train_loss = losses.Distillation(model=model, normalize_scores=normalize_scores)
    values = trained(model, train, train_loss, tmp_path)
    assert len(values) == 4
    assert 0 < values[-1] < values[0]
