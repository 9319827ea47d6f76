"""Every way of encoding gives the plain class's vectors, in the order of the texts, in the form asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.multi_vector_encoder.evaluation import (
    MultiVectorInformationRetrievalEvaluator,
    MultiVectorTripletEvaluator,
)

from serotine.errors import InvalidInput
from serotine.models import ColBERT, HierarchicalPooling
from serotine.types import TokenMatrix

from .conftest import TEXTS


def plain(model: ColBERT) -> MultiVectorEncoder:
    """The same modules under the class of Sentence Transformers, whose encoding is its own."""
    return MultiVectorEncoder(modules=list(model), prompts=dict(model.prompts))


def close(left: Any, right: Any) -> bool:
    return len(left) == len(right) and all(
        a.shape == b.shape and np.allclose(a, b, atol=1e-5) for a, b in zip(left, right, strict=True)
    )


@pytest.mark.parametrize("expansion", [True, False])
@pytest.mark.parametrize("batch_size", [1, 2, 32])
@pytest.mark.parametrize("batch_tokens", [None, 1, 50])
def test_encoding_equals_the_plain_class(
    model: ColBERT, expansion: bool, batch_size: int, batch_tokens: int | None
) -> None:
    model.do_query_expansion = expansion
    theirs = plain(model)
    sizes = {"batch_size": batch_size, "batch_tokens": batch_tokens}
    assert close(model.encode(TEXTS, **sizes), theirs.encode_query(TEXTS, convert_to_numpy=True))
    assert close(model.encode(TEXTS, is_query=False, **sizes), theirs.encode_document(TEXTS, convert_to_numpy=True))


def test_left_padding_tokenizers_encode_the_same(model: ColBERT) -> None:
    right = model.encode(TEXTS, is_query=False)
    model.tokenizer.padding_side = "left"
    one_by_one = [model.encode(text, is_query=False) for text in TEXTS]
    assert close(one_by_one, right)
    # BERT counts positions from the row's first column, so padding on the left changes its vectors; a batch of
    # equal rows has none.
    assert close(model.encode([TEXTS[0]] * 3, is_query=False), [right[0]] * 3)


def test_encoding_switches_dropout_off(model: ColBERT) -> None:
    expected = model.encode(TEXTS)
    model.train()
    assert close(model.encode(TEXTS), expected)
    model.train()
    assert np.allclose(model.encode("bats", output_value=None)["token_embeddings"], model.encode("bats"), atol=1e-6)


def test_progress_counts_texts(model: ColBERT, capsys: pytest.CaptureFixture[str]) -> None:
    model.encode([TEXTS[4] * 9, *TEXTS], is_query=False, show_progress_bar=True, window_overlap=4)
    assert f"{len(TEXTS) + 1}/{len(TEXTS) + 1}" in capsys.readouterr().err


def test_one_text_gives_one_array_and_several_a_list(model: ColBERT) -> None:
    assert model.encode("bats").shape == (12, 16)
    assert isinstance(model.encode(["bats"]), list)
    assert close(model.encode(tuple(TEXTS)), model.encode(TEXTS))
    assert close(model.encode(np.array(TEXTS)), model.encode(TEXTS))
    assert close(model.encode(text for text in TEXTS), model.encode(TEXTS))
    assert close(model.encode(inputs=TEXTS, task="document"), model.encode(TEXTS, is_query=False))


def test_numpy_and_tensor_forms(model: ColBERT) -> None:
    assert isinstance(model.encode("bats"), np.ndarray)
    for tensors in (model.encode(TEXTS, convert_to_tensor=True), model.encode(TEXTS, convert_to_numpy=False)):
        assert all(isinstance(tensor, torch.Tensor) for tensor in tensors)
    assert isinstance(model.encode_query("bats"), torch.Tensor)
    assert isinstance(model.encode_document(TEXTS, convert_to_numpy=True)[0], np.ndarray)


def test_precision_and_packing(model: ColBERT) -> None:
    full = model.encode(TEXTS, is_query=False)
    half = model.encode(TEXTS, is_query=False, precision="float16")
    assert half[0].dtype == np.float16
    assert np.array_equal(half[4], full[4].astype(np.float16))
    packed = model.encode(TEXTS, is_query=False, packed=True, precision="float16")
    assert isinstance(packed, TokenMatrix)
    assert packed.dtype == np.float16
    assert all(np.array_equal(left, right) for left, right in zip(packed, half, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_models_of_half_precision(model: ColBERT, dtype: torch.dtype) -> None:
    full = model.encode(TEXTS, is_query=False)
    model.to(dtype)
    half = model.encode(TEXTS, is_query=False)
    # numpy has no bfloat16: it comes as float32, which holds it exactly.
    assert half[0].dtype == (np.float16 if dtype is torch.float16 else np.float32)
    assert np.allclose(half[4].astype(np.float32), full[4], atol=0.05)
    assert model.encode("bats", is_query=False, convert_to_tensor=True).dtype == dtype
    assert model.encode("bats", is_query=False, precision="float32").dtype == np.float32
    pooled = model.encode(TEXTS[4], is_query=False, pool_factor=2)
    assert pooled.dtype == half[4].dtype
    assert len(pooled) == 1 + (len(full[4]) - 1) // 2


def test_padding_appends_zero_rows(model: ColBERT) -> None:
    plainly = model.encode(TEXTS, is_query=False)
    for convert_to_tensor in (False, True):
        padded = model.encode(TEXTS, is_query=False, padding=True, convert_to_tensor=convert_to_tensor)
        assert {len(rows) for rows in padded} == {max(len(rows) for rows in plainly)}
        assert np.array_equal(np.asarray(padded[3])[: len(plainly[3])], plainly[3])
        assert not np.asarray(padded[3])[len(plainly[3]) :].any()


def test_normalisation_can_be_left_out_or_made_sure_of(model: ColBERT) -> None:
    raw = model.encode("bats", normalize_embeddings=False)
    unit = model.encode("bats")
    assert not np.allclose(np.linalg.norm(raw, axis=1), 1, atol=1e-2)
    assert np.allclose(raw / np.linalg.norm(raw, axis=1, keepdims=True), unit, atol=1e-6)
    bare = ColBERT(modules=[*list(model)[:3]], do_query_expansion=True, query_length=12)
    assert np.allclose(np.linalg.norm(bare.encode("bats", normalize_embeddings=True), axis=1), 1, atol=1e-6)


def test_truncated_dimensions_are_normalised_again(model: ColBERT) -> None:
    full = model.encode("bats", is_query=False)
    model.truncate_dim = 5
    short = model.encode("bats", is_query=False)
    assert short.shape == (4, 5)
    assert np.allclose(short, full[:, :5] / np.linalg.norm(full[:, :5], axis=1, keepdims=True), atol=1e-6)


def test_raw_outputs_show_what_is_scored(model: ColBERT) -> None:
    texts = ["bats fly, at night.", "moth"]
    raw = model.encode(texts, is_query=False, output_value=None)
    selected = [vectors[mask] for vectors, mask in zip(raw["token_embeddings"], raw["masks"], strict=True)]
    assert close(selected, model.encode(texts, is_query=False))
    assert raw["attention_mask"][1].sum() == 4
    assert set(model.encode("moth", output_value=None)) == set(raw)
    features = model.encode_document(texts, output_value=None)
    assert torch.equal(features[0]["token_embeddings"][features[0]["attention_mask"]], model.encode_document(texts)[0])


def test_a_stream_reads_no_further_than_its_chunk(model: ColBERT) -> None:
    read = 0

    def texts() -> Iterator[str]:
        nonlocal read
        for text in TEXTS * 3:
            read += 1
            yield text

    stream = model.encode_stream(texts(), chunk_size=5, precision="float16")
    first = next(stream)
    assert read == 5
    rest = list(stream)
    assert [len(chunk) for chunk in [first, *rest]] == [5, 5, 5, 5, 1]
    together = [rows for chunk in [first, *rest] for rows in chunk]
    assert close(together, model.encode(TEXTS * 3, is_query=False, precision="float16"))
    assert list(model.encode_stream(iter([]))) == []
    for wrong in ("bats", {"a": "bats"}, None, b"bats"):
        with pytest.raises(InvalidInput):
            model.encode_stream(wrong)


def test_chunks_do_not_change_the_result(model: ColBERT) -> None:
    assert close(model.encode(TEXTS, chunk_size=2), model.encode(TEXTS))


def test_documents_without_a_scored_token_keep_their_place(model: ColBERT) -> None:
    bare = ColBERT(modules=list(model), query_prefix="", document_prefix="", skiplist_words=["[CLS]", "[SEP]", "."])
    packed = bare.encode(["bats", ".", "moth"], is_query=False, packed=True)
    assert packed.lengths.tolist() == [1, 0, 1]
    assert bare.encode(".", is_query=False).shape == (0, 16)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "there are no texts"),
        (None, "nothing to encode"),
        ({"q1": "bats"}, "a dict cannot be encoded"),
        (b"bats", "bytes cannot be encoded"),
        (["bats", None], "text 1 is NoneType"),
        (["bats", b"moth"], "text 1 is bytes"),
        (["bats", 3], "text 1 is int"),
        ([{"text": "bats"}], "text 0 is dict"),
        (7, "text 0 is int"),
        (["bats", "a \ud800 b"], "text 1 holds a lone surrogate"),
    ],
)
def test_what_is_no_text_is_named(model: ColBERT, texts: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        model.encode(texts)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"prompt_name": "unknown"}, r"unknown prompt_name 'unknown': this model has \['document', 'query'\]"),
        ({"precision": "int8"}, "precision must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"batch_tokens": -1}, "batch_tokens must be"),
        ({"chunk_size": 0}, "chunk_size must be"),
        ({"task": "passage"}, "task must be"),
        ({"output_value": "sentence_embedding"}, "output_value must be"),
        ({"pool_factor": 0.5}, "pool_factor must be a number >= 1"),
        ({"pool_factor": float("nan")}, "pool_factor must be"),
        ({"protected_tokens": -1}, "protected_tokens must be"),
        ({"pool_factor": 2, "token_pooling": HierarchicalPooling(2)}, "not both"),
        ({"token_pooling": "ward"}, "token_pooling must be"),
        ({"window_overlap": 40, "is_query": False}, "window_overlap=40 must be in 0"),
        ({"device": []}, "empty list of devices"),
        ({"prompt": 5}, "prompt must be a string"),
        ({"window_overlap": -5, "is_query": False}, "window_overlap .* must be a positive integer, got -5"),
        ({"window_overlap": True}, "window_overlap"),
        ({"window_overlap": 1.5}, "window_overlap"),
        ({"output_value": None, "packed": True}, "output_value=None"),
        ({"output_value": None, "pool_factor": 2}, "output_value=None"),
    ],
)
def test_wrong_arguments_are_named(model: ColBERT, argument: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        model.encode([TEXTS[4] * 4], **argument)


def test_several_threads_encode_queries_documents_and_windows_at_once(model: ColBERT) -> None:
    texts = [*TEXTS, TEXTS[4] * 6]
    ways: list[dict[str, Any]] = [{}, {"is_query": False}, {"is_query": False, "window_overlap": 4}]
    expected = [model.encode(texts, **way) for way in ways]
    failures: list[object] = []

    def work(number: int) -> None:
        try:
            for _ in range(10):
                if not close(model.encode(texts, **ways[number]), expected[number]):
                    failures.append(ways[number])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number % 3,)) for number in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_the_evaluators_of_sentence_transformers_run(model: ColBERT) -> None:
    queries = {"q1": "bats fly at night", "q2": "river"}
    corpus = {f"d{number}": text for number, text in enumerate(TEXTS) if text}
    retrieval = MultiVectorInformationRetrievalEvaluator(
        queries, corpus, {"q1": {"d0"}, "q2": {"d4"}}, write_csv=False, ndcg_at_k=[5], name="tiny"
    )
    assert 0 <= retrieval(model)["tiny_maxsim_ndcg@5"] <= 1
    triplets = MultiVectorTripletEvaluator(["bats"], ["bats fly"], ["moth"], write_csv=False)
    assert any("accuracy" in key for key in triplets(model))


def test_whole_numbers_of_any_type_are_taken(model: ColBERT) -> None:
    assert close(model.encode(TEXTS, batch_size=np.int64(3), chunk_size=np.int32(2)), model.encode(TEXTS))


def test_the_positional_arguments_are_those_of_sentence_transformers(model: ColBERT) -> None:
    pooling = HierarchicalPooling(2)
    positional = model.encode_document(
        TEXTS, None, None, 32, False, "token_embeddings", True, None, False, None, None, pooling
    )
    assert close(positional, model.encode(TEXTS, is_query=False, token_pooling=pooling))
    with pytest.raises(InvalidInput, match="is_query and task belong to encode"):
        model.encode_document(TEXTS, is_query=True)


def test_the_scored_tokens_name_the_vectors(model: ColBERT) -> None:
    for is_query in (True, False):
        tokens = model.scored_tokens(TEXTS, is_query=is_query)
        assert [len(row) for row in tokens] == [len(rows) for rows in model.encode(TEXTS, is_query=is_query)]
    assert model.scored_tokens([], is_query=True) == []
    with pytest.raises(InvalidInput, match="put it into a list"):
        model.scored_tokens("bats", is_query=True)
