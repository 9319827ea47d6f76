"""The typed stub of the native module says what the built module has, and is not edited by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

WRITE_STUB = Path(__file__).parents[1] / "engine" / "bindings" / "write_stub.py"


def test_the_stub_is_what_nanobind_generates_from_the_built_module() -> None:
    result = subprocess.run([sys.executable, str(WRITE_STUB), "--check"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
