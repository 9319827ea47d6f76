"""Pictures: which words of a document matched which words of a query, and how benchmarks compare."""

from typing import TYPE_CHECKING

from serotine._lazy import lazy_exports

if TYPE_CHECKING:
    from serotine.visualize.heatmap import FUNCTION_WORDS, STYLE, heatmap_html, matched_words, shaded_text_html
    from serotine.visualize.plots import pareto_front, plot_pareto, plot_recall_against_exact, plot_size

__all__ = [
    "FUNCTION_WORDS",
    "STYLE",
    "heatmap_html",
    "matched_words",
    "pareto_front",
    "plot_pareto",
    "plot_recall_against_exact",
    "plot_size",
    "shaded_text_html",
]

_OF_PLOTS = ("pareto_front", "plot_pareto", "plot_recall_against_exact", "plot_size")

__getattr__, __dir__ = lazy_exports(
    __name__,
    {name: f"serotine.visualize.{'plots' if name in _OF_PLOTS else 'heatmap'}" for name in __all__},
)
