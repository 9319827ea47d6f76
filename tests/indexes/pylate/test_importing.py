"""Proves that a folder which PyLate 1.6.0 wrote becomes an index that answers as PyLate did.

The folder is real: benchmarks/peers/pylate_plaid.py made it in PyLate's own environment.
"""

from __future__ import annotations

import json
import pickle
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from serotine.errors import CorruptIndex, InvalidInput
from serotine.indexes import PLAID, from_pylate
from serotine.indexes.pylate import fast_plaid

GOLDEN = Path(__file__).parents[2] / "golden" / "pylate-plaid"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
NUM_TOKENS = len(np.load(GOLDEN / "index" / "fast_plaid_index" / "0.codes.npy"))
QUERIES = [np.array(query, dtype=np.float32) for query in EXPECTED["queries"]]
IDS = [f"document {number}" for number in range(60) if number not in (3, 7)] + [1, 2]


@pytest.fixture
def folder(tmp_path):
    """A copy of the golden folder, to be changed."""
    return Path(shutil.copytree(GOLDEN / "index", tmp_path / "index"))


def change_json(path, change):
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content) or content))


def test_documents_keep_their_ids_and_order_and_nearly_their_vectors():
    index = from_pylate(GOLDEN / "index")
    assert index.documents_ids() == IDS
    assert index.nbits == 4
    cosines = []
    for document_id, vectors in zip(IDS, index.get_documents_embeddings(IDS), strict=True):
        original = np.array(EXPECTED["documents"][str(document_id)], dtype=np.float32)
        assert vectors.shape == original.shape
        cosines += ((vectors * original).sum(axis=1) / np.linalg.norm(original, axis=1)).tolist()
    assert min(cosines) > 0.85
    assert np.mean(cosines) > 0.995


def test_scores_are_those_that_pylate_gave():
    index = from_pylate(GOLDEN / "index")
    for found, pylate in zip(index(QUERIES, k=62), EXPECTED["results"], strict=True):
        scores = {hit["id"]: hit["score"] for hit in found}
        assert len(pylate) >= 30
        for hit in pylate:
            assert scores[hit["id"]] == pytest.approx(hit["score"], abs=5e-3)  # PyLate computes in float16
        order = [hit["id"] for hit in found if hit["id"] in {other["id"] for other in pylate}]
        assert order[:3] == [hit["id"] for hit in pylate[:3]]


@pytest.mark.parametrize("batch_tokens", [1, 5, 10_000])
def test_batches_of_any_size_decode_the_same(monkeypatch, batch_tokens):
    expected = from_pylate(GOLDEN / "index").get_documents_embeddings(IDS)
    monkeypatch.setattr(fast_plaid, "BATCH_TOKENS", batch_tokens)
    for vectors, known in zip(from_pylate(GOLDEN / "index").get_documents_embeddings(IDS), expected, strict=True):
        np.testing.assert_array_equal(vectors, known)


def test_the_new_index_goes_where_it_is_told_with_the_settings_it_is_told(tmp_path):
    index = from_pylate(GOLDEN / "index", tmp_path, "new", nbits=2, keep_originals=True)
    assert index.nbits == 2
    assert PLAID(tmp_path, "new").documents_ids() == IDS
    with pytest.raises(InvalidInput, match="is not empty; import into a new index"):
        from_pylate(GOLDEN / "index", tmp_path, "new", nbits=2)
    assert len(from_pylate(GOLDEN / "index", tmp_path, "new", override=True)) == len(IDS)


def test_the_old_folder_stays_as_it_was(folder):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    from_pylate(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_folder_of_fast_plaid_itself_gives_numbers_as_ids():
    assert from_pylate(GOLDEN / "index" / "fast_plaid_index").documents_ids() == list(range(60))


def test_maps_of_pylate_before_1_5_are_read(folder):
    ids = pickle.loads((folder / "documents_ids_to_plaid_ids.pkl").read_bytes())  # noqa: S301
    for path in folder.glob("*.pkl"):
        path.unlink()
    with sqlite3.connect(folder / "documents_ids_to_plaid_ids.sqlite") as connection:
        connection.execute('CREATE TABLE "unnamed" (key TEXT PRIMARY KEY, value BLOB)')
        rows = [(str(key), pickle.dumps(number)) for key, number in ids.items()]
        connection.executemany('INSERT INTO "unnamed" VALUES (?, ?)', rows)
    assert from_pylate(folder).documents_ids() == [str(document_id) for document_id in IDS]


def test_merged_files_alone_are_read(folder):
    inner = folder / "fast_plaid_index"
    (inner / "0.codes.npy").unlink()
    (inner / "0.residuals.npy").unlink()
    assert from_pylate(folder)(QUERIES) == from_pylate(GOLDEN / "index")(QUERIES)


def test_copies_that_no_id_leads_to_are_left_out_with_a_warning(folder):
    path = folder / "documents_ids_to_plaid_ids.pkl"
    ids = pickle.loads(path.read_bytes())  # noqa: S301
    del ids["document 5"]
    path.write_bytes(pickle.dumps(ids))
    with pytest.warns(UserWarning, match="1 of 60 documents .* are left out"):
        index = from_pylate(folder)
    assert index.documents_ids() == [document_id for document_id in IDS if document_id != "document 5"]
    for vectors, known in zip(
        index.get_documents_embeddings(index.documents_ids()),
        from_pylate(GOLDEN / "index").get_documents_embeddings(index.documents_ids()),
        strict=True,
    ):
        np.testing.assert_array_equal(vectors, known)


def test_no_name_of_a_pickle_is_looked_up_and_numpy_loads_none():
    code = (
        "import sys; found = []\n"
        "sys.addaudithook(lambda event, _: found.append(event) if event == 'pickle.find_class' else None)\n"
        "from serotine.indexes import from_pylate\n"
        f"assert len(from_pylate({str(GOLDEN / 'index')!r})) == 60\n"
        "assert not found, found"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def replaced(array):
    def write(path):
        with path.open("wb") as file:
            np.save(file, array)

    return write


DAMAGE = {
    "no centroids": ("centroids.npy", Path.unlink, "array of numpy's format"),
    "centroids cut": ("centroids.npy", cut, "array of numpy's format"),
    "centroids a pickle": ("centroids.npy", lambda p: p.write_bytes(pickle.dumps([1])), "found something else"),
    "centroids of objects": ("centroids.npy", replaced(np.array([{}], dtype=object)), "array of numpy's format"),
    "centroids of one dimension": ("centroids.npy", replaced(np.ones(8, np.float16)), "a 2-D array of kind f"),
    "centroids not finite": ("centroids.npy", replaced(np.full((64, 8), np.nan, np.float16)), "finite numbers"),
    "too few centroids": ("centroids.npy", replaced(np.ones((2, 8), np.float16)), "codes below 2"),
    "another width": ("centroids.npy", replaced(np.ones((64, 16), np.float16)), "bytes of shape"),
    "a width of half bytes": (
        "centroids.npy", replaced(np.ones((64, 7), np.float16)), "4 bits fill whole bytes, found 7 dimensions, 28"),
    "weights of other bits": ("bucket_weights.npy", replaced(np.ones(4, np.float32)), "16 weights of 4 bits"),
    "codes cut": ("0.codes.npy", cut, "array of numpy's format"),
    "codes of fewer tokens": ("0.codes.npy", replaced(np.zeros(3, np.int64)), "codes of .* tokens"),
    "codes below 0": ("0.codes.npy", replaced(np.full(NUM_TOKENS, -1)), "codes below"),
    "no residuals": ("0.residuals.npy", Path.unlink, "array of numpy's format"),
    "residuals of another type": ("0.residuals.npy", replaced(np.zeros((NUM_TOKENS, 4), np.uint16)), "bytes of shape"),
    "no lengths": ("doclens.0.json", Path.unlink, "a file of JSON"),
    "lengths no list": ("doclens.0.json", lambda p: p.write_text('{"a": 1}'), "a list of lengths"),
    "lengths below 0": ("doclens.0.json", lambda p: change_json(p, lambda c: [-1, *c]), "a list of lengths"),
    "lengths nested deeply": ("doclens.0.json", lambda p: p.write_text("[" * 10**5), "a file of JSON"),
    "metadata no JSON": ("metadata.json", cut, "a file of JSON"),
    "metadata a list": ("metadata.json", lambda p: p.write_text("[]"), "nbits from 1 to 8"),
    "metadata of 9 bits": ("metadata.json", lambda p: change_json(p, lambda c: {**c, "nbits": 9}), "nbits from 1 to 8"),
    "more chunks than there are": (
        "metadata.json", lambda p: change_json(p, lambda c: {**c, "num_chunks": 2}), "doclens.1.json"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_found(folder, case):
    name, damage, message = DAMAGE[case]
    damage(folder / "fast_plaid_index" / name)
    with pytest.raises(CorruptIndex, match=message):
        from_pylate(folder)


def test_damaged_lengths_that_add_up_are_no_worse_than_other_documents(folder):
    num_tokens = int(np.load(folder / "fast_plaid_index" / "0.codes.npy").shape[0])
    (folder / "fast_plaid_index" / "doclens.0.json").write_text(json.dumps([num_tokens] + [0] * 59))
    assert len(from_pylate(folder)) == 60


def stanford(folder):
    """A folder that Stanford's PLAID wrote, to the eye."""
    (folder.parent / "stanford").mkdir()
    (folder.parent / "stanford" / "centroids.pt").touch()
    return folder.parent / "stanford"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "missing", "is no folder"),
        (lambda folder: folder.parent, "no metadata.json"),
        (stanford, "pickles of Stanford's PLAID"),
    ],
)
def test_what_is_no_index_is_refused(folder, make, message):
    with pytest.raises(InvalidInput, match=message):
        from_pylate(make(folder))


def test_a_map_of_another_state_is_refused(folder):
    (folder / "documents_ids_to_plaid_ids.pkl").write_bytes(pickle.dumps({"a": 0, "b": 60}))
    with pytest.raises(InvalidInput, match="'b' has the number 60, but the index has 60 documents"):
        from_pylate(folder)
