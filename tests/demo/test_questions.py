"""Proves that the questions are well formed and that their answers resolve on this Python or are counted."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from serotine.demo import Docstring, QuestionSet, load_questions, standard_library_documents
from serotine.demo.questions import Question, read_questions
from serotine.errors import InvalidInput

# Names that some of the supported Pythons lack, or have without a docstring. A misspelt name is in no such list.
NOT_IN_EVERY_PYTHON = {
    *("asyncio.Runner", "asyncio.Runner.run", "asyncio.TaskGroup", "asyncio.timeout", "asyncio.timeout_at"),
    *("base64.z85encode", "copy.replace", "enum.StrEnum", "os.process_cpu_count"),
    *("hashlib.file_digest", "imp.reload", "importlib.resources", "locale.format", "mimetypes.guess_file_type"),
    *("pathlib.Path.walk", "pdb.set_trace", "tomllib.load", "tomllib.loads", "warnings.deprecated"),
}


@pytest.fixture(scope="module")
def documents() -> list[Docstring]:
    return standard_library_documents()


@pytest.fixture(scope="module")
def questions(documents: list[Docstring]) -> QuestionSet:
    return load_questions(documents)


def document(name: str, *aliases: str) -> Docstring:
    return Docstring(name, name.split(".")[0], "()", "A docstring.", aliases)


class TestQuestionsAsWritten:
    """The file, whatever Python reads it."""

    def test_there_are_hundreds_over_many_modules(self) -> None:
        written = list(read_questions())
        modules = {name.split(".")[0] for question in written for name in question.answers}
        assert len(written) >= 300
        assert len(modules) >= 100

    def test_ids_and_texts_are_distinct_and_ids_are_one_word(self) -> None:
        written = list(read_questions())
        assert len({question.id for question in written}) == len(written)
        assert len({question.text for question in written}) == len(written)
        assert all(re.fullmatch(r"[a-z]+(-[a-z]+)+", question.id) for question in written)

    @pytest.mark.parametrize("question", list(read_questions()), ids=lambda question: question.id)
    def test_each_has_a_best_answer_and_gives_no_name_away(self, question: Question) -> None:
        assert 2 in question.answers.values()
        assert set(question.answers.values()) <= {1, 2}
        for name in question.answers:
            last_part = name.rpartition(".")[2]
            assert not re.search(rf"\b{re.escape(last_part)}\b", question.text, re.IGNORECASE), name


class TestLoadQuestions:
    """The questions that a corpus can answer."""

    def test_every_answer_is_a_document_or_counted_as_missing(
        self, questions: QuestionSet, documents: list[Docstring]
    ) -> None:
        ids = {document.id for document in documents}
        names = ids | {alias for document in documents for alias in document.aliases}
        judged = {name for judgements in questions.qrels.values() for name in judgements}
        written = Counter(name for question in read_questions() for name in question.answers)
        assert judged <= ids
        assert questions.missing == {name: count for name, count in written.items() if name not in names}

    def test_only_names_that_some_pythons_lack_are_missing(self, questions: QuestionSet) -> None:
        assert questions.missing.keys() <= NOT_IN_EVERY_PYTHON

    def test_at_most_one_question_is_dropped_on_a_supported_python(self, questions: QuestionSet) -> None:
        assert set(questions.dropped) <= {"settings-toml"}
        assert questions.queries.keys() == questions.qrels.keys()
        assert len(questions.queries) + len(questions.dropped) == len(list(read_questions()))

    def test_an_alias_stands_for_its_document(self) -> None:
        loaded = load_questions([document("other.fill", "str.zfill")])
        assert loaded.qrels == {"strings-leading-zeros": {"other.fill": 2}}

    def test_the_higher_grade_counts_if_two_names_are_one_document(self) -> None:
        loaded = load_questions([document("format", "str.zfill")])
        assert loaded.qrels["strings-leading-zeros"] == {"format": 2}

    def test_a_question_that_lost_its_best_answers_is_dropped_and_its_answers_are_counted(self) -> None:
        loaded = load_questions([document("str.rjust"), document("str.center")])
        assert list(loaded.queries) == ["strings-title-in-middle"]
        assert "strings-leading-zeros" in loaded.dropped
        assert loaded.missing["str.zfill"] == 1
        assert "str.rjust" not in loaded.missing

    def test_documents_of_something_else_are_refused(self) -> None:
        with pytest.raises(InvalidInput, match="none of the 343 questions has an answer among the 1 names"):
            load_questions([document("my.package")])
