"""The demo runs from docstrings to report, keeps its vectors, and explains what is missing."""

from __future__ import annotations

import io
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from serotine.cli import main
from serotine.demo import run
from serotine.demo.corpus import Docstring, standard_library_documents
from serotine.demo.pipeline import Bm25Search, LateInteractionSearch

pytestmark = pytest.mark.slow

KEPT = ("str.", "textwrap", "calendar", "random.")


@pytest.fixture(scope="module")
def documents() -> list[Docstring]:
    """A few hundred docstrings of the standard library: enough for some of the questions."""
    return [document for document in standard_library_documents() if document.id.startswith(KEPT)]


@pytest.fixture
def small_library(monkeypatch: pytest.MonkeyPatch, documents: list[Docstring]) -> None:
    monkeypatch.setattr(run, "standard_library_documents", lambda: documents)


class Page(HTMLParser):
    """What a page refers to, and whether its tags are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "img", "link"):
            self.open.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_demo_measures_both_systems_and_writes_a_page_that_needs_nothing_else(
    tmp_path: Path, small_library: None
) -> None:
    console = Console(file=io.StringIO(), width=140)
    report = run.run_demo(tmp_path, console=console)
    text = console.file.getvalue()
    for expected in ("nDCG@10", "recall@100", "ms/query", "BM25", "Serotine", "95 % interval", "matched:"):
        assert expected in text
    assert "Encoding" in text
    html = report.read_text(encoding="utf-8")
    page = Page()
    page.feed(html)
    assert page.open == []
    assert page.references == []
    assert "<script" not in html
    assert html.count("class=best") > 10

    again = Console(file=io.StringIO(), width=140)
    run.run_demo(tmp_path, console=again)
    assert "Encoding" not in again.file.getvalue()
    assert "earlier run" in again.file.getvalue()


def test_other_texts_are_encoded_anew_and_stale_vectors_removed(tmp_path: Path, documents: list[Docstring]) -> None:
    said: list[str] = []
    LateInteractionSearch(documents[:20], tmp_path, progress=said.append)
    search = LateInteractionSearch(documents[:21], tmp_path, progress=said.append)
    assert len(said) == 2
    assert not search.was_cached
    assert len(list(tmp_path.iterdir())) == 1
    assert LateInteractionSearch(documents[:21], tmp_path, progress=said.append).was_cached


def test_an_interrupted_encoding_is_begun_again(
    tmp_path: Path, documents: list[Docstring], monkeypatch: pytest.MonkeyPatch
) -> None:
    from serotine.models import ColBERT

    def interrupted(*_: object, **__: object) -> Iterator[object]:
        raise KeyboardInterrupt
        yield

    with monkeypatch.context() as patch:
        patch.setattr(ColBERT, "encode_stream", interrupted)
        with pytest.raises(KeyboardInterrupt):
            LateInteractionSearch(documents[:20], tmp_path, progress=lambda _: None)
    search = LateInteractionSearch(documents[:20], tmp_path, progress=lambda _: None)
    assert len(search.index) == 20


def test_bm25_leaves_out_documents_without_a_common_word(documents: list[Docstring]) -> None:
    bm25 = Bm25Search(documents)
    assert bm25.search("xylophone quokka", 10) == []
    assert bm25.search("fill the string with zeros on the left", 3)[0]["id"] == "str.zfill"


def test_questions_of_ones_own_are_answered(tmp_path: Path, small_library: None) -> None:
    console = Console(file=io.StringIO(), width=140)
    run.run_demo(tmp_path, ask=["make the first letter [bold]big[/bold]"], console=console)
    text = console.file.getvalue()
    assert "make the first letter [bold]big[/bold]" in text
    assert "str.capitalize" in text
    assert not (tmp_path / "report.html").exists()


def test_the_docstrings_of_a_package(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=140)
    run.run_package_demo("tqdm", tmp_path, ask=["show a progress bar in a notebook"], console=console)
    assert "tqdm.notebook" in console.file.getvalue()


def test_wrong_arguments_are_explained_on_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["demo", "--package", "no_such_package_at_all", "--output", str(tmp_path)])
    assert caught.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("serotine: ")
    assert "no_such_package_at_all" in error
    assert "Traceback" not in error
    with pytest.raises(SystemExit) as caught:
        main(["demo", "--no-such-option"])
    assert caught.value.code == 2
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
