"""Write a sample that the recipes train on without a network: questions about Python, and docstrings that answer them.

    python examples/train/sample.py build/sample

The texts are the docstrings of the Python that runs this; the questions are those of ``serotine demo``, with answers
judged by readers. Other documents are what BM25 finds for a question. Four fifths of the questions are trained on. The
folders have the layout of the data sets that the recipes name:

    triplets/triplet                      query, positive, negative (the first that BM25 finds and is no answer)
    lists/train, queries, documents       ids and a teacher's scores from 0 to 1
    reasoning/hq, documents               queries with an instruction, positives by their ids
    dev                                   the last fifth, as a collection in BEIR's layout

The teacher of the lists stands in for a cross-encoder: an answer has half its grade of 1 or 2, another document at
most a quarter, in proportion to BM25. It takes some seconds; extra ``demo``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from serotine.demo.corpus import standard_library_documents
from serotine.demo.pipeline import Bm25Search
from serotine.demo.questions import load_questions

DOCUMENTS_PER_QUESTION = 8
INSTRUCTION = "Find the entry of the manual that answers the question."


class Example(NamedTuple):
    """A question and some documents with the teacher's scores, the best first."""

    id: str
    question: str
    scores: dict[str, float]  # document id -> score
    grades: dict[str, int]  # of the documents that answer

    @property
    def negative(self) -> str:
        """The best document that is no answer."""
        return next(document for document in self.scores if document not in self.grades)


def examples(num_questions: int | None) -> tuple[list[Example], dict[str, str]]:
    """Return the questions, and the texts of all documents by id."""
    documents = standard_library_documents()
    asked = load_questions(documents)
    search = Bm25Search(documents)
    found = []
    for name, question in list(asked.queries.items())[:num_questions]:
        grades = dict(sorted(asked.qrels[name].items(), key=lambda item: -item[1])[: DOCUMENTS_PER_QUESTION - 1])
        others = [hit for hit in search.search(question, 100) if hit["id"] not in asked.qrels[name]]
        if not others:  # BM25 knows none of its words
            continue
        scores = {document: grade / 2 for document, grade in grades.items()}
        for hit in others[: DOCUMENTS_PER_QUESTION - len(scores)]:
            scores[str(hit["id"])] = hit["score"] / others[0]["score"] / 4
        found.append(Example(name, question, scores, grades))
    return found, {document.id: document.text for document in documents}


def write(folder: Path, num_questions: int | None = None) -> None:
    """Write the sample of all or of the first questions into a folder."""
    found, texts = examples(num_questions)
    dev, train = found[::5], [example for number, example in enumerate(found) if number % 5]
    used = {document: texts[document] for example in train for document in example.scores}
    write_lines(folder / "triplets" / "triplet" / "train.jsonl", triplets(train, texts))
    lists = folder / "lists"
    write_lines(
        lists / "train" / "train.jsonl",
        (
            {"query_id": example.id, "document_ids": list(example.scores), "scores": list(example.scores.values())}
            for example in train
        ),
    )
    write_lines(lists / "queries" / "queries.jsonl", ({"query_id": each.id, "text": each.question} for each in train))
    write_lines(lists / "documents" / "documents.jsonl", ({"document_id": i, "text": t} for i, t in used.items()))
    reasoning = folder / "reasoning"
    write_lines(reasoning / "hq" / "hq.jsonl", instructed(train, texts))
    write_lines(reasoning / "documents" / "documents.jsonl", ({"id": i, "content": t} for i, t in used.items()))
    write_collection(folder / "dev", dev, texts)


def triplets(train: list[Example], texts: dict[str, str]) -> Iterator[dict[str, str]]:
    """Yield a row for each best answer of each question."""
    for example in train:
        for answer, grade in example.grades.items():
            if grade == 2:
                yield {
                    "query": example.question,
                    "positive": texts[answer],
                    "negative": texts[example.negative],
                }


def instructed(train: list[Example], texts: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Yield rows as ReasonIR has them: pairs of instruction and text, and of instruction and document id."""
    for example in train:
        yield {
            "query": [INSTRUCTION, example.question],
            "pos": [["", next(iter(example.grades))]],
            "neg": [["", texts[example.negative]]],
        }


def write_collection(folder: Path, dev: list[Example], texts: dict[str, str]) -> None:
    """Write a collection of the documents of some questions."""
    used = dict.fromkeys(document for example in dev for document in example.scores)
    write_lines(folder / "corpus.jsonl", ({"_id": document, "text": texts[document]} for document in used))
    write_lines(folder / "queries.jsonl", ({"_id": example.id, "text": example.question} for example in dev))
    rows = [f"{each.id}\t{document}\t{grade}\n" for each in dev for document, grade in each.grades.items()]
    (folder / "qrels").mkdir(exist_ok=True)
    (folder / "qrels" / "test.tsv").write_text("".join(["query-id\tcorpus-id\tscore\n", *rows]), encoding="utf-8")


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--questions", type=int, help="only the first so many")
    options = parser.parse_args(words)
    write(options.folder, options.questions)


if __name__ == "__main__":
    main()
