"""Contract with FastEmbed: what its late-interaction models yield, one array after the other, fills any index."""

import typing

import numpy as np
import pytest

from serotine import indexes, rank, retrieve

NAMES = ["a", "b", "c"]


def embed():
    """Yield as ``LateInteractionTextEmbedding.embed`` does: an iterator, not a list, of unit vectors."""
    generator = np.random.default_rng(1)
    for length in (3, 5, 4):
        vectors = generator.normal(size=(length, 128)).astype(np.float32)
        yield vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def makers():
    """Every index that is filled with arrays, made empty."""
    names = [name for name in ("Exact", "PLAID", "ScaNN", "Voyager") if name in indexes.__all__]
    return [pytest.param(name, id=name) for name in names]


@pytest.mark.parametrize("name", makers())
def test_every_index_takes_the_iterator_and_finds_each_document_by_itself(name, tmp_path):
    if name in ("ScaNN", "Voyager"):
        pytest.importorskip(name.lower(), reason=f"the extra {name.lower()!r} is not installed")
    index = getattr(indexes, name)(index_folder=str(tmp_path), index_name="fastembed", override=True)
    index.add_documents(NAMES, embed())
    found = retrieve.ColBERT(index).retrieve(list(embed()), k=1)
    assert [ranking[0]["id"] for ranking in found] == NAMES
    assert [ranking[0]["score"] for ranking in found] == pytest.approx([3, 5, 4], abs=0.02)


def test_candidates_are_reranked():
    ranking = rank.rerank([NAMES], [next(iter(embed()))], [list(embed())])[0]
    assert ranking[0]["id"] == "a"


def test_fastembed_promises_this_form():
    """Runs where huggingface-hub is below 2.0: see docs/integrations.md for what was checked by hand, and with what."""
    fastembed = pytest.importorskip("fastembed", reason="fastembed is not installed")
    embedding = fastembed.LateInteractionTextEmbedding
    for method in (embedding.embed, embedding.query_embed):
        promised = typing.get_type_hints(method)["return"]
        assert typing.get_origin(promised).__name__ == "Iterable"
        assert "ndarray" in str(typing.get_args(promised)[0])
