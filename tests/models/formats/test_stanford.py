"""The projection of Stanford's format is found by its place, and settings that no model has are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from serotine.errors import CorruptModel
from serotine.models import ColBERT
from serotine.models.formats import Source, recognize
from serotine.models.formats.stanford import known_marker, read_projection, read_settings
from serotine.models.formats.weights import find_weights

from .conftest import Copy, change


def rewrite(folder: Path, *, drop: str | None = None, **tensors: np.ndarray) -> None:
    path = str(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in load_file(path).items() if name != drop}
    save_file({**kept, **tensors}, path, metadata={"format": "pt"})


def projection(folder: Path) -> Any:
    source = Source(str(folder))
    return read_projection(recognize(source), find_weights(source), 32)


@pytest.mark.parametrize("key", ["colbert_linear.weight", "proj.weight", "head.linear.weight"])
def test_a_projection_by_any_name_stands_outside_of_the_backbone(key: str, fresh: Copy) -> None:
    folder = fresh("stanford")
    weight = load_file(str(folder / "model.safetensors"))["linear.weight"]
    rewrite(folder, drop="linear.weight", **{key: weight})
    assert np.array_equal(projection(folder).linear.weight.detach().numpy(), weight)
    assert not projection(folder).bias


def test_its_bias_is_applied(fresh: Copy) -> None:
    folder = fresh("stanford")
    rewrite(folder, **{"linear.bias": np.ones(8, np.float32)})
    assert projection(folder).linear.bias.tolist() == [1] * 8


def test_a_pooler_is_no_projection(fresh: Copy) -> None:
    folder = fresh("stanford")
    path = str(folder / "model.safetensors")
    tensors = {name.removeprefix("bert."): tensor for name, tensor in load_file(path).items()}
    save_file({**tensors, "proj.weight": tensors.pop("linear.weight")}, path, metadata={"format": "pt"})
    assert projection(folder).out_features == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drop": "linear.weight"}, "found none"),
        ({"drop": "linear.weight", "a.weight": np.zeros((8, 32)), "b.weight": np.zeros((8, 32))}, r"found \['a.weight"),
        ({"linear.weight": np.zeros((8, 31))}, r"expected a projection of 32 dimensions, found shape \(8, 31\)"),
        ({"linear.weight": np.zeros(32)}, r"expected a projection of 32 dimensions, found shape \(32,\)"),
    ],
)
def test_no_projection_or_another(changes: dict[str, Any], message: str, fresh: Copy) -> None:
    folder = fresh("stanford")
    rewrite(folder, **changes)
    with pytest.raises(CorruptModel, match=message):
        ColBERT(str(folder), device="cpu")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"query_maxlen": "abc"}, "query_maxlen must be a positive integer"),
        ({"doc_maxlen": 0}, "doc_maxlen must be a positive integer"),
        ({"query_token_id": 5}, "query_prefix must be a string"),
        ({"similarity": "dot"}, "expected the similarity 'cosine' or 'l2'"),
    ],
)
def test_metadata_that_no_model_has(entries: dict[str, Any], message: str, fresh: Copy) -> None:
    folder = fresh("stanford")
    change(folder / "artifact.metadata", **entries)
    with pytest.raises(CorruptModel, match=message):
        read_settings(recognize(Source(str(folder))))


def test_distances_rank_as_similarities_do(fresh: Copy) -> None:
    folder = fresh("stanford")
    change(folder / "artifact.metadata", similarity="l2")
    assert read_settings(recognize(Source(str(folder)))).query_length == 12


def test_entries_that_are_not_there_are_the_defaults(fresh: Copy) -> None:
    folder = fresh("stanford")
    (folder / "artifact.metadata").write_text('{"dim": 8}')
    settings = read_settings(recognize(Source(str(folder))))
    assert (settings.query_prefix, settings.document_prefix) == ("[unused0]", "[unused1]")
    assert (settings.query_length, settings.document_length) == (32, 180)
    assert settings.attend_to_expansion_tokens is False
    assert settings.skiplist_words


def test_a_vocabulary_without_an_unknown_token_needs_its_markers() -> None:
    class Tokenizer:
        unk_token = None

        def get_vocab(self) -> dict[str, int]:
            return {"[unused0]": 0}

    assert known_marker(Tokenizer(), "[unused0]") == "[unused0]"
    assert known_marker(Tokenizer(), "") == ""
    with pytest.raises(CorruptModel, match="pass query_prefix"):
        known_marker(Tokenizer(), "[unused1]")
