"""The check of the Hub's models passes a good one, and says what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from serotine.models import ColBERT
from tests.golden.checkpoints import build

from .scripts import load

ROOT = Path(__file__).parents[2]
PEER = ROOT / "build" / "pylate-env" / "bin" / "python"
example = load("verify_checkpoints.py")


@pytest.fixture
def good(bundled_model: ColBERT, tmp_path: Path) -> Path:
    bundled_model.save(str(tmp_path / "good"), format="pylate", create_model_card=False)
    return tmp_path / "good"


def test_a_good_model_passes(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert example.main([str(good)]) == 0
    assert capsys.readouterr().out.startswith(f"ok       {good}: 128 dimensions, queries of 128 tokens")


@pytest.mark.slow
@pytest.mark.skipif(not PEER.exists(), reason="PyLate's environment is not there: make pylate-env")
def test_a_good_model_agrees_with_pylate(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert example.main([str(good), "--peer", str(PEER)]) == 0
    assert "from PyLate" in capsys.readouterr().out


def test_a_model_that_ranks_at_random_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert example.main([str(build("pylate", tmp_path / "random"))]) == 1
    assert "the queries find documents" in capsys.readouterr().out


def test_code_that_is_not_trusted_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert example.main([str(build("custom-code", tmp_path / "code"))]) == 1
    assert "UntrustedModel" in capsys.readouterr().out


def test_a_model_that_cannot_be_had_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert example.main([str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().out.startswith("missing")


def test_vectors_that_differ_are_seen(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "compare", lambda *_, **__: 2e-4)
    assert example.verify(str(good), peer=PEER).status == "differs"
