"""What does PyLate make of the tiny checkpoints?  Writes the golden vectors of tests/golden, or compares with them.

Runs in PyLate's own environment (`make pylate-env`), not in this project's:

    build/pylate-env/bin/python benchmarks/peers/pylate_goldens.py                   # writes tests/golden/pylate
    build/pylate-env/bin/python benchmarks/peers/pylate_goldens.py --compare FOLDER  # saves of ours, by PyLate
    build/pylate-env/bin/python benchmarks/peers/pylate_goldens.py --encode FOLDER   # for pylate_parity.py

The FOLDER to compare has one model per name, saved by `ColBERT.save(..., format="pylate")`; the one to encode has a
model per folder and texts.json, and gets the vectors of each model (or of one by name: ``--model``, ``--options``).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from pylate import models

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.golden.checkpoints import ARGUMENTS, CHECKPOINTS, GOLDEN_OF, build  # noqa: E402
from tests.golden.texts import texts  # noqa: E402

OUTPUT = ROOT / "tests" / "golden" / "pylate"
FULL = ("pylate", "stanford")
"""Checkpoints with golden vectors of all 200 texts; the others have those of the first 24."""
WITH_PROMPTS = ("pylate-prompts",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compare", type=Path, metavar="FOLDER")
    parser.add_argument("--encode", type=Path, metavar="FOLDER")
    parser.add_argument("--model", help="name on the Hub or folder, with --encode")
    parser.add_argument("--options", type=json.loads, default={}, help="JSON of the arguments of ColBERT, with --model")
    arguments = parser.parse_args()
    if arguments.compare:
        sys.exit(compare(arguments.compare))
    elif arguments.encode:
        encode_all(arguments.encode, arguments.model, arguments.options)
    else:
        write()


def write() -> None:
    """Encode every checkpoint that PyLate can read, and write vectors, versions and checksums."""
    OUTPUT.mkdir(exist_ok=True)
    names = [name for name in CHECKPOINTS if name not in GOLDEN_OF]
    checksums = {}
    for name in names:
        with tempfile.TemporaryDirectory() as temporary:
            folder = build(name, Path(temporary) / name)
            checksums[name] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
            model = models.ColBERT(str(folder), device="cpu", **ARGUMENTS.get(name, {}))
            golden = encode(model, texts(200 if name in FULL else 24), with_prompts=name in WITH_PROMPTS)
        np.savez(OUTPUT / f"{name}.npz", **golden)
        print(f"{name}: {len(golden['query_lengths'])} texts, {golden['documents'].shape}")
    packages = ("pylate", "sentence-transformers", "transformers", "torch", "numpy")
    manifest = {"versions": {name: version(name) for name in packages}, "weights_sha256": checksums}
    (OUTPUT / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def compare(folder: Path) -> int:
    """Encode our saves; print the largest differences from the goldens, and return 1 if one is above 1e-4."""
    worst = 0.0
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        golden = np.load(OUTPUT / f"{GOLDEN_OF.get(path.name, path.name)}.npz")
        # One of our own checkpoints brings code.
        model = models.ColBERT(str(path), device="cpu", trust_remote_code=True)
        mine = encode(model, texts(len(golden["query_lengths"])), with_prompts=path.name in WITH_PROMPTS)
        same = all(np.array_equal(mine[key], golden[key]) for key in ("query_lengths", "document_lengths"))
        found = [float(np.abs(mine[key] - golden[key]).max()) if same else np.inf for key in ("queries", "documents")]
        print(f"{path.name}: queries {found[0]:.1e}, documents {found[1]:.1e}")
        worst = max(worst, *found)
    print(f"largest difference {worst:.1e}")
    return int(worst > 1e-4)


def encode_all(folder: Path, name: str | None, options: dict[str, object]) -> None:
    """Encode texts.json with every model in a folder, or with the one of that name; the vectors go into the folder."""
    given = json.loads((folder / "texts.json").read_text())
    if name is not None:
        model = models.ColBERT(name, device="cpu", **options)
        np.savez(folder / "model.npz", **encode(model, given, with_prompts=False))
        return
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        np.savez(
            folder / f"{path.name}.npz", **encode(models.ColBERT(str(path), device="cpu"), given, with_prompts=False)
        )


def encode(model: models.ColBERT, given: list[str], *, with_prompts: bool) -> dict[str, np.ndarray]:
    """Encode texts as queries and as documents: all vectors end to end, float32, and the number of each text.

    with_prompts: ask for the prompts "query" and "document", which PyLate does not apply by itself.
    """
    names = ("query", "document") if with_prompts else (None, None)
    options = {"batch_size": 8, "show_progress_bar": False}
    queries = model.encode(given, prompt_name=names[0], is_query=True, **options)
    documents = model.encode(given, prompt_name=names[1], is_query=False, **options)
    return {
        "queries": np.concatenate(queries),
        "query_lengths": np.array([len(rows) for rows in queries], dtype=np.int32),
        "documents": np.concatenate(documents),
        "document_lengths": np.array([len(rows) for rows in documents], dtype=np.int32),
    }


if __name__ == "__main__":
    main()
