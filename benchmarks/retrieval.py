"""How well does the bundled model retrieve?  Exact search over whole collections, beside BM25 and the base model.

    python benchmarks/retrieval.py --data DATA --collections scifact cranfield
    python benchmarks/retrieval.py --data DATA --collections openstax --systems bundled windows
    python benchmarks/retrieval.py --data DATA --collections npl --systems bundled base single --against base single

DATA holds one folder per collection in BEIR's layout (corpus.jsonl, queries.jsonl, qrels/test.tsv). Systems:

    bundled    the bundled model, 128 dimensions, documents of up to 512 tokens
    base       the same token vectors before the projection, 384 dimensions
    unmarked   the bundled model without full stops, question marks and their like in queries
    windows    the bundled model, documents of any length in windows that overlap by 64 tokens
    single     all-MiniLM-L6-v2 as it is meant: one vector per text, 256 tokens
    bm25       BM25 (Lucene's variant, k1 = .9, b = .4, English stemmer)

Each figure has n and the paired 95 % bootstrap interval of its difference to each system of --against. --runs keeps the
rankings in a folder, one TREC file per collection and system, and takes those that are there instead of making them.
Which collections had a part in training the model is said in its card.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness import write_result
from serotine import evaluation, indexes, models, retrieve
from serotine.evaluation import ComparisonTable, Run, compare
from serotine.evaluation.datasets import Dataset

METRICS = ["ndcg@10", "mrr", "recall@100"]
DEPTH = 100
MARKS = list(".,;:!?\"'`\u2018\u2019\u201c\u201d\u2026")


def late_interaction(dataset: Dataset, *, window_overlap: int | None = None, **options: Any) -> tuple[Any, dict]:
    """Rank by MaxSim over vectors kept in float16. options: those of `bundled`."""
    model = models.bundled(**options)
    start = time.perf_counter()
    documents = model.encode(
        [document["text"] for document in dataset.documents],
        is_query=False,
        packed=True,
        precision="float16",
        show_progress_bar=True,
        window_overlap=window_overlap,
    )
    encoding_s = time.perf_counter() - start
    index = indexes.Exact(dtype="float16")
    index.add_documents([document["id"] for document in dataset.documents], documents)
    queries = model.encode(list(dataset.queries.values()), is_query=True, packed=True)
    start = time.perf_counter()
    results = retrieve.ColBERT(index).retrieve(queries, k=DEPTH)
    facts = {
        "encoding_s": encoding_s,
        "tokens": documents.num_tokens,
        "tokens_per_s": documents.num_tokens / encoding_s,
        "search_ms_per_query": 1000 * (time.perf_counter() - start) / len(queries),
    }
    return results, facts


def single_vector(dataset: Dataset) -> tuple[Any, dict]:
    """Rank by the cosine of one vector per text, as the base model was trained."""
    from sentence_transformers import SentenceTransformer

    # Private: which files the bundled model starts from is nobody's API, but the comparison must be with the same ones.
    from serotine.models.bundle import _base_folder

    model = SentenceTransformer(str(_base_folder()))
    documents = model.encode([document["text"] for document in dataset.documents], show_progress_bar=True)
    scores = model.encode(list(dataset.queries.values())) @ documents.T
    results = []
    for row in scores:
        best = np.argsort(-row, kind="stable")[:DEPTH]
        results.append([{"id": dataset.documents[i]["id"], "score": float(row[i])} for i in best])
    return results, {}


def bm25(dataset: Dataset) -> tuple[Any, dict]:
    """Rank by BM25."""
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    tokens = bm25s.tokenize(
        [d["text"] for d in dataset.documents], stopwords="en", stemmer=stemmer, show_progress=False
    )
    index = bm25s.BM25(method="lucene", k1=0.9, b=0.4)
    index.index(tokens, show_progress=False)
    queries = bm25s.tokenize(list(dataset.queries.values()), stopwords="en", stemmer=stemmer, show_progress=False)
    positions, scores = index.retrieve(queries, k=min(DEPTH, len(dataset.documents)), show_progress=False)
    return [
        [{"id": dataset.documents[p]["id"], "score": float(s)} for p, s in zip(row, values, strict=True) if s > 0]
        for row, values in zip(positions, scores, strict=True)
    ], {}


SYSTEMS = {
    "bm25": bm25,
    "single": single_vector,
    "bundled": late_interaction,
    "base": lambda dataset: late_interaction(dataset, projected=False),
    "unmarked": lambda dataset: late_interaction(dataset, query_skiplist_words=MARKS),
    "windows": lambda dataset: late_interaction(dataset, window_overlap=64),
}


def main() -> None:
    """Measure, print a table per collection, write results/retrieval-<collections>.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--collections", nargs="+", default=["scifact"])
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=["bundled"])
    parser.add_argument("--against", nargs="+", choices=SYSTEMS, default=["bm25"], help="baselines of differences")
    parser.add_argument("--split", default="test", help="of the judgements")
    parser.add_argument("--runs", type=Path, help="folder of rankings that are kept")
    parser.add_argument("--name", help="of the JSON file in results/")
    parser.add_argument("--max-queries", type=int, help="the first queries only (all by default)")
    arguments = parser.parse_args()
    collections: dict[str, Any] = {}
    systems = list(dict.fromkeys([*arguments.against, *arguments.systems]))
    for name in arguments.collections:
        dataset = evaluation.load_custom_dataset(arguments.data / name, split=arguments.split)
        if arguments.max_queries:
            kept = list(dataset.queries)[: arguments.max_queries]
            dataset = dataset._replace(
                queries={q: dataset.queries[q] for q in kept}, qrels={q: dataset.qrels[q] for q in kept}
            )
        runs, facts = [], {}
        for system in systems:
            run, facts[system] = ranked(system, dataset, arguments.runs and arguments.runs / f"{name}-{system}.run")
            runs.append(run)
        tables = [compare(runs, dataset.qrels, METRICS, baseline=baseline) for baseline in arguments.against]
        print(f"\n{name}: {len(dataset.documents)} documents, {len(dataset.queries)} queries", *tables, sep="\n")
        collections[name] = {
            "documents": len(dataset.documents),
            "queries": len(dataset.queries),
            "facts": facts,
            "figures": [figure for table in tables for figure in figures(table)],
        }
    means = {
        system: float(np.mean([mean_of(entry["figures"], system) for entry in collections.values()]))
        for system in systems
    }
    print("\nmean nDCG@10:", {system: round(mean, 4) for system, mean in means.items()})
    suffix = "-".join([*arguments.collections, *arguments.systems])
    result = {"threads": torch.get_num_threads(), "collections": collections, "mean_ndcg@10": means}
    write_result(arguments.name or f"retrieval-{suffix}", result)


def ranked(system: str, dataset: Dataset, file: Path | None) -> tuple[Run, dict]:
    """Rank with a system, or read what it ranked before."""
    if file is not None and file.exists():
        return Run.read(file, name=system), {}
    results, facts = SYSTEMS[system](dataset)
    run = Run.from_results(results, dataset.queries, name=system)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        run.write(file)
    return run, facts


def figures(table: ComparisonTable) -> list[dict[str, Any]]:
    """The rows of a table, as JSON has them."""
    return [
        {
            "system": row.run_name,
            "metric": row.metric,
            "n": row.num_queries,
            "mean": round(row.mean, 4),
            "against": table.baseline_name,
            "difference": row.difference
            and {"mean": row.difference.mean, "low": row.difference.low, "high": row.difference.high},
        }
        for row in table.rows
    ]


def mean_of(rows: list[dict[str, Any]], system: str) -> float:
    """nDCG@10 of a system."""
    return next(row["mean"] for row in rows if row["system"] == system and row["metric"] == "ndcg@10")


if __name__ == "__main__":
    main()
