"""How does a trained adapter get into the package?  With its checksum, its recipe, and the hashes of the texts.

    python examples/train/bundled/ship.py --trained build/bundled/trained --pairs build/bundled

Writes adapter.safetensors, adapter.json and hashes.npz into the package. The model card beside them is written by hand.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from pathlib import Path

PACKAGE = Path(__file__).parents[3] / "src" / "serotine" / "models" / "weights"


def main() -> None:
    """Copy what train.py and pairs.py wrote."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trained", type=Path, default=Path("build/bundled/trained"))
    parser.add_argument("--pairs", type=Path, default=Path("build/bundled"))
    parser.add_argument("--out", type=Path, default=PACKAGE)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    weights = arguments.trained / "adapter.safetensors"
    recipe = {
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "base": "sentence-transformers/all-MiniLM-L6-v2",
        "dim": 128,
        **json.loads((arguments.trained / "log.json").read_text()),
    }
    for source, name in ((weights, "adapter.safetensors"), (arguments.pairs / "held_out.npz", "hashes.npz")):
        shutil.copyfile(source, arguments.out / name)
    (arguments.out / "adapter.json").write_text(json.dumps(recipe, indent=1) + "\n")


if __name__ == "__main__":
    main()
