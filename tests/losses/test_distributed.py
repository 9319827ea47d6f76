"""Proves that two processes over gloo train as one process with the whole batch would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.losses.conftest import TEACHER
from tests.losses.two_processes import batch_for, gradients, make_loss, make_model

ROOT = Path(__file__).resolve().parents[2]
KINDS = ["plain", "plain-lists", "plain-weights", "cached", "cached-lists", "cached-weights", "cached-xtr", "kd"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What each process found, by kind of loss: one pair computes all, since starting it takes seconds."""
    folder = tmp_path_factory.mktemp("processes")
    command = [sys.executable, "-m", "tests.losses.two_processes"]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(folder), str(backbone), *KINDS, "cached-local"],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=400)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], errors
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_one_process(backbone, found, kind):
    model = make_model(str(backbone))
    loss = make_loss(kind, model, gather=False)
    value = loss(batch_for(kind, model, slice(None)), TEACHER)
    value.backward()
    expected = gradients(loss)
    assert max(gradient.abs().max() for gradient in expected.values()) > 1e-2
    assert sum(each[kind]["loss"] for each in found) / 2 == pytest.approx(value.item(), rel=1e-5)
    for each in found:
        assert each[kind]["gradients"].keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(each[kind]["gradients"][name], gradient, rtol=1e-5, atol=1e-5, msg=name)


def test_documents_are_gathered_once_and_their_gradients_summed_once(found):
    # Three queries in a process, scored one at a time: collectives per score would be three.
    for each in found:
        assert each["cached"]["calls"] == {"all_gather": 1, "all_reduce": 1, "broadcast": 0}


def test_without_gathering_each_process_sees_its_own_documents(backbone, found):
    model = make_model(str(backbone))
    for each, rows in zip(found, (slice(0, 3), slice(3, 6)), strict=True):
        value = make_loss("plain", model, gather=False)(batch_for("plain", model, rows))
        assert each["cached-local"]["loss"].item() == pytest.approx(value.item(), rel=1e-5)
        assert each["cached-local"]["calls"]["all_gather"] == 0
