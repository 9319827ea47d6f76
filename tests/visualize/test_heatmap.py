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


def shown_contributions(pair: Alignment) -> list[float]:
    return [float(value) for value in re.findall(r'title="adds ([0-9.]+)"', shaded_text_html(pair))]


def test_the_contributions_shown_sum_to_the_score_where_no_token_is_special_and_no_match_negative() -> None:
    words = [f"word{number}" for number in range(30)]
    pair = alignment(query=words[:7], document=words)
    assert (pair.contribution > 0).all()
    assert sum(shown_contributions(pair)) == pytest.approx(pair.score, abs=0.005)


def test_what_special_tokens_and_negative_matches_add_is_in_the_score_and_in_no_shade() -> None:
    similarity = np.float32([[0.9, 0.1, 0.2], [0.3, 0.8, 0.1], [-0.9, -0.8, -0.5]])
    best = similarity.argmax(axis=1)
    pair = Alignment(similarity, best, similarity.max(axis=1), ("[CLS]", "bat", "cave"), ("[CLS]", "bats", "sun"))
    assert shown_contributions(pair) == [0.8]
    assert pair.score == pytest.approx(0.9 + 0.8 - 0.5)


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


def test_a_query_without_tokens_and_a_long_document() -> None:
    words = [f"w{number}" for number in range(60)]
    html = heatmap_html(align(np.ones((0, 4)), np.ones((60, 4)), query_tokens=[], document_tokens=words))
    assert html.count("<th><span>") == 48
    assert "<td" not in html


def test_similarities_that_are_no_numbers_leave_the_css_valid() -> None:
    similarity = np.float32([[np.nan, np.nan, 0.5, 0.2], [0.1, 0.9, np.inf, 0.3], [0.7, 0.1, 0.2, 0.6]])
    best = similarity.argmax(axis=1)
    pair = Alignment(similarity, best, similarity.max(axis=1), tuple("abc"), tuple("wxyz"))
    html = [page(pair) for page in (heatmap_html, shaded_text_html)]
    alphas = re.findall(r"rgba\(\d+,\d+,\d+,([^)]*)\)", "".join(html))
    assert alphas
    assert all(re.fullmatch(r"[01]\.\d\d", alpha) for alpha in alphas), alphas
