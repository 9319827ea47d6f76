"""Models of every format have PyLate's own token vectors, and what a format does not say is what its own code assumes.

The golden vectors were made by PyLate 1.6.0 from the same tiny checkpoints (benchmarks/peers/pylate_goldens.py).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

from serotine.errors import CorruptModel, InvalidInput, UntrustedModel
from serotine.models import ColBERT
from tests.golden.checkpoints import ARGUMENTS, CHECKPOINTS, GOLDEN_OF, build
from tests.golden.texts import texts

from .formats.conftest import change

GOLDEN = Path(__file__).parents[1] / "golden" / "pylate"


def loaded(name: str, folder: Path) -> ColBERT:
    return ColBERT(str(build(name, folder / name)), device="cpu", **ARGUMENTS.get(name, {}))


def largest_difference(model: ColBERT, golden: dict[str, npt.NDArray[np.float32]]) -> float:
    """Return the largest difference of a component, over all vectors of queries and documents, matched by text."""
    given = texts(len(golden["query_lengths"]))
    differences = []
    for side, lengths, is_query in (("queries", "query_lengths", True), ("documents", "document_lengths", False)):
        mine = model.encode(given, is_query=is_query, packed=True)
        assert mine.lengths.tolist() == golden[lengths].tolist()
        differences.append(float(np.abs(mine.values - golden[side]).max()))
    return max(differences)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_token_vectors_are_those_of_pylate(name: str, tmp_path: Path) -> None:
    peer = GOLDEN_OF.get(name, name)
    golden = np.load(GOLDEN / f"{peer}.npz")
    assert len(golden["query_lengths"]) == (200 if peer in ("pylate", "stanford") else 24)
    assert largest_difference(loaded(name, tmp_path), golden) < 1e-5


def test_the_checkpoints_are_those_that_pylate_saw(tmp_path: Path) -> None:
    checksums = json.loads((GOLDEN / "manifest.json").read_text())["weights_sha256"]
    assert set(checksums) == set(CHECKPOINTS) - set(GOLDEN_OF)
    for name, checksum in checksums.items():
        weights = (build(name, tmp_path / name) / "model.safetensors").read_bytes()
        assert hashlib.sha256(weights).hexdigest() == checksum, f"{name}: make the golden vectors anew"


def test_native_saves_of_every_format_are_the_plain_classs_own(tmp_path: Path) -> None:
    given = [text.strip() for text in texts(24)]
    for name in ("pylate", "pylate-mlp", "pylate-xlm-roberta", "pylate-decoder", "stanford", "dense"):
        model = loaded(name, tmp_path)
        saved = tmp_path / f"{name}-saved"
        model.save(str(saved), create_model_card=False)
        again, plain = ColBERT(str(saved), device="cpu"), MultiVectorEncoder(str(saved), device="cpu")
        for mine, same, theirs in (
            (model.encode_query(given), again.encode_query(given), plain.encode_query(given)),
            (model.encode_document(given), again.encode_document(given), plain.encode_document(given)),
        ):
            assert all(torch.equal(left, right) for left, right in zip(mine, same, strict=True))
            for left, right in zip(mine, theirs, strict=True):
                torch.testing.assert_close(left, right, rtol=0, atol=1e-6)


def test_a_marker_after_the_first_token_stays_there_when_saved(tmp_path: Path) -> None:
    model = loaded("pylate-bare-decoder", tmp_path)
    assert model.scored_tokens(["a bat"], is_query=False)[0][:2] == ["a", "[D] "]
    model.save(str(tmp_path / "saved"), create_model_card=False)
    again = ColBERT(str(tmp_path / "saved"), device="cpu")
    golden = np.load(GOLDEN / "pylate-bare-decoder.npz")
    assert largest_difference(again, golden) < 1e-5
    with pytest.raises(InvalidInput, match="cannot be cut into windows"):
        model.encode("the bat", is_query=False, window_overlap=2)


def test_a_new_model_has_its_marker_first_even_without_a_token_at_the_beginning(tmp_path: Path) -> None:
    folder = build("pylate-bare-decoder", tmp_path / "model")
    for name in ("modules.json", "config_sentence_transformers.json"):
        (folder / name).unlink()
    shutil.rmtree(folder / "1_Dense")
    model = ColBERT(str(folder), document_length=20, query_length=10)
    assert model.scored_tokens(["a bat"], is_query=False)[0][:2] == ["[D] ", "a"]


def test_spaces_at_the_ends_of_a_text_are_no_tokens(tmp_path: Path) -> None:
    model = loaded("pylate-modernbert", tmp_path)
    for is_query in (True, False):
        assert np.array_equal(
            model.encode("  the bat \n", is_query=is_query), model.encode("the bat", is_query=is_query)
        )
    prompted = model.preprocess(["the bat "], prompt="hears ", task="document")["input_ids"]
    assert model.tokenizer.decode(prompted[0]) == "[CLS][D] hears the bat[SEP]"


def test_settings_of_a_pylate_model_are_read(tmp_path: Path) -> None:
    model = loaded("pylate-plain", tmp_path)
    assert (model.query_prefix, model.document_prefix) == ("", "")
    assert (model.query_length, model.document_length) == (12, 24)
    assert not model.do_query_expansion
    assert model.skiplist_words == ["the", "."]
    assert [type(module) for module in model] == [Transformer, Dense, MultiVectorMask, Normalize]


def test_a_pylate_model_inside_of_stanfords_format_is_masked_and_normalised(tmp_path: Path) -> None:
    model = loaded("stanford-with-modules", tmp_path)
    assert [type(module) for module in model] == [Transformer, Dense, MultiVectorMask, Normalize]
    norms = np.linalg.norm(model.encode(texts(8), is_query=False, packed=True).values, axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-6)


def test_stanfords_settings_are_read_and_arguments_go_before_them(tmp_path: Path) -> None:
    folder = build("stanford", tmp_path / "model")
    model = ColBERT(str(folder), device="cpu")
    assert (model.query_prefix, model.document_prefix) == ("[unused0]", "[unused1]")
    assert (model.query_length, model.document_length) == (12, 24)
    assert model.scored_tokens(["bat."], is_query=False)[0] == ["[CLS]", "[unused1]", "bat", "[SEP]"]
    changed = ColBERT(str(folder), device="cpu", document_length=9, do_query_expansion=False, query_prefix="[Q] ")
    assert (changed.query_length, changed.document_length) == (12, 9)
    assert changed.scored_tokens(["bat."], is_query=True)[0] == ["[CLS]", "[Q] ", "bat", ".", "[SEP]"]


def test_without_metadata_stanfords_lengths_are_pylates(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = build("stanford-no-metadata", tmp_path / "model")
    with pytest.raises(InvalidInput, match="document_length=180 is above"):
        ColBERT(str(folder), device="cpu")
    model = ColBERT(str(folder), device="cpu", document_length=40)
    assert model.query_length == 32
    assert "no artifact.metadata" in caplog.text


def test_punctuation_is_scored_if_the_metadata_says_so(tmp_path: Path) -> None:
    folder = build("stanford", tmp_path / "model")
    change(folder / "artifact.metadata", mask_punctuation=False)
    assert ColBERT(str(folder)).encode("bat.", is_query=False).shape == (5, 8)


def test_a_marker_outside_of_the_vocabulary_is_the_unknown_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = build("stanford", tmp_path / "model")
    change(folder / "artifact.metadata", query_token_id="[nowhere]")  # noqa: S106 - no password
    model = ColBERT(str(folder), device="cpu")
    assert model.scored_tokens(["bat"], is_query=True)[0][:4] == ["[CLS]", "[UNK]", "bat", "[SEP]"]
    assert "'[nowhere]' is not in the vocabulary" in caplog.text
    rows = load_file(str(folder / "model.safetensors"))["bert.embeddings.word_embeddings.weight"]
    assert len(model[0].model.get_input_embeddings().weight) == len(rows)


def test_other_special_tokens_of_a_checkpoint_stay_special(tmp_path: Path) -> None:
    folder = build("stanford", tmp_path / "model")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["additional_special_tokens"] = ["[wing]"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    model = ColBERT(str(folder), device="cpu", query_prefix="[wing]")
    assert "[wing]" in model.tokenizer.all_special_tokens
    assert model.tokenizer.tokenize("[unused1]bat") == ["[unused1]", "bat"]


def test_code_of_the_models_own_runs_only_when_trusted(tmp_path: Path) -> None:
    folder = build("custom-code", tmp_path / "model")
    with pytest.raises(UntrustedModel, match="trust_remote_code=True"):
        ColBERT(str(folder), device="cpu")
    assert not (folder / "executed").exists()
    model = ColBERT(str(folder), device="cpu", trust_remote_code=True)
    assert (folder / "executed").exists()
    for layout in ("native", "pylate"):
        model.save(str(tmp_path / layout), format=layout, create_model_card=False)
        again = ColBERT(str(tmp_path / layout), device="cpu", trust_remote_code=True)
        assert torch.equal(again.encode_query("the bat"), model.encode_query("the bat"))


def test_code_that_is_needed_although_the_kind_is_known_is_asked_for(tmp_path: Path) -> None:
    folder = build("custom-code", tmp_path / "model")
    change(folder / "config.json", model_type="bert")
    path = str(folder / "model.safetensors")
    renamed = {name.replace("attention.self", "mixer"): tensor for name, tensor in load_file(path).items()}
    save_file(renamed, path, metadata={"format": "pt"})
    with pytest.raises(UntrustedModel, match=r"\d+ weights of transformers' network"):
        ColBERT(str(folder), device="cpu")
    assert not (folder / "executed").exists()


def test_a_backbone_that_lacks_weights_is_not_filled_with_random_ones(tmp_path: Path) -> None:
    folder = build("pylate", tmp_path / "model")
    path = folder / "model.safetensors"
    tensors = load_file(str(path))
    name = "encoder.layer.1.output.dense.weight"
    save_file({key: value for key, value in tensors.items() if key != name}, str(path), metadata={"format": "pt"})
    with pytest.raises(CorruptModel, match=rf"1 weights of the backbone are missing, the first is {name}"):
        ColBERT(str(folder))
    save_file({f"module.{key}": value for key, value in tensors.items()}, str(path), metadata={"format": "pt"})
    with pytest.raises(CorruptModel, match=r"\d\d weights of the backbone are missing"):
        ColBERT(str(folder))


def test_a_backbone_without_its_pooler_is_whole(tmp_path: Path) -> None:
    folder = build("pylate", tmp_path / "model")
    tensors = load_file(str(folder / "model.safetensors"))
    kept = {key: value for key, value in tensors.items() if "pooler" not in key}
    assert len(kept) == len(tensors) - 2
    save_file(kept, str(folder / "model.safetensors"), metadata={"format": "pt"})
    assert largest_difference(ColBERT(str(folder), device="cpu"), np.load(GOLDEN / "pylate.npz")) < 1e-5


def test_a_pylate_model_without_a_projection_gets_one_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = build("pylate", tmp_path / "model")
    (folder / "modules.json").write_text(json.dumps(json.loads((folder / "modules.json").read_text())[:1]))
    assert ColBERT(str(folder), device="cpu").get_embedding_dimension() == 128
    assert "no projection" in caplog.text


@pytest.mark.parametrize("kind", ["bert", "distilbert", "xlm-roberta", "modernbert", "llama"])
def test_a_plain_backbone_of_every_family_becomes_a_colbert(kind: str, tmp_path: Path) -> None:
    from tests.golden.backbones import backbone, write_weights

    folder = tmp_path / kind
    write_weights(folder / "model.safetensors", tensors := backbone(folder, kind))
    assert tensors
    model = ColBERT(str(folder), device="cpu", embedding_size=8, query_length=10, document_length=30)
    assert model.encode("bats fly").shape == (10, 8)
    tokens = model.scored_tokens(["a bat"], is_query=False)[0]
    marker = tokens.index("[D] ")
    assert tokens[marker + 1].strip("▁") == "a"
    assert tokens[:marker] == {"llama": ["<bos>"], "xlm-roberta": ["<s>"]}.get(kind, ["[CLS]"])
    assert model.encode("a bat", is_query=False).shape == (len(tokens), 8)
