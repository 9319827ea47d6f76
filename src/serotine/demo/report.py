"""What does the demo show?  A table and three answers on the terminal, and all answers in one HTML file.

The page needs nothing beside itself: no script, no font, no picture from elsewhere.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from serotine import __version__
from serotine.demo.pipeline import METRICS, Bm25Search, LateInteractionSearch, Measurement
from serotine.demo.questions import QuestionSet
from serotine.scores import Alignment, align
from serotine.types import RerankResult
from serotine.visualize import FUNCTION_WORDS, STYLE, heatmap_html, matched_words, shaded_text_html

__all__ = ["print_answers", "print_measurement", "write_report"]

_TITLES = {"ndcg@10": "nDCG@10", "mrr": "MRR", "recall@100": "recall@100"}


@dataclass(frozen=True)
class _Row:
    """One system's line of the table: texts in the order of the columns."""

    name: str
    cells: tuple[str, ...]


def _columns() -> tuple[str, ...]:
    titles = (_TITLES[metric] for metric in METRICS)
    return ("", *titles, "overlap@10", "ms/query", "of it search", "bytes/token")


def _rows(measurement: Measurement) -> list[_Row]:
    rows = []
    for name, milliseconds in measurement.milliseconds.items():
        means = [next(r.mean for r in measurement.table.rows if (r.run_name, r.metric) == (name, m)) for m in METRICS]
        cells = (
            *(f"{mean:.3f}" for mean in means),
            f"{measurement.overlap[name]:.3f}" if name in measurement.overlap else "–",
            f"{milliseconds:.1f}",
            f"{measurement.search_milliseconds[name]:.1f}",
            f"{measurement.bytes_per_token[name]:.0f}" if name in measurement.bytes_per_token else "–",
        )
        rows.append(_Row(name, cells))
    return rows


def _differences(measurement: Measurement, search: LateInteractionSearch) -> list[str]:
    """One sentence per metric: the difference of the search to the baseline and its interval."""
    return [
        f"{_TITLES[row.metric]}: {row.difference.mean:+.3f} against {measurement.table.baseline_name} "
        f"(95 % interval {row.difference.low:+.3f} to {row.difference.high:+.3f}, n = {row.num_queries})"
        for row in measurement.table.rows
        if row.difference is not None and row.run_name == search.name
    ]


def _encoding(search: LateInteractionSearch) -> str:
    when = " in an earlier run" if search.was_cached else ""
    return f"Encoded {search.encoded_per_second:.0f} docstrings per second{when}."


def print_measurement(
    console: Console, measurement: Measurement, search: LateInteractionSearch, questions: QuestionSet
) -> None:
    """Print the table of metrics and what was left out of it."""
    count = len(search.index)
    table = Table(
        title=f"{len(questions.queries)} questions, {count:,} docstrings of Python {platform.python_version()}",
        box=SIMPLE_HEAD,  # this and no padding: it fits 80 columns
        show_edge=False,
        padding=0,
    )
    for number, column in enumerate(_columns()):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in _rows(measurement):
        table.add_row(row.name, *row.cells)
    console.print(table)
    for line in _differences(measurement, search):
        console.print(f"  {line}", highlight=False, soft_wrap=True)
    console.print(f"  {_encoding(search)}", highlight=False, soft_wrap=True)
    if questions.missing or questions.dropped:
        console.print(
            f"  {len(questions.missing)} judged names do not exist in this Python; {len(questions.dropped)} questions "
            f"were left out because of that.",
            highlight=False,
            soft_wrap=True,
        )


def explain(search: LateInteractionSearch, question: str, document_id: str) -> Alignment:
    """Align a question with a document, token by token."""
    model, text = search.model, search.document(document_id).text
    return align(
        model.encode(question, is_query=True),
        model.encode(text, is_query=False),
        query_tokens=model.scored_tokens([question], is_query=True)[0],
        document_tokens=model.scored_tokens([text], is_query=False)[0],
    )


def print_answers(
    console: Console,
    search: LateInteractionSearch,
    question: str,
    answers: Sequence[RerankResult],
    judged: dict[str, int] | None = None,
) -> None:
    """Print a question, its best answers, and the words that matched in the first of them.

    judged: grades by document id; judged answers are marked.
    """
    # Text objects, no markup: questions and docstrings may hold brackets and backslashes.
    console.print(Text(f"\n{question}", style="bold"), soft_wrap=True)
    for rank, answer in enumerate(answers[:3], start=1):
        document = search.document(str(answer["id"]))
        mark = "✓" if judged and judged.get(document.id) else " "
        summary = _shortened(document.summary, 100 - len(document.id))
        line = Text.assemble((f" {mark}", "green"), f" {rank}. ", (document.id, "cyan"), f"  {summary}")
        console.print(line, soft_wrap=True)
    if answers:
        matches = matched_words(explain(search, question, str(answers[0]["id"])), limit=6, skip=FUNCTION_WORDS)
        shown = ", ".join(f"{word} → {found} {value:.2f}" for word, found, value in matches)
        console.print(Text(f"      matched: {shown}", style="dim"), soft_wrap=True)


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= max(width, 20) else f"{text[: max(width, 20) - 1].rstrip()}…"


def write_report(
    path: Path,
    measurement: Measurement,
    systems: tuple[LateInteractionSearch, Bm25Search],
    questions: QuestionSet,
    shown: Sequence[str],
) -> None:
    """Write the HTML report: the table, the shown questions with heatmaps, and every question's first answers.

    The file replaces an older one in one step.
    """
    search, _ = systems
    parts = [_header(measurement, search, questions)]
    parts += [_explained(measurement, search, questions, question_id) for question_id in shown]
    parts.append(_all_questions(measurement, systems, questions))
    page = _PAGE.format(style=_STYLE + STYLE, body="\n".join(parts))
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".partial")
    draft.write_text(page, encoding="utf-8")
    os.replace(draft, path)


def _header(measurement: Measurement, search: LateInteractionSearch, questions: QuestionSet) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in _columns())
    body = "".join(
        f"<tr><th>{escape(row.name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in row.cells)}</tr>"
        for row in _rows(measurement)
    )
    differences = "".join(f"<li>{escape(line)}</li>" for line in _differences(measurement, search))
    missing = ", ".join(sorted(questions.missing)) or "none"
    return (
        f"<h1>Searching Python's own documentation</h1><p>{len(questions.queries)} questions by people who "
        f"do not know the name that they look for, {len(search.index):,} docstrings of Python "
        f"{platform.python_version()}, Serotine {__version__}. The answers were judged by reading the docstrings.</p>"
        f"<table class=numbers><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"<ul>{differences}<li>{_encoding(search)}</li></ul>"
        f"<p class=note>Milliseconds are the median of one question at a time, its encoding included. Overlap is the "
        f"share of the first ten answers of exact search that were found; the index holds the same vectors in "
        f"{search.index.nbits} bits per component. Judged names "
        f"that this Python does not have: {escape(missing)}. Questions left out: {len(questions.dropped)}. The model's "
        f"projection to 128 dimensions was fitted without labels, on texts that include some docstrings of the "
        f"standard library.</p>"
    )


def _explained(
    measurement: Measurement, search: LateInteractionSearch, questions: QuestionSet, question_id: str
) -> str:
    question = questions.queries[question_id]
    answers = measurement.results[search.name][question_id]
    items = "".join(_answer_item(search, questions, question_id, answer) for answer in answers[:3])
    alignment = explain(search, question, str(answers[0]["id"]))
    return (
        f"<section><h2>{escape(question)}</h2><ol>{items}</ol>"
        f"<h3>What matched in <code>{escape(str(answers[0]['id']))}</code></h3>"
        f"{shaded_text_html(alignment)}{heatmap_html(alignment)}</section>"
    )


def _answer_item(search: LateInteractionSearch, questions: QuestionSet, question_id: str, answer: RerankResult) -> str:
    document = search.document(str(answer["id"]))
    return (
        f"<li{_judged_class(questions, question_id, document.id)}><code>{escape(document.id)}</code> "
        f"<span class=score>{answer['score']:.2f}</span> {escape(document.summary[:160])}</li>"
    )


def _judged_class(questions: QuestionSet, question_id: str, document_id: str) -> str:
    return " class=judged" if questions.qrels[question_id].get(document_id) else ""


def _all_questions(
    measurement: Measurement, systems: tuple[LateInteractionSearch, Bm25Search], questions: QuestionSet
) -> str:
    head = "<tr><th>Question</th>" + "".join(f"<th>{escape(system.name)}</th>" for system in systems) + "</tr>"
    rows = []
    for question_id, question in questions.queries.items():
        cells = []
        for system in systems:
            answers = measurement.results[system.name][question_id][:3]
            names = "<br>".join(
                f"<code{_judged_class(questions, question_id, str(answer['id']))}>{escape(str(answer['id']))}</code>"
                for answer in answers
            )
            cells.append(f"<td>{names or '–'}</td>")
        rows.append(f"<tr><td>{escape(question)}</td>{''.join(cells)}</tr>")
    return (
        f"<h2>All questions and their first three answers</h2><p class=note>Judged answers are green.</p>"
        f"<table class=questions><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"
    )


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Serotine: searching Python's own documentation</title><style>{style}</style></head>
<body><main>{body}</main></body></html>
"""

_STYLE = """
body { margin: 0; background: #f6f5f2; color: #1d1d1f; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1.2rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .5rem; } h2 { font-size: 1.2rem; margin: 0 0 .6rem; }
h3 { font-size: .95rem; margin: 1.2rem 0 .4rem; color: #555; }
section { background: #fff; border: 1px solid #e2dfd8; border-radius: 8px; padding: 1.2rem; margin: 1.4rem 0; }
table.numbers, table.questions { border-collapse: collapse; background: #fff; width: 100%; }
table.numbers th, table.numbers td, table.questions th, table.questions td {
  padding: .35rem .7rem; border-bottom: 1px solid #e2dfd8; text-align: left; vertical-align: top; }
table.numbers td { font-variant-numeric: tabular-nums; text-align: right; }
table.numbers thead th:not(:first-child) { text-align: right; }
table.questions { font-size: .85rem; table-layout: fixed; overflow-wrap: anywhere; }
.judged, code.judged { color: #0a7a35; font-weight: 600; }
.note, .score { color: #666; font-size: .85rem; }
"""
