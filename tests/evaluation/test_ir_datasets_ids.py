"""Proves that a collection of ir_datasets is read by its id; one made here stands for all, so nothing is downloaded."""

from typing import NamedTuple

import pytest

from serotine.errors import DownloadFailed, InvalidInput
from serotine.evaluation import load_ir_datasets

ir_datasets = pytest.importorskip("ir_datasets", reason="the extra 'data' is not installed")


class TitledDocument(NamedTuple):
    """A document whose text has two parts."""

    doc_id: str
    title: str
    text: str

    def default_text(self):
        return f"{self.title} {self.text}"


class Handler:
    """One part of a collection: fixed records."""

    def __init__(self, kind, records):
        setattr(self, f"{kind}_iter", lambda: iter(records() if callable(records) else records))
        setattr(self, f"{kind}_handler", lambda: self)


@pytest.fixture
def register(monkeypatch):
    """Return a function that adds a collection to ir_datasets' registry for the time of a test."""
    registered = dict(ir_datasets.registry._registered)
    monkeypatch.setattr(ir_datasets.registry, "_registered", registered)

    def add(name, **parts):
        handlers = [Handler(kind, records) for kind, records in parts.items()]
        registered[name] = ir_datasets.Dataset(*handlers)

    return add


DOCUMENTS = [TitledDocument("a", "Serotine", "A bat. "), TitledDocument("b", "", "A moth.")]
QUERIES = [
    ir_datasets.formats.GenericQuery("q1", "which bat"),
    ir_datasets.formats.GenericQuery("q2", "without judgement"),
]
JUDGEMENTS = [ir_datasets.formats.TrecQrel("q1", "a", 2, "0"), ir_datasets.formats.TrecQrel("q1", "b", 0, "0")]


def test_documents_queries_and_judgements_are_read(register):
    register("bats", docs=DOCUMENTS, queries=QUERIES, qrels=JUDGEMENTS)
    documents, queries, qrels = load_ir_datasets("bats")
    assert documents == [{"id": "a", "text": "Serotine A bat."}, {"id": "b", "text": "A moth."}]
    assert queries == {"q1": "which bat"}
    assert qrels == {"q1": {"a": 2, "b": 0}}


def test_an_unknown_id_and_a_part_that_is_missing_are_refused(register):
    with pytest.raises(InvalidInput, match="knows no collection 'absent/test'"):
        load_ir_datasets("absent/test")
    register("unjudged", docs=DOCUMENTS, queries=QUERIES)
    with pytest.raises(InvalidInput, match="unjudged has no qrels"):
        load_ir_datasets("unjudged")
    register("textless", docs=DOCUMENTS, queries=QUERIES[1:], qrels=JUDGEMENTS)
    with pytest.raises(InvalidInput, match="judges 1 queries without text, such as 'q1'"):
        load_ir_datasets("textless")


def test_files_that_cannot_be_had_are_a_failed_download(register):
    def broken():
        raise OSError("no route")

    register("far", docs=broken, queries=QUERIES, qrels=JUDGEMENTS)
    with pytest.raises(DownloadFailed, match="cannot read far: no route"):
        load_ir_datasets("far")
