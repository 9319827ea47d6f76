"""Proves that plots hold the figures of their benchmarks, that files of them can be written, and what they refuse."""

from dataclasses import replace

import pytest

from serotine.errors import InvalidInput
from serotine.evaluation import Benchmark, Interval, Setting
from serotine.visualize import pareto_front, plot_pareto, plot_recall_against_exact, plot_size

pytest.importorskip("matplotlib", reason="the extra 'viz' is not installed")


def setting(name, *, quality, ms, found):
    """Make one way to search."""
    interval = Interval(quality, quality - 0.02, quality + 0.03, 0.95, 50)
    return Setting(name, {}, {"ndcg@10": interval}, {"p50": ms, "p95": 2 * ms}, 1000 / ms, found)


def made(name, settings, *, index_bytes=2**20):
    """Make a benchmark."""
    return Benchmark(name, "PLAID", index_bytes, 100, 50, 100, {}, tuple(settings), {})


FAST = made(
    "4 bits",
    [
        setting("few", quality=0.6, ms=1.0, found={1: 0.9, 10: 0.8, 100: 0.7}),
        setting("all", quality=0.7, ms=4.0, found={1: 1.0, 10: 0.99, 100: 0.98}),
    ],
)
SLOW = made("exact", [setting("default", quality=0.65, ms=20.0, found={1: 1.0, 10: 1.0, 100: 1.0})], index_bytes=2**23)


def drawn(axes):
    """Return the points of each line of the axes."""
    return [[(float(x), float(y)) for x, y in zip(*line.get_data(), strict=True)] for line in axes.lines]


def test_the_front_leaves_out_what_is_beaten():
    assert pareto_front([]) == []
    assert pareto_front([(1, 0.5), (1, 0.6), (2, 0.6), (3, 0.7)]) == [(1, 0.6), (3, 0.7)]


def test_quality_against_latency_has_every_setting_and_the_front(tmp_path):
    axes = plot_pareto([FAST, SLOW])
    assert [(1.0, 0.6), (4.0, 0.7)] in drawn(axes)
    assert [(20.0, 0.65)] in drawn(axes)
    assert drawn(axes)[-1] == [(1.0, 0.6), (4.0, 0.7)]  # the front: exact search is beaten
    assert [text.get_text() for text in axes.texts] == ["few", "all", "default"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["4 bits", "exact"]
    assert axes.get_xscale() == "log"
    assert not axes.collections
    bars = [segment.tolist() for bar in plot_pareto(FAST, intervals=True).collections for segment in bar.get_segments()]
    assert bars == [[[1.0, 0.58], [1.0, pytest.approx(0.63)]], [[4.0, pytest.approx(0.68)], [4.0, 0.73]]]
    for suffix in ("png", "svg"):
        axes.figure.savefig(tmp_path / f"pareto.{suffix}")
        assert (tmp_path / f"pareto.{suffix}").stat().st_size > 1000


def test_recall_against_exact_is_a_line_for_each_setting():
    axes = plot_recall_against_exact(FAST)
    assert drawn(axes) == [[(1, 0.9), (10, 0.8), (100, 0.7)], [(1, 1.0), (10, 0.99), (100, 0.98)]]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "10", "100"]
    labels = [text.get_text() for text in plot_recall_against_exact([FAST, SLOW]).get_legend().get_texts()]
    assert labels == ["4 bits, few", "4 bits, all", "exact, default"]


def test_size_is_drawn_with_the_best_setting():
    assert drawn(plot_size([FAST, SLOW])) == [[(1.0, 0.7)], [(8.0, 0.65)]]


def test_axes_that_are_given_are_drawn_into():
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    assert plot_pareto(FAST, axes=axes) is axes
    assert axes.lines


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(InvalidInput, match=r"has no 'mrr'; it has ndcg@10"):
        plot_pareto(FAST, metric="mrr")
    with pytest.raises(InvalidInput, match="expected a Benchmark or several, got"):
        plot_pareto([])
    with pytest.raises(InvalidInput, match=r"Benchmark\.read reads a file"):
        plot_size(["benchmark.json"])
    with pytest.raises(InvalidInput, match="made without exact search"):
        plot_recall_against_exact(made("x", [setting("default", quality=0.5, ms=1, found=None)]))
    with pytest.raises(InvalidInput, match="does not know the size of its index"):
        plot_size(replace(FAST, index_bytes=None))
