"""How does the demo run from start to end?  What ``serotine demo`` does, for the standard library or a package."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from serotine.demo.corpus import package_documents, standard_library_documents
from serotine.demo.pipeline import Bm25Search, LateInteractionSearch, Measurement, measure
from serotine.demo.questions import QuestionSet, load_questions
from serotine.demo.report import print_answers, print_measurement, write_report
from serotine.types import RerankResult

__all__ = ["run_demo", "run_package_demo"]


def run_demo(output: Path, *, ask: Sequence[str] = (), console: Console | None = None) -> Path | None:
    """Search the standard library's docstrings, compare with exact search and BM25, write the report into ``output``.

    ask: questions to answer instead of the judged ones; no report is written then. Returns the path of the report,
    None without one.
    """
    console = console or Console()
    documents = standard_library_documents()
    search = LateInteractionSearch(documents, output / "index", progress=console.print)
    if ask:
        _answer(console, search, ask)
        return None
    questions = load_questions(documents)
    bm25 = Bm25Search(documents)
    console.print(f"Answering {len(questions.queries)} questions with each system, one at a time to measure it")
    measurement = measure(search, bm25, questions)
    print_measurement(console, measurement, search, questions)
    shown = _print_choice(console, measurement, search.name, bm25.name, questions)
    for question_id in shown:
        print_answers(
            console,
            search,
            questions.queries[question_id],
            measurement.results[search.name][question_id],
            questions.qrels[question_id],
        )
    report = output / "report.html"
    write_report(report, measurement, (search, bm25), questions, shown)
    console.print(f"\nAll answers and heatmaps: {report.resolve().as_uri()}")
    # As it was started: a command of an environment that is not active is not on the path.
    command = sys.argv[0] if Path(sys.argv[0]).name == "serotine" and not shutil.which("serotine") else "serotine"
    question = "turn a list into a comma separated text"
    console.print(f'Ask your own: {command} demo --ask "{question}"', highlight=False, markup=False, soft_wrap=True)
    return report


def run_package_demo(package: str, output: Path, *, ask: Sequence[str] = (), console: Console | None = None) -> None:
    """Search the docstrings of an installed package: the given questions, else those typed at the prompt."""
    console = console or Console()
    documents = package_documents(package)
    search = LateInteractionSearch(documents, output / f"index-{package}", progress=console.print)
    console.print(f"{len(documents):,} docstrings of {package} are ready (modules written in C are left out).")
    _answer(console, search, ask or _typed(console))


def _print_choice(
    console: Console, measurement: Measurement, model_name: str, bm25_name: str, questions: QuestionSet
) -> list[str]:
    """Choose up to three questions to show, say by which rule, and how often its opposite holds."""
    wins = _one_sided(measurement.results[model_name], measurement.results[bm25_name], questions)
    losses = _one_sided(measurement.results[bm25_name], measurement.results[model_name], questions)
    shown = _evenly_spaced(wins or list(questions.queries), 3)
    rule = "the model's first answer is right and BM25 has none among its first ten"
    opposite = f"(the other way round: {len(losses)})"
    if wins:
        sentence = f"Questions of which {rule}: {len(wins)} {opposite}. Shown here: {len(shown)} of them."
    else:
        sentence = f"There is no question of which {rule} {opposite}. Shown here: {len(shown)} of all."
    console.print(f"\n{sentence}", soft_wrap=True, highlight=False)
    return shown


def _evenly_spaced(question_ids: Sequence[str], limit: int) -> list[str]:
    """Pick up to ``limit`` different ones; the questions are in the order of their topics."""
    count = min(limit, len(question_ids))
    return [question_ids[(2 * number + 1) * len(question_ids) // (2 * count)] for number in range(count)]


def _one_sided(
    better: dict[str, list[RerankResult]], worse: dict[str, list[RerankResult]], questions: QuestionSet
) -> list[str]:
    """Questions whose first answer by one system is judged right, with none in the first ten of the other."""
    return [
        question_id
        for question_id, judged in questions.qrels.items()
        if better[question_id]
        and better[question_id][0]["id"] in judged
        and not any(answer["id"] in judged for answer in worse[question_id][:10])
    ]


def _answer(console: Console, search: LateInteractionSearch, questions: Iterable[str]) -> None:
    for question in questions:
        print_answers(console, search, question, search.search(question, 3))


def _typed(console: Console) -> Iterable[str]:
    """Yield lines until an empty one or the end of the input."""
    if sys.stdin.isatty():
        console.print("Ask a question (an empty line ends):")
    for line in sys.stdin:
        if not line.strip():
            return
        yield line.strip()
