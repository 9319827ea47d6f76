"""Reproduce Table 1 of the PyLate paper: nDCG@10 on the fifteen collections of BEIR, beside the paper's own figures.

    python examples/evaluation/table1.py --model gte-modern                     # downloads model and collections
    python examples/evaluation/table1.py --model colbert-small --collections scifact nfcorpus
    python examples/evaluation/table1.py --model bundled --data DATA            # offline, on local folders

DATA holds collections in BEIR's layout under their BEIR names; without --collections, those that are there are run. Any
other folder in DATA may be named too: it has no figure in the paper. A model is one of the names below, or a name or
folder that `models.ColBERT` loads. CQADupStack is the mean of its twelve forums, and a figure of its own only with all.

The paper's protocol: documents of 300 tokens, queries of 32 to 64 by collection, a PLAID index of 4 bits, the 20 best,
a document with the query's own id left out. The bundled model keeps its own lengths.

A figure agrees with the paper's if it is within TOLERANCE points of it. The paper's own two measurements of
ColBERT-small differ by .8 on average, by 3.3 on ArguAna and 2.3 on FEVER, which it lays to PLAID's non-determinism.
The exit status is 1 if a figure is outside.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serotine import evaluation, indexes, models
from serotine.errors import InvalidInput, SerotineError

TOLERANCE = 1.0
TOLERANCE_OF_AVERAGE = 0.5
METRIC = "ndcg@10"
DOCUMENT_LENGTH = 300

# BEIR's name, the paper's name, tokens of a query, then the paper's figures for ColBERT-small and GTE-ModernColBERT,
# both measured with PyLate.
COLLECTIONS = {
    "fiqa": ("FiQA2018", 32, 41.01, 48.51),
    "nfcorpus": ("NFCorpus", 32, 36.86, 37.93),
    "trec-covid": ("TREC-COVID", 48, 83.14, 83.59),
    "webis-touche2020": ("Touche2020", 32, 24.95, 31.23),
    "arguana": ("ArguAna", 64, 46.76, 48.51),
    "quora": ("QuoraRetrieval", 32, 87.89, 86.61),
    "scidocs": ("SCIDOCS", 48, 18.72, 19.06),
    "scifact": ("SciFact", 48, 74.02, 76.34),
    "nq": ("NQ", 32, 59.42, 61.80),
    "climate-fever": ("ClimateFEVER", 64, 32.83, 30.62),
    "hotpotqa": ("HotpotQA", 32, 76.88, 77.32),
    "dbpedia-entity": ("DBPedia", 32, 46.36, 48.03),
    "cqadupstack": ("CQADupstack", 32, 39.36, 41.00),
    "fever": ("FEVER", 32, 88.66, 87.44),
    "msmarco": ("MSMARCO", 32, 43.44, 45.32),
}
AVERAGES = {"colbert-small": 53.35, "gte-modern": 54.89}
MODELS = {
    "colbert-small": "answerdotai/answerai-colbert-small-v1",
    "gte-modern": "lightonai/GTE-ModernColBERT-v1",
}
COLUMN = {"colbert-small": 2, "gte-modern": 3}


def load_model(name: str, collection: str) -> models.ColBERT:
    """Load a model with the lengths that the paper's protocol gives it on a collection."""
    if name == "bundled":
        return models.bundled()
    query_length = COLLECTIONS[collection][1] if collection in COLLECTIONS else 32
    return models.ColBERT(MODELS.get(name, name), query_length=query_length, document_length=DOCUMENT_LENGTH)


def load_collection(name: str, data: Path | None) -> evaluation.Dataset:
    """Load a collection, from the local folder if there is one, else from BEIR's server."""
    split = "dev" if name == "msmarco" else "test"
    if data is not None:
        return evaluation.load_custom_dataset(data / name, split)
    return evaluation.load_beir(name, split, show_progress_bar=True)


def measure(model: models.ColBERT, name: str, data: Path | None, *, exact: bool) -> float:
    """Return the nDCG@10 of one collection in points."""
    with tempfile.TemporaryDirectory(prefix="table1-") as folder:
        index = indexes.Exact(folder, "index", dtype="float16") if exact else indexes.PLAID(folder, "index", nbits=4)
        with index:
            result = evaluation.benchmark(
                model,
                index,
                load_collection(name, data),
                name=name,
                metrics=[METRIC, "recall@20"],
                k=20,
                remove_self_matches=True,
                latency_queries=50,
                output=None,
            )
    return 100 * result.settings[0].metrics[METRIC].mean


def measure_all(model_name: str, names: Sequence[str], data: Path | None, *, exact: bool) -> dict[str, float]:
    """Return the figure of each collection; that of cqadupstack is the mean of its forums'."""
    figures = {}
    for name in names:
        model = load_model(model_name, name)
        parts = evaluation.CQADUPSTACK_FORUMS if name == "cqadupstack" else (name,)
        figures[name] = statistics.mean(measure(model, part, data, exact=exact) for part in parts)
    return figures


def paper_figures(model_name: str, figures: dict[str, float]) -> dict[str, float]:
    """Return the paper's figure for each collection that has one, and its average if all are there."""
    if model_name not in COLUMN:
        return {}
    known = {name: float(COLLECTIONS[name][COLUMN[model_name]]) for name in figures if name in COLLECTIONS}
    return {**known, "average": AVERAGES[model_name]} if len(known) == len(COLLECTIONS) else known


def compare(figures: dict[str, float], paper: dict[str, float]) -> tuple[str, list[str]]:
    """Return the table, and the names of the figures outside the tolerance."""
    lines = ["| collection | nDCG@10 | paper | difference | |", "|---|---:|---:|---:|---|"]
    outside = []
    if "average" in paper:
        figures = {**figures, "average": statistics.mean(figures[name] for name in COLLECTIONS)}
    for name, figure in figures.items():
        title = COLLECTIONS[name][0] if name in COLLECTIONS else name
        if name not in paper:
            lines.append(f"| {title} | {figure:.2f} | | | |")
            continue
        difference = figure - paper[name]
        within = abs(difference) <= (TOLERANCE_OF_AVERAGE if name == "average" else TOLERANCE)
        verdict = "agrees" if within else "outside the tolerance"
        lines.append(f"| {title} | {figure:.2f} | {paper[name]:.2f} | {difference:+.2f} | {verdict} |")
        if not within:
            outside.append(name)
    return "\n".join(lines), outside


def chosen_collections(asked: Sequence[str] | None, data: Path | None) -> list[str]:
    """Return what to run: what is asked for, else what the data folder holds, else all.

    Raises:
        InvalidInput: a collection is neither in the folder nor BEIR's, or the folder holds none of the fifteen.
    """
    if data is None:
        names = list(asked or COLLECTIONS)
        unknown = [name for name in names if name not in (*COLLECTIONS, *evaluation.CQADUPSTACK_FORUMS)]
        if unknown:
            raise InvalidInput(f"{unknown[0]!r} is none of: {', '.join(COLLECTIONS)}. Give its folder with --data")
        return names
    names = list(asked or (name for name in COLLECTIONS if (data / name).is_dir()))
    if not names:
        raise InvalidInput(f"{data} holds none of: {', '.join(COLLECTIONS)}. Name other folders with --collections")
    missing = [name for name in names if not (data / name).is_dir()]
    if missing:
        raise InvalidInput(f"{data} has no folder {missing[0]!r}")
    return names


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, write; return the exit status."""
    names = chosen_collections(arguments.collections, arguments.data)
    figures = measure_all(arguments.model, names, arguments.data, exact=arguments.index == "exact")
    paper = paper_figures(arguments.model, figures)
    table, outside = compare(figures, paper)
    print(f"\n{arguments.model}, {arguments.index} index\n\n{table}")
    if not paper:
        print("\nThe paper has no figures for this model or these collections.")
    if arguments.output is not None:
        facts: dict[str, Any] = {"model": arguments.model, "index": arguments.index}
        facts["machine"] = evaluation.machine_facts()
        arguments.output.write_text(json.dumps({**facts, "figures": figures, "paper": paper}, indent=2) + "\n")
    return 1 if outside else 0


def main(words: Sequence[str] | None = None) -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gte-modern", help="colbert-small, gte-modern, bundled, a name or a folder")
    parser.add_argument("--collections", nargs="+", help="BEIR's names, or folders of --data")
    parser.add_argument("--data", type=Path, help="folder of collections in BEIR's layout, instead of a download")
    parser.add_argument("--index", choices=["plaid", "exact"], default="plaid")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    try:
        return run(parser.parse_args(words))
    except SerotineError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    raise SystemExit(main())
