"""What do all benchmarks share?  Machine facts, repeated timing with median and spread, JSON results.

A result names the command, commit, machine, threads and package versions beside its figures, so that a
number in a document can be traced to a run. Times are wall seconds of this process.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from serotine.evaluation import machine

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def machine_facts(packages: Sequence[str] = ("numpy", "torch", "sentence-transformers")) -> dict[str, Any]:
    """Return processor, cores, memory, Python, the versions of the given packages, commit and command."""
    return {
        **machine.machine_facts(packages),
        "commit": _commit(),
        "command": " ".join(["python", *map(_without_place, sys.argv)]),
    }


def _commit() -> str | None:
    """Return the short name of the commit; None where there is no repository, or no git to ask."""
    if shutil.which("git") is None:
        return None
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT).stdout.strip() or None


def _without_place(word: str) -> str:
    """Return a word of the command line without where it lies: in the repository from its root, else the bare name."""
    option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    path = Path(value)
    if value and (path.exists() or path.is_absolute() or ".." in path.parts):
        place = path.resolve()
        value = place.relative_to(ROOT).as_posix() if place.is_relative_to(ROOT) else place.name
    return f"{option}{equals}{value}"


def interleaved(
    candidates: dict[str, Callable[[], object]], *, rounds: int = 7, warmup: int = 1
) -> dict[str, list[float]]:
    """Time the candidates in turn, A B C A B C ..., so that a drift of the machine's speed meets all alike.

    Returns the wall seconds of each counted call, in order of rounds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for round_number in range(warmup + rounds):
        for name, call in candidates.items():
            start = time.perf_counter()
            call()
            elapsed = time.perf_counter() - start
            if round_number >= warmup:
                seconds[name].append(elapsed)
    return seconds


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Median, minimum and maximum of some timings."""
    return {
        "median_s": statistics.median(seconds),
        "min_s": min(seconds),
        "max_s": max(seconds),
        "rounds": len(seconds),
    }


def paired_ratio(slower: Sequence[float], faster: Sequence[float]) -> dict[str, float]:
    """Median and range of ``slower / faster``, round by round (robust to a drift that both saw)."""
    ratios = [a / b for a, b in zip(slower, faster, strict=True)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def write_result(name: str, figures: dict[str, Any], *, packages: Sequence[str] | None = None) -> Path:
    """Write ``results/<name>.json``: the figures beside the machine facts. Returns the path."""
    RESULTS.mkdir(exist_ok=True)
    facts = machine_facts() if packages is None else machine_facts(packages)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": facts, **figures}, indent=2) + "\n")
    return path
