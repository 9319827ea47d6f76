"""Proves that BRIGHT's tables become documents, queries and judgements, and that its exclusions are kept."""

import pytest

from serotine.errors import InvalidInput
from serotine.evaluation import Run, evaluate_run, load_bright

from .test_tables import write_jsonl

DOCUMENTS = [{"id": "bats/1", "content": "Bats hear echoes."}, {"id": "bats/2", "content": "Bats sleep."}]
LONG = [{"id": "bats", "content": "Bats hear echoes. Bats sleep."}]
EXAMPLES = [
    {
        "id": "0",
        "query": "why do bats call",
        "gold_ids": ["bats/1"],
        "gold_ids_long": ["bats"],
        "excluded_ids": ["N/A"],
    },
    {
        "id": "1",
        "query": "when do bats rest",
        "gold_ids": ["bats/2"],
        "gold_ids_long": ["N/A"],
        "excluded_ids": ["bats/1"],
    },
]


@pytest.fixture
def folder(tmp_path):
    """Make a local copy of a task."""
    write_jsonl(tmp_path, "documents", "biology", DOCUMENTS)
    write_jsonl(tmp_path, "long_documents", "biology", LONG)
    write_jsonl(tmp_path, "examples", "biology", EXAMPLES)
    write_jsonl(tmp_path, "gpt4_reason", "biology", [{**EXAMPLES[0], "query": "Bats call because"}])
    return tmp_path


def test_a_task_is_read_with_its_exclusions(folder):
    documents, queries, qrels, excluded = load_bright("biology", folder)
    assert documents[0] == {"id": "bats/1", "text": "Bats hear echoes."}
    assert queries == {"0": "why do bats call", "1": "when do bats rest"}
    assert qrels == {"0": {"bats/1": 1}, "1": {"bats/2": 1}}
    assert excluded == {"1": ["bats/1"]}


def test_long_documents_have_their_own_judgements(folder):
    dataset = load_bright("biology", folder, long_documents=True)
    assert [document["id"] for document in dataset.documents] == ["bats"]
    assert dataset.qrels == {"0": {"bats": 1}}
    assert dataset.excluded == {}


def test_other_wordings_of_the_queries_can_be_read(folder):
    assert load_bright("biology", folder, queries="gpt4_reason").queries == {"0": "Bats call because"}


def test_a_document_that_its_query_excludes_does_not_count(folder):
    dataset = load_bright("biology", folder)
    run = Run("all", {query: {"bats/1": 2.0, "bats/2": 1.0} for query in dataset.queries})
    assert evaluate_run(run, dataset.qrels, "mrr").per_query("mrr") == {"0": 1.0, "1": 0.5}
    assert evaluate_run(run.without(dataset.excluded), dataset.qrels, "mrr").per_query("mrr") == {"0": 1.0, "1": 1.0}


def test_what_is_not_in_brights_shape_is_refused(folder):
    with pytest.raises(InvalidInput, match=r"no file .*examples.*physics that ends in"):
        load_bright("physics", folder)
    write_jsonl(folder, "examples", "broken", [{"id": "0", "query": "?", "excluded_ids": []}])
    with pytest.raises(InvalidInput, match="has no 'gold_ids'"):
        load_bright("broken", folder)
    write_jsonl(folder, "examples", "empty", [{**EXAMPLES[0], "gold_ids": ["N/A"]}])
    with pytest.raises(InvalidInput, match="no query of the task 'empty' has an answer"):
        load_bright("empty", folder)
    write_jsonl(folder, "examples", "twice", [EXAMPLES[0], EXAMPLES[0]])
    with pytest.raises(InvalidInput, match="query id '0' occurs a second time"):
        load_bright("twice", folder)
