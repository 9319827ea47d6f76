"""Proves what `PLAID` promises once vectors are coded: nearly the ranking of exact search in a part of the bytes."""

from __future__ import annotations

import os

import numpy as np
import pytest

from serotine.errors import InvalidInput
from serotine.indexes import PLAID, Exact
from serotine.types import TokenMatrix
from tests.indexes.plaid.collection import DIM, collection, ids_of, overlap, unit

COLLECTION = collection()
QUERIES = COLLECTION.queries


@pytest.fixture(scope="module")
def exact():
    return Exact().add_documents(COLLECTION.ids, COLLECTION.documents)


@pytest.fixture(scope="module", params=[1, 2, 4, 8])
def coded(request):
    return PLAID(None, nbits=request.param).add_documents(COLLECTION.ids, COLLECTION.documents)


@pytest.fixture(scope="module")
def four_bits():
    return PLAID(None).add_documents(COLLECTION.ids, COLLECTION.documents)


def test_this_many_tokens_are_coded(coded):
    stats = coded.stats()
    assert stats.num_tokens == sum(map(len, COLLECTION.documents)) > 1 << 15
    assert stats.num_codebooks == 1
    assert stats.num_cells > 1
    assert len(stats.calibration) > 1
    assert stats.nbits == coded.nbits


def test_the_ranking_is_nearly_that_of_exact_search(coded, exact):
    found = overlap(coded(QUERIES), exact(QUERIES))
    assert found > {1: 0.55, 2: 0.75, 4: 0.9, 8: 0.97}[coded.nbits]


def test_a_query_made_from_a_document_finds_it_first(coded):
    best = [ids[0] for ids in ids_of(coded(QUERIES, k=1))]
    assert np.mean(np.array(best) == COLLECTION.sources) > 0.9


def test_scores_are_close_to_exact_ones(four_bits, exact):
    truth = [{hit["id"]: hit["score"] for hit in hits} for hits in exact(QUERIES, k=1000)]
    for known, hits in zip(truth, four_bits(QUERIES), strict=True):
        assert all(abs(hit["score"] - known[hit["id"]]) < 0.02 * len(QUERIES[0]) for hit in hits)


def test_searches_with_full_recall_find_what_a_scan_of_all_codes_finds(coded):
    everything = coded(QUERIES, k=len(coded))
    assert coded(QUERIES, recall=1) == [hits[:10] for hits in everything]
    assert overlap(coded(QUERIES), coded(QUERIES, recall=1)) > 0.97


def test_less_recall_never_finds_more_than_a_scan(four_bits):
    thorough = four_bits(QUERIES, recall=1)
    fast = four_bits(QUERIES, recall=0.5)
    assert overlap(fast, thorough) <= overlap(four_bits(QUERIES), thorough) + 0.02


def test_settings_can_be_changed_and_calls_can_overrule_them(four_bits):
    index = PLAID(None, n_ivf_probe=1, n_full_scores=10).add_documents(COLLECTION.ids, COLLECTION.documents)
    assert (index.n_ivf_probe, index.n_full_scores, index.recall) == (1, 10, None)
    thorough = four_bits(QUERIES, recall=1)
    assert index(QUERIES, recall=1) == thorough  # equal input and seed: equal codes
    index.n_ivf_probe = 64
    index.n_full_scores = 900
    assert overlap(index(QUERIES), thorough) > 0.98
    index.recall = 1
    assert (index.n_ivf_probe, index.n_full_scores) == (None, None)
    assert index(QUERIES) == thorough


def test_fewer_bits_take_less_space():
    sizes = [
        PLAID(None, nbits=nbits).add_documents(COLLECTION.ids, COLLECTION.documents).stats().bytes_per_token
        for nbits in (1, 2, 4, 8)
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] < 2 * DIM / 3 < 2 * DIM


def test_every_document_comes_back_if_all_are_asked_for(coded):
    for ids in ids_of(coded(QUERIES[:3], k=10**9)):
        assert sorted(ids) == COLLECTION.ids


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.002])
def test_a_subset_is_searched_as_if_there_were_nothing_else(coded, share):
    generator = np.random.default_rng(5)
    subset = [number for number in COLLECTION.ids if generator.random() < share]
    rankings = coded(QUERIES, k=10, subset=subset)
    everything = coded(QUERIES, k=len(coded))
    truth = [[hit for hit in hits if hit["id"] in set(subset)][:10] for hits in everything]
    assert all(set(ids) <= set(subset) for ids in ids_of(rankings))
    assert [len(hits) for hits in rankings] == [len(hits) for hits in truth]
    if share <= 0.01:
        assert rankings == truth  # a small subset is scored as a whole
    assert overlap(rankings, truth) > 0.97


def test_each_query_may_have_its_own_subset(four_bits):
    subsets = [COLLECTION.ids[number * 7 : number * 7 + 5] for number in range(len(QUERIES))]
    together = four_bits(QUERIES, subset=subsets)
    assert together == [four_bits(query, subset=ids)[0] for query, ids in zip(QUERIES, subsets, strict=True)]
    assert all(set(found) == set(ids) for found, ids in zip(ids_of(together), subsets, strict=True))


def test_batches_threads_and_single_queries_give_the_same_results(four_bits):
    together = four_bits(QUERIES)
    assert [four_bits(query)[0] for query in QUERIES] == together
    for num_threads in (1, 2, 3):
        index = PLAID(None, num_threads=num_threads).add_documents(COLLECTION.ids, COLLECTION.documents)
        assert index(QUERIES) == together
        assert index(QUERIES[0])[0] == together[0]


def test_the_form_of_the_embeddings_does_not_matter(four_bits):
    matrix = TokenMatrix.from_arrays(COLLECTION.documents)
    for form in (matrix, matrix.astype(np.float16), (document for document in COLLECTION.documents)):
        assert PLAID(None).add_documents(COLLECTION.ids, form)(QUERIES) == four_bits(QUERIES)


def test_vectors_in_a_mapped_file_can_be_added(four_bits, tmp_path):
    matrix = TokenMatrix.from_arrays(COLLECTION.documents).astype(np.float16)
    np.save(tmp_path / "values.npy", matrix.values)
    mapped = np.load(tmp_path / "values.npy", mmap_mode="r")
    index = PLAID(None).add_documents(COLLECTION.ids, TokenMatrix(mapped, matrix.offsets))
    assert index(QUERIES) == four_bits(QUERIES)


def test_decoded_vectors_are_close_to_the_given_ones(coded):
    smallest = {1: 0.8, 2: 0.93, 4: 0.99, 8: 0.999}[coded.nbits]
    for stored, given in zip(
        coded.get_documents_embeddings([3, 5]), [COLLECTION.documents[i] for i in (3, 5)], strict=True
    ):
        assert stored.dtype == np.float32
        assert stored.shape == given.shape
        assert (stored * given).sum(axis=1).mean() > smallest
        with pytest.raises(ValueError, match="read-only"):
            stored[0, 0] = 7


def test_vectors_of_any_length_keep_it():
    lengths = np.geomspace(0.01, 100, len(COLLECTION.documents))
    documents = [document * length for document, length in zip(COLLECTION.documents, lengths, strict=True)]
    index = PLAID(None).add_documents(COLLECTION.ids, documents)
    for number in (0, 450, 899):
        norms = np.linalg.norm(index.get_documents_embeddings(number)[0], axis=1)
        np.testing.assert_allclose(norms, lengths[number], rtol=0.01)
    truth = Exact().add_documents(COLLECTION.ids, documents)
    assert overlap(index(QUERIES), truth(QUERIES)) > 0.9


def test_weights_count_query_tokens(four_bits):
    query = QUERIES[0]
    only_first = np.zeros(len(query), dtype=np.float32)
    only_first[0] = 2
    weighted = four_bits(query, weights=only_first, recall=1)[0]
    alone = four_bits(query[:1], recall=1)[0]
    np.testing.assert_allclose([hit["score"] for hit in weighted], [2 * hit["score"] for hit in alone], rtol=1e-4)
    both = four_bits(QUERIES[:2], weights=[np.ones(len(query))] * 2)
    assert both == four_bits(QUERIES[:2])


@pytest.mark.parametrize("num_documents", [100, 900], ids=["float16", "coded"])
def test_the_largest_weights_that_are_accepted_keep_the_order(num_documents):
    scale = 60_000  # float16 holds it
    documents = [document * scale for document in COLLECTION.documents[:num_documents]]
    index = PLAID(None).add_documents(range(num_documents), documents)
    query = np.repeat(QUERIES[0], 4096 // len(QUERIES[0]), axis=0)
    plain = index(query)[0]
    for factor in (1e5, 1e15):
        longest = np.abs(query).max() * factor
        weights = np.full(len(query), 0.999e15 / longest)
        weighted = index(query * factor, weights=weights)[0]
        assert ids_of([weighted]) == ids_of([plain])
        ratios = [hit["score"] / known["score"] for hit, known in zip(weighted, plain, strict=True)]
        np.testing.assert_allclose(ratios, weights[0] * factor, rtol=1e-3)
        with pytest.raises(InvalidInput, match="expected at most"):
            index(query * factor, weights=weights * 1.01)


def test_originals_are_kept_on_demand_and_can_be_trained_from_again(exact):
    index = PLAID(None, keep_originals=True).add_documents(COLLECTION.ids, COLLECTION.documents)
    stored = index.get_documents_embeddings(3)[0]
    assert stored.dtype == np.float16
    np.testing.assert_array_equal(stored, COLLECTION.documents[3])
    assert overlap(index.optimize(retrain=True)(QUERIES), exact(QUERIES)) > 0.9
    assert index.stats().num_codebooks == 1
    np.testing.assert_array_equal(stored, COLLECTION.documents[3])  # still there: it holds what it points at


def test_training_again_without_originals_is_refused_and_changes_nothing():
    index = PLAID(None).add_documents(COLLECTION.ids, COLLECTION.documents)
    generation = index.generation
    with pytest.raises(InvalidInput, match="keep_originals"):
        index.optimize(retrain=True)
    assert index.generation == generation
    assert len(index.optimize()) == len(COLLECTION.ids)


def test_an_index_that_grows_by_small_adds_ranks_like_one_built_at_once(exact, tmp_path):
    index = PLAID(tmp_path, "index")
    for start in range(0, len(COLLECTION.ids), 50):
        index.add_documents(COLLECTION.ids[start : start + 50], COLLECTION.documents[start : start + 50])
    assert index.stats().num_codebooks >= 1
    assert index.stats().num_segments <= 16
    assert index.documents_ids() == COLLECTION.ids
    assert overlap(index(QUERIES), exact(QUERIES)) > 0.9


def test_removed_documents_are_never_returned_again(tmp_path):
    index = PLAID(tmp_path, "index").add_documents(COLLECTION.ids, COLLECTION.documents)
    gone = set(COLLECTION.sources)
    index.remove_documents(gone)
    for opened in (index, PLAID(tmp_path, "index"), PLAID(tmp_path, "index").optimize()):
        assert not gone & {found for ids in ids_of(opened(QUERIES, k=1000)) for found in ids}
        assert not any(opened(QUERIES[0], subset=gone))
        assert len(opened) == len(COLLECTION.ids) - len(gone)


def test_equal_input_makes_equal_files_whatever_the_number_of_threads(tmp_path):
    sizes = []
    for name, num_threads in (("one", 1), ("two", 2)):
        index = PLAID(tmp_path, name, num_threads=num_threads).add_documents(COLLECTION.ids, COLLECTION.documents)
        files = [path for path in sorted((tmp_path / name).rglob("*")) if path.is_file() and path.name != "LOCK"]
        sizes.append(sorted(os.path.getsize(path) for path in files))
        assert index.stats().num_bytes == sum(sizes[-1])
    assert sizes[0] == sizes[1]
    one, two = PLAID(tmp_path, "one"), PLAID(tmp_path, "two")
    assert one(QUERIES, recall=1) == two(QUERIES, recall=1)
    other = PLAID(None, seed=1).add_documents(COLLECTION.ids, COLLECTION.documents)
    assert one(QUERIES, recall=1) != other(QUERIES, recall=1)


@pytest.mark.parametrize("lengths", [[1] * 40_000, [65_535], [0, 0, 33_000, 0]])
def test_collections_of_an_odd_shape_are_coded(lengths):
    generator = np.random.default_rng(1)
    documents = [unit(generator.standard_normal((length, 16))) for length in lengths]
    index = PLAID(None).add_documents(range(len(lengths)), documents)
    assert index.stats().num_codebooks == 1
    longest = int(np.argmax(lengths))
    assert longest in ids_of(index(documents[longest][:20], k=5))[0]


@pytest.mark.parametrize("vectors", [np.ones((33_000, 16)), np.zeros((33_000, 16))])
def test_a_collection_of_one_repeated_vector_is_coded(vectors):
    documents = np.split(vectors.astype(np.float32), 100)
    index = PLAID(None).add_documents(range(100), documents)
    assert ids_of(index(np.ones((2, 16)), k=5)) == [[0, 1, 2, 3, 4]]  # ties: the oldest first
