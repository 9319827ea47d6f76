"""A tiny model, and data sets that are read into a folder of the test."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest

from tests.models.conftest import backbone, model

__all__ = ["backbone", "model"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the package datasets keeps what it has read; nothing of another run, nothing in the home folder."""
    folder = tmp_path_factory.mktemp("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    datasets.disable_progress_bars()
    return folder
