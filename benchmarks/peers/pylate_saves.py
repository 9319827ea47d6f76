"""Does PyLate read what Serotine saves?  Writes every tiny checkpoint in PyLate's layout, for PyLate to compare.

First ``python benchmarks/peers/pylate_saves.py build/pylate-saves``, then in PyLate's environment
``build/pylate-env/bin/python benchmarks/peers/pylate_goldens.py --compare build/pylate-saves``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from serotine.models import ColBERT

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.golden.checkpoints import ARGUMENTS, CHECKPOINTS, build


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    save_all(parser.parse_args().folder)


def save_all(folder: Path) -> None:
    """Load each checkpoint and save it under its name."""
    for name in CHECKPOINTS:
        with tempfile.TemporaryDirectory() as temporary:
            model = ColBERT(str(build(name, Path(temporary) / name)), device="cpu", **ARGUMENTS.get(name, {}))
            model.save(str(folder / name), format="pylate", create_model_card=False)


if __name__ == "__main__":
    main()
