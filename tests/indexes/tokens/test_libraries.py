"""Proves what is particular to Voyager and to ScaNN: settings, PyLate's arguments, files from elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import numpy as np
import pytest

from serotine.errors import InvalidInput, MissingExtra
from serotine.indexes import ScaNN, Voyager
from serotine.indexes.tokens import scann
from tests.indexes.tokens.conftest import opener, unit_texts

DOCUMENTS = unit_texts([9] * 40)
QUERY = unit_texts([3], seed=1)[0]


@pytest.fixture
def voyager(tmp_path, small_scans):
    return opener("Voyager", tmp_path)


@pytest.fixture
def leaves(tmp_path, small_scans):
    return opener("ScaNN", tmp_path)


@pytest.mark.parametrize(("name", "package"), [("Voyager", "voyager"), ("ScaNN", "scann")])
def test_without_its_package_an_index_says_what_to_install(monkeypatch, name, package, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    make = Voyager if name == "Voyager" else ScaNN
    with pytest.raises(MissingExtra, match=rf"needs the package '{package}'.*pip install 'serotine\[{package}\]'"):
        make(index_folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_names_can_be_imported_without_the_packages():
    code = (
        "import sys; sys.modules.update(voyager=None, scann=None)\n"
        "from serotine.indexes import ScaNN, TokenIndex, Voyager\n"
        "assert issubclass(Voyager, TokenIndex) and issubclass(ScaNN, TokenIndex)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_pylates_arguments_of_voyager_are_taken_in_its_order(tmp_path):
    pytest.importorskip("voyager")
    index = Voyager(tmp_path, "colbert", True, 16, 8, 50, 40)
    index.add_documents(documents_ids=["a", "b"], documents_embeddings=DOCUMENTS[:2])
    assert repr(index).startswith("Voyager(2 documents, dim=16, float32, M=8, ef_construction=50, ")
    assert index.ef_search == 40
    with pytest.warns(UserWarning, match="batch_size=2000"):
        index.add_documents("c", DOCUMENTS[2], batch_size=2000)


def test_what_a_graph_was_made_with_stays_and_is_not_contradicted(voyager):
    voyager(M=8).add_documents(range(40), DOCUMENTS)
    assert "M=8, ef_construction=200" in repr(voyager())
    with pytest.raises(InvalidInput, match="made with M=8, but M=64 was asked for"):
        voyager(M=64)
    with pytest.raises(InvalidInput, match="dimension 16, but dim=128"):
        voyager(embedding_size=128)
    assert "M=64" in repr(voyager(M=64, override=True))


def test_a_search_looks_no_less_far_than_its_k(voyager):
    index = voyager(ef_search=1, M=4).add_documents(range(40), DOCUMENTS)
    assert len(index(QUERY, k=200)["similarities"][0][0]) == 200
    index.ef_search = 300
    assert index.ef_search == 300
    with pytest.raises(InvalidInput, match="ef_search must be a whole number"):
        index.ef_search = 0


@pytest.mark.parametrize("name", ["M", "ef_construction", "ef_search", "embedding_size"])
def test_a_bad_setting_is_refused(name):
    pytest.importorskip("voyager")
    with pytest.raises(InvalidInput, match=f"{name} must be a whole number >= 1, got 0"):
        Voyager(None, **{name: 0})


@pytest.mark.parametrize("num_threads", [0, 2**64])
def test_a_bad_number_of_threads_is_refused(num_threads):
    pytest.importorskip("voyager")
    with pytest.raises(InvalidInput, match=f"num_threads must be a whole number from 1 to 1024, .* got {num_threads}"):
        Voyager(None, num_threads=num_threads)


def test_pylates_arguments_of_scann_are_taken_in_its_order(tmp_path):
    pytest.importorskip("scann")
    with pytest.warns(UserWarning, match="ScaNN accepts .* no effect here: num_neighbors=10, verbose='none', use_auto"):
        index = ScaNN("name", 16, 10, 4, 2, 2, 0.2, 1000, "none", False, True, tmp_path, True, None)
    index.add_documents(range(40), DOCUMENTS)
    assert (tmp_path / "name" / "manifest").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "num_leaves=4" in repr(ScaNN("name", index_folder=tmp_path))
    with pytest.raises(InvalidInput, match="num_leaves=4, but num_leaves=5"):
        ScaNN("name", num_leaves=5, index_folder=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"store_embeddings": False}, "store_embeddings must be True"),
        ({"num_leaves": 0}, "num_leaves must be a whole number"),
        ({"num_leaves_to_search": 0}, "num_leaves_to_search must be a whole number"),
        ({"anisotropic_quantization_threshold": 2}, "must be a cosine"),
    ],
)
def test_a_bad_setting_of_scann_is_refused(arguments, message):
    pytest.importorskip("scann")
    with pytest.raises(InvalidInput, match=message):
        ScaNN(**arguments)


def test_few_leaves_are_made_up_for(leaves):
    index = leaves(num_leaves=8, num_leaves_to_search=1).add_documents(range(40), DOCUMENTS)
    assert len(index(QUERY, k=300)["similarities"][0][0]) == 300


def packed(*files):
    return memoryview(
        json.dumps([[name, len(content)] for name, content in files]).encode()
        + b"\n"
        + b"".join(content for _, content in files)
    )


ASSETS = ("scann_assets.pbtxt", b'assets {\n  asset_type: DATASET_NPY\n  asset_path: "a.npy"\n}\n')


def test_packed_files_are_unpacked(tmp_path):
    scann._unpack(packed(ASSETS, ("a.npy", b"123"), ("b.pb", b"")), tmp_path)
    assert (tmp_path / "a.npy").read_bytes() == b"123"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "b.pb", "scann_assets.pbtxt"]


@pytest.mark.parametrize(
    "data",
    [
        packed(ASSETS, ("../a.npy", b"1")),
        packed(ASSETS, ("/etc/a.npy", b"1")),
        packed(ASSETS, ("scann_docids.pkl", b"1")),
        packed(ASSETS, ("a.npy", b"1"))[:-1],
        memoryview(bytes(packed(ASSETS, ("a.npy", b"1"))) + b"2"),
        packed(("scann_assets.pbtxt", b'asset_path: "/etc/passwd"')),
        packed(("scann_assets.pbtxt", b'assets { asset_path: "/etc/passwd" }')),
        packed(("a.npy", b"1")),
        packed((ASSETS[0], ASSETS[1] * 2 + b"assets { asset_path: 'b.npy' }"), ("a.npy", b"1")),
        packed((ASSETS[0], ASSETS[1]), ("b.npy", b"1")),
        memoryview(b"[]\n"),
        memoryview(b"{}\n"),
        memoryview(b"[1]\n"),
        memoryview(b'[["a.npy", -1]]\n'),
        memoryview(b"no JSON\n"),
        memoryview(b""),
    ],
    ids=range(16),
)
def test_packed_files_of_an_attacker_are_refused(tmp_path, data):
    folder = tmp_path / "inside"
    folder.mkdir()
    with pytest.raises((ValueError, TypeError)):
        scann._unpack(data, folder)
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
    assert not (folder / "scann_docids.pkl").exists()


def test_a_graph_of_other_vectors_is_refused(voyager, tmp_path):
    from serotine.errors import CorruptIndex
    from serotine.indexes.storage.segment import Finder

    index = voyager(M=8).add_documents(range(40), DOCUMENTS)
    (segment,) = index._store.current().segments
    finder = segment.content.finder
    assert isinstance(finder, Finder)
    with pytest.raises(CorruptIndex, match="expected what Voyager wrote, found ValueError: a graph of"):
        index._loaded(finder, segment.documents[:5], {})
    with pytest.raises(CorruptIndex, match="expected what Voyager wrote"):
        index._loaded(Finder(finder.path, 0, memoryview(b"")), segment.documents, {})


def test_one_vector_type_is_stored_whatever_is_given(voyager):
    index = voyager(dtype="float16", M=8).add_documents(range(40), [d.astype(np.float64) for d in DOCUMENTS])
    assert index.get_documents_embeddings([0])[0].dtype == np.float16
    assert index(QUERY.astype(np.float16), k=3)["similarities"][0][0].dtype == np.float32


@pytest.mark.parametrize("lost", [[], [0], [4], [1, 2], [0, 1, 2, 3, 4]])
def test_a_query_that_the_graph_cannot_answer_does_not_take_the_others_along(lost):
    """The library raises for a whole batch if it finds too few neighbours of one query in it."""
    pytest.importorskip("voyager")
    from serotine.indexes.tokens import voyager as module

    class CannotFind(Exception):
        pass

    class Graph:
        num_elements = 100

        def query(self, queries, k, num_threads, query_ef):
            if any(int(query[0]) in lost for query in queries):
                raise CannotFind
            return np.repeat(queries[:, :1].astype(np.int64), k, axis=1), None

    library = type("Library", (), {"RecallError": CannotFind})
    graph = module._Graph(library, Graph(), module._SearchSettings(200, 1))
    found = graph.nearest(np.arange(5, dtype=np.float32)[:, np.newaxis], 3)
    assert found.tolist() == [[-1 if number in lost else number] * 3 for number in range(5)]
