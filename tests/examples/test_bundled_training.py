"""The scripts that train the bundled model run in turn on a small collection, and refuse what tests judge."""

from __future__ import annotations

import gzip
import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from .scripts import load

SCRIPTS = Path(__file__).parents[2] / "examples" / "train" / "bundled"
SOURCES = ("squad-dev", "nq-open-gold", "medquad", "tldr", "openstax", "scitldr", "ms-docs", "wordnet")
COLLECTIONS = ("scifact", "cranfield", "npl", "selqa", "stackfaq", *SOURCES[:6])
ANIMALS = ["bat", "owl", "moth", "fox", "hedgehog", "newt", "toad", "badger"]
HABITS = ["hunts at dusk", "sleeps in winter", "finds its way in the dark", "lives near old trees", "eats beetles"]
SETTINGS = {
    "teacher": {"similarity": 0.8, "lexical": 0.2, "mean": 0.0},
    "repeats": {"tldr": 2},
    "stage_a": {"steps": 2, "batch": 4, "contrastive": 0.0},
    "stage_b": [{"steps": 2, "batch": 2, "rank": 2, "keep": 1.0, "contrastive": 1.0, "importance": True}],
    "scales": [0.5, 1.0],
}
AGAIN = {
    "again": True,
    "frozen_layers": 4,
    "teacher": {"similarity": 0.9, "lexical": 0.1, "mean": 0.0},
    "lists": {"length": 4, "skipped": 1, "last": 8},
    "shares": {"tldr": 0, "openstax": 0.5},
    "repeats": {},
    "stage_a": None,
    "stage_b": [
        {
            "steps": 3,
            "batch": 2,
            "rank": 2,
            "contrastive": 1.0,
            "token_differences": 100.0,
            "pooled": 0.5,
            "pooled_loss": 1.0,
            "mean_of": 2,
        }
    ],
    "scales": [1.0],
}


def write_lines(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Collections and training pairs with the names of the real ones, of sentences about animals."""
    folder = tmp_path / "data"
    documents = [
        {"_id": str(number), "title": animal, "text": f"The {animal} {habit}. It is {name}'s {animal} number {number}."}
        for number, (animal, habit, name) in enumerate((a, h, n) for a in ANIMALS for h in HABITS for n in "XYZ")
    ]
    for name in COLLECTIONS:
        write_lines(folder / name / "corpus.jsonl", documents)
        queries = [{"_id": f"q{n}", "text": f"In {name}, which animal {HABITS[n]}, and which is it?"} for n in range(5)]
        write_lines(folder / name / "queries.jsonl", queries)
        (folder / name / "qrels").mkdir()
        for split, query in (("test", 0), ("test_heldout", 1), ("train", 2), ("dev", 3)):
            rows = f"query-id\tcorpus-id\tscore\nq{query}\t{query + 10}\t1\n"
            (folder / name / "qrels" / f"{split}.tsv").write_text(rows)
    for source in SOURCES:
        passage = (
            "For {} a {} {}. It does so at night, in summer, and very often. Many have seen {} near the river. Rare."
        )
        pairs = [
            {
                "query": f"{source}: where is {animal} {number}?",
                "positive": passage.format(source, animal, habit, number),
            }
            for animal in ANIMALS[:5]
            for number, habit in enumerate(HABITS)
        ]
        write_lines(folder / source / "pairs.jsonl.gz", pairs)
    return folder


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_from_pairs_to_a_package(data: Path, tmp_path: Path) -> None:
    work, trained, package = tmp_path / "work", tmp_path / "trained", tmp_path / "package"
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps(SETTINGS))
    train = ("train.py", "--data", work, "--settings", settings, "--device", "cpu", "--share", 0.3)
    first, second = tmp_path / "first", tmp_path / "second"
    for script, *arguments in (
        ("pairs.py", "--data", data, "--out", work),
        ("candidates.py", "--data", data, "--out", work),
        (*train, "--out", first),
        (*train, "--out", second, "--start", first / "adapter.safetensors"),
        ("average.py", "--start", first, "--runs", first, second, "--out", trained),
        ("ship.py", "--trained", trained, "--pairs", work, "--out", package),
    ):
        finished = run(script, *arguments)
        assert finished.returncode == 0, finished.stderr
    adapter = load_file(package / "adapter.safetensors")
    assert adapter["projection"].shape == (128, 384)
    assert not any(name.startswith("importance") for name in adapter)
    for layer in (name.removesuffix(".down") for name in adapter if name.endswith(".down")):
        parts = [load_file(folder / "adapter.safetensors") for folder in (first, second)]
        changes = [part[f"{layer}.up"].astype(float) @ part[f"{layer}.down"].astype(float) for part in parts]
        mean = adapter[f"{layer}.up"].astype(float) @ adapter[f"{layer}.down"].astype(float)
        assert np.abs(changes[1] - changes[0]).max() > 0
        np.testing.assert_allclose(mean, np.mean(changes, axis=0), atol=1e-3 * np.abs(changes).max())
    learns_again(work, trained)
    recipe = json.loads((package / "adapter.json").read_text())
    assert recipe["mean of"] == ["first", "second"]
    log = recipe["runs"]["second"]["log"]
    stages = [entry["stage"] for entry in log if entry["stage"] != "B, on the way"]
    assert stages == ["lists", "base, 384 dimensions", "projection, nothing else trained", "A", "B", "B"]
    assert [entry["scale"] for entry in log[-2:]] == SETTINGS["scales"]


def learns_again(work: Path, trained: Path) -> None:
    """A trained adapter learns a second time, in the upper layers, and what it learns stands beside what it knew."""
    settings, again, both = work / "again.json", work / "again", work / "both"
    settings.write_text(json.dumps(AGAIN))
    train = ("train.py", "--data", work, "--settings", settings, "--device", "cpu", "--share", 0.3, "--out", again)
    refused = run(*train)
    assert refused.returncode == 2
    assert "give its adapter as --start" in refused.stderr
    settings.write_text(json.dumps({**AGAIN, "principal": True}))
    refused = run(*train, "--start", trained / "adapter.safetensors")
    assert refused.returncode == 2
    assert '"before_projection" is needed' in refused.stderr
    for before_projection in (True, False):
        choice = {"before_projection": before_projection, "principal": before_projection}
        settings.write_text(json.dumps({**AGAIN, **choice}))
        finished = run(*train, "--start", trained / "adapter.safetensors")
        assert finished.returncode == 0, finished.stderr
        assert "\ntldr:" not in finished.stdout
    finished = run("average.py", "--start", trained, "--runs", again, "--out", both)
    assert finished.returncode == 0, finished.stderr
    still = {"learning_rate": 0.0, "projection_rate": 0.0}
    settings.write_text(json.dumps({**AGAIN, "stage_b": [{**AGAIN["stage_b"][0], **still}]}))
    train = (*train[:-1], work / "onwards", "--start", trained / "adapter.safetensors", "--seed", 7)
    finished = run(*train, "--resume", both / "mean.safetensors")
    assert finished.returncode == 0, finished.stderr
    learnt, kept = load_file(both / "mean.safetensors"), load_file(work / "onwards" / "adapter.safetensors")
    assert learnt.keys() == kept.keys()
    for name, tensor in learnt.items():
        np.testing.assert_array_equal(kept[name], tensor)
    ends = ("average.py", "--turn", "--start", trained, "--resumed", both, "--runs", work / "onwards", "--rank", 3)
    finished = run(*ends, "--out", work / "end")
    assert finished.returncode == 0, finished.stderr
    log = json.loads((work / "end" / "log.json").read_text())
    assert [*log["runs"]] == ["first", "second", "trained", "again", "both", "onwards"]
    assert log["runs"]["onwards"]["seed"] == 7
    assert {
        len(tensor) for name, tensor in load_file(work / "end" / "adapter.safetensors").items() if "down" in name
    } == {3}
    before, change, after = (load_file(folder / "adapter.safetensors") for folder in (trained, again, both))
    assert after.keys() == before.keys()
    assert np.abs(after["projection"] - before["projection"]).max() > 0
    for layer in (name.removesuffix(".down") for name in before if name.endswith(".down")):
        products = [tensors[f"{layer}.up"].astype(float) @ tensors[f"{layer}.down"] for tensors in (before, after)]
        if layer.startswith(("encoder.layer.4", "encoder.layer.5")):
            products[0] += change[f"{layer}.up"].astype(float) @ change[f"{layer}.down"]
        else:
            assert f"{layer}.up" not in change
        np.testing.assert_allclose(products[1], products[0], atol=1e-6)


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Import a script; it and its neighbours, which have common names, are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield importlib.import_module
    for path in SCRIPTS.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture
def batch(scripts: Callable[[str], ModuleType]) -> Any:
    """Three queries, each with a list of two of four documents, in six dimensions."""
    train, tokens, teacher = scripts("train"), scripts("tokens"), scripts("teacher")
    generator = torch.Generator().manual_seed(5)

    def packed(lengths: list[int]) -> Any:
        values = torch.nn.functional.normalize(torch.randn(sum(lengths), 6, generator=generator), dim=-1)
        return tokens.Packed(values, torch.tensor([0, *lengths]).cumsum(0))

    queries, documents = packed([2, 3, 1]), packed([4, 1, 3, 5])
    texts = teacher.Texts("made up", None, None, queries, documents, None, None, None, [])
    lists = torch.tensor([[0, 1], [2, 3], [3, 0]])
    return train.Batch.of(train.Source(texts, lists, torch.zeros(3, 2)), torch.arange(3))


def test_token_differences_are_those_to_the_teacher(scripts: Callable[[str], ModuleType], batch: Any) -> None:
    of_batch = scripts("train")._token_differences
    texts = batch.source.texts
    queries, documents = texts.queries.padded(batch.queries), texts.documents.padded(batch.documents)
    assert of_batch(batch, (queries, documents), batch.taught()) == 0
    other = torch.nn.functional.normalize(documents[0].flip(-1) + 0.3 * documents[0], dim=-1)
    expected = []
    for query, own in zip(batch.queries, batch.lists, strict=True):
        of_query = queries[0][query][queries[1][query]]

        def told_apart(
            vectors: torch.Tensor, own: torch.Tensor = own, of_query: torch.Tensor = of_query
        ) -> torch.Tensor:
            best = torch.stack([(of_query @ vectors[n][documents[1][n]].T).amax(dim=1) for n in own])
            return best - best.mean(dim=0)

        expected.append((told_apart(other) - told_apart(documents[0])).square().mean(dim=0))
    found = of_batch(batch, (queries, (other, documents[1])), batch.taught())
    torch.testing.assert_close(found, torch.cat(expected).mean())


def test_principal_directions_are_those_of_the_documents(scripts: Callable[[str], ModuleType], batch: Any) -> None:
    found = scripts("train").principal([batch.source] * 2, 4)
    values = batch.source.texts.documents.values
    _, _, right = torch.linalg.svd(values)
    torch.testing.assert_close(found.abs(), right[:4].abs(), atol=1e-4, rtol=0)


def test_rotated_projections_have_the_mean_of_what_they_were() -> None:
    generator = torch.Generator().manual_seed(3)
    projection = torch.randn(6, 20, generator=generator)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator))[0]
    adapters = [{"projection": projection}, {"projection": rotation @ projection}]
    average = load("train/bundled/average.py")
    torch.testing.assert_close(average.average(average.turned(adapters))["projection"], projection)
    assert (average.average(adapters)["projection"] - projection).abs().max() > 0.1


def test_factors_of_a_lower_rank_come_as_close_as_they_can() -> None:
    generator = torch.Generator().manual_seed(4)
    factors = {
        "layer.up": torch.randn(30, 5, generator=generator).half(),
        "layer.down": torch.randn(5, 20, generator=generator).half(),
    }
    product = factors["layer.up"].float() @ factors["layer.down"].float()
    compressed = load("train/bundled/average.py").compressed
    assert compressed(factors, 5)["layer.up"] is factors["layer.up"]
    thin = compressed({**factors, "projection": product}, 3)
    assert thin["layer.up"].shape == (30, 3)
    assert thin["projection"] is product
    error = (thin["layer.up"].float() @ thin["layer.down"].float() - product).norm()
    torch.testing.assert_close(error, torch.linalg.svdvals(product)[3:].norm(), rtol=1e-3, atol=0)


def test_a_training_query_that_a_test_asks_is_refused(data: Path, tmp_path: Path) -> None:
    pairs = data / "tldr" / "pairs.jsonl.gz"
    write_lines(pairs, [{"query": "x", "positive": "xii The moth sleeps in winter. "}])
    assert run("pairs.py", "--data", data, "--out", tmp_path / "a").returncode == 0
    judged = json.loads((data / "npl" / "corpus.jsonl").read_text().splitlines()[10])
    write_lines(pairs, [{"query": "x", "positive": f"{judged['title']} {judged['text'].upper()}"}])
    refused = run("pairs.py", "--data", data, "--out", tmp_path / "b")
    assert refused.returncode != 0
    assert "a positive of tldr is judged by tests only" in refused.stderr
    assert not (tmp_path / "b").exists()
