"""What does a benchmark say?  Its figures, their table for people and their JSON file for programs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from serotine.errors import InvalidInput
from serotine.evaluation._files import write_lines
from serotine.evaluation.run import Run
from serotine.evaluation.significance import Interval

__all__ = ["Benchmark", "Setting"]

_FORMAT = 1


@dataclass(frozen=True)
class Setting:
    """What one way to search gives.

    options: arguments of the search. metrics: mean over the queries with its interval. latency_ms: p50 and p95 of
    searches one at a time, without encoding. queries_per_s: all queries in one call. recall_against_exact: by depth
    up to k, None if there was nothing to compare with.
    """

    name: str
    options: Mapping[str, Any]
    metrics: Mapping[str, Interval]
    latency_ms: Mapping[str, float]
    queries_per_s: float
    recall_against_exact: Mapping[int, float] | None


@dataclass(frozen=True)
class Benchmark:
    """The figures of `serotine.evaluation.benchmark`; ``print`` shows the table.

    index: its repr. index_bytes: what it stores, None if it does not tell. times: ``num_tokens`` and
    ``encode_documents_s`` (None if no index had to be filled), ``index_s`` (None if this one came filled),
    ``encode_query_ms``. machine: see `machine_facts`. runs: the rankings by setting; not part of the file.
    """

    name: str
    index: str
    index_bytes: int | None
    num_documents: int
    num_queries: int
    k: int
    times: Mapping[str, Any]
    settings: tuple[Setting, ...]
    machine: Mapping[str, Any]
    runs: Mapping[str, Run] = field(default_factory=dict, compare=False, repr=False)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write all but the rankings as JSON, all or nothing.

        Raises:
            StorageError: the file cannot be written. InvalidInput: an option is nothing that JSON knows.
        """
        figures = {key: value for key, value in vars(self).items() if key not in ("runs", "settings")}
        content = {"format": _FORMAT, **figures, "settings": [asdict(setting) for setting in self.settings]}
        try:
            text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"the benchmark {self.name!r} cannot be written as JSON: {error}") from error
        write_lines(path, text.splitlines())

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Benchmark:
        """Read a file that `write` wrote.

        Raises:
            InvalidInput: there is no such file, or it is something else.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            version = content.pop("format")
            settings = tuple(_setting(values) for values in content.pop("settings"))
            result = cls(settings=settings, **content)
        except OSError as error:
            raise InvalidInput(f"no benchmark at {os.fspath(path)}: {error}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(f"{os.fspath(path)} is no file of a benchmark: {error!r}") from error
        if version != _FORMAT:
            raise InvalidInput(f"{os.fspath(path)} has the format {version!r}, this version reads {_FORMAT}")
        return result

    def __str__(self) -> str:
        head = f"{self.name}: {self.num_documents:,} documents, {self.num_queries:,} queries, {self.index}"
        return "\n".join([head, *(f"  {line}" for line in (*self._facts(), *self._table()))])

    def _facts(self) -> list[str]:
        facts = []
        tokens = self.times.get("num_tokens")
        if tokens:
            index_s = self.times["index_s"]
            indexed = "" if index_s is None else f", indexed in {index_s:.1f} s"
            facts.append(f"{tokens:,} tokens, encoded in {self.times['encode_documents_s']:.1f} s{indexed}")
        if self.index_bytes is not None:
            each = f", {self.index_bytes / tokens:.0f} a token" if tokens else ""
            facts.append(f"{self.index_bytes:,} bytes{each}")
        facts.append(f"encoding a query: {self.times['encode_query_ms']['p50']:.1f} ms")
        return facts

    def _table(self) -> list[str]:
        first = self.settings[0]
        depths = list(first.recall_against_exact or ())
        header = ["setting", *first.metrics, *(f"exact@{depth}" for depth in depths), "p50 ms", "p95 ms", "queries/s"]
        rows = [header, *(_cells(setting, depths) for setting in self.settings)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
        return [
            "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(pairs))
            for pairs in (list(zip(row, widths, strict=True)) for row in rows)
        ]


def _cells(setting: Setting, depths: list[int]) -> list[str]:
    found = setting.recall_against_exact or {}
    return [
        setting.name,
        *(f"{interval.mean:.4f} [{interval.low:.3f}, {interval.high:.3f}]" for interval in setting.metrics.values()),
        *(f"{found[depth]:.4f}" for depth in depths),
        f"{setting.latency_ms['p50']:.2f}",
        f"{setting.latency_ms['p95']:.2f}",
        f"{setting.queries_per_s:.0f}",
    ]


def _setting(values: dict[str, Any]) -> Setting:
    found = values.pop("recall_against_exact")
    return Setting(
        metrics={metric: Interval(**interval) for metric, interval in values.pop("metrics").items()},
        # JSON has no integer keys.
        recall_against_exact=None if found is None else {int(depth): share for depth, share in found.items()},
        **values,
    )
