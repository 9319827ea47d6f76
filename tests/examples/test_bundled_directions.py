"""The script that makes the directions, from which training starts, writes orthonormal ones with their recipe."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

SCRIPT = Path(__file__).parents[2] / "examples" / "train" / "bundled" / "directions.py"
ANIMALS = ["bat", "owl", "moth", "fox", "hedgehog"]
HABITS = ["hunts at dusk", "sleeps in winter", "finds its way in the dark", "lives near old trees"]


@pytest.mark.slow
def test_the_script_writes_orthonormal_directions_and_the_recipe_of_that_file(tmp_path: Path) -> None:
    pairs = tmp_path / "animals" / "pairs.jsonl"
    pairs.parent.mkdir()
    texts = [f"The {animal} {habit}." for animal in ANIMALS for habit in HABITS]
    pairs.write_text("".join(json.dumps({"query": "which animal?", "positive": text}) + "\n" for text in texts))
    command = [SCRIPT, "--pairs", pairs, "--docstrings", "20", "--per-file", "20", "--out", tmp_path / "out"]
    finished = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    weights = tmp_path / "out" / "directions.safetensors"
    recipe = json.loads((tmp_path / "out" / "directions.json").read_text())
    directions = load_file(weights)["linear.weight"]
    assert directions.shape == (128, 384)
    np.testing.assert_allclose(directions @ directions.T, np.eye(128), atol=1e-5)
    assert recipe["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert recipe["texts"] == {"standard library docstrings": 20, "animals/pairs.jsonl": 20}
    assert 0.6 < recipe["share_of_second_moment_kept"] <= 1


def test_the_directions_are_from_no_collection_that_is_evaluated() -> None:
    recipe = json.loads(SCRIPT.with_suffix(".json").read_text())
    assert recipe["sha256"] == hashlib.sha256(SCRIPT.with_suffix(".safetensors").read_bytes()).hexdigest()
    assert 0.7 < recipe["share_of_second_moment_kept"] < 0.8
    evaluated = ("scifact", "cranfield", "npl", "squad", "selqa", "stackfaq", "openstax", "medquad", "nq-open", "xquad")
    assert not any(name in text for text in recipe["texts"] for name in evaluated)
