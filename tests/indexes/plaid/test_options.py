"""Proves that PyLate's calls work as they are, and that what has no effect here is said once."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest

from serotine.indexes import PLAID, Stats

VECTORS = np.eye(4, dtype=np.float32)

PYLATE_ORDER = """index_folder index_name override use_fast nbits kmeans_niters max_points_per_centroid
n_samples_kmeans seed use_triton n_ivf_probe n_full_scores batch_size num_threads show_progress device low_memory"""


@pytest.fixture(autouse=True)
def no_unexpected_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_the_arguments_have_the_order_and_names_of_pylate():
    parameters = inspect.signature(PLAID).parameters.values()
    positional = [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
    assert positional == PYLATE_ORDER.split()


def test_the_calls_of_pylates_documentation_work(tmp_path):
    index = PLAID(index_folder=str(tmp_path), index_name="index", override=True)
    assert index.add_documents(documents_ids=["1", "2"], documents_embeddings=[VECTORS, VECTORS[:2]]) is index
    assert index.update_documents(documents_ids=["2"], documents_embeddings=[VECTORS[:1]]) is index
    assert index.remove_documents(documents_ids=["1"]) is index
    assert index(queries_embeddings=VECTORS, k=3, subset=["2"]) == [[{"id": "2", "score": 1.0}]]
    assert index(VECTORS, 3, ["1"]) == [[]]


def test_all_arguments_can_be_given_by_position(tmp_path):
    with pytest.warns(UserWarning, match="no effect here") as caught:
        index = PLAID(tmp_path, "index", True, True, 2, 4, 256, None, 7, None, 8, 8192, 1 << 18, 1, False, "cpu", False)
    assert len(caught) == 1
    assert (index.nbits, index.n_ivf_probe, index.n_full_scores) == (2, 8, 8192)
    message = str(caught[0].message)
    for name in ("use_fast=True", "kmeans_niters=4", "n_samples_kmeans=None", "batch_size=262144", "low_memory=False"):
        assert name in message
    for name in ("nbits", "seed", "device", "n_ivf_probe"):
        assert name not in message
    assert caught[0].filename == __file__


@pytest.mark.parametrize("name", ["embedding_size", "nranks", "index_bsize", "ndocs", "ncells", "search_batch_size"])
def test_arguments_of_the_stanford_index_are_warned_of(name):
    with pytest.warns(UserWarning, match=f"no effect here: {name}=3"):
        PLAID(None, **{name: 3})


def test_a_batch_size_of_add_documents_is_accepted_and_warned_of():
    with pytest.warns(UserWarning, match=r"PLAID\.add_documents accepts .* no effect here: batch_size=2000") as caught:
        index = PLAID(None).add_documents(["1"], [VECTORS], batch_size=2000)
    assert len(index) == len(caught) == 1
    assert caught[0].filename == __file__


def test_an_argument_that_nobody_knows_is_an_error():
    with pytest.raises(TypeError, match="n_cells"):
        PLAID(None, n_cells=3)


@pytest.mark.parametrize("device", [None, "cpu", ["cpu"], ["cpu", "cpu"]])
def test_the_cpu_is_accepted_as_device(device):
    assert len(PLAID(None, device=device)) == 0


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps", ["cuda:0", "cuda:1"]])
def test_another_device_is_warned_of(device):
    with pytest.warns(UserWarning, match="device=.*no effect|no effect here: device="):
        PLAID(None, device=device)


def test_devices_of_torch_are_understood():
    torch = pytest.importorskip("torch")
    assert len(PLAID(None, device=torch.device("cpu"))) == 0
    with pytest.warns(UserWarning, match="no effect here: device="):
        PLAID(None, device=torch.device("cuda:0"))


def test_a_folder_of_none_is_in_memory():
    for index in (PLAID(None), PLAID(None, None), PLAID(index_folder=None)):
        assert "in memory" in repr(index.add_documents("a", VECTORS))


def test_the_repr_says_how_much_there_is(tmp_path):
    index = PLAID(tmp_path, "index").add_documents(["a", "b"], [VECTORS, VECTORS[:1]])
    stats = index.stats()
    assert repr(index) == (
        f"PLAID(2 documents, 5 tokens, {stats.bytes_per_token:.1f} bytes/token, 1 segment, generation 1, 4 bits, "
        f"{tmp_path / 'index'})"
    )
    assert repr(index.snapshot()).startswith("Snapshot(2 documents, 5 tokens,")
    index.close()
    assert repr(index) == f"PLAID(closed, {tmp_path / 'index'})"


def test_stats_count_what_is_there():
    index = PLAID(None).add_documents(["a", "b", "empty"], [VECTORS, VECTORS[:1], VECTORS[:0]]).remove_documents("b")
    stats = index.stats()
    assert isinstance(stats, Stats)
    assert (stats.num_documents, stats.num_documents_without_tokens, stats.num_tokens) == (2, 1, 4)
    assert (stats.generation, stats.dim, stats.nbits, stats.drift) == (2, 4, 4, None)
    assert stats.num_codebooks == stats.num_cells == 0
    assert stats.num_bytes > 0
    assert stats.advice == ""


def test_stats_count_the_bytes_of_one_generation_and_the_one_before_stays_for_one_commit(tmp_path):
    def num_bytes_on_disk():
        names = (path for path in tmp_path.rglob("*") if path.is_file() and path.name != "LOCK")
        return sum(path.stat().st_size for path in names)

    index = PLAID(tmp_path, "index").add_documents(range(100), [VECTORS] * 100)
    added = index.stats().num_bytes
    assert num_bytes_on_disk() == added
    index.remove_documents(range(90))  # so many that the rest is written anew
    assert num_bytes_on_disk() == added + index.stats().num_bytes
    index.remove_documents("unknown")  # no change, no commit
    assert num_bytes_on_disk() == added + index.stats().num_bytes
    index.remove_documents(99)
    assert num_bytes_on_disk() < added


def test_stats_of_an_empty_index_are_zero():
    stats = PLAID(None).stats()
    assert (stats.num_documents, stats.num_tokens, stats.generation, stats.bytes_per_token) == (0, 0, 0, 0.0)


@pytest.mark.parametrize(
    ("changed", "advice"),
    [
        ({}, ""),
        ({"drift": 1.3}, "drift 1.30"),
        ({"num_deleted_documents": 500}, "500 of 600 stored documents are deleted: optimize"),
    ],
)
def test_stats_say_what_to_do(changed, advice):
    facts = {
        "num_documents": 100, "num_documents_without_tokens": 0, "num_deleted_documents": 0, "num_tokens": 10**6,
        "num_bytes": 7 * 10**7, "num_segments": 1, "num_codebooks": 1, "num_cells": 64, "generation": 1, "dim": 32,
        "nbits": 4, "drift": 1.0, "calibration": (),
    }  # fmt: skip
    stats = Stats(**{**facts, **changed})
    assert advice in stats.advice
    assert bool(stats.advice) == bool(advice)


def test_a_bar_is_shown_on_demand_only(capsys, monkeypatch):
    monkeypatch.setattr("serotine.indexes.plaid.progress._DELAY_S", 0)
    PLAID(None).add_documents(["a"], [VECTORS])
    PLAID(None, show_progress=False).add_documents(["a"], [VECTORS])
    assert capsys.readouterr().err == ""  # a pipe is no terminal
    PLAID(None, show_progress=True).add_documents(["a"], [VECTORS])
    shown = capsys.readouterr().err
    assert "Reading documents" in shown
