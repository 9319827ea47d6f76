"""Proves that published tables are read from JSON lines, parquet and the hub alike, and that what is wrong is named."""

import gzip
import json

import pytest

from serotine.errors import DownloadFailed, DuplicateDocument, InvalidInput
from serotine.evaluation._tables import Row, documents_of, read_table

ROWS = [{"id": "a", "text": "one"}, {"id": "b", "text": "two"}, {"id": "c", "text": "three"}]


def write_jsonl(folder, config, split, rows):
    """Write a table as JSON lines."""
    (folder / config).mkdir(parents=True, exist_ok=True)
    (folder / config / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def values(rows):
    """Return the rows without where they are."""
    return [dict(row.values) for row in rows]


def test_json_lines_plain_and_compressed_give_the_same_rows(tmp_path):
    write_jsonl(tmp_path, "documents", "plain", ROWS)
    text = (tmp_path / "documents" / "plain.jsonl").read_bytes()
    (tmp_path / "documents" / "small.jsonl.gz").write_bytes(gzip.compress(text))
    assert values(read_table(tmp_path, "documents", "plain")) == ROWS
    assert values(read_table(str(tmp_path), "documents", "small")) == ROWS


def test_parquet_in_numbered_parts_gives_the_rows_in_order(tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="the extra 'data' is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = tmp_path / "documents"
    folder.mkdir()
    for number, part in enumerate((ROWS[:2], ROWS[2:])):
        parquet.write_table(arrow.Table.from_pylist(part), folder / f"parts-0000{number}-of-00002.parquet")
    assert values(read_table(tmp_path, "documents", "parts")) == ROWS
    (folder / "damaged.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InvalidInput, match=r"damaged\.parquet is no readable parquet file"):
        list(read_table(tmp_path, "documents", "damaged"))


def test_a_name_on_the_hub_is_loaded_by_datasets(monkeypatch):
    datasets = pytest.importorskip("datasets", reason="the extra 'data' is not installed")
    asked = []

    def load_dataset(*arguments, **options):
        asked.append((arguments, options))
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert values(read_table("owner/name", "documents", "test", revision="v1")) == ROWS
    assert asked == [(("owner/name", "documents"), {"split": "test", "revision": "v1"})]

    def unreachable(*arguments, **options):
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(DownloadFailed, match=r"cannot load owner/name \(documents, test\): no route.*local copy"):
        list(read_table("owner/name", "documents", "test"))


@pytest.mark.parametrize(
    ("source", "config", "split", "message"),
    [
        ("absent-folder", "documents", "test", "neither an existing folder nor a name such as"),
        ("../owner/name", "documents", "test", "neither an existing folder"),
        (".", "documents", "test", "no file documents/test that ends in .jsonl"),
        (".", "../documents", "test", "no name of a configuration"),
        (".", "documents", "a/b", "no name of a configuration"),
        (".", "documents", None, "no name of a configuration"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, monkeypatch, source, config, split, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=message):
        list(read_table(source, config, split))


def test_a_line_that_is_no_object_is_named(tmp_path):
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "test.jsonl").write_text('{"id": "a"}\n["b"]\n')
    with pytest.raises(InvalidInput, match=r"test\.jsonl, line 2: expected a JSON object"):
        list(read_table(tmp_path, "documents", "test"))
    (tmp_path / "documents" / "test.jsonl").write_text("{\n")
    with pytest.raises(InvalidInput, match="line 1: not JSON"):
        list(read_table(tmp_path, "documents", "test"))


def test_a_column_that_is_missing_or_of_another_kind_is_named():
    row = Row({"id": 7, "text": None, "ids": "a", "none": None}, "here, line 3")
    assert row.id("id") == "7"
    assert row.ids("none") == []
    with pytest.raises(InvalidInput, match="here, line 3 has no 'query'; its columns are id, text, ids, none"):
        row.text("query")
    with pytest.raises(InvalidInput, match="'text' in here, line 3 must be a string, found None"):
        row.text("text")
    with pytest.raises(InvalidInput, match="'ids' in here, line 3 must be a list of ids, found 'a'"):
        row.ids("ids")


def test_a_document_id_that_occurs_twice_is_refused():
    rows = [Row(values, f"line {number}") for number, values in enumerate([*ROWS, ROWS[0]], start=1)]
    assert documents_of(rows[:3], id_column="id", text_column="text") == ROWS
    with pytest.raises(DuplicateDocument, match="line 4: the document id 'a' occurs a second time"):
        documents_of(rows, id_column="id", text_column="text")


def test_a_title_goes_before_the_text_of_its_document():
    rows = [{"id": "a", "title": "T", "text": "x"}, {"id": "b", "title": None, "text": "y"}, {"id": "c", "text": "z"}]
    columns = {"id_column": "id", "text_column": "text", "title_column": "title"}
    documents = documents_of([Row(values, "here") for values in rows], **columns)
    assert [document["text"] for document in documents] == ["T x", "y", "z"]
    with pytest.raises(InvalidInput, match="line 7: 'title' must be a string, found 5"):
        documents_of([Row({"id": "a", "title": 5, "text": "x"}, "line 7")], **columns)
