"""What does one engine cost?  The process that builds one index, or opens it and answers queries when told to.

    python engines_worker.py build JOB    builds and exits
    python engines_worker.py serve JOB    opens, then a command (one line of JSON on stdin) an answer (on stdout)

JOB is an object of JSON (`engines_run.Run.job`). benchmarks/engines.py starts it, for the peers with another
interpreter. Building and searching are two processes, so that each has a peak of memory of its own.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embeddings import Texts, load_texts
from engines_adapters import ENGINES, Engine
from engines_growth import replica_ids, replica_rows


def memory() -> dict[str, int]:
    """Resident bytes: now, the largest so far, and which part is the process's own (the rest is mapped files).

    The peak is Linux's VmHWM: getrusage's ru_maxrss starts from the peak of the process that started this one.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return {"peak_rss_bytes": peak}
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    names = {"peak_rss_bytes": "VmHWM", "rss_bytes": "VmRSS", "own_bytes": "RssAnon", "mapped_bytes": "RssFile"}
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return {name: int(lines[key].split()[0]) * 1024 for name, key in names.items()} | {"children_rss_bytes": children}


def folder_bytes(folder: Path) -> int:
    """Bytes of all files."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and file.name != "build.json")


def engine_of(job: dict[str, Any]) -> Engine:
    """Return the adapter that a job asks for."""
    return ENGINES[job["engine"]](Path(job["index"]), threads=job["threads"], options=job["options"])


class Timed(Iterator[npt.NDArray[np.float16]]):
    """Rows, and the seconds that making them took: copies of documents are computed, real ones only mapped."""

    def __init__(self, rows: Iterator[npt.NDArray[np.float16]]) -> None:
        self._rows, self.seconds = rows, 0.0

    def __next__(self) -> npt.NDArray[np.float16]:
        start = time.perf_counter()
        try:
            return next(self._rows)
        finally:
            self.seconds += time.perf_counter() - start


def build(job: dict[str, Any]) -> dict[str, Any]:
    """Build the index of a job. The documents are mapped; reading them is part of the time, as of everybody's."""
    source = Path(job["collection"])
    documents = load_texts(source, "documents")
    copies = job.get("copies")
    ids = replica_ids(documents, copies) if copies else documents.ids
    rows = Timed(replica_rows(documents, copies) if copies else iter(documents.rows()))
    engine = engine_of(job)
    before = memory()
    start = time.perf_counter()
    engine.build(ids, rows, None if copies else source)
    seconds = time.perf_counter() - start
    num_tokens = documents.num_tokens * (copies or 1)
    return {
        "documents": len(ids),
        "tokens": num_tokens,
        "seconds": seconds,
        "of_which_source_s": rows.seconds,
        "threads": job["threads"],
        "tokens_per_s": num_tokens / seconds,
        "before": before,
        "after": memory(),
    }


class Server:
    """Answers commands over one opened index."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.engine = engine_of(job)
        before = memory()
        start = time.perf_counter()
        self.engine.open()
        open_s = time.perf_counter() - start
        self.opened = {"seconds": open_s, "before": before, "after": memory()}
        self.queries = _float32(load_texts(Path(job["queries"]), "queries").first(job["num_queries"]))

    def hello(self) -> dict[str, Any]:
        """What opening cost, and what the index is."""
        size = folder_bytes(self.engine.folder) + self.engine.extra_bytes()
        return {"opened": self.opened, "bytes": size, "facts": self.engine.facts()}

    def warm_up(self, *, k: int, setting: dict[str, Any], count: int) -> dict[str, Any]:
        """Ask the first queries one by one; nothing is kept."""
        for query in self.queries[:count]:
            self.engine.search(self.engine.prepare([query]), k, **setting)
        return {}

    def single(self, *, k: int, setting: dict[str, Any]) -> dict[str, Any]:
        """Ask every query in a call of its own."""
        seconds: list[float] = []
        found: list[list[int | str]] = []
        for query in self.queries:
            prepared = self.engine.prepare([query])
            start = time.perf_counter()
            answer = self.engine.search(prepared, k, **setting)
            seconds.append(time.perf_counter() - start)
            found += self.engine.hits(answer)
        return {"seconds": seconds, "found": found}

    def batch(self, *, k: int, setting: dict[str, Any]) -> dict[str, Any]:
        """Ask all queries in one call."""
        prepared = self.engine.prepare(self.queries)
        start = time.perf_counter()
        answer = self.engine.search(prepared, k, **setting)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "found": self.engine.hits(answer)}

    def memory(self) -> dict[str, Any]:
        """What the process occupies."""
        return dict(memory())


def _float32(queries: Texts) -> list[npt.NDArray[np.float32]]:
    return [row.astype(np.float32) for row in queries.rows()]


def serve(job: dict[str, Any], commands: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Yield the answer to each command: ``{"do": name of a method of Server, ...its arguments}``."""
    server = Server(job)
    yield server.hello()
    for line in commands:
        command = json.loads(line)
        yield getattr(server, command.pop("do"))(**command)


def main() -> None:
    """Run a job; engines that print to stdout print to stderr instead."""
    action, job = sys.argv[1], json.loads(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if hasattr(os, "sched_setaffinity"):  # so that no engine has more processors than the others, whatever it asks for
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-job["threads"] :])
    results = iter([build(job)]) if action == "build" else serve(job, sys.stdin)
    for result in results:
        answers.write(json.dumps(result) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
