"""How long does importing take?  A fresh interpreter for each measurement; wall time of the import statement alone.

python benchmarks/import_time.py
"""

from __future__ import annotations

import subprocess
import sys

from harness import summary, write_result

PARTS = ("serotine", "serotine.indexes", "serotine.scores", "serotine.evaluation", "serotine.models")


def import_seconds(module: str) -> float:
    """Import a module in a fresh interpreter and return the seconds that it took."""
    script = f"import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
    return float(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Measure every part in turn, print the medians, write results/import_time.json."""
    figures = {module: [] for module in PARTS}
    for _ in range(15):
        for module, seconds in figures.items():
            seconds.append(import_seconds(module))
    summaries = {module: summary(seconds) for module, seconds in figures.items()}
    for module, figure in summaries.items():
        low, middle, high = (1000 * figure[key] for key in ("min_s", "median_s", "max_s"))
        print(f"{module:22} {middle:7.1f} ms  ({low:.1f}..{high:.1f})")
    write_result("import_time", {"seconds": summaries})


if __name__ == "__main__":
    main()
