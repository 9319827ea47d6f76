"""Proves that candidates on an accelerator are scored there, by the same contract as in memory."""

from __future__ import annotations

import numpy as np
import pytest

from serotine.errors import DimensionMismatch, InvalidInput
from serotine.rank import on_device, rerank, reranking
from tests.indexes.samples import texts

torch = pytest.importorskip("torch")

DOCUMENTS = texts([3, 1, 7, 2, 0])
QUERY = texts([4], seed=1)[0]
IDS = ["a", "b", "c", "d", "empty"]


def test_scores_are_those_of_the_usual_path():
    scores = on_device.scores_on_device(QUERY, IDS, [torch.tensor(document) for document in DOCUMENTS], "cpu")
    usual = {hit["id"]: hit["score"] for hit in rerank([IDS], QUERY, [DOCUMENTS])[0]}
    np.testing.assert_allclose(scores, [usual[i] for i in IDS], rtol=1e-5)


@pytest.mark.parametrize(
    ("ids", "documents", "error", "message"),
    [
        (["a"], DOCUMENTS[:2], InvalidInput, "1 document ids and 2 embeddings"),
        (["a"], [np.ones((2, 3))], DimensionMismatch, r"document 'a' has shape \(2, 3\)"),
        (["a", "b"], [DOCUMENTS[0], np.full((2, 8), np.nan)], InvalidInput, "document 'b' has the score nan"),
    ],
)
def test_bad_input_is_refused(ids, documents, error, message):
    with pytest.raises(error, match=message):
        on_device.scores_on_device(QUERY, ids, documents, "cpu")


def test_no_candidates_have_no_scores():
    assert on_device.scores_on_device(QUERY, [], [], "cpu").shape == (0,)


@pytest.mark.parametrize("as_tensor", [False, True])
def test_padding_is_left_out_as_on_the_usual_path(as_tensor):
    """All similarities are negative, so that a zero vector would be the best match of each."""
    query = np.array([[1.0, 0.0], [0.6, 0.8]], dtype=np.float32)
    padded = np.zeros((3, 4, 2), dtype=np.float32)
    padded[0, :2] = [[-1.0, 0.0], [0.0, -1.0]]
    padded[1, :4] = [[-0.6, -0.8], [-1.0, 0.0], [-0.8, -0.6], [-0.6, -0.8]]
    documents = torch.tensor(padded) if as_tensor else padded
    ids = ["a", "b", "empty"]
    scores = dict(zip(ids, on_device.scores_on_device(query, ids, documents, "cpu").tolist(), strict=True))
    usual = {hit["id"]: hit["score"] for hit in rerank([ids], query, [documents], device="cpu")[0]}
    assert scores == pytest.approx(usual)
    assert scores == pytest.approx({"a": -0.6, "b": -1.2, "empty": -np.inf})


def test_one_array_is_one_document_as_on_the_usual_path():
    assert on_device.scores_on_device(QUERY, ["a"], DOCUMENTS[0], "cpu").shape == (1,)
    with pytest.raises(DimensionMismatch, match=r"one document.*got shape \(8,\)"):
        on_device.scores_on_device(QUERY, ["a"], DOCUMENTS[0][0], "cpu")


class Elsewhere:
    """Stands in for a tensor on an accelerator, which this machine may not have."""

    device = torch.device("cuda", 3)

    def detach(self):
        return self


@pytest.mark.parametrize(
    ("device", "queries", "documents", "found"),
    [
        (None, [QUERY], [DOCUMENTS], None),
        (None, [torch.tensor(QUERY)], [DOCUMENTS], None),
        (None, [Elsewhere()], [DOCUMENTS], torch.device("cuda", 3)),
        (None, [QUERY], [[DOCUMENTS[0], Elsewhere()]], torch.device("cuda", 3)),
        ("cuda", [QUERY], [DOCUMENTS], "cuda"),
        ("cpu", [Elsewhere()], [DOCUMENTS], None),
        (torch.device("cpu"), [Elsewhere()], [DOCUMENTS], None),
    ],
)
def test_the_device_is_the_one_asked_for_or_that_of_the_first_tensor_on_one(device, queries, documents, found):
    assert reranking._accelerator(device, queries, documents) == found


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_candidates_on_a_cuda_device_rank_as_in_memory():
    tensors = [torch.tensor(document, device="cuda") for document in DOCUMENTS]
    there = rerank([IDS], torch.tensor(QUERY, device="cuda"), [tensors])[0]
    here = rerank([IDS], QUERY, [DOCUMENTS])[0]
    assert [hit["id"] for hit in there] == [hit["id"] for hit in here]
    np.testing.assert_allclose([hit["score"] for hit in there], [hit["score"] for hit in here], rtol=1e-5)
