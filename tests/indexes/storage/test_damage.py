"""Proves that damage to any file of an index is found: positions when it is opened, vectors by `check`."""

from __future__ import annotations

import json
import os
import zlib

import pytest

from serotine.errors import CorruptIndex, IndexTooNew, InvalidInput
from serotine.indexes import PLAID, Exact
from serotine.indexes.storage.manifest import encode_manifest
from tests.indexes.samples import state, texts

DOCUMENTS = texts([3, 1, 4, 1, 5], dim=4)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An index with one segment, of which a row is removed."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    Exact(tmp_path, "index").add_documents(["a", 7, "é", "d", "e"], DOCUMENTS).remove_documents("d")
    return tmp_path / "index"


def file_of(folder, kind):
    return next(folder.glob(kind + "*"))


def opened(folder):
    return Exact(folder.parent, folder.name)


@pytest.mark.parametrize("kind", ["manifest", "segment", "removed"])
def test_a_file_cut_at_any_length_is_found_when_the_index_is_opened(folder, kind):
    path = file_of(folder, kind)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(CorruptIndex, match="expected"):
            opened(folder)
    path.write_bytes(content)
    assert len(opened(folder)) == 4


@pytest.mark.parametrize("kind", ["manifest", "segment", "removed"])
def test_a_file_that_grew_is_found_when_the_index_is_opened(folder, kind):
    path = file_of(folder, kind)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(CorruptIndex):
        opened(folder)


@pytest.mark.parametrize("kind", ["manifest", "segment", "removed"])
def test_a_flipped_bit_is_found_when_the_index_is_opened_or_checked(folder, kind):
    path = file_of(folder, kind)
    content = path.read_bytes()
    vectors = range(64, 64 + 14 * 4 * 4) if kind == "segment" else range(0)
    found_by_check = 0
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            index = opened(folder)
        except (CorruptIndex, IndexTooNew):
            continue
        assert position in vectors
        with pytest.raises(CorruptIndex, match="vectors with crc32") as caught:
            index.check()
        assert caught.value.path == str(path)
        found_by_check += 1
    assert found_by_check == len(vectors)


def test_an_empty_file_in_the_place_of_each_is_found(folder):
    for kind in ("segment", "removed", "manifest"):
        file_of(folder, kind).write_bytes(b"")
        with pytest.raises(CorruptIndex):
            opened(folder)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", ["manifest", "segment", "removed"])
@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_what_is_no_file_is_found_and_not_waited_for(folder, kind, put):
    index = opened(folder)
    path = file_of(folder, kind)
    path.unlink()
    put(path)
    with pytest.raises(CorruptIndex, match="expected a file, found a pipe, a device or the like") as caught:
        opened(folder)
    assert caught.value.path == str(path)
    if kind == "manifest":  # the one file that an open index reads again
        with pytest.raises(CorruptIndex, match="expected a file"):
            index.documents_ids()
        with pytest.raises(InvalidInput, match="holds files of something else"):
            PLAID(folder.parent, folder.name)


def test_files_may_be_links_as_in_a_cache_and_a_change_leaves_what_they_lead_to(folder, tmp_path):
    (tmp_path / "blobs").mkdir()
    for path in list(folder.iterdir()):
        path.rename(tmp_path / "blobs" / path.name)
        if path.name != "lock":
            path.symlink_to(tmp_path / "blobs" / path.name)
    before = {path.name: path.read_bytes() for path in (tmp_path / "blobs").iterdir()}
    index = opened(folder)
    index.check()
    assert index.remove_documents(["a", 7]).documents_ids() == ["é", "e"]
    assert opened(folder).update_documents("é", DOCUMENTS[:1]).documents_ids() == ["e", "é"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "blobs").iterdir()} == before


def test_segments_of_another_index_are_found(folder, tmp_path):
    Exact(tmp_path, "other").add_documents(["a", 7, "é", "d", "e"], DOCUMENTS).remove_documents("d")
    for kind in ("segment", "removed"):
        mine, its = file_of(folder, kind), file_of(tmp_path / "other", kind)
        content = mine.read_bytes()
        mine.write_bytes(its.read_bytes())
        with pytest.raises(CorruptIndex):
            opened(folder)
        mine.write_bytes(content)
    assert len(opened(folder)) == 4


def with_fields(change) -> bytes:
    """A manifest whose fields are changed by an attacker who can compute the checksum."""
    fields = {
        "generation": 3,
        "dtype": "float32",
        "dim": 4,
        "segments": [
            {
                "uuid": "0" * 32, "num_bytes": 64, "num_documents": 0, "num_tokens": 0,
                "vectors_crc32": 0, "structure_crc32": 0, "removed": None,
            }
        ],
    }  # fmt: skip
    change(fields)
    return sealed(json.dumps(fields).encode())


def sealed(body: bytes) -> bytes:
    return f"serotine-exact 1 {zlib.crc32(body):08x}\n".encode() + body


def segment(**fields):
    return lambda manifest: manifest["segments"][0].update(fields)


HOSTILE_MANIFESTS = {
    "a path in a uuid": with_fields(segment(uuid="../../../../etc/passwd".ljust(32, "x"))),
    "an upper-case uuid": with_fields(segment(uuid="A" * 32)),
    "a uuid that is a number": with_fields(segment(uuid=1)),
    "a path in a removed uuid": with_fields(segment(removed={"uuid": "/" * 32, "crc32": 0})),
    "a negative count": with_fields(segment(num_tokens=-1)),
    "a huge count": with_fields(segment(num_documents=2**63)),
    "a count that is a float": with_fields(segment(num_tokens=1.0)),
    "a count that is true": with_fields(segment(num_tokens=True)),
    "a crc of 33 bits": with_fields(segment(structure_crc32=2**32)),
    "a missing field": with_fields(lambda m: m["segments"][0].pop("num_bytes")),
    "a segment twice": with_fields(lambda m: m["segments"].append(m["segments"][0])),
    "a segment that is a list": with_fields(lambda m: m["segments"].append([1])),
    "segments that are a number": with_fields(lambda m: m.update(segments=3)),
    "segments without a dim": with_fields(lambda m: m.update(dim=None)),
    "dim 0": with_fields(lambda m: m.update(dim=0)),
    "an unknown dtype": with_fields(lambda m: m.update(dtype="object")),
    "a dtype that is a list": with_fields(lambda m: m.update(dtype=[])),
    "a list": sealed(b"[]"),
    "deep nesting": sealed(b"[" * 100_000),
    "a number of a million digits": sealed(b"1" * 1_000_000),
    "no JSON": sealed(b"\xff\xfe"),
    "nothing": sealed(b""),
    "version 0": b"serotine-exact 0 00000000\n",
    "no version": b"serotine-exact \n{}",
}


@pytest.mark.parametrize("name", HOSTILE_MANIFESTS)
def test_a_manifest_that_lies_is_refused(folder, name):
    (folder / "manifest").write_bytes(HOSTILE_MANIFESTS[name])
    with pytest.raises(CorruptIndex) as caught:
        opened(folder)
    assert caught.value.path == str(folder / "manifest")  # refused before any file that it names is looked for


def test_removed_rows_of_another_segment_are_refused(folder):
    path = file_of(folder, "removed")
    content = bytearray(path.read_bytes())
    content[16:32] = bytes(16)
    path.write_bytes(content)
    removed = {"uuid": path.stem.removeprefix("removed-"), "crc32": zlib.crc32(bytes(content))}
    (folder / "manifest").write_bytes(opened_manifest_with(folder, removed=removed))
    with pytest.raises(CorruptIndex, match=path.name):
        opened(folder)


def lying(folder, **fields):
    """Rewrite the manifest of an index with other facts about its segment."""
    from dataclasses import replace

    manifest = opened(folder)._store._reader.state().manifest
    lie = replace(manifest, segments=(replace(manifest.segments[0], **fields),))
    (folder / "manifest").write_bytes(encode_manifest(lie))


@pytest.mark.parametrize(
    "fields", [{"num_documents": 4}, {"num_documents": 6}, {"num_documents": 2**40}, {"num_tokens": 13},
               {"num_tokens": 15}, {"num_tokens": 2**61}, {"num_bytes": 64}, {"structure_crc32": 0}], ids=str,
)  # fmt: skip
def test_a_manifest_that_does_not_fit_its_segment_is_refused(folder, fields):
    lying(folder, **fields)
    with pytest.raises(CorruptIndex, match="segment-"):
        opened(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'["a",7,', b'["a",[],', "expected a list of 5 ids|neither str nor int|unhashable"),
        (b'["a",7,', b'["a",1.5,', "neither str nor int"),
        (b'["a",7,', b'["a",true,', "neither str nor int"),
        (b'["a",7,', b'["a","a",', "occurs twice"),
        (b'["a",7,', b"[", "expected a list of 5 ids"),
        (b'["a",7,', b'["a" 7,', "delimiter"),
        (b'["a",7,', b"[" * 10000, "recursion"),
    ],
)
def test_ids_that_lie_are_refused(folder, old, new, message):
    path = file_of(folder, "segment")
    content = path.read_bytes().replace(old, new)
    path.write_bytes(content)
    structure = content[:64] + content[64 + 14 * 4 * 4 :]
    lying_manifest = opened_manifest_with(folder, num_bytes=len(content), structure_crc32=zlib.crc32(structure))
    (folder / "manifest").write_bytes(lying_manifest)
    with pytest.raises(CorruptIndex, match=message):
        opened(folder)


@pytest.mark.parametrize("offset", [2**40, -1, 15])
def test_offsets_that_lie_are_refused(folder, offset):
    path = file_of(folder, "segment")
    content = bytearray(path.read_bytes())
    start = 64 + 14 * 4 * 4
    content[start + 16 : start + 24] = offset.to_bytes(8, "little", signed=True)
    path.write_bytes(content)
    structure = bytes(content[:64] + content[start:])
    (folder / "manifest").write_bytes(opened_manifest_with(folder, structure_crc32=zlib.crc32(structure)))
    with pytest.raises(CorruptIndex, match="offsets must rise"):
        opened(folder)


def opened_manifest_with(folder, **fields) -> bytes:
    body = json.loads((folder / "manifest").read_bytes().split(b"\n", 1)[1])
    body["segments"][0].update(fields)
    return sealed(json.dumps(body).encode())


def test_damage_is_found_by_an_index_that_is_open_when_the_file_changes(folder):
    index = opened(folder)
    before = state(index)
    (folder / "manifest").write_bytes(b"serotine-exact 1 00000000\n{}")
    with pytest.raises(CorruptIndex, match="crc32"):
        index.documents_ids()
    with pytest.raises(CorruptIndex, match="crc32"):
        index.add_documents("new", DOCUMENTS[0])
    assert len(before) == 4
