"""How does the demo search?  Encode the docstrings once, answer the questions with both systems, measure both.

The library's parts in their usual order: model, index, retriever, evaluation; BM25 beside them. Vectors are
kept in an index on disk under a name made from everything that they depend on, so a second run starts at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serotine._lazy import require
from serotine.demo.corpus import Docstring
from serotine.demo.questions import QuestionSet
from serotine.evaluation import Run
from serotine.evaluation.comparison import ComparisonTable, compare
from serotine.indexes import Exact
from serotine.models import ColBERT, bundled
from serotine.retrieve import ColBERT as Retriever
from serotine.types import RerankResult

__all__ = ["METRICS", "Bm25Search", "LateInteractionSearch", "Measurement", "measure"]

METRICS = ("ndcg@10", "mrr", "recall@100")
_DEPTH = 100
_NAME = "docstrings"

Progress = Callable[[str], None]


class LateInteractionSearch:
    """The bundled model and exact MaxSim over its vectors, kept in a folder.

    Args:
        documents: what is searched.
        folder: where the vectors are kept; those of other corpora or models in it are removed.
        progress: is told what is going on, a line at a time.

    encoded_per_second is documents per second of the encoding, measured when it was done; was_cached says whether
    that was an earlier run.
    """

    name = "Serotine"

    def __init__(self, documents: Sequence[Docstring], folder: Path, *, progress: Progress) -> None:
        self.model: ColBERT = bundled()
        self._documents = {document.id: document for document in documents}
        index_name = _fingerprint(documents, self.model)
        facts = folder / index_name / "encoding.json"
        known_speed = _read_speed(facts)
        self.was_cached = known_speed is not None
        if known_speed is None:
            for stale in folder.glob(f"{_NAME}-*"):
                shutil.rmtree(stale)
            known_speed = len(documents) / self._encode(documents, folder, index_name, progress)
            _write_speed(facts, known_speed)
        self.encoded_per_second: float = known_speed
        self.index = Exact(str(folder), index_name)
        self._retriever = Retriever(index=self.index)

    def _encode(self, documents: Sequence[Docstring], folder: Path, index_name: str, progress: Progress) -> float:
        progress(f"Encoding {len(documents):,} docstrings with the bundled model (once; a few minutes on a laptop)")
        start = time.perf_counter()

        def vectors() -> Iterator[Any]:
            chunks = self.model.encode_stream(
                (document.text for document in documents), precision="float16", show_progress_bar=True
            )
            for chunk in chunks:
                yield from chunk

        # One commit: a run that is interrupted leaves no index, and the facts beside it are written last.
        Exact(str(folder), index_name, override=True, dtype="float16").add_documents(
            [document.id for document in documents], vectors()
        )
        return time.perf_counter() - start

    def search(self, question: str, k: int) -> list[RerankResult]:
        """Answer one question: encode it and score every document."""
        embedding = self.model.encode([question], is_query=True)
        return self._retriever.retrieve(embedding, k=k)[0]

    def document(self, document_id: str) -> Docstring:
        """Return a document by its id."""
        return self._documents[document_id]


class Bm25Search:
    """BM25 in Lucene's variant with an English stemmer (k1 = 1.2, b = .75), by bm25s."""

    name = "BM25"

    def __init__(self, documents: Sequence[Docstring]) -> None:
        bm25s = require("bm25s", extra="demo", purpose="BM25 beside the model")
        self._stemmer = require("Stemmer", extra="demo", purpose="BM25's stemming").Stemmer("english")
        self._tokenize = bm25s.tokenize
        self._ids = [document.id for document in documents]
        tokens = self._tokenize(
            [document.text for document in documents], stopwords="en", stemmer=self._stemmer, show_progress=False
        )
        self._index = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
        self._index.index(tokens, show_progress=False)

    def search(self, question: str, k: int) -> list[RerankResult]:
        """Answer one question. Documents that share no word with it are not among the answers."""
        tokens = self._tokenize([question], stopwords="en", stemmer=self._stemmer, show_progress=False)
        depth = min(k, len(self._ids))
        positions, scores = self._index.retrieve(tokens, k=depth, show_progress=False)
        return [
            {"id": self._ids[position], "score": float(score)}
            for position, score in zip(positions[0], scores[0], strict=True)
            if score > 0
        ]


@dataclass(frozen=True)
class Measurement:
    """What both systems did with all questions.

    results: system name -> question id -> answers, best first. milliseconds: system name -> median of one question,
    its encoding included. table: the metrics, the difference to BM25 and its interval.
    """

    results: dict[str, dict[str, list[RerankResult]]]
    milliseconds: dict[str, float]
    table: ComparisonTable


def measure(systems: Sequence[LateInteractionSearch | Bm25Search], questions: QuestionSet) -> Measurement:
    """Ask every system every question, one at a time, and evaluate; the first system is the baseline."""
    results: dict[str, dict[str, list[RerankResult]]] = {}
    milliseconds: dict[str, float] = {}
    for system in systems:
        system.search(next(iter(questions.queries.values())), _DEPTH)  # the first call loads and allocates
        answers, seconds = {}, []
        for question_id, question in questions.queries.items():
            start = time.perf_counter()
            answers[question_id] = system.search(question, _DEPTH)
            seconds.append(time.perf_counter() - start)
        results[system.name] = answers
        milliseconds[system.name] = 1000 * statistics.median(seconds)
    runs = [Run.from_results(list(answers.values()), list(answers), name=name) for name, answers in results.items()]
    return Measurement(results, milliseconds, compare(runs, questions.qrels, list(METRICS)))


def _read_speed(facts: Path) -> float | None:
    """Return the documents per second of the encoding that is kept; None if no whole one is."""
    try:
        speed = json.loads(facts.read_text(encoding="utf-8"))["documents_per_second"]
    except (OSError, ValueError, KeyError, TypeError):  # not there, unreadable, cut short, or something else
        return None
    return speed if isinstance(speed, float) else None


def _write_speed(facts: Path, documents_per_second: float) -> None:
    draft = facts.with_suffix(".partial")
    draft.write_text(json.dumps({"documents_per_second": documents_per_second}), encoding="utf-8")
    os.replace(draft, facts)


def _fingerprint(documents: Sequence[Docstring], model: ColBERT) -> str:
    """Name the vectors by all that they depend on: texts, all weights, lengths, dtype. Cost: 0.1 s, 90 MB hashed."""
    digest = hashlib.sha256(b"float16")
    for name, weights in model.state_dict().items():
        digest.update(name.encode())
        digest.update(weights.detach().cpu().contiguous().numpy())
    digest.update(f"{model.document_length} {model.skiplist_words} {model.prompts}".encode())
    for document in documents:
        digest.update(document.text.encode())
        digest.update(b"\0")
    return f"{_NAME}-{digest.hexdigest()[:16]}"
