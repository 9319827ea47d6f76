"""How are the engines' processes started, asked in turn, and their answers brought together?

Everything about one engine, built or opened, is a `Variant`. Builds run one after the other. All engines are then open
at the same time and asked round by round, each while the others wait, so that a drift of the machine's speed meets
all alike; a slow engine stops after the round in which its time ran out.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from embeddings import Collection
from engines_adapters import PEERS
from engines_growth import replica_ids
from engines_judge import Truth, ndcg, overlap

HERE = Path(__file__).resolve().parent
WORKER = HERE / "engines_worker.py"
INDEXES = HERE.parent / "build" / "engines"
PEERS_PYTHON = HERE.parent / "build" / "peers-env" / "bin" / "python"
SCAN = "recall=1.0"
THREAD_VARIABLES = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "RAYON")


@dataclass(frozen=True)
class Variant:
    """An index to build, and the settings to search it with, by the name that a figure gets."""

    name: str
    engine: str
    options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=lambda: {"default": {}})


class Run:
    """One collection and one number of threads; where jobs and indexes lie."""

    def __init__(self, collection: Collection, *, threads: int, copies: int = 1) -> None:
        self.collection, self.threads, self.copies = collection, threads, copies
        self._position: dict[str, int] = {}

    def folder(self, variant: Variant) -> Path:
        """Where the index of a variant lies."""
        times = f"-{self.copies}x" if self.copies > 1 else ""
        return INDEXES / f"{self.collection.name}{times}" / variant.name.replace(" ", "-").replace("=", "")

    def positions(self, found: list[list[Any]]) -> list[list[int]]:
        """Return what a worker found as positions of documents; ids are looked up."""
        if not self._position:
            names = replica_ids(self.collection.documents, self.copies)
            self._position = {name: number for number, name in enumerate(names)}
        return [[self._position[hit] if isinstance(hit, str) else hit for hit in result] for result in found]

    def job(self, variant: Variant) -> dict[str, Any]:
        """What the worker is told."""
        return {
            "engine": variant.engine,
            "index": str(self.folder(variant)),
            "collection": str(self.collection.folder),
            "queries": str(self.collection.queries_folder),
            "num_queries": len(self.collection.queries.ids),
            "options": variant.options,
            "threads": self.threads,
            "copies": self.copies if self.copies > 1 else None,
        }

    def start(self, action: str, job: dict[str, Any], **pipes: Any) -> subprocess.Popen[str]:
        """Start a worker with the interpreter of its engine and no more threads than all have."""
        environment = os.environ | {f"{name}_NUM_THREADS": str(self.threads) for name in THREAD_VARIABLES}
        python = PEERS_PYTHON if job["engine"] in PEERS else Path(sys.executable)
        if not python.exists():
            raise FileNotFoundError(f"no interpreter for {job['engine']} at {python}: run `make peers`")
        command = [str(python), str(WORKER), action, json.dumps(job)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, **pipes)


def build(run: Run, variant: Variant, *, reuse: bool) -> dict[str, Any]:
    """Build the index of a variant in a process of its own, or take what a former run left. Returns its figures."""
    folder = run.folder(variant)
    record = folder / "build.json"
    if reuse and record.exists():
        former: dict[str, Any] = json.loads(record.read_text())
        return {**former, "reused": True}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(f"building {variant.name}", flush=True)
    process = run.start("build", run.job(variant))
    answer, _ = process.communicate()
    if process.returncode or not answer:
        raise RuntimeError(f"{variant.name}: the build ended with status {process.returncode}; see above")
    figures: dict[str, Any] = json.loads(answer)
    record.write_text(json.dumps(figures, indent=2) + "\n")
    return figures


class Client:
    """An engine that was opened by a process of its own and waits for commands."""

    def __init__(self, run: Run, variant: Variant) -> None:
        self.run, self.variant = run, variant
        self.failed: str | None = None
        self._process = run.start("serve", run.job(variant), stdin=subprocess.PIPE)
        self.hello = self._answer()

    def ask(self, action: str, **arguments: Any) -> dict[str, Any]:
        """Call a method of the worker's `Server`."""
        assert self._process.stdin is not None  # noqa: S101  # a pipe was asked for
        with contextlib.suppress(BrokenPipeError):  # a process that ended gives no answer, which is reported
            self._process.stdin.write(json.dumps({"do": action, **arguments}) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.variant.name}: the process ended with status {self._process.wait()}; see above")
        answer: dict[str, Any] = json.loads(line)
        if "found" in answer:
            answer["found"] = self.run.positions(answer["found"])
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass
class Timings:
    """What the rounds of one setting brought. singles: seconds of each query, round by round."""

    singles: list[list[float]] = field(default_factory=list)
    batches: list[float] = field(default_factory=list)
    found: list[list[int]] = field(default_factory=list)
    deep: list[list[int]] = field(default_factory=list)

    def spent_s(self) -> float:
        """Seconds of all of it."""
        return sum(map(sum, self.singles)) + sum(self.batches)


def measure(
    clients: list[Client], *, k: int, rounds: int, budget_s: float, deep_k: int
) -> dict[str, dict[str, Timings]]:
    """Ask all engines in turn. Returns the timings by variant and setting; a client that fails says so itself."""
    plan = [(client, name, setting) for client in clients for name, setting in client.variant.settings.items()]
    timings = {client.variant.name: {name: Timings() for name in client.variant.settings} for client in clients}
    for number in range(rounds):
        for client, name, setting in plan:
            timing = timings[client.variant.name][name]
            if client.failed or (number and timing.spent_s() > budget_s):
                continue
            try:
                if number == 0:
                    client.ask("warm_up", k=k, setting=setting, count=20)
                    timing.deep = client.ask("batch", k=deep_k, setting=setting)["found"]
                _one_round(client, timing, k=k, setting=setting)
            except RuntimeError as error:
                client.failed = str(error)
        print(f"round {number + 1} of {rounds}", flush=True)
    return timings


def _one_round(client: Client, timing: Timings, *, k: int, setting: dict[str, Any]) -> None:
    client.ask("warm_up", k=k, setting=setting, count=5)  # the others had the caches since its last round
    answer = client.ask("single", k=k, setting=setting)
    timing.singles.append(answer["seconds"])
    timing.found = answer["found"]
    timing.batches.append(client.ask("batch", k=k, setting=setting)["seconds"])


def latency_figures(singles: list[list[float]]) -> dict[str, Any]:
    """Milliseconds: percentiles over the queries (each by its median round), and the spread of the rounds' medians.

    fastest: each query by its fastest round, which holds least of what else the machine was doing.
    """
    by_query = np.median(np.array(singles), axis=0) * 1000
    fastest = np.min(np.array(singles), axis=0) * 1000
    medians = [statistics.median(seconds) * 1000 for seconds in singles]
    everything = np.concatenate(singles) * 1000
    return {
        "p50_ms": float(np.median(by_query)),
        "mean_ms": float(by_query.mean()),
        "p99_ms": float(np.percentile(by_query, 99)),
        "p99_of_all_calls_ms": float(np.percentile(everything, 99)),
        "fastest_p50_ms": float(np.median(fastest)),
        "fastest_p99_ms": float(np.percentile(fastest, 99)),
        "round_medians_ms": [min(medians), max(medians)],
        "rounds": len(singles),
    }


def speed(timing: Timings) -> dict[str, Any]:
    """Latency of single queries, and of a batch of all of them."""
    batch = statistics.median(timing.batches) * 1000 / len(timing.found)
    return {**latency_figures(timing.singles), "batch_ms_per_query": batch}


def shares_of_scan(timings: dict[str, Timings]) -> dict[str, float]:
    """For each setting: share of the ten best that the setting which scans everything found; nothing without one."""
    scan = timings.get(SCAN)
    if scan is None:
        return {}
    return {
        name: float(np.mean([len(set(a) & set(b)) / max(len(b), 1) for a, b in zip(t.found, scan.found, strict=True)]))
        for name, t in timings.items()
    }


def quality(timing: Timings, truth: Truth, collection: Collection | None) -> dict[str, Any]:
    """Overlap and recall of the queries that the truth has, nDCG if the collection of the qrels is given."""
    count = len(truth.positions)
    return {
        "overlap_at_10": overlap(timing.found[:count], truth),
        "recall_of_top_10_in_100": overlap(timing.deep[:count], truth),
        "ndcg_at_10": ndcg(timing.found, collection) if collection else None,
    }
