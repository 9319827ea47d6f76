"""Proves which column is taken for what, and that what cannot be told is an error that names the columns."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset

from serotine.errors import InvalidInput
from serotine.utils.columns import assign_roles, read_texts


@pytest.mark.parametrize(
    ("names", "query", "documents", "label", "skipped"),
    [
        (["query", "positive"], "query", ["positive"], None, []),
        (["positive", "negative", "anchor"], "anchor", ["positive", "negative"], None, []),
        (["answer", "question"], "question", ["answer"], None, []),
        (["query", "negative", "positive"], "query", ["positive", "negative"], None, []),
        (["query", "negative_query", "positive"], "query", ["positive", "negative_query"], None, []),
        (["user_query", "document_2", "document_1"], "user_query", ["document_2", "document_1"], None, []),
        (["query_id", "document_ids", "scores", "query", "documents"], "query", ["documents"], "scores",
         ["query_id", "document_ids"]),
        (["id", "qid", "idx", "query", "positive_ideal", "label"], "query", ["positive_ideal"], "label",
         ["id", "qid", "idx"]),
        # With labels the order of the documents is theirs.
        (["query", "negative", "positive", "label"], "query", ["negative", "positive"], "label", []),
        (["Query", "Text"], "Query", ["Text"], None, []),
    ],
)  # fmt: skip
def test_columns_are_told_apart_by_their_names(names, query, documents, label, skipped):
    assert assign_roles(names) == (query, documents, label, skipped)


def test_names_that_do_not_tell_are_given_by_the_caller():
    tasks = {"sentence1": "query", "doc_id": "document"}
    assert assign_roles(["doc_id", "sentence1"], tasks=tasks) == ("sentence1", ["doc_id"], None, [])
    assert assign_roles(["query", "title"], tasks={"title": "query", "query": "document"})[:2] == ("title", ["query"])


@pytest.mark.parametrize(
    ("names", "tasks", "message"),
    [
        (
            ["sentence1", "sentence2"],
            {},
            r"no column is named as a query, the columns are \['sentence1', 'sentence2'\]",
        ),
        (["old_query", "new_query", "positive"], {}, r"\['old_query', 'new_query'\] are all named as a query"),
        (["query", "query_id", "label"], {}, r"no column holds documents: the query is 'query'"),
        (["query", "positive"], {"positive": "passage"}, r"\['passage'\], expected query or document"),
    ],
)
def test_what_cannot_be_told_is_an_error_that_names_the_columns(names, tasks, message):
    with pytest.raises(InvalidInput, match=message):
        assign_roles(names, tasks=tasks)


def test_texts_are_read_one_per_row_or_as_lists():
    assert read_texts("a", [{"a": "x"}, {"a": "y"}], lists=True) == (["x", "y"], None)
    assert read_texts("a", [{"a": ["x", "y"]}, {"a": []}, {"a": ("z",)}], lists=True) == (["x", "y", "z"], [2, 0, 1])
    # As rows of a data set in the numpy format are.
    rows = Dataset.from_dict({"q": ["u", "v"], "a": [["x", "y"], ["z"]]}).with_format("numpy")
    assert isinstance(rows[0]["a"], np.ndarray)
    assert read_texts("a", list(rows), lists=True) == (["x", "y", "z"], [2, 1])
    assert read_texts("q", list(rows), lists=False) == (["u", "v"], None)


def test_a_dict_and_an_image_stand_for_a_text():
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    image = pillow.new("RGB", (2, 2))
    assert read_texts("a", [{"a": image}, {"a": {"text": "x"}}], lists=True) == ([image, {"text": "x"}], None)


@pytest.mark.parametrize(
    ("rows", "lists", "message"),
    [
        ([{"a": "x"}, {"b": "y"}], True, r"row 1 of the batch has no column 'a', only \['b'\]"),
        ([{"a": "x"}, {"a": None}], True, r"column 'a': row 1 holds None, expected a text"),
        ([{"a": ["x"]}, {"a": ["y", "z", 7]}], True, r"column 'a': row 1 holds 7, expected a text"),
        ([{"a": ["x"]}, {"a": "y"}], True, r"column 'a': row 1 holds a str, expected a list of texts"),
        ([{"a": "x"}, {"a": ["y"]}], False, r"column 'a': row 1 holds a list, expected one text"),
        ([{"a": np.array(["x", "y"])}], False, r"column 'a': row 0 holds a ndarray, expected one text"),
        ([{"a": ["x"]}, {"a": np.ones(2)}], True, r"column 'a': row 1 holds .*1\.0.*, expected a text"),
        ([{"a": "x"}, {"a": np.float32(2.5)}], True, r"column 'a': row 1 holds .*2\.5.*, expected a text"),
        ([{"a": "x"}, {"a": b"y"}], True, r"column 'a': row 1 holds b'y', expected a text"),
        ([{"a": "x"}, {"a": {"y"}}], True, r"column 'a': row 1 holds \{'y'\}, expected a text"),
    ],
)
def test_what_is_no_text_is_an_error_that_names_column_and_row(rows, lists, message):
    with pytest.raises(InvalidInput, match=message):
        read_texts("a", rows, lists=lists)
