"""What is saved for PyLate is what PyLate writes, and what its layout has no place for is not saved.

That PyLate reads it, and to the same vectors, is checked in its own environment (the last test here, where that is).
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling, MultiVectorMask

from serotine.errors import InvalidInput
from serotine.models import ColBERT
from serotine.scores import SimilarityMLP
from tests.golden.checkpoints import ARGUMENTS
from tests.golden.texts import texts

from .conftest import Copy

ROOT = Path(__file__).parents[3]
PEER = ROOT / "build" / "pylate-env" / "bin" / "python"


def files(folder: Path) -> dict[str, object]:
    names = ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json", "1_Dense/config.json")
    return {name: json.loads((folder / name).read_text()) for name in names}


def test_a_pylate_model_is_saved_as_it_was(originals: Copy, tmp_path: Path) -> None:
    ColBERT(str(originals("pylate")), device="cpu").save(str(tmp_path), format="pylate")
    before, after = files(originals("pylate")), files(tmp_path)
    for settings in (before, after):
        del settings["config_sentence_transformers.json"]["__version__"]  # type: ignore[attr-defined]
    # What PyLate writes there is the length of whatever it tokenised last.
    assert before.pop("sentence_bert_config.json") == {"max_seq_length": 11, "do_lower_case": False}
    assert after.pop("sentence_bert_config.json") == {"max_seq_length": 24, "do_lower_case": False}
    assert before == after
    assert (tmp_path / "README.md").exists()
    assert not list(tmp_path.rglob("*.bin"))


@pytest.mark.parametrize(
    "name", ["pylate-mlp", "pylate-plain", "pylate-prompts", "stanford", "dense", "pylate-bare-decoder"]
)
def test_what_was_saved_loads_to_the_same_vectors(name: str, originals: Copy, tmp_path: Path) -> None:
    model = ColBERT(str(originals(name)), device="cpu", **ARGUMENTS.get(name, {}))
    model.save_pretrained(str(tmp_path), format="pylate", create_model_card=False)
    again = ColBERT(str(tmp_path), device="cpu")
    for is_query in (True, False):
        mine = model.encode(texts(24), is_query=is_query, packed=True)
        theirs = again.encode(texts(24), is_query=is_query, packed=True)
        assert np.array_equal(mine.values, theirs.values)
        assert np.array_equal(mine.offsets, theirs.offsets)


def test_a_new_model_is_saved_for_pylate(backbone: Path, tmp_path: Path) -> None:
    model = ColBERT(str(backbone), embedding_size=8, document_length=40, device="cpu")
    model.save(str(tmp_path), format="pylate", create_model_card=False)
    again = ColBERT(str(tmp_path), device="cpu")
    assert torch.equal(model.encode_query("a bat"), again.encode_query("a bat"))
    settings = files(tmp_path)["config_sentence_transformers.json"]
    assert settings["prompts"] == {"query": "", "document": ""}  # type: ignore[index]


def test_a_model_without_a_projection_gets_one_that_changes_nothing(backbone: Path, tmp_path: Path) -> None:
    modules = [Transformer(str(backbone)), MultiVectorMask(skiplist_words=["."]), Normalize("token_embeddings")]
    model = ColBERT(modules=modules, device="cpu")
    model.save(str(tmp_path), format="pylate", create_model_card=False)
    settings = files(tmp_path)["config_sentence_transformers.json"]
    assert (settings["query_length"], settings["document_length"]) == (64, 64)  # type: ignore[index]
    again = ColBERT(str(tmp_path), device="cpu")
    assert isinstance(again[1], Dense)
    torch.testing.assert_close(again.encode_document("the bat."), model.encode_document("the bat."))


def test_words_outside_of_the_vocabulary_are_not_saved(originals: Copy, tmp_path: Path) -> None:
    model = ColBERT(str(originals("pylate")), device="cpu", skiplist_words=[".", "zoology"])
    model.save(str(tmp_path), format="pylate", create_model_card=False)
    assert files(tmp_path)["config_sentence_transformers.json"]["skiplist_words"] == ["."]  # type: ignore[index]


def test_words_dropped_from_queries_are_refused_with_the_way_out(backbone: Path, tmp_path: Path) -> None:
    model = ColBERT(str(backbone), query_skiplist_words=[".", ","], document_length=40, device="cpu")
    with pytest.raises(InvalidInput, match=r"queries drop: \['\.', ','\]\. .*query_skiplist_words=\[\]"):
        model.save(str(tmp_path / "saved"), format="pylate")
    assert not (tmp_path / "saved").exists()
    model.save(str(tmp_path / "native"), create_model_card=False)
    without = ColBERT(str(tmp_path / "native"), query_skiplist_words=[], device="cpu")
    without.save(str(tmp_path / "saved"), format="pylate", create_model_card=False)
    assert len(ColBERT(str(tmp_path / "saved"), device="cpu").encode_query("a bat, a moth.")) == model.query_length


def _without_normalisation(model: ColBERT) -> None:
    del model[-1]


def _with_pooling(model: ColBERT) -> None:
    model.append(HierarchicalTokenPooling(2))


def _with_a_scorer(model: ColBERT) -> None:
    model.use_scorer(SimilarityMLP(query_tokens=12))


def _with_masked_queries(model: ColBERT) -> None:
    model[-2].skiplist_tasks = ["document", "query"]


def _with_some_tokens(model: ColBERT) -> None:
    model[-2].keep_only_token_ids = [1]


def _with_a_mean(model: ColBERT) -> None:
    model.similarity_fn_name = "meanmaxsim"


def _with_another_expansion(model: ColBERT) -> None:
    model[0].query_expansion = {**model[0].query_expansion, "strategy": "min"}


def _with_a_projection_of_sentences(model: ColBERT) -> None:
    model[1].module_input_name = "sentence_embedding"


@pytest.mark.parametrize(
    "changed",
    [
        _without_normalisation,
        _with_pooling,
        _with_a_scorer,
        _with_masked_queries,
        _with_some_tokens,
        _with_a_mean,
        _with_another_expansion,
        _with_a_projection_of_sentences,
    ],
)
def test_what_pylate_cannot_do_is_not_saved(
    changed: Callable[[ColBERT], None], originals: Copy, tmp_path: Path
) -> None:
    model = ColBERT(str(originals("pylate")), device="cpu")
    changed(model)
    with pytest.raises(InvalidInput, match="PyLate's layout h"):
        model.save(str(tmp_path / "saved"), format="pylate")
    assert not (tmp_path / "saved").exists()


def test_a_marker_where_pylate_would_not_put_it_is_not_saved(fresh: Copy, tmp_path: Path) -> None:
    folder = fresh("pylate-bare-decoder")
    (folder / "modules.json").unlink()
    (folder / "config_sentence_transformers.json").unlink()
    model = ColBERT(str(folder), device="cpu", document_length=40)
    with pytest.raises(InvalidInput, match="at the second position"):
        model.save(str(tmp_path / "saved"), format="pylate")


def test_other_arguments_of_save(originals: Copy, tmp_path: Path) -> None:
    model = ColBERT(str(originals("pylate")), device="cpu")
    with pytest.raises(InvalidInput, match="'native' or 'pylate', got 'onnx'"):
        model.save(str(tmp_path), format="onnx")
    with pytest.raises(InvalidInput, match="safetensors only"):
        model.save(str(tmp_path), format="pylate", safe_serialization=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not PEER.exists(), reason="PyLate's environment is not there: make pylate-env")
def test_pylate_reads_what_was_saved_to_its_own_vectors(originals: Copy, tmp_path: Path) -> None:
    names = ("pylate", "pylate-mlp", "stanford", "dense")
    for name in names:
        model = ColBERT(str(originals(name)), device="cpu", **ARGUMENTS.get(name, {}))
        model.save(str(tmp_path / name), format="pylate", create_model_card=False)
    script = ROOT / "benchmarks" / "peers" / "pylate_goldens.py"
    command = [str(PEER), str(script), "--compare", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == len(names) + 1
