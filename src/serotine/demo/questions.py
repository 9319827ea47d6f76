"""Which questions does the demo ask, and which names answer them?  Reads ``questions.jsonl`` beside this file.

The questions were written for this project, in the words of people who do not know the name that they look for, and
each answer was judged by reading its docstring. Grade 2: the name to use. Grade 1: it answers too, less directly.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from serotine.demo.corpus import Docstring
from serotine.errors import InvalidInput

__all__ = ["Question", "QuestionSet", "load_questions", "read_questions"]

QUESTIONS_PATH = Path(__file__).with_name("questions.jsonl")


@dataclass(frozen=True)
class Question:
    """One question. id: one word, the topic first. answers: qualified name -> grade, 2 (best) or 1."""

    id: str
    text: str
    answers: dict[str, int]


@dataclass(frozen=True)
class QuestionSet:
    """The questions that a corpus can answer.

    queries: question id -> text. qrels: question id -> document id -> grade, 2 (best) or 1, never empty.
    missing: judged names that the corpus does not hold -> number of questions that name them.
    dropped: ids of the questions that lost all answers of grade 2 by that; they are in neither dictionary.
    """

    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]
    missing: dict[str, int]
    dropped: tuple[str, ...]


def load_questions(documents: Iterable[Docstring]) -> QuestionSet:
    """Return the questions with their answers as ids of these documents.

    A name that is an alias of a document stands for it. Pythons differ: ``tomllib.load`` came with 3.11, others have
    lost their docstring; such names are counted in ``missing``, and a question without a best answer is dropped.

    Raises:
        InvalidInput: none of the questions can be answered: these are not the standard library's documents.
    """
    ids: dict[str, str] = {}
    for document in documents:
        ids[document.id] = document.id
        for alias in document.aliases:
            ids.setdefault(alias, document.id)
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    missing: Counter[str] = Counter()
    dropped: list[str] = []
    for question in read_questions():
        judgements: dict[str, int] = {}
        for name, grade in question.answers.items():
            if name in ids:
                judgements[ids[name]] = max(grade, judgements.get(ids[name], 0))
            else:
                missing[name] += 1
        if 2 in judgements.values():
            queries[question.id] = question.text
            qrels[question.id] = judgements
        else:
            dropped.append(question.id)
    if not queries:
        raise InvalidInput(
            f"none of the {len(dropped)} questions has an answer among the {len(ids)} names of these documents; "
            "they are about the standard library: pass standard_library_documents()"
        )
    return QuestionSet(queries, qrels, dict(sorted(missing.items())), tuple(dropped))


def read_questions() -> Iterator[Question]:
    """Yield every question as written, whether or not this Python has its answers."""
    with QUESTIONS_PATH.open(encoding="utf-8") as lines:
        for line in lines:
            fields = json.loads(line)
            yield Question(fields["id"], fields["question"], fields["answers"])
