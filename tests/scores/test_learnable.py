"""Proves that learnt scores begin as MaxSim, follow their definitions, train, fold, and come back from files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from serotine._model_files import MAX_JSON_BYTES
from serotine.errors import CorruptModel, DimensionMismatch, InvalidInput
from serotine.scores import (
    SimilarityMLP,
    TokenWeights,
    colbert_kd_scores,
    colbert_scores,
    learnable,
    load_scorer,
    maxsim,
    maxsim_pairwise,
    save_scorer,
)
from serotine.types import TokenMatrix

MAKERS = {
    "weights": lambda: TokenWeights(16),
    "query weights": lambda: TokenWeights(16, documents=False),
    "mlp": lambda: SimilarityMLP(query_tokens=6, document_tokens=19, row_width=5, column_width=4),
    "short mlp": lambda: SimilarityMLP(query_tokens=4, document_tokens=7, row_width=5, column_width=4),
    "long mlp": lambda: SimilarityMLP(query_tokens=9, document_tokens=30, row_width=5, column_width=4),
}


@pytest.fixture
def batch():
    """Queries (4, 6, 16), documents (4, 3, 19, 16) and their masks, every text with a token that counts."""
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(4, 6, 16, generator=generator)
    documents = torch.randn(4, 3, 19, 16, generator=generator)
    queries_mask = torch.rand(4, 6, generator=generator) < 0.7
    documents_mask = torch.rand(4, 3, 19, generator=generator) < 0.5
    documents_mask[..., 5] = queries_mask[..., 2] = True
    return queries, documents, queries_mask, documents_mask


@pytest.fixture(params=MAKERS.values(), ids=MAKERS)
def fresh(request):
    torch.manual_seed(0)
    return request.param()


@pytest.fixture
def trained(fresh):
    for parameter in fresh.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return fresh


def test_a_new_score_is_maxsim(fresh, batch):
    torch.testing.assert_close(fresh(*batch), colbert_scores(*batch), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(fresh(*batch, own=True), colbert_kd_scores(*batch), rtol=1e-5, atol=1e-5)


def test_the_three_shapes_of_scores_agree(trained, batch):
    queries, documents, queries_mask, documents_mask = batch
    scores = trained(*batch)
    assert scores.shape == (4, 12)
    assert not torch.allclose(scores, colbert_scores(*batch))
    own = trained(*batch, own=True)
    torch.testing.assert_close(own, scores.view(4, 4, 3)[range(4), range(4)])
    pairs = trained.pairwise(queries, documents[:, 1], queries_mask, documents_mask[:, 1])
    torch.testing.assert_close(pairs, own[:, 1])
    rows = [query[mask] for query, mask in zip(queries, queries_mask, strict=True)]
    if isinstance(trained, TokenWeights):  # a place in the matrix means something to the network, and masks keep places
        texts = [text[mask] for text, mask in zip(documents.flatten(0, 1), documents_mask.flatten(0, 1), strict=True)]
        torch.testing.assert_close(trained(rows, texts), scores)
        torch.testing.assert_close(trained([row.detach().numpy() for row in rows], texts), scores)


def test_the_network_reads_rows_and_then_columns(batch):
    torch.manual_seed(0)
    scorer = SimilarityMLP(query_tokens=9, document_tokens=30, row_width=5, column_width=4)
    torch.nn.init.normal_(scorer.total.weight)
    queries, documents, queries_mask, documents_mask = batch
    matrix = torch.zeros(9, 30)
    matrix[:6, :19] = queries[1] @ documents[2, 1].T * queries_mask[1][:, None] * documents_mask[2, 1]
    expected = scorer.total(scorer.columns(scorer.rows(matrix).T).flatten()) + colbert_scores(*batch)[1, 7]
    torch.testing.assert_close(scorer(*batch)[1, 7], expected[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("block", [1, 300, 2000])
def test_the_size_of_a_block_changes_neither_values_nor_gradients(trained, batch, block, monkeypatch):
    def values():
        trained.zero_grad()
        queries = batch[0].clone().requires_grad_()
        scores = trained(queries, *batch[1:])
        (scores * torch.cos(torch.arange(scores.numel())).view(scores.shape)).sum().backward()
        return [scores.detach(), queries.grad, *(each.grad.clone() for each in trained.parameters())]

    expected = values()
    monkeypatch.setattr(learnable, "_BLOCK_ELEMENTS", block)
    for one, other in zip(values(), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_masked_tokens_change_nothing_whatever_they_hold(trained, batch):
    queries, documents, queries_mask, documents_mask = batch
    expected = trained(*batch)
    queries, documents = queries.clone(), documents.clone()
    queries[~queries_mask], documents[~documents_mask] = 7.0, -3.0
    torch.testing.assert_close(trained(queries, documents, queries_mask, documents_mask), expected)
    queries[~queries_mask], documents[~documents_mask] = torch.nan, torch.inf
    scores = trained(queries, documents, queries_mask, documents_mask)
    torch.testing.assert_close(scores, expected)
    scores.logsumexp(dim=1).sum().backward()
    assert all(each.grad is None or each.grad.isfinite().all() for each in trained.parameters())


def test_a_document_without_tokens_scores_minus_infinity_and_gives_no_gradient(trained, batch):
    documents_mask = batch[3]
    documents_mask[1, 2] = False
    scores = trained(*batch)
    assert scores[:, 5].isneginf().all()
    scores[:, [0, 5]].logsumexp(dim=1).sum().backward()
    assert all(each.grad is None or each.grad.isfinite().all() for each in trained.parameters())


def test_folded_vectors_score_under_plain_maxsim_as_the_weights_do(batch):
    torch.manual_seed(0)
    scorer = TokenWeights(16)
    for parameter in scorer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    queries, documents = list(batch[0]), [text[:length] for text, length in zip(batch[1][0], (19, 4, 1), strict=True)]
    expected = scorer(queries, documents).detach()
    folded = scorer.fold(queries, is_query=True), scorer.fold(documents, is_query=False)
    torch.testing.assert_close(torch.as_tensor(maxsim(*folded)), expected)
    arrays = [document.numpy() for document in documents]
    packed = scorer.fold(TokenMatrix.from_arrays(arrays), is_query=False)
    assert isinstance(packed, TokenMatrix)
    torch.testing.assert_close(torch.as_tensor(maxsim(folded[0], packed)), expected)
    half = scorer.fold(arrays[0].astype(np.float16), is_query=False)
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, folded[1][0], atol=5e-3)


def test_importance_grows_for_tokens_that_help():
    torch.manual_seed(0)
    signal, noise = torch.eye(4)[:2], torch.eye(4)[2:]
    queries = torch.stack([torch.cat([signal[:1], noise[:1]]), torch.cat([signal[1:], noise[1:]])])
    documents = torch.stack([torch.cat([signal[:1], noise[1:]]), torch.cat([signal[1:], noise[:1]])])
    scorer = TokenWeights(4)
    optimizer = torch.optim.SGD(scorer.parameters(), lr=0.5)
    for _ in range(30):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(scorer(queries, documents), torch.arange(2)).backward()
        optimizer.step()
    weights = scorer.fold(torch.eye(4), is_query=True).norm(dim=1)
    assert weights[:2].min() > 1.5 * weights[2:].max()


def test_a_score_comes_back_from_its_folder(trained, batch, tmp_path):
    assert save_scorer(trained, tmp_path) == tmp_path / "scorer"
    assert sorted(path.name for path in (tmp_path / "scorer").iterdir()) == ["config.json", "model.safetensors"]
    loaded = load_scorer(tmp_path)
    assert type(loaded) is type(trained)
    assert loaded.get_config_dict() == trained.get_config_dict()
    assert torch.equal(loaded(*batch), trained(*batch))


def test_a_folder_that_is_not_ours_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="holds no learnt score"):
        load_scorer(tmp_path)
    folder = save_scorer(TokenWeights(16), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    for change in ({"type": "os.system"}, {"arguments": {"dim": -1}}, {"arguments": {"width": 3}}, {"format": 2}):
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(CorruptModel, match=r"config\.json: expected"):
            load_scorer(tmp_path)
    for change in ({"arguments": {"dim": 8}}, {"type": "SimilarityMLP", "arguments": {}}):
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(CorruptModel, match=r"model\.safetensors"):
            load_scorer(tmp_path)
    (folder / "config.json").write_text("[1]")
    with pytest.raises(CorruptModel, match=r"config\.json"):
        load_scorer(tmp_path)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(CorruptModel, match=r"model\.safetensors"):
        load_scorer(tmp_path)


HUGE = {"row_width": 2**33, "column_width": 2**33}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[" * 200_000, r"config\.json: expected JSON"),
        (b"\xff\xfe{", r"config\.json: expected JSON"),
        ({"arguments": {"dim": 10**13}}, r"model\.safetensors: expected .* \(1, 10000000000000\).*found .* \(1, 16\)"),
        ({"arguments": {"dim": 10**30}}, r"config\.json: expected format, type"),
        ({"type": "SimilarityMLP", "arguments": HUGE}, r"scorer/(config\.json|model\.safetensors): expected"),
        ({"type": ["TokenWeights"]}, r"config\.json: expected format, type"),
        ({"arguments": [16]}, r"config\.json: expected format, type"),
    ],
)
def test_a_hostile_configuration_is_a_typed_error(tmp_path, config, message):
    path = save_scorer(TokenWeights(16), tmp_path) / "config.json"
    if isinstance(config, dict):
        config = json.dumps({**json.loads(path.read_text()), **config})
    path.write_bytes(config if isinstance(config, bytes) else config.encode())
    with pytest.raises(CorruptModel, match=message):
        load_scorer(tmp_path)


def test_a_configuration_beyond_the_limit_is_not_read(tmp_path):
    path = save_scorer(TokenWeights(16), tmp_path) / "config.json"
    with path.open("r+b") as file:
        file.truncate(MAX_JSON_BYTES + 1)
    with pytest.raises(CorruptModel, match=f"at most {MAX_JSON_BYTES} bytes"):
        load_scorer(tmp_path)


def test_weights_that_are_not_there_or_of_half_precision(tmp_path):
    scorer = TokenWeights(16).half()
    folder = save_scorer(scorer, tmp_path)
    loaded = load_scorer(tmp_path)
    for name, value in loaded.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, scorer.state_dict()[name].float())
    assert all(parameter.requires_grad and not parameter.is_meta for parameter in loaded.parameters())
    (folder / "model.safetensors").unlink()
    with pytest.raises(CorruptModel, match=r"model\.safetensors: expected the weights of a .*, found no file"):
        load_scorer(tmp_path)


def test_what_could_not_be_loaded_is_not_saved(tmp_path):
    class Own(TokenWeights):
        pass

    with pytest.raises(InvalidInput, match="Own"):
        save_scorer(Own(4), tmp_path)


def test_shapes_that_do_not_fit_are_refused(fresh, batch):
    with pytest.raises(DimensionMismatch):
        fresh(batch[0], batch[1][..., :8])
    with pytest.raises(DimensionMismatch, match="own=True"):
        fresh(batch[0], batch[1][:, 0], own=True)
    with pytest.raises(InvalidInput, match="got 3"):
        fresh.pairwise(batch[0], batch[1][:3, 0])


def test_a_pairwise_score_of_no_pairs_is_empty(fresh):
    assert fresh.pairwise(torch.zeros(0, 6, 16), torch.zeros(0, 19, 16)).shape == (0,)
    assert maxsim_pairwise(np.zeros((0, 6, 16)), np.zeros((0, 19, 16))).shape == (0,)
