"""A broken or hostile folder is a typed error that names the file, and nothing in it is run or imported."""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from sentence_transformers.base.modules import Dense

from serotine.errors import CorruptModel, UntrustedModel
from serotine.models import ColBERT
from serotine.models.formats import Source, check, recognize

from .conftest import Copy, change

Change = Callable[[Path], object]


def refused(folder: Path, message: str | None, error: type[Exception] = CorruptModel, **options: Any) -> None:
    with pytest.raises(error, match=message):
        ColBERT(str(folder), device="cpu", **options)


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "modules.json",
        "config_sentence_transformers.json",
        "model.safetensors",
        "1_Dense/config.json",
        "1_Dense/model.safetensors",
    ],
)
def test_a_missing_file_is_named(name: str, fresh: Copy) -> None:
    folder = fresh("pylate")
    (folder / name).unlink()
    refused(folder, f"{name} is missing")


def test_a_missing_vocabulary_is_no_vocabulary_of_special_tokens(fresh: Copy) -> None:
    folder = fresh("pylate")
    (folder / "tokenizer.json").unlink()
    refused(folder, "special tokens only")


def test_files_that_say_nothing_new_may_be_missing(fresh: Copy, originals: Copy) -> None:
    folder = fresh("pylate")
    (folder / "sentence_bert_config.json").unlink()
    vectors = ColBERT(str(folder), device="cpu").encode("the bat")
    assert np.array_equal(vectors, ColBERT(str(originals("pylate")), device="cpu").encode("the bat"))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"hidden_size": 16}, "weights of the shapes that config.json says"),
        ({"vocab_size": 10}, "weights of the shapes that config.json says"),
        ({"num_hidden_layers": 3}, r"weights of the backbone are missing, the first is encoder\.layer\.2"),
        ({"hidden_size": "abc"}, "could not be loaded"),
        ({"hidden_size": None, "num_attention_heads": 5}, "could not be loaded"),
        ({"num_attention_heads": 5}, "could not be loaded"),
        ({"hidden_act": "os.system"}, "could not be loaded"),
        ({"model_type": "nonsense"}, "a model_type that the installed transformers knows, found 'nonsense'"),
        ({"model_type": ["bert"]}, "a model_type that the installed transformers knows"),
        ({"model_type": None}, "a model_type that the installed transformers knows"),
    ],
)
def test_a_backbone_that_its_configuration_does_not_fit(entries: dict[str, Any], message: str, fresh: Copy) -> None:
    folder = fresh("pylate")
    change(folder / "config.json", **entries)
    refused(folder, message)


@pytest.mark.parametrize(
    "entries",
    [
        {"query_length": "x"},
        {"query_length": -1},
        {"query_prefix": 5},
        {"prompts": [1]},
        {"skiplist_words": 5},
        {"__version__": {"sentence_transformers": "abc"}},
    ],
)
def test_settings_that_no_model_has(entries: dict[str, Any], fresh: Copy) -> None:
    folder = fresh("pylate")
    change(folder / "config_sentence_transformers.json", **entries)
    refused(folder, "could not be loaded")


def test_a_projection_of_other_shapes_than_it_says(fresh: Copy) -> None:
    folder = fresh("pylate")
    change(folder / "1_Dense" / "config.json", out_features=9)
    refused(folder, r"expected tensors of shapes \{'linear.weight': \(9, 32\)\}")
    change(folder / "1_Dense" / "config.json", out_features=8, in_features=16)
    save_file({"linear.weight": np.zeros((8, 16), np.float32)}, str(folder / "1_Dense" / "model.safetensors"))
    refused(folder, "a projection takes 16 dimensions, but gets 32")


def test_a_file_of_weights_that_was_cut_off(fresh: Copy) -> None:
    folder = fresh("pylate")
    os.truncate(folder / "model.safetensors", 30_000)
    refused(folder, "Is the copy complete")


def test_a_header_of_200_mb(fresh: Copy) -> None:
    folder = fresh("pylate")
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 200 << 20))
        file.truncate(8 + (200 << 20))
    refused(folder, "expected a header of at most")


EVIL = "serotine_test_payload"
"""A module that is on the path while these tests run, and leaves a trace when imported."""


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the payload writes; it is asserted that it did not."""
    place = tmp_path / "payload"
    place.mkdir()
    path = tmp_path / "executed"
    (place / f"{EVIL}.py").write_text(f"from pathlib import Path\nPath({str(path)!r}).touch()\nclass Dense: pass\n")
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.delitem(sys.modules, EVIL, raising=False)
    return path


def _module_type(name: str) -> Change:
    def apply(folder: Path) -> None:
        modules = json.loads((folder / "modules.json").read_text())
        modules[1]["type"] = name
        (folder / "modules.json").write_text(json.dumps(modules))

    return apply


def _activation(name: str) -> Change:
    return lambda folder: change(folder / "1_Dense" / "config.json", activation_function=name)


@pytest.mark.parametrize(
    ("apply", "message"),
    [
        (_module_type(f"{EVIL}.Dense"), "names the module class"),
        (_module_type("sentence_transformers.util.misc.importlib"), "names the module class"),
        (_module_type("Dense"), "names the module class"),
        (_activation(f"{EVIL}.Dense"), "names the activation"),
        (_activation("torch.hub.load"), "names the activation"),
        (_activation("torch.nn.modules.linear.Bilinear"), "names the activation"),
    ],
)
def test_a_name_that_is_not_known_is_not_imported(apply: Change, message: str, fresh: Copy, trace: Path) -> None:
    folder = fresh("pylate")
    apply(folder)
    refused(folder, message, UntrustedModel)
    assert not trace.exists()
    assert EVIL not in sys.modules


def test_the_payload_of_these_tests_would_run(trace: Path) -> None:
    __import__(EVIL)
    assert trace.exists()
    del sys.modules[EVIL]


def test_a_class_that_the_caller_has_is_no_name_to_import(fresh: Copy, originals: Copy) -> None:
    class Mine(Dense):
        pass

    folder = fresh("pylate")
    _module_type(f"{EVIL}.Mine")(folder)
    model = ColBERT._load_with_module_classes(str(folder), {f"{EVIL}.Mine": Mine}, device="cpu")
    assert type(model[1]) is Mine
    expected = ColBERT(str(originals("pylate")), device="cpu").encode("the bat")
    assert np.array_equal(model.encode("the bat"), expected)


ROUTER = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Router"}
DENSE = "pylate.models.Dense.Dense"


def route(folder: Path, *later: dict[str, Any], types: Any) -> None:
    """Make a model of a Router, and of what else is told, of the modules that lie in a folder."""
    (folder / "modules.json").write_text(json.dumps([ROUTER, *later]))
    (folder / "router_config.json").write_text(json.dumps({"types": types, "structure": {}, "parameters": {}}))


def pickled(folder: Path) -> None:
    """Leave a pickle in the place of a module's weights."""
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"pickle")


def test_types_inside_of_a_router_are_checked_too(fresh: Copy, trace: Path) -> None:
    folder = fresh("pylate")
    (folder / "modules.json").write_text(json.dumps([ROUTER]))
    refused(folder, r"router_config\.json is missing")
    route(folder, types={"a": f"{EVIL}.Dense"})
    refused(folder, "names the module class", UntrustedModel)
    assert not trace.exists()


@pytest.mark.parametrize("types", [None, {}, [DENSE], {"1_Dense": 5}])
def test_a_router_says_what_is_in_it(types: Any, fresh: Copy) -> None:
    """Sentence Transformers reads config.json, which may say anything, where the first file says nothing."""
    folder = fresh("pylate")
    route(folder, types=types)
    if types is None:
        (folder / "router_config.json").write_text("{}")
    change(folder / "config.json", types={"a": f"{EVIL}.Dense"})
    refused(folder, r"router_config\.json: expected types, the class of each module by folder")


def test_a_router_of_whole_modules_passes(fresh: Copy) -> None:
    folder = fresh("pylate")
    route(folder, types={"1_Dense": DENSE, "": "sentence_transformers.models.Transformer"})
    assert check(recognize(Source(str(folder)))) is None


def test_modules_after_a_router_are_checked(fresh: Copy, trace: Path) -> None:
    folder = fresh("pylate")
    later = {"idx": 1, "name": "1", "path": "2_Thing", "type": f"{EVIL}.Thing"}
    route(folder, later, types={"1_Dense": DENSE})
    refused(folder, f"names the module class '{EVIL}.Thing'", UntrustedModel)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("spoil", "message", "error"),
    [
        (pickled, r"pytorch_model\.bin is a pickle", UntrustedModel),
        (
            lambda dense: change(dense / "config.json", activation_function=f"{EVIL}.f"),
            "the activation",
            UntrustedModel,
        ),
        (lambda dense: change(dense / "config.json", out_features=9), "expected tensors of shapes", CorruptModel),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_the_files_of_a_routers_modules_are_checked(
    nested: bool, spoil: Change, message: str, error: type[Exception], fresh: Copy
) -> None:
    folder = fresh("pylate")
    spoil(folder / "1_Dense")
    if nested:
        (folder / "inner").mkdir()
        (folder / "1_Dense").rename(folder / "inner" / "1_Dense")
        (folder / "inner" / "router_config.json").write_text(json.dumps({"types": {"1_Dense": DENSE}}))
        route(folder, types={"inner": ROUTER["type"]})
    else:
        route(folder, types={"1_Dense": DENSE})
    refused(folder, message, error)


def test_the_backbone_of_a_router_is_checked(fresh: Copy) -> None:
    folder = fresh("pylate")
    (folder / "query").mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).rename(folder / "query" / name)
    pickled(folder / "query")
    route(folder, types={"query": "sentence_transformers.models.Transformer"})
    refused(folder, r"query/pytorch_model\.bin is a pickle", UntrustedModel)


@pytest.mark.parametrize("name", ["", ".", "./."])
def test_a_router_in_itself_is_refused(name: str, fresh: Copy) -> None:
    folder = fresh("pylate")
    route(folder, types={name: ROUTER["type"]})
    refused(folder, "expected a Router of other modules, found itself in it")


def test_a_module_of_a_router_outside_of_the_folder(fresh: Copy) -> None:
    folder = fresh("pylate")
    route(folder, types={"../elsewhere": DENSE})
    refused(folder, "points outside of it")


def test_the_weights_of_a_normalisation_are_checked(fresh: Copy) -> None:
    folder = fresh("pylate")
    modules = json.loads((folder / "modules.json").read_text())
    norm = {"idx": 2, "name": "2", "path": "2_LayerNorm", "type": "sentence_transformers.models.LayerNorm"}
    (folder / "modules.json").write_text(json.dumps([*modules, norm]))
    (folder / "2_LayerNorm").mkdir()
    (folder / "2_LayerNorm" / "config.json").write_text(json.dumps({"dimension": 8}))
    refused(folder, r"2_LayerNorm/model\.safetensors is missing")
    (folder / "2_LayerNorm" / "pytorch_model.bin").write_bytes(b"pickle")
    refused(folder, r"pytorch_model\.bin is a pickle", UntrustedModel)


def test_a_configuration_cannot_trust_itself(fresh: Copy) -> None:
    folder = fresh("custom-code")
    change(folder / "config.json", trust_remote_code=True)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"model_args": {"trust_remote_code": True}}))
    refused(folder, "brings code of its own", UntrustedModel)
    assert not (folder / "executed").exists()


@pytest.mark.parametrize("path", ["../elsewhere", "/etc", "..\\elsewhere"])
def test_a_module_outside_of_the_folder(path: str, fresh: Copy) -> None:
    folder = fresh("pylate")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = path
    (folder / "modules.json").write_text(json.dumps(modules))
    refused(folder, "points outside of it")


@pytest.mark.parametrize(
    "modules",
    [
        [],
        [5],
        [{"type": "sentence_transformers.models.Transformer"}],
        [{"path": "", "type": 5}],
        [{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"}],
        [{"idx": 0, "name": "0", "path": "1_Dense", "type": "pylate.models.Dense.Dense"}],
    ],
)
def test_modules_that_make_no_model(modules: list[Any], fresh: Copy) -> None:
    folder = fresh("pylate")
    (folder / "modules.json").write_text(json.dumps(modules))
    refused(folder, None)


def test_an_adapter_is_checked_as_weights_are(fresh: Copy) -> None:
    folder = fresh("pylate")
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.bin").write_bytes(b"pickle")
    refused(folder, r"adapter_model\.bin is a pickle", UntrustedModel)
