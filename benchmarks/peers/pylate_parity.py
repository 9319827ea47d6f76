"""Do a real backbone's token vectors agree with PyLate's?  MiniLM in both formats, and 200 texts.

``python benchmarks/peers/pylate_parity.py`` writes all-MiniLM-L6-v2 (of the extra ``demo``) with a random projection
to 128 dimensions as a PyLate model and as one of Stanford's ColBERT, has PyLate encode 200 docstrings of this Python's
library in its own environment (`make pylate-env`), encodes them too, and prints the largest difference.
"""

from __future__ import annotations

import importlib
import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import AddedToken, Tokenizer

from serotine.models import ColBERT
from serotine.models.bundle import _base_folder

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.golden import checkpoints  # noqa: E402
from tests.golden.backbones import random_weight  # noqa: E402

OUTPUT = ROOT / "build" / "pylate-parity"
PEER = ROOT / "build" / "pylate-env" / "bin" / "python"
MODULES = "argparse collections contextlib csv datetime functools heapq io itertools json logging os random re shutil"


def main() -> None:
    if not PEER.exists():
        sys.exit(f"{PEER} is missing: make pylate-env")
    shutil.rmtree(OUTPUT, ignore_errors=True)
    given = docstrings(200)
    OUTPUT.mkdir(parents=True)
    (OUTPUT / "texts.json").write_text(json.dumps(given))
    as_pylate(OUTPUT / "pylate")
    as_stanford(OUTPUT / "stanford")
    script = Path(__file__).with_name("pylate_goldens.py")
    subprocess.run([str(PEER), str(script), "--encode", str(OUTPUT)], check=True, capture_output=True)
    print(f"{len(given)} texts of {np.mean([len(text.split()) for text in given]):.0f} words in the mean")
    for name in ("pylate", "stanford"):
        theirs = np.load(OUTPUT / f"{name}.npz")
        model = ColBERT(str(OUTPUT / name), device="cpu")
        for side, is_query in (("queries", True), ("documents", False)):
            mine = model.encode(given, is_query=is_query, packed=True)
            lengths = theirs["query_lengths" if is_query else "document_lengths"]
            same = np.array_equal(mine.lengths, lengths)
            difference = np.abs(mine.values - theirs[side]).max() if same else np.inf
            print(f"{name:<9} {side:<9} {len(mine.values):>6} vectors, largest difference {difference:.1e}")


def docstrings(number: int) -> list[str]:
    """Return docstrings of the functions and classes of some modules, whole, in the order of their names."""
    found = {}
    for name in MODULES.split():
        for member, value in inspect.getmembers(importlib.import_module(name)):
            text = inspect.getdoc(value) if not member.startswith("_") and callable(value) else None
            if text and str(getattr(value, "__module__", "")).startswith(name):
                found.setdefault(text, None)
    return list(found)[:number]


def as_pylate(folder: Path) -> None:
    """Write the backbone with two more tokens, the projection, and PyLate's settings."""
    tensors = _copy_backbone(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.add_tokens([AddedToken("[Q] ", normalized=True), AddedToken("[D] ", normalized=True)])
    tokenizer.save(str(folder / "tokenizer.json"))
    words = "embeddings.word_embeddings.weight"
    tensors[words] = np.concatenate([tensors[words], random_weight("markers", (2, 384))])
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": len(tensors[words])}))
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    projection = {**checkpoints.PROJECTION, "in_features": 384, "out_features": 128}
    lengths = {"query_length": 32, "document_length": 180}
    checkpoints.pylate_files(folder, [projection], "ColBERT", ("[Q] ", "[D] "), 31, lengths)


def as_stanford(folder: Path) -> None:
    """Write backbone and projection into one file, and the settings into artifact.metadata."""
    tensors = {f"bert.{name}": tensor for name, tensor in _copy_backbone(folder).items()}
    save_file(
        {**tensors, "linear.weight": random_weight("linear.weight", (128, 384))},
        str(folder / "model.safetensors"),
        metadata={"format": "pt"},
    )
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["HF_ColBERT"]}))
    checkpoints.stanford_metadata(folder, {"query_maxlen": 32, "doc_maxlen": 180, "dim": 128})


def _copy_backbone(folder: Path) -> dict[str, np.ndarray]:
    base = _base_folder()
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        if (base / name).exists():
            shutil.copy(base / name, folder / name)
    return dict(load_file(str(base / "model.safetensors")))


if __name__ == "__main__":
    main()
