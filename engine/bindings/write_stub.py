"""How is src/serotine/_engine.pyi made?  From the built module by nanobind's generator, then formatted by ruff.

python engine/bindings/write_stub.py           writes it, after a change of the bindings
python engine/bindings/write_stub.py --check   fails if it is not what would be written
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from nanobind.stubgen import StubGen

from serotine import _engine

REPOSITORY = Path(__file__).resolve().parents[2]
STUB = REPOSITORY / "src" / "serotine" / "_engine.pyi"


def generate() -> str:
    """Return the text of the stub."""
    generator = StubGen(_engine)
    generator.put(_engine)
    text = generator.get()
    for command in (["check", "--select", "I,D200", "--fix-only", "--unsafe-fixes", "--quiet"], ["format", "--quiet"]):
        result = subprocess.run(  # noqa: S603 - fixed commands
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(STUB), "-"],
            input=text, capture_output=True, text=True, check=True, cwd=REPOSITORY,
        )  # fmt: skip
        text = result.stdout
    return text


def main() -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    text = generate()
    if not check:
        STUB.write_text(text)
        return 0
    if text != STUB.read_text():
        sys.stderr.write(f"{STUB.name} is out of date; run: python engine/bindings/write_stub.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
