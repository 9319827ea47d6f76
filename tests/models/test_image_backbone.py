"""A model of the ColPali kind encodes images as documents, and every index takes what comes out."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import ColPaliForRetrieval, ColPaliProcessor

from serotine import indexes, rank, retrieve
from serotine.errors import MissingExtra
from serotine.models import ColBERT
from serotine.scores import maxsim
from tests.golden.colpali import PATCHES, colpali

Image = pytest.importorskip("PIL.Image", reason="images need Pillow")

QUERIES = ["Which bat flies at night?", "the river"]
BASES = (indexes.Index, indexes.TokenIndex)
CLASSES = [name for name in indexes.__all__ if inspect.isclass(getattr(indexes, name))]
INDEXES = [name for name in CLASSES if issubclass(kind := getattr(indexes, name), indexes.Index) and kind not in BASES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colpali(tmp_path_factory.mktemp("colpali") / "model")


@pytest.fixture(scope="module")
def model(folder: Path) -> ColBERT:
    return ColBERT(str(folder), device="cpu")


@pytest.fixture(scope="module")
def images() -> list[Any]:
    random = np.random.default_rng(0)
    sizes = [(40, 30), (28, 28), (100, 7), (64, 64), (33, 57), (5, 5)]
    return [Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


def test_vectors_are_those_of_transformers_own_forward_pass(folder: Path, model: ColBERT, images: list[Any]) -> None:
    network, processor = ColPaliForRetrieval.from_pretrained(folder), ColPaliProcessor.from_pretrained(folder)
    network.eval()
    documents = model.encode(images, is_query=False, batch_size=4)
    queries = model.encode(QUERIES, is_query=True)
    for given, found in ((images, documents), (QUERIES, queries)):
        for item, vectors in zip(given, found, strict=True):
            features = processor.process_queries([item]) if isinstance(item, str) else processor.process_images([item])
            with torch.no_grad():
                expected = network(**features).embeddings[0].numpy()
            np.testing.assert_allclose(vectors, expected, atol=1e-5)
            np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert len({len(vectors) for vectors in documents}) == 1
    assert len(documents[0]) > PATCHES
    assert not np.allclose(documents[0], documents[1])


def test_images_are_told_apart_in_packed_and_streamed_form(model: ColBERT, images: list[Any]) -> None:
    packed = model.encode(images, is_query=False, packed=True)
    streamed = list(model.encode_stream(iter(images), chunk_size=4))
    assert [len(chunk) for chunk in streamed] == [4, 2]
    values = np.concatenate([chunk.values for chunk in streamed])
    np.testing.assert_allclose(values, packed.values, atol=1e-5)
    pooled = model.encode(images, is_query=False, pool_factor=2)
    assert len(pooled[0]) < len(packed[0])


@pytest.mark.parametrize("name", INDEXES)
def test_every_index_finds_images(name: str, model: ColBERT, images: list[Any], tmp_path: Path) -> None:
    ids = [f"page-{number}" for number in range(len(images))]
    documents = model.encode(images, is_query=False)
    queries = model.encode(QUERIES, is_query=True)
    try:
        index = getattr(indexes, name)(index_folder=str(tmp_path), index_name=name)
    except MissingExtra as error:
        pytest.skip(str(error))
    index.add_documents(ids, documents)
    found = retrieve.ColBERT(index).retrieve(queries, k=len(ids))
    expected = maxsim(queries, documents)
    for row, hits in zip(np.asarray(expected), found, strict=True):
        assert {hit["id"] for hit in hits} == set(ids)
        assert [hit["id"] for hit in hits] == [ids[number] for number in np.argsort(-row, kind="stable")]
        np.testing.assert_allclose([hit["score"] for hit in hits], np.sort(row)[::-1], rtol=2e-3)
    # A page's own vectors find that page first.
    assert retrieve.ColBERT(index).retrieve([documents[3]], k=1)[0][0]["id"] == ids[3]


def test_images_are_reranked(model: ColBERT, images: list[Any]) -> None:
    documents, queries = model.encode(images, is_query=False), model.encode(QUERIES, is_query=True)
    ids = [list(range(len(images)))] * len(queries)
    ranked = rank.rerank(ids, queries, [documents] * len(queries))
    assert ranked[0][0]["id"] == int(np.argmax(np.asarray(maxsim(queries, documents))[0]))


def test_it_is_saved_and_loaded_as_it_is(model: ColBERT, images: list[Any], tmp_path: Path) -> None:
    model.save(str(tmp_path), create_model_card=False)
    again = ColBERT(str(tmp_path), device="cpu")
    assert np.array_equal(again.encode(images[0], is_query=False), model.encode(images[0], is_query=False))
