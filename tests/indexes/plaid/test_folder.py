"""Proves what a PLAID index on disk promises: what is seen, when, by whom, and what is refused."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys

import numpy as np
import pytest

from serotine.errors import CorruptIndex, DimensionMismatch, IndexLocked, IndexTooNew, InvalidInput, StorageError
from serotine.indexes import PLAID, Exact
from tests.indexes.plaid.collection import collection
from tests.indexes.samples import state, texts

DOCUMENTS = [document.astype(np.float16) for document in texts([3, 1, 4, 1, 5, 9, 2, 6, 0, 3], dim=4)]
QUERY = texts([3], dim=4, seed=1)[0]


@pytest.fixture
def filled(tmp_path):
    return PLAID(tmp_path, "index").add_documents(["a", 1, "c"], DOCUMENTS[:3]).remove_documents("c")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A folder with a coded index."""
    folder = tmp_path_factory.mktemp("large")
    data = collection()
    PLAID(folder, "index").add_documents(data.ids, data.documents).remove_documents(3)
    return folder


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "LOCK")


def test_an_index_that_is_opened_again_is_the_same(filled, tmp_path):
    again = PLAID(tmp_path, "index")
    assert state(again) == state(filled)
    assert again(QUERY) == filled(QUERY)
    assert again.generation == 2


def test_opening_makes_nothing_and_the_first_change_makes_the_folder(tmp_path):
    index = PLAID(str(tmp_path / "x" / "y"), "index")
    assert len(index) == 0
    assert index(QUERY) == [[]]
    assert not list(tmp_path.iterdir())
    index.add_documents("a", DOCUMENTS[0])
    assert (tmp_path / "x" / "y" / "index" / "manifest-00000000000000000001").is_file()


def test_the_default_place_is_that_of_pylate(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    PLAID().add_documents("a", DOCUMENTS[0])
    assert len(PLAID("indexes", "colbert")) == 1


def test_an_open_index_sees_what_others_commit_at_its_next_call(filled, tmp_path):
    other = PLAID(tmp_path, "index")
    filled.add_documents("new", DOCUMENTS[3])
    assert "new" in other
    other.remove_documents("new").add_documents("newer", DOCUMENTS[4])
    assert filled.documents_ids() == ["a", 1, "newer"]


def test_an_open_index_sees_one_that_was_built_anew_in_its_place(filled, tmp_path):
    assert len(filled) == 2
    generation = filled.stats().generation
    shutil.rmtree(tmp_path / "index")
    for number in range(generation):
        PLAID(tmp_path, "index").add_documents(f"new {number}", DOCUMENTS[number])
    assert PLAID(tmp_path, "index").stats().generation == generation
    assert filled.documents_ids() == [f"new {number}" for number in range(generation)]


def test_two_objects_that_write_in_turn_lose_nothing(tmp_path):
    objects = [PLAID(tmp_path, "index"), PLAID(tmp_path, "index")]
    for number in range(20):
        objects[number % 2].add_documents(number, DOCUMENTS[number % 8])
    assert objects[0].documents_ids() == objects[1].documents_ids() == list(range(20))


def test_a_duplicate_added_by_another_object_is_noticed(filled, tmp_path):
    PLAID(tmp_path, "index").add_documents("new", DOCUMENTS[3])
    with pytest.raises(InvalidInput, match="'new' is in the index already"):
        filled.add_documents("new", DOCUMENTS[3])


@pytest.mark.parametrize("way", ["copied", "moved", "read-only"])
def test_the_folder_of_an_idle_index_is_all_there_is(large, tmp_path, way):
    data = collection()
    truth = PLAID(large, "index")(data.queries)
    shutil.copytree(large / "index", tmp_path / "copy")
    name = "copy"
    if way == "moved":
        os.rename(tmp_path / "copy", tmp_path / "moved")
        name = "moved"
    if way == "read-only":
        (tmp_path / "copy" / "LOCK").unlink()
        for folder, _, names in os.walk(tmp_path / "copy"):
            for file in names:
                os.chmod(os.path.join(folder, file), stat.S_IRUSR)
            os.chmod(folder, stat.S_IRUSR | stat.S_IXUSR)
    before = sorted(os.listdir(tmp_path / name))
    index = PLAID(tmp_path, name)
    assert index(data.queries) == truth
    index.check()
    assert sorted(os.listdir(tmp_path / name)) == before
    if way == "read-only":
        os.chmod(tmp_path / name, stat.S_IRWXU)


@pytest.mark.parametrize("override", [False, True])
@pytest.mark.parametrize("name", ["segments", "deletes", "codebooks", "tmp"])
def test_an_index_whose_folders_lead_elsewhere_is_refused(filled, tmp_path, name, override):
    """A writer deletes the segments that its manifest does not name; these would be those of another index."""
    shutil.copytree(tmp_path / "index", tmp_path / "hostile")
    folder = tmp_path / "hostile" / name
    if folder.exists():
        shutil.rmtree(folder)
    (tmp_path / "index" / name).mkdir(exist_ok=True)
    folder.symlink_to(tmp_path / "index" / name)
    before = files(tmp_path / "index")
    with pytest.raises(StorageError, match=f"{folder} is a link to another folder"):
        PLAID(tmp_path, "hostile", override=override).add_documents("b", DOCUMENTS[3])
    assert files(tmp_path / "index") == before
    assert PLAID(tmp_path, "index").documents_ids() == ["a", 1]


def test_override_keeps_the_old_index_until_the_first_change(filled, tmp_path):
    replacing = PLAID(tmp_path, "index", override=True, nbits=2)
    assert len(replacing) == 0
    assert filled.documents_ids() == ["a", 1]
    with pytest.raises(InvalidInput):
        replacing.add_documents("bad", np.full((1, 4), np.nan))
    assert filled.documents_ids() == ["a", 1]
    assert PLAID(tmp_path, "index").documents_ids() == ["a", 1]
    replacing.add_documents("new", np.ones((2, 7)))
    assert filled.documents_ids() == ["new"]
    assert (filled.dim, filled.nbits) == (7, 2)
    replacing.add_documents("second", np.ones((2, 7)))
    assert PLAID(tmp_path, "index").documents_ids() == ["new", "second"]


def test_override_replaces_a_damaged_index(filled, tmp_path):
    manifest = max((tmp_path / "index").glob("manifest-*"))
    manifest.write_bytes(manifest.read_bytes()[:100])
    with pytest.raises(CorruptIndex):
        PLAID(tmp_path, "index")
    replacing = PLAID(tmp_path, "index", override=True).add_documents("new", DOCUMENTS[0])
    assert replacing.documents_ids() == PLAID(tmp_path, "index").documents_ids() == ["new"]


def test_override_makes_an_index_where_there_is_none(tmp_path):
    assert len(PLAID(tmp_path, "index", override=True)) == 0


def test_the_settings_that_are_stored_hold_if_none_are_asked_for(tmp_path):
    PLAID(tmp_path, "index", nbits=2, seed=7, keep_originals=True).add_documents("a", DOCUMENTS[0])
    assert PLAID(tmp_path, "index").nbits == 2
    assert len(PLAID(tmp_path, "index", nbits=2, seed=7, keep_originals=True)) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nbits": 2}, "was made with nbits=4, but nbits=2 was asked for"),
        ({"seed": 1}, "was made with seed=42, but seed=1 was asked for"),
        ({"keep_originals": True}, "keep_originals=False, but keep_originals=True"),
    ],
)
def test_an_index_is_not_opened_as_what_it_is_not(filled, tmp_path, options, message):
    with pytest.raises(InvalidInput, match=message):
        PLAID(tmp_path, "index", **options)
    assert len(PLAID(tmp_path, "index", nbits=4, seed=42, keep_originals=False)) == 2
    assert len(PLAID(tmp_path, "index", override=True, **options)) == 0


def test_settings_are_compared_again_when_another_object_made_the_index_in_between(tmp_path):
    made, late = PLAID(tmp_path, "index", nbits=4), PLAID(tmp_path, "index", nbits=2, lock_timeout_s=0.05)
    made.add_documents("a", np.ones((2, 4)))
    with pytest.raises(InvalidInput, match="was made with nbits=4, but nbits=2"):
        late.add_documents("b", np.ones((2, 4)))
    assert made.add_documents("c", np.ones((2, 4))).documents_ids() == ["a", "c"]  # the lock is free


def test_documents_of_another_width_are_refused_after_a_reopening(filled, tmp_path):
    with pytest.raises(DimensionMismatch, match="expected \\(num_tokens, 4\\)"):
        PLAID(tmp_path, "index").add_documents("x", np.ones((1, 5)))


@pytest.mark.parametrize("kind", ["manifest-*", "segments/*", "codebooks/*", "deletes/*"])
def test_a_damaged_file_is_named_with_what_was_found(large, tmp_path, kind):
    shutil.copytree(large / "index", tmp_path / "index")
    damaged = sorted((tmp_path / "index").glob(kind))[-1]
    content = bytearray(damaged.read_bytes())
    content[-3] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(CorruptIndex, match=damaged.name) as caught:
        PLAID(tmp_path, "index")
    assert caught.value.path == str(damaged)
    assert caught.value.expected
    assert caught.value.found
    assert "Restore the index from a backup, build it again" in str(caught.value)


@pytest.mark.parametrize("kind", ["segments/*", "codebooks/*", "deletes/*"])
def test_a_lost_file_is_noticed_when_the_index_is_opened(large, tmp_path, kind):
    shutil.copytree(large / "index", tmp_path / "index")
    lost = next((tmp_path / "index").glob(kind))
    lost.unlink()
    with pytest.raises(CorruptIndex, match=lost.name):
        PLAID(tmp_path, "index")


def test_damaged_codes_are_found_by_check_and_at_a_full_opening(large, tmp_path):
    shutil.copytree(large / "index", tmp_path / "index")
    (segment,) = (tmp_path / "index" / "segments").iterdir()
    content = bytearray(segment.read_bytes())
    content[len(content) * 3 // 4] ^= 16  # codes are most of the file
    segment.write_bytes(content)
    with pytest.raises(CorruptIndex, match=segment.name):
        PLAID(tmp_path, "index", verify="full")
    index = PLAID(tmp_path, "index")
    with pytest.raises(CorruptIndex, match=segment.name):
        index.check()
    PLAID(large, "index", verify="full").check()


def test_an_older_generation_is_taken_only_on_demand(filled, tmp_path):
    newest = tmp_path / "index" / "manifest-00000000000000000002"
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.raises(CorruptIndex, match=newest.name):
        PLAID(tmp_path, "index")
    assert PLAID(tmp_path, "index", recover="previous").documents_ids() == ["a", 1, "c"]


def test_an_index_of_a_later_format_is_refused(filled, tmp_path):
    manifest = tmp_path / "index" / "manifest-00000000000000000002"
    content = bytearray(manifest.read_bytes())
    version = content.index((1).to_bytes(4, "little"), 8, 64)  # after the magic: kind and version, both 1
    for offset in (version, version + 4):
        changed = bytearray(content)
        changed[offset] = 99
        manifest.write_bytes(changed)
        with pytest.raises((IndexTooNew, CorruptIndex)):
            PLAID(tmp_path, "index")


def test_a_file_in_the_place_of_the_folder_is_a_storage_error(tmp_path):
    (tmp_path / "index").write_text("precious")
    with pytest.raises(StorageError, match="Not a directory"):
        PLAID(tmp_path, "index").add_documents("a", DOCUMENTS[0])
    assert (tmp_path / "index").read_text() == "precious"


@pytest.mark.parametrize("override", [False, True])
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["thesis.txt"], "files of something else, expected .*, found thesis.txt.*choose another index_folder"),
        (["LOCK", "tmp", "thesis.txt"], "files of something else"),
        (["documents_ids_to_plaid_ids.sqlite"], r"a PLAID index of PyLate's.*from_pylate\('.*index', index_folder"),
        (["documents_ids_to_plaid_ids.pkl", "fast_plaid_index"], "a PLAID index of PyLate's.*from_pylate"),
        (["metadata.json", "centroids.npy"], "a PLAID index of PyLate's.*from_pylate"),
        (["index.voyager"], "a Voyager index of PyLate's, which is not read.*another index_folder or index_name"),
        (["manifest-7"], "files of something else"),
        (["manifest"], "files of something else"),
    ],
)
def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path, names, message, override):
    (tmp_path / "index").mkdir()
    for name in names:
        (tmp_path / "index" / name).write_text("precious")
    with pytest.raises(InvalidInput, match=message):
        PLAID(tmp_path, "index", override=override)
    assert sorted(os.listdir(tmp_path / "index")) == sorted(names)
    assert all((tmp_path / "index" / name).read_text() == "precious" for name in names)


@pytest.mark.parametrize("override", [False, True])
def test_an_index_of_another_class_is_refused_and_left_alone(tmp_path, override):
    Exact(tmp_path, "index").add_documents("a", DOCUMENTS[0])
    with pytest.raises(InvalidInput, match=r"holds an index of the kind 'exact'.*open it with the class that made it"):
        PLAID(tmp_path, "index", override=override)
    assert Exact(tmp_path, "index").documents_ids() == ["a"]


@pytest.mark.parametrize("names", [["LOCK"], ["LOCK", "tmp"], ["LOCK", "tmp", "segments", "codebooks", "deletes"]])
def test_what_a_crash_of_the_first_change_leaves_is_a_new_index(tmp_path, names):
    for name in names[1:]:
        (tmp_path / "index" / name).mkdir(parents=True)
    (tmp_path / "index").mkdir(exist_ok=True)
    (tmp_path / "index" / "LOCK").touch()
    assert len(PLAID(tmp_path, "index")) == 0
    assert PLAID(tmp_path, "index").add_documents("a", DOCUMENTS[0]).documents_ids() == ["a"]


def test_a_first_change_that_fails_leaves_a_folder_that_opens(tmp_path):
    with pytest.raises(InvalidInput):
        PLAID(tmp_path, "index").add_documents("bad", np.full((1, 4), np.nan))
    assert len(PLAID(tmp_path, "index")) == 0


def test_files_of_others_in_an_index_folder_are_left_alone(filled, tmp_path):
    (tmp_path / "index" / "README").write_text("precious")
    filled.add_documents("b", DOCUMENTS[3])
    PLAID(tmp_path, "index", override=True).add_documents("d", DOCUMENTS[4])
    assert (tmp_path / "index" / "README").read_text() == "precious"


def test_what_is_replaced_leaves_the_disk(tmp_path):
    index = PLAID(tmp_path, "index").add_documents(range(8), DOCUMENTS[:8])
    for number in range(30):
        index.update_documents(number % 8, DOCUMENTS[number % 8])
    assert len(files(tmp_path)) < 40
    assert not list((tmp_path / "index" / "tmp").glob("*"))


HOOKED = """
import sys
events = []
sys.addaudithook(lambda event, arguments: events.append((event, str(arguments)[:200])))
from serotine.indexes import PLAID, Exact
import numpy as np
np.ones(1) @ np.ones(1)
events.clear()
index = PLAID(sys.argv[1], "index")
index(np.ones((3, 32), dtype=np.float32))
index.get_documents_embeddings([0, 1])
index.check()
bad = [event for event in events if event[0] in ("pickle.find_class", "exec", "compile", "import", "socket.connect",
                                                 "subprocess.Popen", "os.system")]
assert not bad, bad
print(len(index))
"""


def test_nothing_in_an_index_is_executed(large):
    """Opening, searching, decoding and checking neither run code nor import, unpickle or connect."""
    result = subprocess.run([sys.executable, "-c", HOOKED, str(large)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "899"


FULL = """
import sys
import numpy as np
from serotine.errors import CommitFailed, OutOfSpace
from serotine.indexes import PLAID, Exact

index = PLAID(sys.argv[1], "index").add_documents("old", np.ones((3, 64)))
filler = open(sys.argv[1] + "/filler", "wb")
try:
    filler.write(bytes({filler_bytes}))
    filler.flush()
except OSError:
    pass
generator = np.random.default_rng(0)
documents = [generator.standard_normal((500, 64)).astype(np.float16) for _ in range({num_documents})]
try:
    index.add_documents(range({num_documents}), documents)
except OutOfSpace as error:
    assert isinstance(error, CommitFailed), error
    assert error.outcome == "unchanged", error.outcome
    assert error.needed > error.free >= 0, (error.needed, error.free)
    print("full")
assert index.documents_ids() == ["old"]
assert len(index(np.ones((2, 64)))[0]) == 1
filler.close()
import os
os.remove(sys.argv[1] + "/filler")
index.add_documents("new", documents[0]).check()
print(len(PLAID(sys.argv[1], "index")))
"""


@pytest.mark.parametrize(("filler_bytes", "num_documents"), [(4_100_000, 20), (1_000_000, 60), (0, 1500)])
def test_a_full_disk_is_said_and_harms_nothing(tmp_path, filler_bytes, num_documents):
    """On a file system of 4 MiB in this test's own mount namespace."""
    script = f'mount -t tmpfs -o size=4m none {tmp_path} && exec {sys.executable} -c "$0" {tmp_path}'
    code = FULL.format(filler_bytes=filler_bytes, num_documents=num_documents)
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets no one make a mount namespace")
    result = subprocess.run(["unshare", "-Urm", "sh", "-c", script, code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["full", "2"]


def test_the_holder_of_the_lock_is_named_and_a_killed_one_holds_nothing(filled, tmp_path):
    code = (
        "import sys, time\nfrom serotine.indexes import PLAID\n"
        "with PLAID(sys.argv[1], 'index').writer():\n    print('held', flush=True)\n    time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    other = PLAID(tmp_path, "index", lock_timeout_s=0.05)
    with pytest.raises(IndexLocked, match=f"process {holder.pid}"):
        other.add_documents("b", DOCUMENTS[3])
    assert filled.documents_ids() == ["a", 1]  # readers do not wait
    holder.kill()
    holder.wait()
    assert other.add_documents("b", DOCUMENTS[3]).documents_ids() == ["a", 1, "b"]
