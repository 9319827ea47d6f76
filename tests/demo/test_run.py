"""The demo runs from docstrings to report, keeps its vectors, and explains what is missing."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from rich.console import Console

from serotine.cli import main
from serotine.demo import pipeline, run
from serotine.demo.corpus import Docstring, package_documents, standard_library_documents
from serotine.demo.pipeline import Bm25Search, LateInteractionSearch, Measurement
from serotine.demo.questions import QuestionSet
from serotine.indexes.storage.lock import folder_lock
from serotine.types import RerankResult

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


def test_the_demo_measures_all_systems_and_writes_a_page_that_needs_nothing_else(
    tmp_path: Path, small_library: None
) -> None:
    console = Console(file=io.StringIO(), width=140)
    report = run.run_demo(tmp_path, console=console)
    assert report is not None
    text = console.file.getvalue()
    for expected in ("nDCG@10", "recall@100", "ms/query", "overlap@10", "bytes/token", "BM25", "Serotine",
                     "exact search", "95 % interval", "matched:"):  # fmt: skip
        assert expected in text
    assert "Encoding" in text
    html = report.read_text(encoding="utf-8")
    page = Page()
    page.feed(html)
    assert page.open == []
    assert page.references == []
    assert "<script" not in html
    assert html.count("class=best") > 10
    assert "fitted without labels, on texts that include some docstrings of the standard library" in html

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
    assert len(list(tmp_path.glob("docstrings-*"))) == 1
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


def test_two_runs_in_one_folder_encode_once(tmp_path: Path, documents: list[Docstring]) -> None:
    said: list[str] = []
    waits = threading.Event()

    def progress(line: str) -> None:
        said.append(line)
        waits.set()

    with folder_lock(tmp_path / "lock", timeout_s=0):
        second = ThreadPoolExecutor(1).submit(LateInteractionSearch, documents[:2], tmp_path, progress=progress)
        assert waits.wait(60)
        assert "Another run is encoding" in said[0]
        assert not list(tmp_path.glob("docstrings-*"))
    assert not second.result().was_cached
    assert LateInteractionSearch(documents[:2], tmp_path, progress=said.append).was_cached
    assert len(said) == 2


@pytest.mark.parametrize("kept", ["", '{"documents_per_', "{}", "[]", '{"documents_per_second": null}', b"\xff"])
def test_an_encoding_whose_facts_are_not_whole_is_begun_again(
    tmp_path: Path, documents: list[Docstring], kept: str | bytes
) -> None:
    LateInteractionSearch(documents[:2], tmp_path, progress=lambda _: None)
    (facts,) = tmp_path.glob("*/encoding.json")
    facts.write_bytes(kept.encode() if isinstance(kept, str) else kept)
    search = LateInteractionSearch(documents[:2], tmp_path, progress=lambda _: None)
    assert not search.was_cached
    assert search.encoded_per_second > 0
    assert LateInteractionSearch(documents[:2], tmp_path, progress=lambda _: None).was_cached
    assert not list(tmp_path.glob("*/*.partial"))


def test_other_weights_of_any_module_are_encoded_anew(
    tmp_path: Path, documents: list[Docstring], monkeypatch: pytest.MonkeyPatch
) -> None:
    from serotine.models import ColBERT, bundled

    def changed() -> ColBERT:
        model = bundled()
        with torch.no_grad():
            next(model[0].parameters())[0, 0] += 1
        return model

    LateInteractionSearch(documents[:2], tmp_path, progress=lambda _: None)
    monkeypatch.setattr(pipeline, "bundled", changed)
    assert not LateInteractionSearch(documents[:2], tmp_path, progress=lambda _: None).was_cached


@pytest.mark.parametrize("evil", [r"a \[/b] b", "a [/b] b", "ends with \\", "ends with \\\\", ":smile: [red]"])
def test_what_looks_like_markup_is_printed_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evil: str) -> None:
    docstring = Docstring(f"id{evil}", "module", "", evil)
    monkeypatch.setattr(run, "standard_library_documents", lambda: [docstring])
    console = Console(file=io.StringIO(), width=140)
    run.run_demo(tmp_path, ask=[evil], console=console)
    lines = console.file.getvalue().splitlines()
    assert evil in lines
    assert f"   1. id{evil}  {evil}" in lines


def test_lone_surrogates_in_docstrings_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd_texts.py").write_text(r'''
def halves(sep="\udc80"):
    """Join \ud800 and \ud83d\ude00."""
''')
    monkeypatch.syspath_prepend(tmp_path)
    (document,) = package_documents("odd_texts")
    assert document.docstring == "Join \ufffd and \U0001f600."
    document.text.encode()
    console = Console(file=io.StringIO(), width=140)
    run.run_package_demo("odd_texts", tmp_path, ask=["join"], console=console)
    assert "odd_texts.halves" in console.file.getvalue()


@pytest.mark.parametrize(("num_wins", "num_shown"), [(0, 3), (1, 1), (2, 2), (3, 3), (9, 3)])
def test_the_questions_shown_are_different_ones_and_said_to_be_what_they_are(num_wins: int, num_shown: int) -> None:
    ids = [f"q{number}" for number in range(9)]
    questions = QuestionSet(dict.fromkeys(ids, "?"), {each: {"right": 2} for each in ids}, {}, ())
    right: list[RerankResult] = [{"id": "right", "score": 1.0}]
    results = {
        "model": dict.fromkeys(ids, right),
        "bm25": {each: [] if i < num_wins else right for i, each in enumerate(ids)},
    }
    console = Console(file=io.StringIO(), width=140)
    shown = run._print_choice(console, Measurement(results, {}, {}, {}, {}, None), "model", "bm25", questions)
    assert len(set(shown)) == len(shown) == num_shown
    assert set(shown) <= set(ids[:num_wins] or ids)
    text = console.file.getvalue()
    assert f"Shown here: {num_shown} of" in text
    assert ("There is no question of which" in text) == (num_wins == 0)


def test_bm25_leaves_out_documents_without_a_common_word(documents: list[Docstring]) -> None:
    bm25 = Bm25Search(documents)
    assert bm25.search("xylophone quokka", 10) == []
    assert bm25.search("fill the string with zeros on the left", 3)[0]["id"] == "str.zfill"


def test_questions_of_ones_own_are_answered(tmp_path: Path, small_library: None) -> None:
    console = Console(file=io.StringIO(), width=140)
    assert run.run_demo(tmp_path, ask=["make the first letter [bold]big[/bold]"], console=console) is None
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
    for wrong, said in (
        (["--no-such-option"], "No such option"),
        (["--ask", " "], "empty"),
        (["--ask", "\udcff"], "UTF-8"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(["demo", *wrong])
        assert caught.value.code == 2
        assert said in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["demo", "--output", "/proc/no/folder"])
    assert caught.value.code == 1
    assert "could not make the folder" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0


def test_ctrl_c_says_what_is_lost(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run_demo", interrupted)
    with pytest.raises(SystemExit) as caught:
        main(["demo"])
    assert caught.value.code == 130
    assert (
        capsys.readouterr().err == "serotine: interrupted; what was not encoded to the end is encoded again next time\n"
    )
