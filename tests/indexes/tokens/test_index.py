"""Proves that the hits of a token index are the nearest vectors, through changes, filters and reopening."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from serotine.errors import CorruptIndex, DimensionMismatch, DuplicateDocument, InvalidInput, UnknownDocument
from serotine.indexes import Exact, TokenIndex
from serotine.indexes.tokens import search
from tests.indexes.samples import state
from tests.indexes.test_bad_inputs import BAD_ADDS
from tests.indexes.tokens.conftest import opener, unit_texts

LENGTHS = [int(length) for length in np.random.default_rng(5).integers(0, 12, 150)]
DOCUMENTS = unit_texts(LENGTHS)
IDS = [number if number % 3 else f"id {number}" for number in range(150)]
QUERIES = unit_texts([4, 1, 6], seed=1)
GOOD = np.ones((3, 4), dtype=np.float32)


def fill(index: TokenIndex) -> TokenIndex:
    """Two large segments and a small one, with documents of both removed and updated."""
    index.add_documents(IDS[:100], DOCUMENTS[:100]).add_documents(IDS[100:145], DOCUMENTS[100:145])
    index.add_documents(IDS[145:], DOCUMENTS[145:])
    return index.remove_documents(IDS[:100:9]).update_documents(IDS[40:60], DOCUMENTS[60:80])


def nearest(index, queries, k, subset=None):
    """By definition: for each query and token the k largest cosines."""
    ids = [document_id for document_id in index.documents_ids() if subset is None or document_id in subset]
    vectors = [np.empty((0, queries[0].shape[1])), *index.get_documents_embeddings(ids)]
    tokens = np.concatenate(vectors)
    found = []
    for query in queries:
        for token in query:
            cosines = tokens @ token / (np.linalg.norm(tokens, axis=1) * np.linalg.norm(token))
            found.append(np.sort(cosines)[::-1][:k].tolist())
    return found


def check_hits(index, queries, k, subset=None, *, share=1.0):
    """Hits are in order, of the right number, and at least a share of them among the nearest by definition."""
    found = index(queries, k=k, subset=subset)
    assert list(found) == ["documents_ids", "distances", "similarities"]
    distances_of_tokens = [distances for of_query in found["distances"] for distances in of_query]
    known = nearest(index, queries, k, subset)
    assert [len(of_query) for of_query in found["documents_ids"]] == [len(query) for query in queries]
    good = total = 0
    for distances, expected in zip(distances_of_tokens, known, strict=True):
        assert len(distances) == len(expected)
        assert (np.diff(distances) >= 0).all()
        good += int((1 - distances >= min(expected, default=0) - 1e-5).sum())
        total += len(expected)
    assert good >= share * total


def test_hits_are_the_nearest_vectors(make_index):
    index = fill(make_index())
    for k in (1, 10, 60):
        check_hits(index, QUERIES, k, share=0.95)


def test_each_hit_has_the_similarity_and_distance_of_a_vector_of_its_document(make_index):
    index = fill(make_index())
    found = index(QUERIES, k=30)
    for query, ids, distances, similarities in zip(QUERIES, *found.values(), strict=True):
        for token, ids_of_token, distances_of_token, similarities_of_token in zip(
            query, ids, distances, similarities, strict=True
        ):
            for document_id, distance, similarity in zip(
                ids_of_token, distances_of_token, similarities_of_token, strict=True
            ):
                vectors = index.get_documents_embeddings([document_id])[0]
                position = np.abs(vectors @ token - similarity).argmin()
                assert similarity == pytest.approx(float(vectors[position] @ token), abs=1e-5)
                assert distance == pytest.approx(1 - float(vectors[position] @ token), abs=1e-5)


def test_k_may_exceed_what_there_is(make_index):
    check_hits(fill(make_index()), QUERIES, 5_000)


@pytest.mark.parametrize("step", [1, 2, 7, 60])
def test_a_subset_gives_its_own_nearest_vectors_however_small(make_index, step):
    index = fill(make_index())
    check_hits(index, QUERIES, 20, IDS[::step], share=0.95)
    check_hits(index, QUERIES[:1], 2_000, [*IDS[::step], "unknown"])


def test_a_subset_per_query_filters_each(make_index):
    index = fill(make_index())
    subsets = [IDS[:30], [], ["unknown", IDS[70]]]
    found = index(QUERIES, k=10, subset=subsets)
    for query, subset, ids in zip(QUERIES, subsets, found["documents_ids"], strict=True):
        assert {document_id for row in ids for document_id in row} <= set(subset)
        (alone,) = index([query], k=10, subset=subset)["documents_ids"]
        assert alone == ids
    assert found["documents_ids"][1] == [[]]


def test_removed_documents_are_never_hit(make_index):
    index = fill(make_index()).remove_documents(IDS[100:140])
    gone = (set(IDS[:100:9]) | set(IDS[100:140])) - set(IDS[40:60])
    found = index(QUERIES, k=400)["documents_ids"]
    assert not gone & {document_id for query in found for row in query for document_id in row}
    check_hits(index, QUERIES, 15, share=0.95)


def test_unnormalised_and_zero_vectors_are_ordered_by_cosine_and_scored_by_dot_product(make_index):
    index = make_index()
    documents = [3 * DOCUMENTS[10], np.zeros((2, 16), np.float32), *(0.1 * d for d in DOCUMENTS[11:40])]
    index.add_documents(range(len(documents)), documents)
    num_tokens = sum(len(document) for document in documents)
    found = index([2 * QUERIES[0]], k=num_tokens)
    zeros = [i for i, document_id in enumerate(found["documents_ids"][0][0]) if document_id == 1]
    assert len(zeros) == 2
    assert found["distances"][0][0][zeros].tolist() == [1.0, 1.0]
    assert found["similarities"][0][0][zeros].tolist() == [0.0, 0.0]
    scaled = [s for i, s in zip(found["documents_ids"][0][0], found["similarities"][0][0], strict=True) if i == 0]
    np.testing.assert_allclose(sorted(scaled), sorted(6 * DOCUMENTS[10] @ QUERIES[0][0]), atol=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_an_index_that_is_opened_again_answers_the_same(open_index, dtype):
    index = fill(open_index(dtype=dtype))
    expected = index(QUERIES, k=25)
    again = open_index()
    assert state(again) == state(index)
    assert again.dtype == dtype
    found = again(QUERIES, k=25)
    assert found["documents_ids"] == expected["documents_ids"]
    np.testing.assert_array_equal(np.concatenate(found["similarities"][2]), np.concatenate(expected["similarities"][2]))
    again.check()


def test_an_open_index_sees_what_another_commits(open_index):
    index, other = open_index(), open_index()
    index.add_documents(IDS[:60], DOCUMENTS[:60])
    assert len(other) == 60
    check_hits(other, QUERIES, 5, share=0.9)
    other.remove_documents(IDS[:60])
    assert index(QUERIES)["documents_ids"][1] == [[]]


def test_only_new_large_segments_get_a_file_and_merged_ones_lose_theirs(open_index):
    index = open_index()

    def finders():
        return {name for name in os.listdir(open_index.folder) if name.startswith("finder-")}

    index.add_documents(IDS[:100], DOCUMENTS[:100])
    first = finders()
    assert len(first) == 1
    index.add_documents(IDS[100:102], DOCUMENTS[100:102])
    assert finders() == first
    index.remove_documents(IDS[0])
    assert finders() == first
    index.remove_documents(IDS[:80])  # more than half: written again without them
    assert len(finders()) == 1
    assert finders() != first
    index.remove_documents(IDS)
    assert finders() == set()


def test_the_old_index_stays_until_the_first_change_that_succeeds(open_index):
    fill(open_index())
    index = open_index(override=True, dtype="float16")
    assert len(index) == 0
    assert len(open_index()) > 0
    with pytest.raises(InvalidInput):
        index.add_documents("a", [[float("nan")]])
    assert len(open_index()) > 0
    index.add_documents("a", np.ones((2, 3)))
    assert open_index().documents_ids() == ["a"]
    assert open_index().dtype == "float16"


@pytest.mark.parametrize("case", BAD_ADDS)
@pytest.mark.parametrize("name", ["Voyager", "ScaNN"])
def test_a_bad_add_is_refused_and_changes_nothing(case, name):
    ids, embeddings, error, message = BAD_ADDS[case]
    if hasattr(embeddings, "send"):
        pytest.skip("a generator of another test; Exact's tests take it, through the same code")
    index = opener(name, None)(embedding_size=4).add_documents("old", GOOD)
    before = state(index)
    with pytest.raises(error, match=message):
        index.add_documents(ids, embeddings)
    assert state(index) == before


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"k": 0}, InvalidInput, "k must be a whole number"),
        ({"subset": [["a"]]}, InvalidInput, "1 lists of ids for 3 queries"),
        ({"subset": [1.5]}, InvalidInput, "got 1.5"),
        ({"queries_embeddings": [np.ones((2, 3))]}, DimensionMismatch, "16"),
        ({"queries_embeddings": [np.full((1, 16), np.inf)]}, InvalidInput, "query 0, token row 0"),
        ({"queries_embeddings": [np.empty((0, 16))]}, InvalidInput, "query 0 has no tokens"),
    ],
)
def test_a_bad_search_is_refused(make_index, arguments, error, message):
    index = fill(make_index())
    with pytest.raises(error, match=message):
        index(**{"queries_embeddings": QUERIES, **arguments})


def test_an_empty_index_and_no_queries_give_nothing(make_index):
    index = make_index()
    assert index(QUERIES[:1])["documents_ids"] == [[[]] * 4]
    assert index([]) == {"documents_ids": [], "distances": [], "similarities": []}
    with pytest.raises(UnknownDocument):
        index.get_documents_embeddings([["a"]])
    with pytest.raises(DuplicateDocument):
        index.add_documents("a", QUERIES[0]).add_documents("a", QUERIES[0])


def test_several_threads_search_while_one_adds(make_index):
    index = make_index(lock_timeout_s=20.0).add_documents(IDS[:80], DOCUMENTS[:80])
    errors = []

    def work():
        try:
            for _ in range(5):
                assert len(index(QUERIES[:1], k=5)["documents_ids"][0][0]) == 5
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    index.add_documents(IDS[80:], DOCUMENTS[80:])
    for thread in threads:
        thread.join()
    assert not errors


def test_a_finder_that_is_short_is_made_up_for(make_index, monkeypatch):
    index = fill(make_index())
    expected = Exact().add_documents(index.documents_ids(), index.get_documents_embeddings(index.documents_ids()))
    monkeypatch.setattr(type(index), "_finder_of", lambda *_: Short())
    found, known = index.nearest_tokens(QUERIES, k=20), expected.nearest_tokens(QUERIES, k=20)
    for mine, its in zip(found.hits, known.hits, strict=True):
        np.testing.assert_allclose(mine.similarities, its.similarities, atol=1e-6)


def test_only_query_tokens_that_are_short_are_compared_with_everything(monkeypatch):
    index = fill(opener("Voyager", None)())
    monkeypatch.setattr(search, "SCAN_TOKENS", 64)
    real, compared = search._cosines, []

    def watched(part, queries, norms, positions):
        compared.append((len(queries), len(positions)))
        return real(part, queries, norms, positions)

    class ShortForTheLast:
        """Finds one token alone for the last query that it is asked for."""

        def nearest(self, queries, k):
            found = np.tile(np.arange(k, dtype=np.int64), (len(queries), 1))
            found[-1, 1:] = -1
            return found

    monkeypatch.setattr(search, "_cosines", watched)
    monkeypatch.setattr(type(index), "_finder_of", lambda *_: ShortForTheLast())
    index.nearest_tokens(QUERIES, k=10, subset=IDS[:145])
    large = [shape for shape in compared if shape[1] > 60]
    assert large
    assert all(num_queries == 1 for num_queries, _ in large)


class Short:
    """Finds one token whatever it is asked for."""

    def nearest(self, queries, k):
        return np.zeros((len(queries), 1), dtype=np.int64)


def damaged(folder, change):
    path = next(folder.glob("finder-*"))
    content = bytearray(path.read_bytes())
    path.write_bytes(change(content))


@pytest.mark.parametrize("position", [0, 100, -1])
def test_a_flipped_bit_of_a_finder_is_found_before_its_library_sees_it(open_index, position):
    fill(open_index())

    def flip(content):
        content[position] ^= 4
        return content

    damaged(open_index.folder, flip)
    index = open_index()
    with pytest.raises(CorruptIndex, match="crc32"):
        index.check()
    with pytest.raises(CorruptIndex, match="crc32"):
        index(QUERIES, k=5)


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"\0", lambda _: b""])
def test_a_finder_of_another_length_is_found_when_the_index_is_opened(open_index, change):
    fill(open_index())
    damaged(open_index.folder, change)
    with pytest.raises(CorruptIndex, match="bytes"):
        open_index()


def test_a_missing_finder_is_found_when_the_index_is_opened(open_index):
    fill(open_index())
    next(open_index.folder.glob("finder-*")).unlink()
    with pytest.raises(CorruptIndex, match="a file of the index"):
        open_index()


def test_the_kinds_are_not_taken_for_each_other(tmp_path):
    pytest.importorskip("voyager")
    from serotine.indexes import Voyager

    Exact(tmp_path, "index").add_documents("a", GOOD)
    with pytest.raises(InvalidInput, match="holds an index of the kind 'exact', not 'voyager'"):
        Voyager(tmp_path, "index")
    assert len(Exact(tmp_path, "index")) == 1
    Voyager(tmp_path, "index", override=True).add_documents("b", GOOD)
    with pytest.raises(InvalidInput, match="'voyager', not 'exact'"):
        Exact(tmp_path, "index")


def test_scans_of_any_block_size_are_the_same(monkeypatch):
    index = Exact().add_documents(IDS, DOCUMENTS).remove_documents(IDS[::11])
    expected = index.nearest_tokens(QUERIES, k=30)
    monkeypatch.setattr(search, "MAX_SIMILARITIES", 40)
    for mine, known in zip(index.nearest_tokens(QUERIES, k=30).hits, expected.hits, strict=True):
        np.testing.assert_array_equal(mine.documents, known.documents)
