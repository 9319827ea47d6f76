"""How does the demo search?  Encode the docstrings once, answer the questions in three ways, measure each.

The library's parts in their usual order: model, index, retriever, evaluation; exact search over the same vectors and
BM25 beside them. Vectors are kept on disk under a name made from everything that they depend on, so a second run
does not encode again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import add
from pathlib import Path
from typing import Any, TypeVar

from serotine._lazy import require
from serotine.demo.corpus import Docstring
from serotine.demo.questions import QuestionSet
from serotine.errors import IndexLocked, StorageError
from serotine.evaluation import Run
from serotine.evaluation.comparison import ComparisonTable, compare
from serotine.indexes import PLAID, Exact, Index
from serotine.indexes.storage.files import refused
from serotine.indexes.storage.lock import folder_lock
from serotine.models import ColBERT, bundled
from serotine.retrieve import ColBERT as Retriever
from serotine.types import Array, RerankResult

__all__ = ["EXACT_NAME", "METRICS", "Bm25Search", "LateInteractionSearch", "Measurement", "measure"]

METRICS = ("ndcg@10", "mrr", "recall@100")
EXACT_NAME = "exact search"
_DEPTH = 100
_NAME = "docstrings"

Progress = Callable[[str], None]


class LateInteractionSearch:
    """The bundled model and a PLAID index of its vectors, kept in a folder; exact MaxSim to compare with.

    Args:
        documents: what is searched.
        folder: where the vectors are kept; those of other corpora or models in it are removed. One run encodes
            into it at a time, others wait.
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
        with _alone_in(folder, progress):
            known_speed = _read_speed(facts) if _are_whole(folder / index_name, len(documents)) else None
            self.was_cached = known_speed is not None
            if known_speed is None:
                for stale in folder.glob(f"{_NAME}-*"):
                    shutil.rmtree(stale)
                known_speed = len(documents) / self._encode(documents, folder, index_name, progress)
                _write_speed(facts, known_speed)
        self.encoded_per_second: float = known_speed
        self.index = PLAID(folder / index_name, "plaid")
        self.exact = Exact(folder / index_name, "exact")
        self.exact_folder = folder / index_name / "exact"
        self._retriever = Retriever(index=self.index)

    def _encode(self, documents: Sequence[Docstring], folder: Path, index_name: str, progress: Progress) -> float:
        progress(f"Encoding {len(documents):,} docstrings with the bundled model (once; a few minutes on a laptop)")
        start = time.perf_counter()

        def vectors() -> Iterator[Any]:
            texts = [document.text for document in documents]
            for chunk in self.model.encode_stream(texts, precision="float16", show_progress_bar=True):
                yield from chunk

        # One commit each: a run that is interrupted leaves no index, and the facts beside them are written last.
        ids = [document.id for document in documents]
        exact = Exact(folder / index_name, "exact", override=True, dtype="float16").add_documents(ids, vectors())
        seconds = time.perf_counter() - start
        PLAID(folder / index_name, "plaid", override=True).add_documents(ids, exact.get_documents_embeddings(ids))
        return seconds

    def encode(self, question: str) -> list[Array]:
        """Encode one question."""
        embeddings: list[Array] = self.model.encode([question], is_query=True)
        return embeddings

    def search(self, question: str, k: int) -> list[RerankResult]:
        """Answer one question: encode it and ask the index."""
        return self._retriever.retrieve(self.encode(question), k=k)[0]

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
    """What each system did with all questions; every dict has the system's name as key, BM25's first.

    results: question id -> answers, best first. milliseconds: median of one question, its encoding included;
    search_milliseconds: without it. overlap: mean share of the exact search's first ten that were found, and
    bytes_per_token: of all files on the disk; both without BM25. table: the metrics, the differences to BM25 and their
    intervals.
    """

    results: dict[str, dict[str, list[RerankResult]]]
    milliseconds: dict[str, float]
    search_milliseconds: dict[str, float]
    overlap: dict[str, float]
    bytes_per_token: dict[str, float]
    table: ComparisonTable


def measure(search: LateInteractionSearch, bm25: Bm25Search, questions: QuestionSet) -> Measurement:
    """Ask every system every question, one at a time, and evaluate; BM25 is the baseline.

    Both late-interaction searches get the same encoded questions, so the encoding is done and timed once.
    """
    embeddings, encoding_s = _timed(search.encode, questions.queries)
    answers = {}
    seconds = {}
    answers[bm25.name], seconds[bm25.name] = _timed(lambda question: bm25.search(question, _DEPTH), questions.queries)
    for name, index in ((search.name, search.index), (EXACT_NAME, search.exact)):
        answers[name], seconds[name] = _timed(_asker(index), embeddings)
    of_encoding = {bm25.name: [0.0] * len(encoding_s), search.name: encoding_s, EXACT_NAME: encoding_s}
    runs = [Run.from_results(list(each.values()), list(each), name=name) for name, each in answers.items()]
    stats = search.index.stats()
    return Measurement(
        results=answers,
        milliseconds={name: _median_ms(map(add, of_encoding[name], seconds[name])) for name in answers},
        search_milliseconds={name: _median_ms(each) for name, each in seconds.items()},
        overlap={name: _overlap(answers[name], answers[EXACT_NAME]) for name in (search.name, EXACT_NAME)},
        bytes_per_token={
            search.name: stats.bytes_per_token,
            EXACT_NAME: _num_bytes(search.exact_folder) / max(1, stats.num_tokens),
        },
        table=compare(runs, questions.qrels, list(METRICS)),
    )


def _asker(index: Index) -> Callable[[list[Array]], list[RerankResult]]:
    retriever = Retriever(index=index)
    return lambda embedding: retriever.retrieve(embedding, k=_DEPTH)[0]


_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


def _timed(work: Callable[[_Given], _Made], inputs: Mapping[str, _Given]) -> tuple[dict[str, _Made], list[float]]:
    """Do the work for each input; returns what came out and the seconds of each."""
    work(next(iter(inputs.values())))  # the first call loads and allocates
    made, seconds = {}, []
    for key, value in inputs.items():
        start = time.perf_counter()
        made[key] = work(value)
        seconds.append(time.perf_counter() - start)
    return made, seconds


def _median_ms(seconds: Iterable[float]) -> float:
    return 1000 * statistics.median(seconds)


def _overlap(found: Mapping[str, list[RerankResult]], truth: Mapping[str, list[RerankResult]]) -> float:
    shares = []
    for question_id, answers in truth.items():
        wanted = {answer["id"] for answer in answers[:10]}
        shares.append(len(wanted & {answer["id"] for answer in found[question_id][:10]}) / max(1, len(wanted)))
    return statistics.mean(shares)


def _num_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextlib.contextmanager
def _alone_in(folder: Path, progress: Progress) -> Iterator[None]:
    """Hold the folder's lock; says so if another run has to end its encoding first."""
    with refused("make the folder", folder):
        folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(folder_lock(folder / "lock", timeout_s=0))
        except IndexLocked:
            progress(f"Another run is encoding into {folder}; waiting for it")
            stack.enter_context(folder_lock(folder / "lock", timeout_s=math.inf))
        yield


def _are_whole(folder: Path, num_documents: int) -> bool:
    """Whether both indexes are there, readable and full; others are built again."""
    if not folder.is_dir():
        return False
    try:
        return len(PLAID(folder, "plaid")) == len(Exact(folder, "exact")) == num_documents
    except StorageError:
        return False


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
    digest = hashlib.sha256(b"exact float16, plaid")
    for name, weights in model.state_dict().items():
        digest.update(name.encode())
        digest.update(weights.detach().cpu().contiguous().numpy())
    digest.update(f"{model.document_length} {model.skiplist_words} {model.prompts}".encode())
    for document in documents:
        digest.update(document.text.encode())
        digest.update(b"\0")
    return f"{_NAME}-{digest.hexdigest()[:16]}"
