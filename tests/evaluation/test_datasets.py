"""Proves that a folder in BEIR's layout is read as PyLate returns it, and that what is wrong in one is named."""

import pytest

from serotine.errors import DuplicateDocument, InvalidInput
from serotine.evaluation import load_custom_dataset

from . import collection


@pytest.mark.parametrize("compress", [False, True])
def test_a_folder_gives_documents_judged_queries_and_qrels(tmp_path, compress):
    folder = collection.write(tmp_path / "bats", compress=compress)
    documents, queries, qrels = load_custom_dataset(folder)
    assert documents == [
        {"id": "serotine", "text": "Serotine A large bat that leaves its roost late in the evening."},
        {"id": "noctule", "text": "Noctule A fast flier that feeds high above the trees."},
        {"id": "untitled", "text": "Some bats hang from the ceiling of a cave."},
        {"id": "4", "text": "Bats find moths by listening to echoes."},
        {"id": "empty", "text": ""},
    ]
    assert list(queries.items()) == [("echo", "how do bats hunt?"), ("late", "which bat flies late?")]
    assert qrels == {"echo": {"4": 2, "noctule": 0}, "late": {"serotine": 1}}


def test_the_queries_are_those_of_the_split(tmp_path):
    dataset = load_custom_dataset(str(collection.write(tmp_path / "bats")), split="dev")
    assert dataset.queries == {"late": "which bat flies late?"}
    assert dataset.qrels == {"late": {"serotine": 1}}
    assert len(dataset.documents) == 5


@pytest.mark.parametrize("compress", [False, True])
def test_a_missing_split_names_those_that_exist(tmp_path, compress):
    folder = collection.write(tmp_path / "bats", compress=compress)
    with pytest.raises(InvalidInput, match="no qrels for the split 'train'; the splits that exist: dev, test"):
        load_custom_dataset(folder, split="train")


def test_a_missing_folder_or_file_is_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"no dataset folder at .*absent"):
        load_custom_dataset(tmp_path / "absent")
    folder = collection.write(tmp_path / "bats")
    (folder / "corpus.jsonl").unlink()
    with pytest.raises(InvalidInput, match=r"no file .*bats/corpus\.jsonl"):
        load_custom_dataset(folder)
    for file in (folder / "qrels").iterdir():
        file.unlink()
    with pytest.raises(InvalidInput, match="the splits that exist: none"):
        load_custom_dataset(folder)


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("corpus.jsonl", '{"_id": "cut", "text": "no end', "not JSON: Unterminated string"),
        ("corpus.jsonl", '{"_id": "no text"}', "expected an object with '_id' and a string 'text'"),
        ("corpus.jsonl", '{"text": "no id"}', "expected an object with '_id'"),
        ("corpus.jsonl", '["a", "list"]', "expected an object"),
        ("corpus.jsonl", '{"_id": "a", "text": null}', "a string 'text'"),
        ("corpus.jsonl", '{"_id": "a", "text": "b", "title": 3}', "'title' must be a string, found 3"),
        ("corpus.jsonl", '{"_id": null, "text": "b"}', "must be a string or an integer, got None"),
        ("queries.jsonl", '{"_id": "late", "text": "another text"}', "query id 'late' occurs a second time"),
        ("queries.jsonl", "nonsense", "not JSON"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path, file, line, message):
    folder = collection.write(tmp_path / "bats")
    with (folder / file).open("a") as opened:
        opened.write(line + "\n")
    number = len((folder / file).read_text().splitlines())
    with pytest.raises(InvalidInput, match=message) as caught:
        load_custom_dataset(folder)
    assert f"{file}, line {number}" in str(caught.value)


def test_a_document_id_that_occurs_twice_is_refused_also_as_int_and_string(tmp_path):
    folder = collection.write(tmp_path / "bats")
    with (folder / "corpus.jsonl").open("a") as opened:
        opened.write('{"_id": "4", "text": "again"}\n')
    with pytest.raises(DuplicateDocument, match="line 6: the document id '4' occurs a second time"):
        load_custom_dataset(folder)


def test_a_judged_query_without_text_is_refused(tmp_path):
    folder = collection.write(tmp_path / "bats")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nghost\tserotine\t1\n")
    with pytest.raises(InvalidInput, match=r"1 queries of the split 'test' have no line in queries.jsonl.*'ghost'"):
        load_custom_dataset(folder)
