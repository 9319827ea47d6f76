"""The README's example runs as it is printed, and its tree names what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_example_finds_the_bats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
    exec(compile(example, "README.md", "exec"), {})  # noqa: S102 - our own file
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 2
    assert "echoes of their own calls" in lines[0]


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
