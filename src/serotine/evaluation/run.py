"""What did one system return for each query?  `Run`: a named set of rankings, and its TREC files."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serotine._lazy import require
from serotine.errors import InvalidInput
from serotine.evaluation._files import numbered_lines, write_lines
from serotine.evaluation._ids import id_text, require_one_word
from serotine.types import RerankResult

if TYPE_CHECKING:
    from serotine.evaluation.comparison import ComparisonTable
    from serotine.evaluation.qrels import Qrels

__all__ = ["Results", "Run"]

Results = Sequence[Sequence[Mapping[str, Any]]]
"""What retrieval returns: for each query a list of ``{"id": ..., "score": ...}``."""


@dataclass(frozen=True)
class Run:
    """The rankings of one system under one name.

    name: what tables and TREC files call it. rankings: ``{query id: {document id: score}}``, ids as text, documents
    in rank order. Make one with `from_results` or `read`, which check and order; the constructor takes them as given.

    The order: higher score first; documents with the same score stay in the order in which they were given. Metrics
    of this package follow that order alone. trec_eval and ir-measures order equal scores by document id instead: give
    them `by_rank`, whose scores are all different, and they see the same order.

    Example:
        >>> run = Run.from_results([[{"id": "a", "score": 1.0}, {"id": "b", "score": 3.0}]], ["q1"], name="mine")
        >>> run.rankings
        {'q1': {'b': 3.0, 'a': 1.0}}
        >>> run.by_rank().rankings
        {'q1': {'b': 2.0, 'a': 1.0}}
    """

    name: str
    rankings: dict[str, dict[str, float]]

    @classmethod
    def from_results(cls, scores: Results, queries: Iterable[Any], *, name: str = "serotine") -> Run:
        """Name the results of a retriever or reranker.

        scores: one list of ``{"id", "score"}`` per query, in the order of ``queries``. queries: query ids, or a
        mapping whose keys they are. Ids become text: the int 1 and the string "1" are one document here. An id that
        occurs several times in ``queries`` is one query: its results must then be the same each time, or given once
        (one list per distinct id, in order of first occurrence).

        Raises:
            InvalidInput: the counts differ, a document is listed twice for a query, a score is NaN or no number.
        """
        query_ids = _query_ids(queries)
        distinct = list(dict.fromkeys(query_ids))
        if len(scores) not in (len(query_ids), len(distinct)):
            raise InvalidInput(
                f"scores has {len(scores)} rankings for {len(query_ids)} queries ({len(distinct)} distinct); "
                "expected one ranking per query, in the same order"
            )
        rankings: dict[str, dict[str, float]] = {}
        for query, results in zip(query_ids if len(scores) == len(query_ids) else distinct, scores, strict=True):
            ranking = _ranking(query, results)
            if rankings.setdefault(query, ranking) != ranking:
                raise InvalidInput(f"query {query!r} occurs twice in queries with different results; keep one")
        return cls(name, rankings)

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, name: str | None = None) -> Run:
        """Read a TREC run file (``query-id Q0 document-id rank score tag``), decompressed if it ends in ``.gz``.

        Order: by score, equal scores by the rank column, equal ranks by line. name: the tag of the first line if None
        (the file's stem if there is no line).

        Raises:
            InvalidInput: no such file, or a line is not of this form, or lists a document a second time for its query;
                the message names the file and the line.
        """
        file = Path(path)
        if not file.is_file():
            raise InvalidInput(f"no run file at {file}")
        ranked: dict[str, dict[str, tuple[float, int]]] = {}
        tag = None
        for number, line in numbered_lines(file):
            query, document, rank, score, line_tag = _parse_line(file, number, line)
            tag = line_tag if tag is None else tag
            if document in ranked.setdefault(query, {}):
                raise InvalidInput(f"{file}, line {number}: document {document!r} is listed twice for query {query!r}")
            ranked[query][document] = (-score, rank)
        rankings = {
            query: {document: -key[0] for document, key in sorted(documents.items(), key=lambda item: item[1])}
            for query, documents in ranked.items()
        }
        return cls(name or tag or file.stem, rankings)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write a TREC run file, all or nothing: temporary file, fsync, rename. Compressed if it ends in ``.gz``.

        Scores have 9 significant digits, enough to give every float32 back exactly; float64 scores that agree in
        them are told apart by the rank column, which `read` follows. A query without documents has no line.

        Raises:
            InvalidInput: an id or the name contains whitespace; no file is written then.
            StorageError: the file cannot be written.
        """
        write_lines(path, self._trec_lines())

    def _trec_lines(self) -> Iterator[str]:
        tag = require_one_word(self.name, what="name of the run")
        for query, ranking in self.rankings.items():
            require_one_word(query, what="query id")
            for rank, (document, score) in enumerate(ranking.items(), start=1):
                yield f"{query} Q0 {require_one_word(document, what='document id')} {rank} {score:.9g} {tag}"

    def by_rank(self) -> Run:
        """Return the same rankings with the scores n, n-1, ..., 1, so that tools that reorder ties see this order."""
        return Run(
            self.name,
            {
                query: {document: float(len(ranking) - position) for position, document in enumerate(ranking)}
                for query, ranking in self.rankings.items()
            },
        )

    def without_self_matches(self) -> Run:
        """Return the run without documents whose id is the id of their query (see `SELF_MATCH_DATASETS`)."""
        return Run(
            self.name,
            {
                query: {document: score for document, score in ranking.items() if document != query}
                for query, ranking in self.rankings.items()
            },
        )

    def without(self, excluded: Mapping[Any, Collection[Any]]) -> Run:
        """Return the run without the documents that each query excludes, ``{query id: document ids}``.

        A collection may rule documents out for a query, such as the page that it was asked about: see `BrightDataset`.
        Ids become text, as in `from_results`; those of queries and documents that the run lacks change nothing.

        Raises:
            InvalidInput: an id is neither text nor a whole number, or a query's documents are one text.
        """
        out_of: dict[str, set[str]] = {}
        for query, documents in excluded.items():
            name = id_text(query, what="query id in excluded")
            if isinstance(documents, (str, bytes)):
                raise InvalidInput(f"query {name!r}: excluded must be a list of document ids, got {documents!r}")
            what = f"document id that query {name!r} excludes"
            out_of.setdefault(name, set()).update(id_text(document, what=what) for document in documents)
        return Run(
            self.name,
            {
                query: {document: score for document, score in ranking.items() if document not in out_of.get(query, ())}
                for query, ranking in self.rankings.items()
            },
        )

    def compare(
        self, others: Run | Sequence[Run], qrels: Qrels, metrics: Any = None, **options: Any
    ) -> ComparisonTable:
        """Set other runs against this one: their means, differences, intervals and p-values, as a table to print.

        options: those of `serotine.evaluation.compare`, with this run as the baseline.

        Example:
            >>> table = colbert.compare([bm25, dense], qrels, ["ndcg@10", "recall@100"])  # doctest: +SKIP
        """
        from serotine.evaluation.comparison import compare

        runs = [others] if isinstance(others, Run) else list(others)
        return compare([self, *runs], qrels, metrics, **options)

    def to_results(self) -> list[list[RerankResult]]:
        """Return one list of ``{"id", "score"}`` per query, in order: the inverse of `from_results`, ids as text."""
        return [
            [{"id": document, "score": score} for document, score in ranking.items()]
            for ranking in self.rankings.values()
        ]

    def to_ranx(self) -> Any:
        """Return a ``ranx.Run`` (extra ``eval``). ranx orders equal scores in its own way; `by_rank` prevents that.

        The first call compiles ranx's containers, and again for each new longest id length: many seconds. `evaluate`
        does not need this. Queries without documents are left out, since ranx cannot hold them; its
        ``make_comparable`` puts them back.

        Raises:
            MissingExtra: ranx is not installed.
        """
        ranx = require("ranx", extra="eval", purpose="Run.to_ranx")
        rankings = {query: ranking for query, ranking in self.rankings.items() if ranking}
        return ranx.Run(rankings or None, name=self.name)

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.rankings)


def _query_ids(queries: Iterable[Any]) -> list[str]:
    if isinstance(queries, (str, bytes)) or not isinstance(queries, Iterable):
        raise InvalidInput(f"queries must be a list of query ids, got {queries!r}")
    return [id_text(query, what=f"query id {position}") for position, query in enumerate(queries)]


def _ranking(query: str, results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return ``{document id: score}``, highest score first, ties in the given order."""
    ranking: dict[str, float] = {}
    for result in results:
        if not isinstance(result, Mapping) or "id" not in result or "score" not in result:
            raise InvalidInput(f"query {query!r}: a result must be {{'id': ..., 'score': ...}}, got {result!r}")
        document = id_text(result["id"], what=f"document id in the results of query {query!r}")
        if document in ranking:
            raise InvalidInput(
                f"query {query!r}: document {document!r} is listed twice; a ranking lists a document once "
                "(merge the chunks of a document before evaluation)"
            )
        ranking[document] = _score(query, document, result["score"])
    # sorted() is stable: the given order decides among equal scores.
    return dict(sorted(ranking.items(), key=lambda item: -item[1]))


def _score(query: str, document: str, value: Any) -> float:
    try:
        score = float(value)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"query {query!r}: score of document {document!r} is no number: {value!r}") from error
    if math.isnan(score):
        raise InvalidInput(f"query {query!r}: score of document {document!r} is NaN, which has no place in an order")
    return score


def _parse_line(file: Path, number: int, line: str) -> tuple[str, str, int, float, str]:
    """Return ``(query id, document id, rank, score, tag)`` of one line of a TREC run file."""
    columns = line.split()
    if len(columns) != 6:
        raise InvalidInput(
            f"{file}, line {number}: expected 6 columns (query-id Q0 document-id rank score tag), found {line!r}"
        )
    query, _, document, rank, score, tag = columns
    try:
        return query, document, int(rank), _score(query, document, score), tag
    except ValueError as error:
        raise InvalidInput(f"{file}, line {number}: {error}") from error
