"""Proves that rows become the features that losses read, with the markers and prompts of the model."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers import MultiVectorEncoder, SentenceTransformerTrainer

from serotine.errors import InvalidInput
from serotine.losses import Distillation
from serotine.losses.embedding import read_columns
from serotine.utils import ColBERTCollator

ROWS = [
    {"positive": "Bats fly at night.", "query_id": 7, "query": "what fly", "negative": "tree"},
    {"positive": "moth", "query_id": 8, "query": "a moth", "negative": "the river and the sound of wings"},
]
KD_ROWS = [
    {"query": "what fly", "documents": ["Bats fly at night.", "moth", "tree"], "scores": [0.9, 0.8, 0.1]},
    {"query": "a moth", "documents": ["the moth", "river"], "scores": [1.0, 0.0]},
]


def tokens(model, batch, column, row=0):
    ids = batch[f"{column}_input_ids"][row]
    return model.tokenizer.convert_ids_to_tokens(ids[batch[f"{column}_attention_mask"][row].bool()])


def columns_of(batch):
    """The features that a trainer makes of a batch."""
    return SentenceTransformerTrainer.collect_features(None, batch)


def test_queries_and_documents_get_their_markers_and_the_query_comes_first(model):
    batch = ColBERTCollator(model.tokenize)(ROWS)
    assert tokens(model, batch, "query") == ["[CLS]", "[Q] ", "what", "fly", "[SEP]"]
    assert tokens(model, batch, "positive") == ["[CLS]", "[D] ", "bats", "fly", "at", "night", ".", "[SEP]"]
    features, labels = columns_of(batch)
    assert labels is None
    assert [each["task"] for each in features] == ["query", "document", "document"]
    assert "query_id_input_ids" not in batch
    torch.testing.assert_close(
        features[0]["input_ids"], model.preprocess(["what fly", "a moth"], task="query")["input_ids"]
    )


def test_each_column_is_as_long_as_its_longest_text(model):
    batch = ColBERTCollator(model.tokenize)(ROWS)
    assert batch["query_input_ids"].shape == (2, 12)  # expanded to query_length
    assert batch["positive_input_ids"].shape == (2, 8)
    assert batch["negative_input_ids"].shape == (2, 10)


def test_the_models_prompts_are_used_and_others_if_given(model):
    model.prompts["query"] += "where: "
    batch = ColBERTCollator(model.tokenize)(ROWS)
    assert tokens(model, batch, "query")[1:4] == ["[Q] ", "where", ":"]
    for prompts in ("at ", {"query": "at ", "document": "at "}, {"query": "at ", "positive": "at ", "negative": "at "}):
        batch = ColBERTCollator(model.tokenize, prompts=prompts)(ROWS)
        assert tokens(model, batch, "query")[1:3] == ["[Q] ", "at"]
        assert tokens(model, batch, "positive")[1:3] == ["[D] ", "at"]
        assert tokens(model, batch, "negative")[1:3] == ["[D] ", "at"]


def test_settings_may_be_given_by_data_set(model):
    rows = [{**row, "dataset_name": "animals"} for row in ROWS]
    collate = ColBERTCollator(model.tokenize, prompts={"animals": {"query": "at "}, "other": {"query": "of "}})
    batch = collate(rows)
    assert batch["dataset_name"] == "animals"
    assert tokens(model, batch, "query")[1:3] == ["[Q] ", "at"]
    assert tokens(model, batch, "positive")[1:3] == ["[D] ", "bats"]
    assert tokens(model, collate([{**row, "dataset_name": "third"} for row in ROWS]), "query")[1:3] == ["[Q] ", "what"]
    with pytest.raises(InvalidInput, match="prompts is given by data set"):
        collate(ROWS)
    with pytest.raises(InvalidInput, match=r"rows of \['animals', 'other'\]"):
        collate([rows[0], {**rows[1], "dataset_name": "other"}])
    swapped = ColBERTCollator(model.tokenize, router_mapping={"animals": {"query": "document", "negative": "query"}})
    assert tokens(model, swapped(rows), "negative")[1:3] == ["[Q] ", "tree"]


def test_lists_of_documents_become_one_column_with_counts(model):
    batch = ColBERTCollator(model.tokenize)(KD_ROWS)
    assert batch["documents_input_ids"].shape[0] == 5
    features, labels = columns_of(batch)
    assert read_columns(features, loss="it").counts == [[3, 2]]
    torch.testing.assert_close(labels[:, :2], torch.tensor([[0.9, 0.8], [1.0, 0.0]]))
    assert labels.isnan().tolist() == [[False, False, False], [False, False, True]]
    loss = Distillation(model)(features, labels)
    assert loss.isfinite()
    assert loss > 0


def test_a_column_of_further_documents_may_be_empty(model):
    rows = [
        {"query": "what fly", "positive": ["moth"], "negatives": []},
        {"query": "a bat", "positive": ["bat"], "negatives": ["it"]},
    ]
    assert ColBERTCollator(model.tokenize)(rows)["negatives_num_documents"].tolist() == [0, 1]
    assert not any(name.startswith("negatives") for name in ColBERTCollator(model.tokenize)(rows[:1]))


def test_several_positives_of_a_row_are_refused_unless_labels_tell_them_apart(model):
    rows = [{"query": "what fly", "positives": ["moth"]}, {"query": "a bat", "positives": ["bat", "the bat"]}]
    with pytest.raises(InvalidInput, match=r"column 'positives': row 1 holds 2 texts, expected one: .* row of each"):
        ColBERTCollator(model.tokenize)(rows)
    for name, more in (("positives", {"label": [1.0]}), ("documents", {})):
        some = [{"query": row["query"], name: row["positives"], **more} for row in rows]
        assert ColBERTCollator(model.tokenize)(some)[f"{name}_num_documents"].tolist() == [1, 2]
    alone = [{**row, "positives": row["positives"][:1]} for row in rows]
    assert ColBERTCollator(model.tokenize)(alone)["positives_input_ids"].shape[0] == 2


def test_a_plain_multi_vector_encoder_is_served_as_well(model, tmp_path):
    model.save_pretrained(str(tmp_path), create_model_card=False)
    plain = MultiVectorEncoder(str(tmp_path), device="cpu")
    collate = ColBERTCollator(plain.preprocess, prompts={"query": "[Q] ", "document": "[D] "})
    assert tokens(plain, collate(ROWS), "positive") == tokens(model, ColBERTCollator(model.tokenize)(ROWS), "positive")
    features, _ = columns_of(collate(ROWS))
    assert [each["task"] for each in features] == ["query", "document", "document"]


@pytest.mark.parametrize("name", ["label", "labels", "score", "scores", "rating"])
def test_labels_are_found_by_name(model, name):
    rows = [{"query": "a", "positive": "b", name: 1}, {"query": "c", "positive": "d", name: 0.5}]
    batch = ColBERTCollator(model.tokenize, valid_label_columns=["rating"] if name == "rating" else None)(rows)
    assert batch["label"].tolist() == [1.0, 0.5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": [0.1, None]}, r"column 'scores': row 1 holds \[0.1, None\], expected"),
        ({"scores": [0.1, float("nan")]}, r"column 'scores': row 1 holds \[0.1, nan\], expected finite numbers"),
        ({"scores": ["high", "low"]}, r"column 'scores': row 1 holds \['high', 'low'\], expected"),
        ({"scores": 0.5}, r"column 'scores' holds numbers in some rows and lists in others"),
        ({"documents": []}, r"column 'documents': row 1 holds no document"),
        ({"documents": ["moth", None]}, r"column 'documents': row 1 holds None"),
        ({"query": ["a", "b"]}, r"column 'query': row 1 holds a list, expected one text"),
        ({"query": 5}, r"column 'query': row 1 holds 5, expected a text"),
    ],
)
def test_bad_rows_are_named_with_their_column(model, changes, message):
    with pytest.raises(InvalidInput, match=message):
        ColBERTCollator(model.tokenize)([KD_ROWS[0], {**KD_ROWS[1], **changes}])


def test_a_missing_column_an_empty_batch_and_no_tokenizer_are_errors(model):
    with pytest.raises(InvalidInput, match="row 1 of the batch has no column 'documents'"):
        ColBERTCollator(model.tokenize)([KD_ROWS[0], {"query": "a", "scores": [1.0]}])
    with pytest.raises(InvalidInput, match="a row at least"):
        ColBERTCollator(model.tokenize)([])
    with pytest.raises(InvalidInput, match=r"tokenize_fn must be model\.tokenize"):
        ColBERTCollator(model.tokenize(["a"]))
