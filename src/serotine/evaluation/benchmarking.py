"""How good, how fast and how large is a model with an index on a collection?  `benchmark`, one table and one file."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from serotine import __version__
from serotine.errors import InvalidInput
from serotine.evaluation.agreement import recall_against_exact
from serotine.evaluation.benchmark_result import Benchmark, Setting
from serotine.evaluation.bright import BrightDataset
from serotine.evaluation.datasets import Dataset
from serotine.evaluation.machine import machine_facts
from serotine.evaluation.metrics import evaluate_run
from serotine.evaluation.run import Run
from serotine.evaluation.significance import bootstrap
from serotine.indexes import Exact, Index
from serotine.indexes.checks import positive_int
from serotine.retrieve import ColBERT as Retriever
from serotine.types import RerankResult, TokenMatrix

__all__ = ["DEFAULT_BENCHMARK_METRICS", "benchmark"]

DEFAULT_BENCHMARK_METRICS = ("ndcg@10", "mrr@10", "recall@100")
_AGREEMENT_DEPTHS = (1, 10, 100)
_WARM_UP_QUERIES = 3


def benchmark(
    model: Any,
    index: Index,
    dataset: Dataset | BrightDataset,
    *,
    name: str = "benchmark",
    metrics: str | Sequence[str] = DEFAULT_BENCHMARK_METRICS,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    k: int = 100,
    exact: Index | None = None,
    remove_self_matches: bool = False,
    latency_queries: int = 200,
    precision: str | None = "float16",
    batch_size: int = 32,
    seed: int = 0,
    output: str | os.PathLike[str] | None = "benchmark.json",
    show_progress_bar: bool | None = None,
) -> Benchmark:
    """Encode a collection, index it, search it in each way that is asked for; print a table and write a JSON file.

    model: a `ColBERT`. index: an empty one, which is filled, or one that holds exactly the dataset's documents.
    dataset: as the loaders of this package return it; what a `BrightDataset` excludes is left out of the rankings.
    name: heads the table.

    settings: ways to search, ``{name: arguments of a search}``, such as ``{"recall .9": {"recall": 0.9}, "all":
    {"recall": 1}}`` for a `PLAID`. None: one, with the index's own defaults.
    k: documents retrieved a query; one more where self matches are removed, and as many as a query excludes.
    exact: an index whose ranking is taken for the right one, such as ``Exact()``; filled like the other (all vectors
    are in memory together then). Gives each setting its recall against exact search at 1, 10 and 100, as far as k goes.
    latency_queries: up to so many queries (>= 1), drawn by the seed, are searched one at a time, after some to warm up.
    precision: of the documents' vectors, see `ColBERT.encode`. output: the JSON file, None for none.

    Quality is over all judged queries with 95 % bootstrap intervals. Times are wall times of this process with the
    threads that torch and the index choose. Returns what was written, and the rankings.

    Raises:
        InvalidInput: no setting, k or latency_queries below 1, the index holds other documents, or what `evaluate` and
            the search refuse.
        StorageError: the file cannot be written. MissingExtra: ranx is not installed.

    Example:
        >>> dataset = load_beir("scifact")  # doctest: +SKIP
        >>> result = benchmark(models.bundled(), indexes.PLAID(None), dataset, exact=Exact())  # doctest: +SKIP
    """
    ways = {"default": {}} if settings is None else dict(settings)
    if not ways:
        raise InvalidInput("settings is empty; name at least one, or pass None for the index's own defaults")
    k = positive_int(k, name="k")
    latency_queries = positive_int(latency_queries, name="latency_queries")
    depths = [depth for depth in _AGREEMENT_DEPTHS if depth <= k]
    excluded = dataset.excluded if isinstance(dataset, BrightDataset) else {}
    times = _filled(model, index, dataset, exact, precision, batch_size, show_progress_bar)
    texts = list(dataset.queries.values())
    queries = model.encode(texts, is_query=True, packed=True, batch_size=batch_size)
    depth = k + bool(remove_self_matches) + max((len(left_out) for left_out in excluded.values()), default=0)
    timed = np.random.default_rng(seed).permutation(len(texts))[:latency_queries].tolist()
    times["encode_query_ms"] = _encoding_latency(model, [texts[number] for number in timed])

    def run_of(searched: Index, title: str, options: Mapping[str, Any]) -> tuple[Run, float]:
        start = time.perf_counter()
        results = _search(searched, queries, depth, options)
        seconds = time.perf_counter() - start
        run = Run.from_results(results, dataset.queries, name=title).without(excluded)
        return (run.without_self_matches() if remove_self_matches else run), seconds

    right = None if exact is None else run_of(exact, "exact", {})[0]
    rows, runs = [], {}
    for title, options in ways.items():
        run, seconds = run_of(index, title, options)
        runs[title] = run
        rows.append(
            Setting(
                name=title,
                options=dict(options),
                metrics={
                    metric: bootstrap(values, seed=seed)
                    for metric, values in evaluate_run(run, dataset.qrels, metrics).values.items()
                },
                latency_ms=_search_latency(index, queries, timed, depth, options),
                queries_per_s=len(texts) / seconds,
                recall_against_exact=None if right is None else recall_against_exact(run, right, depths),
            )
        )
    result = Benchmark(
        name=name,
        index=repr(index),
        index_bytes=_num_bytes(index),
        num_documents=len(dataset.documents),
        num_queries=len(texts),
        k=k,
        times=times,
        settings=tuple(rows),
        machine={**machine_facts(), "serotine": __version__},
        runs=runs,
    )
    print(result)  # noqa: T201 - printing its table is what this function is for
    if output is not None:
        result.write(output)
    return result


def _filled(
    model: Any,
    index: Index,
    dataset: Dataset | BrightDataset,
    exact: Index | None,
    precision: str | None,
    batch_size: int,
    show_progress_bar: bool | None,
) -> dict[str, Any]:
    """Fill what is empty; return the number of tokens and the seconds of encoding, None if nothing was.

    index_s: the seconds that ``index`` took, None if it came filled; those of ``exact`` are not told.
    """
    ids = [document["id"] for document in dataset.documents]
    empty = [each for each in (index, exact) if each is not None and not len(each)]
    for each in (index, exact):
        if each is not None and len(each) and {str(known) for known in each.documents_ids()} != set(ids):
            raise InvalidInput(
                f"{each!r} holds other documents than the {len(ids)} of the dataset: give an empty index, or theirs"
            )
    times: dict[str, Any] = {"num_tokens": None, "encode_documents_s": None, "index_s": None}
    if not empty:
        return times
    stream = _Timed(
        model.encode_stream(
            (document["text"] for document in dataset.documents),
            precision=precision,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
        )
    )
    if len(empty) > 1:
        vectors: Any = TokenMatrix.concatenate(list(stream))
        empty[1].add_documents(ids, vectors)
    else:
        vectors = (document for chunk in stream for document in chunk)
    start, encoded_s = time.perf_counter(), stream.seconds
    empty[0].add_documents(ids, vectors)
    index_s = time.perf_counter() - start - (stream.seconds - encoded_s)
    times.update(num_tokens=stream.num_tokens, encode_documents_s=stream.seconds)
    if empty[0] is index:
        times["index_s"] = index_s
    return times


class _Timed:
    """An iterator of token matrices that counts the seconds spent in it and the tokens that came out."""

    def __init__(self, chunks: Iterator[TokenMatrix]) -> None:
        self.chunks = chunks
        self.seconds = 0.0
        self.num_tokens = 0

    def __iter__(self) -> Iterator[TokenMatrix]:
        return self

    def __next__(self) -> TokenMatrix:
        start = time.perf_counter()
        try:
            chunk = next(self.chunks)
        finally:
            self.seconds += time.perf_counter() - start
        self.num_tokens += chunk.num_tokens
        return chunk


def _search(index: Index, queries: Any, k: int, options: Mapping[str, Any]) -> list[list[RerankResult]]:
    if index.is_end_to_end_index:
        return index(queries, k=k, **options)
    return Retriever(index).retrieve(queries, k=k, **options)


def _search_latency(
    index: Index, queries: TokenMatrix, timed: Sequence[int], k: int, options: Mapping[str, Any]
) -> dict[str, float]:
    for number in timed[:_WARM_UP_QUERIES]:
        _search(index, queries[number : number + 1], k, options)
    return _percentiles(lambda number: _search(index, queries[number : number + 1], k, options), timed)


def _encoding_latency(model: Any, texts: Sequence[str]) -> dict[str, float]:
    for text in texts[:_WARM_UP_QUERIES]:
        model.encode(text, is_query=True)
    return _percentiles(lambda text: model.encode(text, is_query=True), texts)


def _percentiles(call: Any, arguments: Sequence[Any]) -> dict[str, float]:
    milliseconds = []
    for argument in arguments:
        start = time.perf_counter()
        call(argument)
        milliseconds.append((time.perf_counter() - start) * 1000)
    return {"p50": float(np.percentile(milliseconds, 50)), "p95": float(np.percentile(milliseconds, 95))}


def _num_bytes(index: Index) -> int | None:
    """Bytes of all that an index stores, where it tells; of the vectors alone for `Exact`."""
    if isinstance(index, Exact):
        vectors = index.get_documents_embeddings(index.documents_ids())
        return sum(int(document.nbytes) for document in vectors)
    stats = getattr(index, "stats", None)
    return None if stats is None else int(stats().num_bytes)
