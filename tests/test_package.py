"""Importing the package is quick and light, and its parts import no more than they need."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import serotine


def run(script: str) -> str:
    """Run Python code in a fresh interpreter and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_imports_nothing_heavy() -> None:
    loaded = run("import serotine, sys; print(sorted(sys.modules))")
    for module in ("torch", "numpy", "sentence_transformers", "transformers", "tqdm", "serotine._engine"):
        assert f"'{module}'" not in loaded


@pytest.mark.parametrize("part", ["indexes", "rank", "retrieve", "evaluation", "scores", "types", "errors"])
def test_parts_that_need_no_model_do_not_import_torch(part: str) -> None:
    loaded = run(f"import serotine.{part} as part, sys; dir(part); print(sorted(sys.modules))")
    assert "'torch'" not in loaded
    assert "'transformers'" not in loaded


def test_the_index_is_used_without_torch() -> None:
    script = """
        import sys
        import numpy as np
        from serotine import indexes
        index = indexes.Exact()
        index.add_documents(["a"], [np.eye(4, dtype=np.float32)])
        assert index(np.eye(4, dtype=np.float32), k=1)[0][0]["score"] == 4
        print("torch" in sys.modules)
    """
    assert run(script) == "False"


def test_only_scores_and_indexes_touch_the_engine() -> None:
    package = Path(serotine.__file__).parent
    users = {
        path.relative_to(package).parts[0] for path in package.rglob("*.py") if "_engine" in path.read_text("utf-8")
    }
    assert users <= {"scores", "indexes"}


def test_every_exported_name_exists() -> None:
    import importlib

    for name in serotine.__all__:
        value = getattr(serotine, name)
        if name != "__version__" and hasattr(value, "__all__"):
            module = importlib.import_module(f"serotine.{name}")
            for exported in module.__all__:
                assert getattr(module, exported) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'index'"):
        _ = serotine.index
    assert "indexes" in dir(serotine)
