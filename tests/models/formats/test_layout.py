"""A model's format is told from its small files."""

from __future__ import annotations

from pathlib import Path

import pytest

from serotine.errors import CorruptModel, DownloadFailed
from serotine.models.formats import Layout, Source, recognize

from .conftest import Copy, change


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("pylate", Layout.PYLATE),
        ("pylate-old", Layout.PYLATE),
        ("stanford", Layout.STANFORD),
        ("stanford-sharded", Layout.STANFORD),
        ("stanford-with-modules", Layout.PYLATE),
        ("custom-code", Layout.STANFORD),
        ("dense", Layout.DENSE),
    ],
)
def test_each_format_is_recognised(name: str, layout: Layout, originals: Copy) -> None:
    assert recognize(Source(str(originals(name)))).layout is layout


@pytest.mark.parametrize(
    ("settings", "layout"),
    [
        ({"model_type": "MultiVectorEncoder"}, Layout.NATIVE),
        ({"model_type": "CrossEncoder"}, Layout.OTHER),
        ({"model_type": "SparseEncoder"}, Layout.OTHER),
        ({"model_type": "SentenceTransformer", "query_prefix": "[Q] "}, Layout.DENSE),
        ({"model_type": None, "do_query_expansion": False}, Layout.PYLATE),
    ],
)
def test_the_model_type_goes_before_other_settings(settings: dict[str, object], layout: Layout, fresh: Copy) -> None:
    folder = fresh("dense")
    change(folder / "config_sentence_transformers.json", **settings)
    assert recognize(Source(str(folder))).layout is layout


def test_without_modules_the_architecture_says_it(fresh: Copy) -> None:
    folder = fresh("dense")
    for name in ("modules.json", "config_sentence_transformers.json"):
        (folder / name).unlink()
    assert recognize(Source(str(folder))).layout is Layout.BACKBONE
    change(folder / "config.json", architectures=["ColPaliForRetrieval"])
    assert recognize(Source(str(folder))).layout is Layout.RETRIEVAL


def test_modules_beside_stanfords_weights_do_not_hide_them(fresh: Copy) -> None:
    folder = fresh("stanford-with-modules")
    change(folder / "config_sentence_transformers.json", **dict.fromkeys(("query_prefix", "document_prefix")))
    change(
        folder / "config_sentence_transformers.json",
        **dict.fromkeys(("do_query_expansion", "attend_to_expansion_tokens")),
    )
    assert recognize(Source(str(folder))).layout is Layout.STANFORD


@pytest.mark.parametrize("name", ["modules.json", "config_sentence_transformers.json"])
def test_files_that_need_each_other_are_missed(name: str, fresh: Copy) -> None:
    folder = fresh("pylate")
    (folder / name).unlink()
    with pytest.raises(CorruptModel, match=f"{name} is missing"):
        recognize(Source(str(folder)))


def test_an_empty_folder_holds_no_model(tmp_path: Path) -> None:
    with pytest.raises(CorruptModel, match="holds no model"):
        recognize(Source(str(tmp_path)))


def test_a_name_that_the_hub_does_not_give_is_no_broken_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    source = Source("someone/colbert-that-is-nowhere", local_files_only=True)
    with pytest.raises(DownloadFailed, match="is no folder here, and the Hugging Face Hub gave neither"):
        recognize(source)


@pytest.mark.parametrize("model_type", ["Evil", ["ColBERT"], 5])
def test_an_unknown_model_type_is_refused(model_type: object, fresh: Copy) -> None:
    folder = fresh("pylate")
    change(folder / "config_sentence_transformers.json", model_type=model_type)
    with pytest.raises(CorruptModel, match="expected a model_type of"):
        recognize(Source(str(folder)))


@pytest.mark.parametrize("architectures", ["HF_ColBERT", 5, [None]])
def test_architectures_are_a_list_of_names(architectures: object, fresh: Copy) -> None:
    folder = fresh("pylate")
    change(folder / "config.json", architectures=architectures)
    with pytest.raises(CorruptModel, match="expected a list of architectures"):
        recognize(Source(str(folder)))
