"""Tiny checkpoints to break: each test gets a copy of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.golden.checkpoints import build

Copy = Callable[[str], Path]


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a checkpoint by name, written once; no test may change it."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def original(name: str) -> Path:
        return folder / name if (folder / name).exists() else build(name, folder / name)

    return original


@pytest.fixture
def fresh(originals: Callable[[str], Path], tmp_path: Path) -> Copy:
    """Return a copy of a checkpoint by name, to be changed."""

    def copied(name: str) -> Path:
        return Path(shutil.copytree(originals(name), tmp_path / name))

    return copied


def change(path: Path, **entries: Any) -> None:
    """Set entries of a JSON object in a file; None removes one."""
    value = {**json.loads(path.read_text()), **entries}
    path.write_text(json.dumps({name: entry for name, entry in value.items() if entry is not None}))
