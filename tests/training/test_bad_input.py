"""Proves that training on bad input is an error that names the column, row or batch: a table."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from datasets import Dataset

from serotine.errors import InvalidInput, SerotineError
from serotine.losses import CachedContrastive, Contrastive, Distillation, MarginMSE
from serotine.utils import KDProcessing
from tests.training.conftest import lists, trainer_of, triplets


def changed(data: Dataset, number: int, **values: Any) -> Dataset:
    """Return rows with some values of one of them replaced; None for a column takes it away from all."""
    kept = data.remove_columns([name for name, value in values.items() if value is None])
    there = {name: value for name, value in values.items() if value is not None}
    return Dataset.from_list([{**row, **(there if position == number else {})} for position, row in enumerate(kept)])


def by_id(**values: Any) -> Dataset:
    """Rows of ids, of which the third has some values replaced, with their texts as they are read."""
    rows = [{"query_id": number, "document_ids": [0, 1], "scores": [1.0, 0.0]} for number in range(4)]
    texts = [{"id": number, "text": f"the bat {number}"} for number in range(4)]
    processing = KDProcessing(texts, texts)
    return processing.dataset(changed(Dataset.from_list(rows), 2, **values))


def diverged(model: Any) -> Any:
    """A loss whose model has weights that are no numbers, from the second step on."""
    loss = Contrastive(model)

    def break_it(*_: Any) -> None:
        if loss._watch.number == 1:
            with torch.no_grad():
                model[1].linear.weight[0, 0] = torch.nan

    model[0].register_forward_pre_hook(break_it)
    return loss


TABLE = {
    "no query": (Contrastive, lambda: changed(triplets(), 0, query=None), r"no column is named as a query.*'positive'"),
    "no document": (
        Contrastive,
        lambda: changed(triplets(), 0, positive=None, negative=None),
        r"no column holds documents: the query is 'query'",
    ),
    "no scores": (Distillation, lambda: changed(lists(), 0, scores=None), r"Distillation needs the teacher's scores"),
    "no margins": (MarginMSE, lambda: changed(lists(), 0, scores=None), r"MarginMSE needs the teacher's scores"),
    "a text that is None": (
        Contrastive,
        lambda: triplets().map(lambda row: {"negative": None if "cave" in row["query"] else "tree"}),
        r"column 'negative': row [0-3] holds None",
    ),
    "a number for a text": (
        Contrastive,
        lambda: triplets().map(lambda row, number: {"negative": number}, with_indices=True),
        r"column 'negative': row 0 holds \d, expected a text",
    ),
    "an empty list": (
        Distillation,
        lambda: changed(lists(), 3, documents=[], scores=[]),
        r"column 'documents': row [0-3] holds no document",
    ),
    "scores of the wrong length": (
        Distillation,
        lambda: changed(lists(), 3, scores=[0.5]),
        r"Distillation: row [0-3] has 1 scores for 2 documents",
    ),
    "margins of the wrong length": (
        MarginMSE,
        lambda: changed(lists(), 3, scores=[0.5, 0.1, 0.1, 0.1, 0.1, 0.1]),
        r"MarginMSE: row [0-3] has \d scores for \d documents",
    ),
    "a score that is none": (
        Distillation,
        lambda: changed(lists(), 3, scores=[float("nan"), 0.5]),
        r"column 'scores': row [0-3] holds \[nan, 0.5\], expected finite",
    ),
    "an id without a document": (
        Distillation,
        lambda: by_id(document_ids=[0, 9]),
        r"row 2 \(query_id 2\): document_id 9 is not in the table of 4 document texts",
    ),
    "an id without a query": (
        Distillation,
        lambda: by_id(query_id=7),
        r"row 2 \(query_id 7\): query_id 7 is not in the table of 4 query texts",
    ),
    "scores for other documents": (
        Distillation,
        lambda: by_id(scores=[1.0]),
        r"row 2 \(query_id 2\) has 1 scores for 2 documents",
    ),
    "a batch of one": (
        Contrastive,
        lambda: changed(triplets(), 0, negative=None).select([0]),
        r"training batch 1: Contrastive got a batch of one query with one document",
    ),
    "a batch of one, cached": (
        CachedContrastive,
        lambda: changed(triplets(), 0, negative=None).select([0]),
        r"training batch 1: CachedContrastive got a batch of one query with one document",
    ),
    "one document to distil from": (
        Distillation,
        lambda: Dataset.from_dict({"query": ["a"], "documents": [["b"]], "scores": [[1.0]]}),
        r"Distillation needs two documents per query at least, got 1",
    ),
    "two documents to distil from": (
        Distillation,
        lambda: Dataset.from_dict({"query": ["a"], "documents": [["b", "c"]], "scores": [[1.0, 0.0]]}),
        r"training batch 1: Distillation got 2 documents per query .* or normalize_scores=False",
    ),
    "several positives": (
        Contrastive,
        lambda: triplets().map(lambda row: {"positive": [row["positive"], "a moth"]}),
        r"column 'positive': row 0 holds 2 texts, expected one",
    ),
    "a loss that is no number": (
        diverged,
        triplets,
        r"the loss is nan in training batch 2: column 0 \(queries\), row 0 has a token vector",
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_it_is_named(calm, tmp_path, name):
    loss, data, message = TABLE[name]
    with pytest.raises(SerotineError, match=message) as caught:
        trainer_of(calm, loss(calm), data(), tmp_path).train()
    assert isinstance(caught.value, InvalidInput) or "the loss is nan" in message


def test_the_last_batch_of_an_epoch_may_have_one_row(calm, tmp_path, caplog):
    data = changed(triplets(), 0, negative=None).select(range(5))
    trainer = trainer_of(calm, Contrastive(calm), data, tmp_path)
    trainer.train()
    assert trainer.state.global_step == 4
    assert sum("one query with one document" in record.message for record in caplog.records) == 1
