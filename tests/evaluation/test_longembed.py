"""Proves that LongEmbed's tables are read, and those with several lengths one length at a time."""

import pytest

from serotine.errors import InvalidInput
from serotine.evaluation import LONGEMBED_TASKS, load_longembed

from .test_tables import write_jsonl


@pytest.fixture
def folder(tmp_path):
    """Make a local copy of a task without lengths and one with two."""
    write_jsonl(tmp_path, "qmsum", "corpus", [{"doc_id": "m1", "text": "The bats met."}])
    write_jsonl(tmp_path, "qmsum", "queries", [{"qid": "q1", "text": "who met"}, {"qid": "q2", "text": "unjudged"}])
    write_jsonl(tmp_path, "qmsum", "qrels", [{"qid": "q1", "doc_id": "m1"}])
    for split, id_column in (("corpus", "doc_id"), ("queries", "qid"), ("qrels", "qid")):
        rows = [
            {id_column: "x", "doc_id": "x", "text": f"{split} of {length}", "context_length": length}
            for length in (256, 512)
        ]
        write_jsonl(tmp_path, "passkey", split, rows)
    return tmp_path


def test_a_task_without_lengths_is_read_whole(folder):
    documents, queries, qrels = load_longembed("qmsum", folder)
    assert documents == [{"id": "m1", "text": "The bats met."}]
    assert queries == {"q1": "who met"}
    assert qrels == {"q1": {"m1": 1}}
    assert "qmsum" in LONGEMBED_TASKS


def test_a_task_with_lengths_is_read_at_one_of_them(folder):
    dataset = load_longembed("passkey", folder, context_length=512)
    assert dataset.documents == [{"id": "x", "text": "corpus of 512"}]
    assert dataset.queries == {"x": "queries of 512"}


@pytest.mark.parametrize(
    ("task", "length", "message"),
    [
        ("passkey", None, "has a context_length: name a context_length, such as 256"),
        ("passkey", 1024, r"nothing of context_length 1024; there are \[256, 512\]"),
        ("qmsum", 256, "has no context_length: leave context_length out"),
        ("absent", None, "no file"),
    ],
)
def test_a_length_that_does_not_fit_the_task_is_refused(folder, task, length, message):
    with pytest.raises(InvalidInput, match=message):
        load_longembed(task, folder, context_length=length)


def test_a_judgement_of_an_unknown_query_is_refused(folder):
    write_jsonl(folder, "qmsum", "qrels", [{"qid": "q9", "doc_id": "m1"}])
    with pytest.raises(InvalidInput, match="the query 'q9' has a judgement but no text"):
        load_longembed("qmsum", folder)
