"""How does one see a MaxSim score?  HTML of the similarity matrix, and of the document's words by what they add.

The shading of a document is an attribution: each query token adds the similarity of its best document token
to the score, and to that token's share, so the shares of all document tokens sum to the score. (The column sums of
the matrix, which look alike, do not: only each query token's best match counts.) The shades show the positive shares of
the tokens that are shown: what special tokens and negative matches add is in the score and in no shade.

Plain HTML and CSS without scripts; every token is escaped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from serotine.errors import InvalidInput
from serotine.scores import Alignment

__all__ = ["FUNCTION_WORDS", "STYLE", "heatmap_html", "matched_words", "shaded_text_html"]

STYLE = """
.maxsim { border-collapse: separate; border-spacing: 1px; font: 12px/1.3 ui-monospace, monospace; }
.maxsim th { font-weight: 400; color: #333; white-space: pre; }
.maxsim thead th { height: 7em; vertical-align: bottom; padding: 0; }
.maxsim thead th span { writing-mode: vertical-rl; transform: rotate(180deg); display: inline-block; }
.maxsim tbody th { text-align: right; padding-right: .5em; position: sticky; left: 0; background: #fff; }
.maxsim td { min-width: 1.6em; height: 1.6em; padding: 0; }
.maxsim td.best { outline: 2px solid #b3261e; outline-offset: -2px; }
.maxsim-scroll { overflow-x: auto; padding-bottom: .4em; }
.maxsim-text { line-height: 1.9; }
.maxsim-text span { border-radius: 3px; padding: .12em .05em; }
"""
"""CSS of the classes used here, to be put into the page once."""

FUNCTION_WORDS = frozenset(
    "a an and are as at be been but by can could do does for from had has have how i if in into is it its me my no not "
    "of on one or our out should so some such than that the their them then there these they this those to up was we "
    "were what when where which who why will with without would you your".split()
)
"""English words that carry grammar rather than meaning: they match, but their matches tell a reader nothing."""

_SPECIAL = frozenset({"[CLS]", "[SEP]", "[PAD]", "[MASK]", "<s>", "</s>", "<pad>", "<mask>", "[Q] ", "[D] "})


def heatmap_html(alignment: Alignment, *, max_document_tokens: int = 48) -> str:
    """Return the similarity matrix as an HTML table: query tokens down, document tokens across.

    Darker is more similar; each query token's best match, the one that counts, is outlined. Of a document longer than
    max_document_tokens the columns around the matches are shown, and the caption says so.

    Raises:
        InvalidInput: the alignment was made without the tokens' texts.
    """
    query_tokens, document_tokens = _tokens(alignment)
    columns = _shown_columns(alignment, max_document_tokens)
    shades = _shades(alignment.similarity)
    head = "".join(f"<th><span>{escape(_word(document_tokens[column]))}</span></th>" for column in columns)
    rows = []
    for row, token in enumerate(query_tokens):
        cells = "".join(
            f'<td style="background:rgba(26,96,168,{shades[row, column]:.2f})"'
            f"{' class=best' if column == alignment.best_document_token[row] else ''}"
            f' title="{escape(_word(token), quote=True)} · {escape(_word(document_tokens[column]), quote=True)}: '
            f'{alignment.similarity[row, column]:.3f}"></td>'
            for column in columns
        )
        rows.append(f"<tr><th>{escape(_word(token))}</th>{cells}</tr>")
    hidden = len(document_tokens) - len(columns)
    note = f" {hidden} of {len(document_tokens)} document tokens, far from any match, are left out." if hidden else ""
    return (
        f'<div class="maxsim-scroll"><table class="maxsim"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        f"<p>MaxSim {alignment.score:.3f}: the sum of the outlined similarities.{note}</p>"
    )


def shaded_text_html(alignment: Alignment) -> str:
    """Return the document's tokens as running text, each shaded by what it adds to the score.

    Special tokens are not shown, and a token that adds nothing, less than nothing or NaN is not shaded; the title of a
    shaded token is its contribution.

    Raises:
        InvalidInput: the alignment was made without the tokens' texts.
    """
    _, document_tokens = _tokens(alignment)
    added = _added_per_token(alignment)
    strongest = max(float(added[np.isfinite(added)].max(initial=0.0)), 1e-9)
    parts = []
    for token, value in zip(document_tokens, added, strict=True):
        if token in _SPECIAL:
            continue
        word = _word(token)
        space = "" if token.startswith("##") or (not word[:1].isalnum() and word[:1] in ".,:;)]}'") else " "
        shade = (
            f' style="background:rgba(240,160,32,{0.15 + 0.75 * min(value / strongest, 1):.2f})"' if value > 0 else ""
        )
        title = f' title="adds {value:.3f}"' if value > 0 else ""
        parts.append(f"{space}<span{shade}{title}>{escape(word)}</span>")
    return f'<div class="maxsim-text">{"".join(parts).strip()}</div>'


def matched_words(alignment: Alignment, *, limit: int = 8, skip: Collection[str] = ()) -> list[tuple[str, str, float]]:
    """Return ``(query word, document word, similarity)``, the strongest matches first, special tokens left out.

    Pieces of words are joined: a word's similarity is that of its best piece. skip: query words, in lower case, that
    are not worth telling, such as `FUNCTION_WORDS`.

    Raises:
        InvalidInput: the alignment was made without the tokens' texts.
    """
    query_tokens, document_tokens = _tokens(alignment)
    query_words, document_words = _whole_words(query_tokens), _whole_words(document_tokens)
    best: dict[int, tuple[str, str, float]] = {}
    for row, (column, value) in enumerate(zip(alignment.best_document_token, alignment.contribution, strict=True)):
        if column < 0 or query_tokens[row] in _SPECIAL or document_tokens[column] in _SPECIAL:
            continue
        start, word = query_words[row]
        if word.lower() in skip or not any(character.isalnum() for character in word):
            continue
        if start not in best or value > best[start][2]:
            best[start] = (word, document_words[int(column)][1], float(value))
    return sorted(best.values(), key=lambda match: -match[2])[:limit]


def _tokens(alignment: Alignment) -> tuple[Sequence[str], Sequence[str]]:
    if alignment.query_tokens is None or alignment.document_tokens is None:
        raise InvalidInput("the alignment has no token texts: pass query_tokens= and document_tokens= to align")
    return alignment.query_tokens, alignment.document_tokens


def _added_per_token(alignment: Alignment) -> npt.NDArray[np.float64]:
    added = np.zeros(alignment.similarity.shape[1])
    matched = alignment.best_document_token >= 0
    np.add.at(added, alignment.best_document_token[matched], alignment.contribution[matched])
    return added


def _shades(similarity: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Map similarities to 0..1: nothing below 0 or for NaN, and contrast between what is usual and what is a match."""
    return np.nan_to_num(np.clip(similarity, 0, 1), nan=0.0) ** 1.5


def _shown_columns(alignment: Alignment, limit: int) -> list[int]:
    """Choose the columns closest to a match, in order; the first ones for a query without tokens."""
    count = alignment.similarity.shape[1]
    matches = np.unique(alignment.best_document_token[alignment.best_document_token >= 0])
    if count <= limit or len(matches) == 0:
        return list(range(min(count, limit)))
    distance = np.abs(np.arange(count)[:, None] - matches[None, :]).min(axis=1)
    return sorted(np.argsort(distance, kind="stable")[:limit].tolist())


def _whole_words(tokens: Sequence[str]) -> dict[int, tuple[int, str]]:
    """Map each position to the first position of its word and the word, word pieces joined."""
    pieces: dict[int, list[str]] = defaultdict(list)
    starts: list[int] = []
    for position, token in enumerate(tokens):
        start = starts[-1] if token.startswith("##") and starts else position
        starts.append(start)
        pieces[start].append(_word(token))
    return {position: (start, "".join(pieces[start])) for position, start in enumerate(starts)}


def _word(token: str) -> str:
    """Return a token without the signs by which vocabularies mark the start or inside of a word."""
    return token.removeprefix("##").lstrip("Ġ▁") or token
