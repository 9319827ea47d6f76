"""Proves that a BEIR name is downloaded once into the cache, a folder is read in place, and other names are refused."""

import hashlib
import shutil

import pytest

from serotine.errors import DownloadFailed, InvalidInput
from serotine.evaluation import BEIR_DATASETS, CQADUPSTACK_FORUMS, load_beir
from serotine.evaluation.beir import BEIR_MD5

from . import collection


@pytest.fixture
def server(tmp_path):
    """Make a folder that acts as the server and return its URL; its collections are the bats of these tests."""
    collection.write(tmp_path / "source" / "scifact")
    collection.write(tmp_path / "source" / "cqadupstack" / "android")
    for name in ("scifact", "cqadupstack"):
        shutil.make_archive(str(tmp_path / "server" / name), "zip", tmp_path / "source", name)
    return (tmp_path / "server").as_uri()


def test_a_name_is_downloaded_once_and_then_read_from_the_cache(tmp_path, server):
    first = load_beir("scifact", cache_folder=tmp_path / "cache", base_url=server + "/", checksums={})
    shutil.rmtree(tmp_path / "server")
    assert load_beir("scifact", cache_folder=tmp_path / "cache", base_url=server, checksums={}) == first
    assert first.queries == {"echo": "how do bats hunt?", "late": "which bat flies late?"}
    assert load_beir("scifact", "dev", cache_folder=tmp_path / "cache", base_url=server, checksums={}).qrels == {
        "late": {"serotine": 1}
    }
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == ["scifact"]


def test_a_part_of_a_collection_is_named_with_a_slash(tmp_path, server):
    dataset = load_beir("cqadupstack/android", cache_folder=tmp_path / "cache", base_url=server, checksums={})
    assert len(dataset.documents) == 5


def test_an_archive_with_another_checksum_is_refused_before_it_is_unpacked(tmp_path, server):
    with pytest.raises(DownloadFailed, match=f"expected {BEIR_MD5['scifact']}"):
        load_beir("scifact", cache_folder=tmp_path / "cache", base_url=server)
    assert list((tmp_path / "cache").iterdir()) == []
    md5 = hashlib.md5((tmp_path / "server" / "scifact.zip").read_bytes(), usedforsecurity=False).hexdigest()
    load_beir("scifact", cache_folder=tmp_path / "cache", base_url=server, checksums={"scifact": md5})


def test_all_of_cqadupstack_is_no_collection_and_its_forums_are_named(tmp_path, server):
    with pytest.raises(InvalidInput, match=r"for each forum: cqadupstack/android, .*wordpress"):
        load_beir("cqadupstack", cache_folder=tmp_path / "cache", base_url=server, checksums={})
    assert len(CQADUPSTACK_FORUMS) == 12


@pytest.mark.parametrize("name", ["cqadupstack/adroid", "cqadupstack/", "cqadupstack/../../x", "cqadupstack/tex/x"])
def test_a_forum_that_there_is_not_is_refused_before_anything_is_fetched(tmp_path, server, name):
    with pytest.raises(InvalidInput, match=rf"^'{name}': cqadupstack has a collection for each forum: .*/android"):
        load_beir(name, cache_folder=tmp_path / "cache", base_url=server, checksums={})
    assert not (tmp_path / "cache").exists()


def test_a_local_folder_is_read_in_place(tmp_path):
    folder = collection.write(tmp_path / "bats")
    assert load_beir(folder).qrels["late"] == {"serotine": 1}
    assert load_beir(str(folder), "dev").queries == {"late": "which bat flies late?"}


def test_the_cache_folder_follows_the_environment(tmp_path, server, monkeypatch):
    monkeypatch.delenv("SEROTINE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    load_beir("scifact", base_url=server, checksums={})
    assert (tmp_path / "xdg" / "serotine" / "beir" / "scifact" / "corpus.jsonl").is_file()
    monkeypatch.setenv("SEROTINE_CACHE", str(tmp_path / "own"))
    load_beir("scifact", base_url=server, checksums={})
    assert (tmp_path / "own" / "beir" / "scifact" / "corpus.jsonl").is_file()


@pytest.mark.parametrize("name", ["absent", "../scifact", "/absent", "scifact/../x", "scifact/x", ""])
def test_another_name_is_refused_and_the_known_ones_are_listed(tmp_path, name, monkeypatch, server):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    with pytest.raises(InvalidInput, match=r"arguana, climate-fever.*webis-touche2020"):
        load_beir(name, cache_folder=tmp_path / "cache", base_url=server, checksums={})
    assert not (tmp_path / "cache").exists()
    assert "scifact" in BEIR_DATASETS


def test_without_a_network_the_error_says_how_to_go_on(tmp_path):
    with pytest.raises(DownloadFailed, match="unpack the zip file elsewhere and pass its folder"):
        load_beir("scifact", cache_folder=tmp_path / "cache", base_url=(tmp_path / "nowhere").as_uri())
    assert list((tmp_path / "cache").iterdir()) == []
