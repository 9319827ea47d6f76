"""What a heatmap shows is what the score is made of, and no token can break out of the page."""

from __future__ import annotations

import re

import numpy as np
import pytest

from serotine.errors import InvalidInput
from serotine.scores import Alignment, align
from serotine.visualize import heatmap_html, matched_words, shaded_text_html

QUERY = ["[CLS]", "bat", "##s", "fly", "?", "[SEP]"]
DOCUMENT = ["[CLS]", "the", "bat", "##s", "of", "night", "flying", ".", "[SEP]"]


def alignment(query: list[str] = QUERY, document: list[str] = DOCUMENT, seed: int = 0) -> Alignment:
    generator = np.random.default_rng(seed)
    vectors = [generator.normal(size=(len(tokens), 8)) for tokens in (query, document)]
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in vectors]
    return align(*unit, query_tokens=query, document_tokens=document)


def test_the_contributions_shown_sum_to_the_score() -> None:
    words = [f"word{number}" for number in range(30)]
    pair = alignment(query=words[:7], document=words)
    added = [float(value) for value in re.findall(r'title="adds ([0-9.]+)"', shaded_text_html(pair))]
    assert sum(added) == pytest.approx(pair.score, abs=0.005)


def test_each_query_token_has_one_outlined_match() -> None:
    html = heatmap_html(alignment())
    assert html.count("class=best") == len(QUERY)
    assert html.count("<tr>") == len(QUERY) + 1
    assert f"MaxSim {alignment().score:.3f}" in html


def test_tokens_are_escaped_everywhere() -> None:
    evil = ['<script>alert("x")</script>', "\"'><img src=x onerror=alert(1)>", "&lt;", "ok"]
    pair = alignment(query=evil, document=evil)
    for html in (heatmap_html(pair), shaded_text_html(pair)):
        assert "<script" not in html
        assert "<img" not in html
        assert "&amp;lt;" in html


def test_long_documents_show_the_columns_around_the_matches() -> None:
    pair = alignment(document=[f"w{number}" for number in range(500)])
    html = heatmap_html(pair, max_document_tokens=40)
    assert html.count("<th><span>") == 40
    assert "460 of 500 document tokens" in html
    assert html.count("class=best") == len(QUERY)


def test_matches_are_whole_words_without_special_tokens_strongest_first() -> None:
    similarity = np.zeros((len(QUERY), len(DOCUMENT)), dtype=np.float32)
    for row, column, value in [(0, 0, 1.0), (1, 2, 0.9), (2, 3, 0.5), (3, 6, 0.95), (4, 7, 0.99), (5, 8, 1.0)]:
        similarity[row, column] = value
    best = similarity.argmax(axis=1)
    pair = Alignment(similarity, best, similarity.max(axis=1), tuple(QUERY), tuple(DOCUMENT))
    assert matched_words(pair) == [("fly", "flying", pytest.approx(0.95)), ("bats", "bats", pytest.approx(0.9))]
    assert matched_words(pair, limit=1)[0][0] == "fly"
    assert [word for word, _, _ in matched_words(pair, skip={"fly"})] == ["bats"]


def test_documents_without_tokens_and_alignments_without_texts() -> None:
    empty = align(np.ones((2, 4)), np.ones((0, 4)), query_tokens=["a", "b"], document_tokens=[])
    assert matched_words(empty) == []
    assert "<td" not in heatmap_html(empty)
    with pytest.raises(InvalidInput, match="no token texts"):
        heatmap_html(align(np.ones((2, 4)), np.ones((3, 4))))
