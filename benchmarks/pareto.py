"""Which engine is better where?  Latency against overlap@10 and nDCG@10, drawn from a result of benchmarks/engines.py.

    python benchmarks/pareto.py scifact [--result engines-scifact]

Reads results/engines-<collection>.json, writes docs/engines-<collection>.svg and .png: two panels that share a
logarithmic axis of milliseconds (median of single queries). Serotine is a line for each number of bits, over its
`recall` targets, the default marked; left and up is better. Needs matplotlib, which comes with the extra ``eval``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "serotine", "font.size": 9})

from matplotlib import pyplot as plt  # noqa: E402  # after the choice of what draws
from matplotlib.axes import Axes  # noqa: E402

import harness  # noqa: E402

PANELS = (("overlap_at_10", "overlap@10 with exact search"), ("ndcg_at_10", "nDCG@10"))
# Colours of Okabe and Ito, told apart with any colour vision; shapes repeat what colours say.
SEROTINE = {8: ("#0072B2", "v"), 4: ("#D55E00", "o"), 2: ("#009E73", "^"), 1: ("#CC79A7", "s")}
OTHERS = {
    "exact": ("black", "*"),
    "fast-plaid": ("#56B4E9", "P"),
    "xtr-warp": ("#E69F00", "X"),
    "voyager": ("0.5", "D"),
}


def draw(result: dict[str, Any], files: list[Path]) -> None:
    """Draw both panels into each of the files; the suffix says the format."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.3), sharex=True)
    for panel, (metric, title) in zip(axes, PANELS, strict=True):
        for name, entry in result["engines"].items():
            if "search" in entry:
                _draw_engine(panel, name, entry, metric)
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter("{x:g}")
        panel.set_xlabel(f"median ms a query, {result['threads']} threads")
        panel.set_title(title)
        panel.grid(which="both", alpha=0.25, linewidth=0.5)
    exact = result["exact_ndcg_at_10"]
    if exact is not None:
        axes[1].axhline(exact, color="black", linewidth=0.7, linestyle=":")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, frameon=False)
    figure.suptitle(f"{result['collection']}: {result['documents']:,} documents, {result['tokens'] / 1e6:.2f} M tokens")
    figure.tight_layout(rect=(0, 0.12, 1, 1))
    for file in files:
        figure.savefig(file, dpi=110, metadata={"Date": None} if file.suffix == ".svg" else {"Software": None})
    plt.close(figure)


def _draw_engine(panel: Axes, name: str, entry: dict[str, Any], metric: str) -> None:
    settings = entry["search"]
    points = sorted((figure["p50_ms"], figure[metric]) for figure in settings.values() if figure[metric] is not None)
    if not points:
        return
    nbits = entry["options"].get("nbits")
    colour, marker = SEROTINE[nbits] if entry["engine"] == "serotine" else OTHERS[name]
    label = f"{name}, {entry['bytes_per_token']:.0f} B/token"
    panel.plot(*zip(*points, strict=True), color=colour, linewidth=1, marker=marker, markersize=3)
    default = settings["default"]
    panel.plot(default["p50_ms"], default[metric], color=colour, marker=marker, markersize=8, linestyle="", label=label)


def main() -> None:
    """Draw the result of one collection."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection")
    parser.add_argument("--result", help="name of the result file, engines-<collection> by default")
    arguments = parser.parse_args()
    name = arguments.result or f"engines-{arguments.collection}"
    result = json.loads((harness.RESULTS / f"{name}.json").read_text())
    files = [harness.ROOT / "docs" / f"{name}{suffix}" for suffix in (".svg", ".png")]
    draw(result, files)
    print(*files, sep="\n")


if __name__ == "__main__":
    main()
