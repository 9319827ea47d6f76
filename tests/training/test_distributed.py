"""Proves that a trainer in two processes over gloo takes the steps that one process would with the whole batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.conftest import assert_same_weights
from tests.training.two_processes import make_loss, make_model, train

ROOT = Path(__file__).resolve().parents[2]
KINDS = ["contrastive", "cached weights", "cached checkpointing", "distillation"]

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def found(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What each process ended with, by kind: one pair trains all, since starting it takes seconds."""
    folder = tmp_path_factory.mktemp("processes")
    together = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.two_processes", str(folder), str(backbone), *KINDS],
            cwd=ROOT,
            env={**together, "RANK": str(rank), "LOCAL_RANK": str(rank), "HF_DATASETS_CACHE": str(folder)},
            stdout=subprocess.DEVNULL,
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
def test_two_processes_end_where_one_does(backbone, found, tmp_path, kind):
    torch.set_num_threads(1)
    before = {
        name: value.detach()
        for name, value in make_loss(kind, make_model(str(backbone)), gather=False).named_parameters()
    }
    expected = train(kind, str(backbone), tmp_path, batch_size=8)
    for process in found:
        assert_same_weights(process[kind], expected, before)


def test_both_processes_train_on_one_data_set_at_a_time(found):
    one, other = (process["data sets"] for process in found)
    assert one == other
    assert len(one) == 12
    assert set(one) == {"one", "other"}
