"""Every block of Python in docs/training.md runs as it is printed, and what the page names exists."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer

from serotine import losses
from serotine.evaluation import evaluators
from tests.models.conftest import backbone
from tests.training.test_adapters import config
from tests.utils.conftest import own_cache

__all__ = ["backbone", "config", "own_cache"]

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")


def blocks() -> dict[str, str]:
    """Return the block of each section that has one."""
    found = {}
    for section in PAGE.split("\n## ")[1:]:
        code = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
        if code:
            (found[section.splitlines()[0]],) = code
    return found


@pytest.fixture
def folder(backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with what the page names: a tiny model in the place of BERT, a collection."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    settings = AutoConfig.from_pretrained(backbone, max_position_embeddings=256)
    AutoModel.from_config(settings).save_pretrained(tmp_path / "bert-base-uncased")
    AutoTokenizer.from_pretrained(backbone, model_max_length=256).save_pretrained(tmp_path / "bert-base-uncased")
    dev = tmp_path / "dev"
    (dev / "qrels").mkdir(parents=True)
    texts = [{"_id": "1", "text": "Bats fly at night."}, {"_id": "2", "text": "A river."}]
    (dev / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    (dev / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "what flies at night?"}) + "\n")
    (dev / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\t1\t1\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(names: dict[str, Any], *sections: str) -> dict[str, Any]:
    """Run the blocks of sections with the names that those before them left."""
    for section in sections:
        exec(compile(blocks()[section], f"docs/training.md, {section}", "exec"), names)  # noqa: S102 - our own file
    return names


@pytest.mark.slow
def test_the_blocks_run_one_after_the_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = run({}, *(section for section in blocks() if section != "Adapters"))
    assert "torch.Size([2, 32]) torch.Size([2, " in capsys.readouterr().out.replace("\n", " ")
    assert names["trainer"].state.best_metric in (pytest.approx(1.0), pytest.approx(0.6309, abs=1e-4))
    assert names["lists"][0]["documents"] == list(names["texts"].values())
    assert {row["labels"][0] for row in names["mined"]} <= {1}
    assert len(names["hits"]) == 2
    assert {hit["id"] for hit in names["ranked"]} == {0, 1, 2, 3}
    # What folded vectors find is what the learnt score ranks first.
    assert [hit["id"] for hit in names["hits"]] == [hit["id"] for hit in names["ranked"]][:2]
    assert (folder / "output" / "final" / "README.md").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("config")  # skips where adapters cannot be made
def test_adapters_are_saved_without_the_base(folder: Path) -> None:
    run({}, "A training program", "Adapters")
    assert (folder / "output" / "adapted" / "adapter_model.safetensors").is_file()
    assert not (folder / "output" / "adapted" / "model.safetensors").exists()


def test_each_section_has_one_block_at_most_and_none_is_left_out() -> None:
    assert len(blocks()) == PAGE.count("```python")


def test_every_loss_evaluator_recipe_and_file_that_the_page_names_exists() -> None:
    table = PAGE.split("## Losses")[1].split("## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)) == set(losses.__all__)
    table = PAGE.split("## Evaluation while it trains")[1].split("## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)) == set(evaluators.__all__)
    recipes = set(re.findall(r"^\| `([\w/]+(?:\.py)?/?)` \|", PAGE.split("## Recipes")[1], flags=re.MULTILINE))
    there = {path.name + "/" * path.is_dir() for path in (ROOT / "examples" / "train").iterdir() if path.name[0] != "_"}
    assert recipes - {"examples/train/"} == there - {"recipe.py", "sample.py"}
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link
