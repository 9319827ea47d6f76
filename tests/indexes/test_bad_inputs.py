"""Proves what an index does with each kind of bad input: one documented behaviour, and an index as it was before."""

from __future__ import annotations

import numpy as np
import pytest

from serotine.errors import (
    DimensionMismatch,
    DuplicateDocument,
    IndexLocked,
    InvalidInput,
    SerotineError,
    UnknownDocument,
)
from serotine.indexes import PLAID, Exact
from tests.indexes.samples import state

GOOD = np.ones((3, 4), dtype=np.float32)


@pytest.fixture
def make_index(make_any_index):
    """Every kind of index. One of PLAID learns its dim from a document."""

    def make(*, dim=None, **options):
        if make_any_index.kind is Exact:
            return make_any_index(dim=dim, **options)
        index = make_any_index(**options)
        return index if dim is None else index.add_documents("gone", np.ones((1, dim))).remove_documents("gone")

    make.kind = make_any_index.kind
    return make


def with_value(value, *, row=2, column=1, dtype=np.float64):
    """Vectors of a text with one component changed."""
    vectors = np.ones((3, 4), dtype=dtype)
    vectors[row, column] = value
    return vectors


BAD_ADDS = {
    "NaN": (["a", "b"], [GOOD, with_value(np.nan)], InvalidInput, "document 'b', token row 2, dimension 1.* nan"),
    "infinity": (["a"], [with_value(np.inf, row=0)], InvalidInput, "document 'a', token row 0.* inf"),
    "minus infinity": (["a"], [with_value(-np.inf)], InvalidInput, "document 'a', token row 2.* -inf"),
    "infinite only as float32": (["a"], [with_value(1e300)], InvalidInput, "document 'a', token row 2.* inf"),
    "so large that a score could overflow": (["a"], [with_value(2e15)], InvalidInput, "token row 2.*(1e\\+15|65504)"),
    "NaN in a document after an empty one": (
        ["x", "y"], [np.empty((0, 4)), with_value(np.nan, row=1)], InvalidInput, "document 'y', token row 1"),
    "NaN in a padded array": (
        ["a", "b"], np.stack([GOOD, with_value(np.nan)]), InvalidInput, "document 'b', token row 2"),
    "too wide": (["a", "b"], [GOOD, np.ones((3, 5))], DimensionMismatch, r"document 'b' has shape \(3, 5\), expected"),
    "too narrow, all of them": (["a"], [np.ones((3, 3))], DimensionMismatch, r"\(3, 3\), expected \(num_tokens, 4\)"),
    "too wide without tokens": (["a"], [np.ones((0, 5))], DimensionMismatch, r"document 'a' has shape \(0, 5\)"),
    "no width": (["a"], [np.ones((3, 0))], DimensionMismatch, r"document 'a' has shape \(3, 0\)"),
    "one vector instead of a matrix": (["a"], [np.ones(4)], DimensionMismatch, r"document 'a' has shape \(4,\)"),
    "a number": (["a"], np.float32(3), DimensionMismatch, "shape \\(\\)"),
    "four dimensions": (["a"], np.ones((1, 1, 3, 4)), DimensionMismatch, "2-D .* or 3-D"),
    "text": (["a"], [["some", "words"]], InvalidInput, "document 'a': embeddings must be numbers"),
    "a string": (["a"], "text", InvalidInput, "list of 2-D arrays, got str"),
    "a dict": (["a"], {"a": GOOD}, InvalidInput, "list of 2-D arrays, got dict"),
    "None": (["a"], None, InvalidInput, "list of 2-D arrays, got NoneType"),
    "None inside": (["a"], [None], InvalidInput, "document 'a': embeddings must be numbers"),
    "ragged rows": (["a"], [[[1.0, 2.0], [1.0]]], InvalidInput, "document 'a': embedding is not an array"),
    "complex numbers": (["a"], [GOOD * 1j], InvalidInput, "document 'a': embeddings must be numbers"),
    "fewer embeddings than ids": (["a", "b"], [GOOD], InvalidInput, "2 document ids and 1 embeddings"),
    "more embeddings than ids": (["a"], [GOOD, GOOD], InvalidInput, "1 document ids and 2 embeddings"),
    "embeddings without ids": ([], [GOOD], InvalidInput, "0 document ids and 1 embeddings"),
    "a generator that ends early": (["a", "b"], (v for v in [GOOD]), InvalidInput, "2 document ids and 1 embeddings"),
    "a generator that goes on": (["a"], (v for v in [GOOD] * 9), InvalidInput, "1 document ids and more than 1"),
    "a generator without ids": ([], (v for v in [GOOD]), InvalidInput, "0 document ids and more than 0"),
    "an id twice": (["a", "b", "a"], [GOOD] * 3, DuplicateDocument, "'a' occurs twice"),
    "an id that is there": (["b", "old"], [GOOD] * 2, DuplicateDocument, "'old' is in the index already"),
    "an id as text and as numpy text": (["a", np.str_("a")], [GOOD] * 2, DuplicateDocument, "'a' occurs twice"),
    "id None": ([None], [GOOD], InvalidInput, "got None of type NoneType"),
    "id a float": ([1.0], [GOOD], InvalidInput, "got 1.0 of type float"),
    "id bytes": ([b"a"], [GOOD], InvalidInput, "got b'a' of type bytes"),
    "id True": ([True], [GOOD], InvalidInput, "got True of type bool"),
    "id numpy False": ([np.False_], [GOOD], InvalidInput, "got .*False.* of type bool"),
    "id a tuple": ([("a", 1)], [GOOD], InvalidInput, "of type tuple"),
    "id a list": ([["a"]], [GOOD], InvalidInput, "of type list"),
    "id of 65 bits": ([2**63], [GOOD], InvalidInput, "64 bits"),
    "id empty": ([""], [GOOD], InvalidInput, "0 bytes, expected 1 to 1024"),
    "id too long": (["é" * 513], [GOOD], InvalidInput, "1026 bytes, expected 1 to 1024"),
    "id with NUL": (["a\0b"], [GOOD], InvalidInput, "NUL"),
    "id with a lone surrogate": (["a\ud800"], [GOOD], InvalidInput, "lone surrogate at character 1"),
    "ids None": (None, [GOOD], InvalidInput, "list of str or int, got NoneType"),
    "ids bytes": (b"a", [GOOD], InvalidInput, "list of str or int, got bytes"),
    "ids True": (True, [GOOD], InvalidInput, "bool"),
    "ids a dict": ({"a": 1}, [GOOD], InvalidInput, "list of str or int, got dict"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_ADDS)
@pytest.mark.parametrize("method", ["add_documents", "update_documents"])
def test_a_bad_add_is_refused_and_changes_nothing(index, method, case):
    ids, embeddings, error, message = BAD_ADDS[case]
    if case == "an id that is there" and method == "update_documents":
        pytest.skip("that is what update_documents is for")
    if hasattr(embeddings, "send"):
        embeddings = iter([GOOD] * {"a generator that ends early": 1}.get(case, 9))  # one run must not eat another's
    index.add_documents(["old", 1], [2 * GOOD, GOOD])
    before = state(index)
    with pytest.raises(error, match=message):
        getattr(index, method)(ids, embeddings)
    assert state(index) == before
    index.add_documents("new", GOOD)
    assert index.documents_ids() == ["old", 1, "new"]


def test_a_value_that_float16_cannot_hold_is_refused_by_a_float16_index(make_index):
    options = {"dtype": "float16"} if make_index.kind is Exact else {}
    index = make_index(**options).add_documents("old", GOOD)
    with pytest.raises(InvalidInput, match=r"document 'a', token row 2.* inf as float16"):
        index.add_documents("a", with_value(70000, dtype=np.float32))
    assert index.documents_ids() == ["old"]


def test_an_error_of_the_callers_generator_passes_through_and_changes_nothing(index):
    def broken():
        yield GOOD
        raise OSError("the caller's own disk")

    index.add_documents("old", GOOD)
    with pytest.raises(OSError, match="the caller's own disk"):
        index.update_documents(["old", "b"], broken())
    assert index.documents_ids() == ["old"]


def test_changing_an_index_while_it_reads_a_generator_is_refused(make_index):
    index = make_index(lock_timeout_s=0)

    def meddling():
        yield GOOD
        index.add_documents("b", GOOD)

    with pytest.raises(IndexLocked):
        index.add_documents(["a", "c"], meddling())
    assert len(index.add_documents("d", GOOD)) == 1


BAD_SEARCHES = {
    "NaN": ({"queries_embeddings": [GOOD, with_value(np.nan)]}, InvalidInput, "query 1, token row 2"),
    "infinity": ({"queries_embeddings": with_value(np.inf)}, InvalidInput, "query 0, token row 2"),
    "a query too wide": (
        {"queries_embeddings": np.ones((2, 5))},
        DimensionMismatch,
        r"\(2, 5\), expected \(num_tokens, 4",
    ),
    "queries of two widths": ({"queries_embeddings": [GOOD, np.ones((2, 5))]}, DimensionMismatch, "embedding 1 "),
    "one vector": ({"queries_embeddings": np.ones(4)}, DimensionMismatch, "2-D"),
    "a query without tokens": ({"queries_embeddings": [GOOD, GOOD[:0]]}, InvalidInput, "query 1 has no tokens"),
    "text": ({"queries_embeddings": "words"}, InvalidInput, "got str"),
    "None": ({"queries_embeddings": None}, InvalidInput, "got NoneType"),
    "k 0": ({"k": 0}, InvalidInput, "k must be a whole number >= 1, got 0"),
    "k negative": ({"k": -1}, InvalidInput, "got -1"),
    "k a float": ({"k": 2.0}, InvalidInput, "got 2.0"),
    "k True": ({"k": True}, InvalidInput, "got True"),
    "k None": ({"k": None}, InvalidInput, "got None"),
    "k text": ({"k": "3"}, InvalidInput, "got '3'"),
    "too few lists in the subset": ({"subset": [["old"]]}, InvalidInput, "1 lists of ids for 2 queries"),
    "too many lists in the subset": ({"subset": [["old"]] * 3}, InvalidInput, "3 lists of ids for 2 queries"),
    "a subset of ids and lists": ({"subset": [["old"], "old"]}, InvalidInput, "mixes ids and lists"),
    "a subset with None": ({"subset": ["old", None]}, InvalidInput, "got None of type NoneType"),
    "a subset with True": ({"subset": [True]}, InvalidInput, "got True of type bool"),
    "a subset with a float": ({"subset": [1.0]}, InvalidInput, "got 1.0 of type float"),
    "a subset of bytes": ({"subset": b"old"}, InvalidInput, "got bytes"),
    "a subset that is a dict": ({"subset": {"old": 1}}, InvalidInput, "got dict"),
    "a subset that is a float": ({"subset": 2.5}, InvalidInput, "got float"),
}


@pytest.mark.parametrize("case", BAD_SEARCHES)
@pytest.mark.parametrize("is_empty", [False, True])
def test_a_bad_search_is_refused(make_index, case, is_empty):
    arguments, error, message = BAD_SEARCHES[case]
    index = make_index(dim=4)
    if not is_empty:
        index.add_documents(["old", 1], [GOOD, GOOD])
    with pytest.raises(error, match=message):
        index(**{"queries_embeddings": [GOOD, GOOD], **arguments})


def test_unknown_ids_are_ignored_by_remove(index):
    index.add_documents(["old", 1], [GOOD, GOOD])
    index.remove_documents(["unknown", "old", "old", "1", "a\ud800", ""])
    assert index.documents_ids() == [1]


def test_unknown_ids_are_refused_by_remove_on_demand_and_nothing_is_removed(index):
    index.add_documents(["old", 1], [GOOD, GOOD])
    with pytest.raises(UnknownDocument, match="document '1' is not in the index; nothing was removed"):
        index.remove_documents(["old", "1"], missing_ok=False)
    assert index.documents_ids() == ["old", 1]
    assert len(index.remove_documents([1], missing_ok=False)) == 1


@pytest.mark.parametrize("ids", [None, 1.5, [None], [True], b"old", {"old": 1}, [["old"]]])
def test_what_can_be_no_id_is_refused_by_remove(index, ids):
    index.add_documents("old", GOOD)
    with pytest.raises(InvalidInput):
        index.remove_documents(ids)
    assert len(index) == 1


@pytest.mark.parametrize("ids", ["unknown", ["old", "unknown"], [["old"], ["unknown"]]])
def test_embeddings_of_an_unknown_document_are_refused(index, ids):
    index.add_documents("old", GOOD)
    with pytest.raises(UnknownDocument, match="'unknown' is not in the index"):
        index.get_documents_embeddings(ids)


COMMON_OPTIONS = [
    ({"num_threads": 0}, "num_threads must"),
    ({"num_threads": "two"}, "num_threads must"),
    ({"num_threads": 1025}, "num_threads must be a whole number from 1 to 1024, or None, got 1025"),
    ({"num_threads": 2**64}, "num_threads must be a whole number from 1 to 1024, or None, got 18446744073709551616"),
    ({"num_threads": np.array([1, 2])}, "num_threads must"),
    ({"lock_timeout_s": -1}, "lock_timeout_s must"),
    ({"lock_timeout_s": None}, "lock_timeout_s must"),
    ({"lock_timeout_s": float("nan")}, "lock_timeout_s must"),
    ({"override": "yes"}, "override must be True or False, got .yes."),
    ({"index_folder": 3, "index_name": "something"}, "got 3"),
    ({"index_folder": "some\0where", "index_name": "something"}, "index_folder must be a path, which has no NUL"),
    ({"index_folder": "somewhere", "index_name": ""}, "plain name"),
    ({"index_folder": "somewhere", "index_name": ".."}, "plain name"),
    ({"index_folder": "somewhere", "index_name": "a/b"}, "plain name"),
    ({"index_folder": "somewhere", "index_name": "a\0"}, "plain name"),
    ({"index_folder": "somewhere", "index_name": 7}, "plain name"),
]
OWN_OPTIONS = [
    (Exact, {"dtype": "int8"}, "dtype must be 'float32' or 'float16', got 'int8'"),
    (Exact, {"dtype": "float64"}, "got 'float64'"),
    (Exact, {"dtype": "nonsense"}, "got 'nonsense'"),
    (Exact, {"dtype": "\udcff"}, "dtype must be 'float32' or 'float16', got '.udcff'"),
    (Exact, {"dim": 0}, "dim must be a whole number >= 1, got 0"),
    (Exact, {"dim": 4.0}, "dim must"),
    (Exact, {"index_folder": "somewhere"}, "go together"),
    (Exact, {"index_name": "something"}, "go together"),
    (PLAID, {"index_folder": None, "index_name": "something"}, "go together"),
    (PLAID, {"index_name": None}, "go together"),
    (PLAID, {"nbits": 3}, "nbits must be 1, 2, 4 or 8, got 3"),
    (PLAID, {"nbits": True}, "got True"),
    (PLAID, {"nbits": "4"}, "got '4'"),
    (PLAID, {"nbits": np.array([1, 2])}, r"nbits must be 1, 2, 4 or 8, got array\(\[1, 2\]\)"),
    (PLAID, {"index_folder": "\udcff", "index_name": "a"}, "index_folder and index_name must be UTF-8, got '.udcff/a'"),
    (PLAID, {"index_folder": "somewhere", "index_name": "\udcff"}, "index_folder and index_name must be UTF-8"),
    (PLAID, {"seed": -1}, "seed must be a whole number"),
    (PLAID, {"seed": 2**64}, "seed must be a whole number"),
    (PLAID, {"seed": 0.5}, "seed must be a whole number"),
    (PLAID, {"recall": 0}, "recall must be a number above 0 and at most 1, got 0"),
    (PLAID, {"recall": 1.1}, "recall must"),
    (PLAID, {"recall": True}, "recall must"),
    (PLAID, {"recall": float("nan")}, "recall must"),
    (PLAID, {"n_ivf_probe": 0}, "n_ivf_probe must be a whole number >= 1"),
    (PLAID, {"n_full_scores": 1.5}, "n_full_scores must be a whole number >= 1"),
    (PLAID, {"keep_originals": 1}, "keep_originals must be True or False, got 1"),
    (PLAID, {"show_progress": 2}, "show_progress must be True or False"),
    (PLAID, {"use_fast": 4}, "use_fast must be True or False, got 4; pass nbits and what follows by name"),
    (PLAID, {"verify": "all"}, "verify must be one of"),
    (PLAID, {"verify": np.array(["full", "full"])}, "verify must be one of"),
    (PLAID, {"verify": None}, "verify must be one of .*, got None"),
    (PLAID, {"recover": "oldest"}, "recover must be one of"),
    (PLAID, {"recover": np.array([])}, "recover must be one of"),
    (PLAID, {"device": "gpu"}, "device must be 'cpu'"),
    (PLAID, {"device": 0}, "device must be 'cpu'"),
    (PLAID, {"device": ["cpu", "tpu"]}, "device must be 'cpu'"),
]
BAD_OPTIONS = [(kind, *case) for kind in (Exact, PLAID) for case in COMMON_OPTIONS] + OWN_OPTIONS


@pytest.mark.parametrize(
    ("kind", "options", "message"), BAD_OPTIONS, ids=[f"{kind.__name__} {options}" for kind, options, _ in BAD_OPTIONS]
)
def test_a_bad_option_is_refused_and_makes_no_folder(tmp_path, monkeypatch, kind, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=message):
        kind(**options)
    assert not list(tmp_path.iterdir())


def test_a_document_of_too_many_tokens_is_refused_by_plaid():
    index = PLAID(None).add_documents("old", GOOD)
    with pytest.raises(InvalidInput, match="document 'long' has 65536 tokens, at most 65535 can be stored; split it"):
        index.add_documents(["a", "long"], [GOOD, np.ones((65_536, 4))])
    assert index.documents_ids() == ["old"]
    assert len(index.add_documents("long", np.ones((65_535, 4)))) == 2


def test_a_query_of_too_many_tokens_is_refused_by_plaid():
    index = PLAID(None).add_documents("old", GOOD)
    with pytest.raises(InvalidInput, match="query 1 has 4097 tokens, at most 4096 are searched"):
        index([GOOD, np.ones((4097, 4))])
    assert len(index(np.ones((4096, 4)))[0]) == 1


BAD_WEIGHTS = [
    ([np.ones(3)], "weights has 1 rows for 2 queries"),
    ([np.ones(3), np.ones(2)], r"weights of query 1 have shape \(2,\), expected one for each of its 3 tokens"),
    ([np.ones(3), -np.ones(3)], "weights of query 1 must be finite and >= 0"),
    ([np.ones(3), np.full(3, np.nan)], "weights of query 1 must be finite"),
    ([np.ones(3), ["a"] * 3], "must be numbers"),
    (
        [np.ones(3), [1, 1.1e15, 1]],
        r"weights of query 1, token 1: 1.1e\+15 times .* is 1.1e\+15, expected at most 1e\+15",
    ),
    ([np.full(3, 3e38), np.ones(3)], r"weights of query 0, token 0: 3e\+38 times"),
]


@pytest.mark.parametrize(("weights", "message"), BAD_WEIGHTS)
def test_bad_weights_are_refused_by_plaid(weights, message):
    index = PLAID(None).add_documents("old", GOOD)
    with pytest.raises(InvalidInput, match=message):
        index([GOOD, GOOD], weights=weights)


@pytest.mark.parametrize("weights", [[], 3.0, np.float32(3), [1.0], [[1.0], [2.0, 3.0]], [[[1], [1, 2]]], "abc", {}])
def test_bad_weights_of_a_single_query_are_refused_by_plaid(weights):
    index = PLAID(None).add_documents("old", GOOD)
    with pytest.raises(InvalidInput, match=r"weights|embedding"):
        index([GOOD], weights=weights)


@pytest.mark.parametrize("recall", [0, -1, 1.5, "high", True, float("inf")])
def test_a_bad_recall_of_one_call_is_refused_by_plaid(recall):
    index = PLAID(None).add_documents("old", GOOD)
    with pytest.raises(InvalidInput, match="recall must be a number above 0"):
        index(GOOD, recall=recall)


def test_every_error_is_one_of_serotines(index):
    for error in (InvalidInput, DimensionMismatch, DuplicateDocument, UnknownDocument, IndexLocked):
        assert issubclass(error, SerotineError)
