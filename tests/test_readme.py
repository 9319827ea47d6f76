"""The README's example runs as it is printed, and its tree names what is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_examples_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first, changes, stream = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len([line for line in first.splitlines() if line.strip()]) <= 15
    names: dict[str, Any] = {}
    run(first, names)
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 2
    assert "echoes of their own calls" in lines[0]

    run(changes, names)
    assert sorted(names["index"].documents_ids()) == ["bats", "bees", "owls"]
    assert {hit["id"] for hit in names["hits"][0]} == {"bats", "bees", "owls"}

    names |= {"ids": ["wasps", "hornets"], "texts": ["Wasps build with paper.", "Hornets hunt flies."]}
    run(stream, names)
    assert "hornets" in names["index"]


def run(example: str, names: dict[str, Any]) -> None:
    """Run an example with the names that those before it left."""
    exec(compile(example, "README.md", "exec"), names)  # noqa: S102 - our own file


def test_every_file_and_target_that_the_readme_names_exists() -> None:
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
    tree = README.split("## The files")[1].split("```")[1]
    for line in tree.strip().splitlines():
        for name in re.findall(r"(\S+/|\S+\.py)(?=\s)", line.split("   ")[0] + " "):
            inside = ROOT / "src" / "serotine" if line.startswith("  ") else ROOT
            assert (inside / name).exists(), name
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\$ make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
