"""Pictures of scores: which words of a document matched which words of a query."""

from typing import TYPE_CHECKING

from serotine._lazy import lazy_exports

if TYPE_CHECKING:
    from serotine.visualize.heatmap import FUNCTION_WORDS, STYLE, heatmap_html, matched_words, shaded_text_html

__all__ = ["FUNCTION_WORDS", "STYLE", "heatmap_html", "matched_words", "shaded_text_html"]

__getattr__, __dir__ = lazy_exports(__name__, dict.fromkeys(__all__, "serotine.visualize.heatmap"))
