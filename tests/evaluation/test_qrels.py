"""Proves that judgements survive TREC and BEIR files and that a malformed line is named."""

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serotine.errors import InvalidInput
from serotine.evaluation import read_qrels, write_qrels
from serotine.evaluation.qrels import normalize_qrels

one_word = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text.split() == [text])
no_tab = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\r\n"), min_size=1)
grades = st.integers(-2, 5)


def judgements(ids):
    return st.dictionaries(ids, st.dictionaries(ids, grades, min_size=1, max_size=4), max_size=4)


@settings(max_examples=150, deadline=None)
@given(judgements(one_word))
def test_trec_judgements_are_read_back_equal(tmp_path_factory, qrels):
    path = tmp_path_factory.mktemp("qrels") / "qrels.txt"
    write_qrels(path, qrels)
    assert read_qrels(path) == qrels


@settings(max_examples=150, deadline=None)
@given(judgements(no_tab))
def test_beir_judgements_are_read_back_equal_with_spaces_and_quotes_in_ids(tmp_path_factory, qrels):
    path = tmp_path_factory.mktemp("qrels") / "test.tsv"
    write_qrels(path, qrels, format="beir")
    assert read_qrels(path) == qrels


def test_the_files_have_the_forms_that_other_tools_read(tmp_path):
    write_qrels(tmp_path / "a", {1: {2: 3}, "empty": {}})
    assert (tmp_path / "a").read_text() == "1 0 2 3\n"
    write_qrels(tmp_path / "b.gz", {1: {2: 3}}, format="beir")
    assert gzip.decompress((tmp_path / "b.gz").read_bytes()) == b"query-id\tcorpus-id\tscore\n1\t2\t3\n"


def test_a_tsv_without_header_loses_no_judgement_and_windows_line_ends_are_read(tmp_path):
    path = tmp_path / "test.tsv"
    path.write_bytes(b"q1\td1\t1\r\nq1\td2\t0\r\n")
    assert read_qrels(path) == {"q1": {"d1": 1, "d2": 0}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("query-id\tcorpus-id\tscore\nq\td\t1\nq\td\n", "line 3: expected 3 columns separated by tabs"),
        ("query-id\tcorpus-id\tscore\nq\td\t1\nq\te\thigh\n", "line 3: the grade must be an integer, found 'high'"),
        ("query-id\tcorpus-id\tscore\nq\t\t1\n", "line 2: expected 3 columns"),
        ("q 0 d 1\nq 0 d 1 5\n", "line 2: expected 4 columns separated by whitespace"),
        ("q 0 d 1\nq 0 d 2\n", "line 2: document 'd' has grade 2 for query 'q', but an earlier line gives 1"),
        ("q 0 d 0.5\n", "line 1: the grade must be an integer, found '0.5'"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path, text, message):
    path = tmp_path / "bad.tsv"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=f"bad.tsv, {message}"):
        read_qrels(path)


def test_a_file_that_is_missing_or_not_utf8_or_cut_short_is_named(tmp_path):
    with pytest.raises(InvalidInput, match="no qrels file at"):
        read_qrels(tmp_path / "absent")
    (tmp_path / "latin").write_bytes(b"q 0 d 1\nq\xe9 0 d 1\n")
    with pytest.raises(InvalidInput, match="latin: not UTF-8"):
        read_qrels(tmp_path / "latin")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"q 0 d 1\n" * 1000)[:-12])
    with pytest.raises(InvalidInput, match=r"cut\.gz: not a whole gzip file"):
        read_qrels(tmp_path / "cut.gz")
    (tmp_path / "plain.gz").write_bytes(b"q 0 d 1\n")
    with pytest.raises(InvalidInput, match=r"plain\.gz: not a whole gzip file"):
        read_qrels(tmp_path / "plain.gz")


@pytest.mark.parametrize(
    ("qrels", "message"),
    [
        ([("q", "d", 1)], "must be {query id"),
        ({"q": ["d"]}, "qrels of query 'q' must be"),
        ({"q": {"d": 0.5}}, "grade of document 'd' for query 'q' must be an integer, got 0.5"),
        ({"q": {"d": "1"}}, "must be an integer, got '1'"),
        ({1: {"d": 1}, "1": {"d": 1}}, "query id '1' occurs twice"),
        ({"q": {1: 1, "1": 1}}, "judge document '1' twice"),
        ({None: {"d": 1}}, "query id in qrels must be a string or an integer"),
    ],
)
def test_judgements_of_another_form_are_refused(qrels, message):
    with pytest.raises(InvalidInput, match=message):
        normalize_qrels(qrels)


def test_what_a_format_cannot_hold_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="'two words' contains whitespace"):
        write_qrels(tmp_path / "a", {"two words": {"d": 1}})
    with pytest.raises(InvalidInput, match="contains a tab"):
        write_qrels(tmp_path / "a", {"q": {"a\tb": 1}}, format="beir")
    with pytest.raises(InvalidInput, match="cannot be written as UTF-8"):
        write_qrels(tmp_path / "a", {"q": {"\ud800": 1}})
    with pytest.raises(InvalidInput, match="format must be 'trec' or 'beir', got 'csv'"):
        write_qrels(tmp_path / "a", {}, format="csv")
    assert list(tmp_path.iterdir()) == []
