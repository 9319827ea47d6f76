"""Proves that ids become the texts that they stand for, wherever these are, and that what is missing is named."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest
import torch
from datasets import Dataset, DatasetDict

from serotine.errors import DuplicateDocument, InvalidInput
from serotine.utils import KDProcessing, load_table

QUERIES = [{"query_id": number, "text": f"query {number}"} for number in range(4)]
DOCUMENTS = [{"document_id": 10 * number, "text": f"document {10 * number}"} for number in range(40)]
TRAIN = [
    {"query_id": 3, "document_ids": [0, 390, 10], "scores": [0.9, 0.5, 0.1]},
    {"query_id": 0, "document_ids": [20, 30], "scores": [0.7, 0.6]},
]


@pytest.fixture
def processing() -> KDProcessing:
    return KDProcessing(QUERIES, DOCUMENTS)


def test_a_data_set_is_transformed_when_it_is_read_as_pylate_does(processing):
    train = DatasetDict({"train": Dataset.from_list(TRAIN)})
    train.set_transform(
        KDProcessing(DatasetDict(train=Dataset.from_list(QUERIES)), Dataset.from_list(DOCUMENTS)).transform
    )
    assert train["train"][0] == {
        **TRAIN[0],
        "query": "query 3",
        "documents": ["document 0", "document 390", "document 10"],
    }
    assert train["train"][[1, 0]]["documents"] == [["document 20", "document 30"], train["train"][0]["documents"]]
    mapped = Dataset.from_list(TRAIN).map(processing.map)
    assert mapped[1]["query"] == "query 0"
    assert mapped[1]["documents"] == ["document 20", "document 30"]


def test_the_first_n_ways_are_kept_with_their_scores(processing):
    processing.n_ways = 2
    row = processing.dataset(TRAIN)[0]
    assert row["documents"] == ["document 0", "document 390"]
    assert row["document_ids"] == [0, 390]
    assert row["scores"] == [0.9, 0.5]
    processing.n_ways = None
    assert len(processing.dataset(TRAIN)[0]["documents"]) == 3


def test_sampled_documents_differ_from_time_to_time_and_keep_the_positive():
    torch.manual_seed(0)
    ids = list(range(0, 400, 10))
    rows = [{"query_id": 1, "document_ids": ids, "scores": [float(each) for each in ids]}]
    train = KDProcessing(QUERIES, DOCUMENTS, n_ways=5, sample=True, keep=2).dataset(rows)
    drawn = [train[0] for _ in range(30)]
    for row in drawn:
        assert row["document_ids"][:2] == [0, 10]
        assert len(set(row["document_ids"])) == 5
        assert row["document_ids"] == sorted(row["document_ids"])
        assert row["scores"] == row["document_ids"]
        assert row["documents"] == [f"document {each}" for each in row["document_ids"]]
    assert {each for row in drawn for each in row["document_ids"]} > set(ids[:4])
    assert len({each for row in drawn for each in row["document_ids"]}) > 25
    torch.manual_seed(0)
    assert train[0]["document_ids"] == drawn[0]["document_ids"]


def write(folder: Path, kind: str) -> Path:
    """Write the three tables to a folder in a format; lists as a CSV file has them."""
    folder.mkdir()
    for name, rows in (("queries", QUERIES), ("documents", DOCUMENTS), ("train", TRAIN)):
        path = folder / f"{name}.{kind}"
        if kind == "parquet":
            Dataset.from_list(rows).to_parquet(str(path))
        elif kind == "csv":
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, rows[0].keys())
                writer.writeheader()
                writer.writerows(rows)
        else:
            text = "".join(json.dumps(row) + "\n" for row in rows)
            path.write_bytes(gzip.compress(text.encode()) if kind.endswith("gz") else text.encode())
    return folder


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "csv", "parquet"])
def test_tables_are_read_from_files_and_from_folders(tmp_path, processing, kind):
    folder = write(tmp_path / "kd", kind)
    expected = processing.dataset(TRAIN)[:]
    files = KDProcessing(folder / f"queries.{kind}", str(folder / f"documents.{kind}"))
    found = files.dataset(folder / f"train.{kind}")[:]
    assert found == expected
    assert load_table(folder)[:].keys() == {"query_id", "document_ids", "scores"}
    assert load_table(tmp_path, name="kd", split="queries")[:]["text"] == [row["text"] for row in QUERIES]


def test_parts_of_a_table_and_saved_data_sets_are_read_from_folders(tmp_path):
    parts = tmp_path / "parts"
    parts.mkdir()
    for number in range(2):
        Dataset.from_list(QUERIES[2 * number : 2 * number + 2]).to_parquet(
            str(parts / f"train-0000{number}-of-00002.parquet")
        )
    assert load_table(parts, split="queries")["query_id"][:] == [0, 1, 2, 3]
    Dataset.from_list(QUERIES).save_to_disk(str(tmp_path / "saved"))
    assert load_table(str(tmp_path / "saved"))["query_id"][:] == [0, 1, 2, 3]
    DatasetDict(dev=Dataset.from_list(QUERIES)).save_to_disk(str(tmp_path / "splits"))
    assert len(load_table(tmp_path / "splits", split="dev")) == 4
    with pytest.raises(InvalidInput, match=r"the splits \['dev'\], not 'train'"):
        load_table(tmp_path / "splits")


def test_ids_are_compared_as_text_and_may_be_given_as_a_dict_or_in_beirs_layout():
    queries = [{"_id": "a", "title": "", "text": "first"}, {"_id": "7", "title": "The", "text": "second"}]
    processing = KDProcessing(queries, {"x": "one", 5: "five", "06": "six"})
    rows = [{"query_id": "7", "document_ids": "['x', '5']", "scores": "[1, 0]"}]
    assert processing.dataset(rows)[0]["query"] == "The second"
    assert processing.dataset(rows)[0]["documents"] == ["one", "five"]
    numbers = KDProcessing(QUERIES, DOCUMENTS)
    assert numbers.dataset([{"query_id": "3", "document_ids": ["10", "20"], "scores": [1, 0]}])[0]["query"] == "query 3"


ROW = TRAIN[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query_id": 9}, r"row 1 \(query_id 9\): query_id 9 is not in the table of 4 query texts"),
        ({"document_ids": [20, 31]}, r"row 1 \(query_id 0\): document_id 31 is not in the table of 40 document texts"),
        ({"document_ids": ["20", "030"]}, r"row 1 .*: document_id '030' is not in"),
        ({"scores": [0.5]}, r"row 1 \(query_id 0\) has 1 scores for 2 documents"),
        ({"document_ids": [], "scores": []}, r"row 1 \(query_id 0\) has 0 scores for 0 documents"),
    ],
)
def test_what_is_missing_is_named_with_its_row(processing, changes, message):
    rows = (
        [{**TRAIN[0], "document_ids": ["0", "10", "20"]}, {**ROW, **changes}]
        if "030" in message
        else [TRAIN[0], {**ROW, **changes}]
    )
    with pytest.raises(InvalidInput, match=message):
        processing.dataset(rows)
    batch = {name: [row[name] for row in rows] for name in rows[0]}
    with pytest.raises(InvalidInput, match=message.replace("row 1", "row 1 of the batch")):
        processing.transform(batch)


def test_lists_that_are_none_columns_that_are_missing_and_empty_texts_are_named(processing):
    with pytest.raises(InvalidInput, match=r"row 0 .*: document_ids are 12, expected a list"):
        processing.dataset([{"query_id": 0, "document_ids": "12", "scores": "[1]"}])
    with pytest.raises(InvalidInput, match=r"row 0 .*: scores are .*__import__.*expected a list"):
        processing.dataset([{"query_id": 0, "document_ids": "[0]", "scores": "[1, __import__('os').getcwd()]"}])
    with pytest.raises(InvalidInput, match=r"\['scores'\] are missing from \['document_ids', 'query_id'\]"):
        processing.dataset([{"query_id": 0, "document_ids": [0]}])
    empty = KDProcessing(QUERIES, {"0": "text", "10": " "}).dataset(
        [{"query_id": 0, "document_ids": [0, 10], "scores": [1, 0]}]
    )
    with pytest.raises(InvalidInput, match=r"row 0 of the batch \(query_id 0\): the text .* is empty"):
        empty[0]


def test_tables_without_their_columns_or_with_two_texts_for_an_id_are_refused():
    with pytest.raises(
        InvalidInput, match=r"needs a column query_id, _id or id and a column text, it has \['q', 'text'\]"
    ):
        KDProcessing([{"q": 1, "text": "a"}], DOCUMENTS)
    for ids in ((3, 4, 3), ("c", "d", "c")):
        same = [{"document_id": each, "text": "a"} for each in ids]
        KDProcessing(QUERIES, same)
        same[2]["text"] = "b"
        with pytest.raises(DuplicateDocument, match="rows 0 and 2 of the table of 3 document texts"):
            KDProcessing(QUERIES, same)
    with pytest.raises(InvalidInput, match="ids must be whole numbers or strings, got double"):
        KDProcessing([{"query_id": 1.5, "text": "a"}], DOCUMENTS)


@pytest.mark.parametrize(
    "options",
    [
        {"n_ways": 0},
        {"n_ways": True},
        {"keep": -1},
        {"sample": True, "n_ways": None},
        {"sample": True, "n_ways": 2, "keep": 3},
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(InvalidInput):
        KDProcessing(QUERIES, DOCUMENTS, **options)


def test_what_is_no_path_is_a_name_on_the_hub(monkeypatch):
    asked = []

    def load_dataset(*arguments, **options):
        asked.append((arguments, options))
        return Dataset.from_list(QUERIES)

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    assert len(load_table("owner/data", name="queries", split="test")) == 4
    assert asked == [(("owner/data", "queries"), {"split": "test"})]


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"nowhere\.jsonl does not exist"):
        load_table(tmp_path / "nowhere.jsonl")
    (tmp_path / "broken.jsonl").write_text('{"query_id": 1, "text": "a"}\n{"query_id": \n')
    with pytest.raises(InvalidInput, match=r"broken\.jsonl: could not be read as json"):
        load_table(tmp_path / "broken.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match=r"holds no file of rows"):
        load_table(tmp_path / "empty")
    with pytest.raises(
        InvalidInput, match=r"\['documents.jsonl', 'queries.jsonl', 'train.jsonl'\], expected files of one"
    ):
        load_table(write(tmp_path / "three", "jsonl"), split="test")
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(InvalidInput, match=r"notes\.txt: cannot read \['\.txt'\]"):
        load_table(tmp_path / "notes.txt")
    with pytest.raises(InvalidInput, match="a path or a name, got int"):
        load_table(3)
