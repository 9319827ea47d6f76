"""How do benchmarks look side by side?  Quality against latency or size, and recall against exact search by depth.

Each function takes what `serotine.evaluation.benchmark` returns, or `Benchmark.read` reads, and returns matplotlib's
axes (extra ``viz``), to be changed further or saved: ``axes.figure.savefig("pareto.png")``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from serotine._lazy import require
from serotine.errors import InvalidInput
from serotine.evaluation.benchmark_result import Benchmark

__all__ = ["pareto_front", "plot_pareto", "plot_recall_against_exact", "plot_size"]

# Okabe and Ito's colours, told apart with any colour vision; shapes repeat what they say.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", "-.", ":")


def pareto_front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the ``(cost, quality)`` points that no other point beats, cheapest first.

    A point is beaten by one that costs no more and is better, or costs less and is as good.

    Example:
        >>> pareto_front([(3.0, 0.9), (1.0, 0.5), (2.0, 0.4), (4.0, 0.9)])
        [(1.0, 0.5), (3.0, 0.9)]
    """
    front: list[tuple[float, float]] = []
    for cost, quality in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or quality > front[-1][1]:
            front.append((cost, quality))
    return front


def plot_pareto(
    benchmarks: Benchmark | Sequence[Benchmark], *, metric: str = "ndcg@10", intervals: bool = False, axes: Any = None
) -> Any:
    """Draw quality against the median latency of a search: each setting a point, each benchmark a colour.

    The wide grey line joins the settings that no other beats. Left and up is better. Latency is without encoding the
    query, on a logarithmic axis. intervals: also the 95 % interval of each mean, which says how far it depends on the
    queries; whether two settings differ on the *same* queries is another question, see `Run.compare`. axes: where to
    draw; None: a new figure.

    Raises:
        InvalidInput: no benchmark, or one without the metric. MissingExtra: matplotlib is not installed.
    """
    shown, axes = _shown(benchmarks), _axes(axes)
    points = []
    for number, each in enumerate(shown):
        settings = sorted(each.settings, key=lambda setting: setting.latency_ms["p50"])
        costs = [setting.latency_ms["p50"] for setting in settings]
        found = [_interval(each, setting, metric) for setting in settings]
        means = [interval.mean for interval in found]
        points += list(zip(costs, means, strict=True))
        axes.plot(costs, means, linewidth=1, **_style(number), label=each.name)
        if intervals:
            lows, highs = [interval.low for interval in found], [interval.high for interval in found]
            axes.vlines(costs, lows, highs, color=_style(number)["color"], linewidth=0.8)
        for setting, cost, mean in zip(settings, costs, means, strict=True):
            axes.annotate(
                setting.name, (cost, mean), textcoords="offset points", xytext=(2, 5), rotation=35, fontsize=8
            )
    axes.plot(*zip(*pareto_front(points), strict=True), color="0.85", linewidth=5, zorder=0)
    axes.set_xscale("log")
    # Fewer than two powers of ten would leave the axis without a number.
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="x", which="both", length=3, pad=3)
    axes.margins(x=0.12, y=0.2)  # room for the names
    axes.set_xlabel("median ms a query, without encoding it")
    return _finished(axes, metric)


def plot_size(benchmarks: Benchmark | Sequence[Benchmark], *, metric: str = "ndcg@10", axes: Any = None) -> Any:
    """Draw each benchmark's best setting against the size of its index. Left and up is better.

    Raises:
        InvalidInput: no benchmark, one without the metric, or one whose index does not tell its size.
        MissingExtra: matplotlib is not installed.
    """
    shown, axes = _shown(benchmarks), _axes(axes)
    for number, each in enumerate(shown):
        if each.index_bytes is None:
            raise InvalidInput(f"the benchmark {each.name!r} does not know the size of its index")
        best = max(_interval(each, setting, metric).mean for setting in each.settings)
        axes.plot(each.index_bytes / 2**20, best, linestyle="", **_style(number), label=each.name)
    axes.set_xlabel("index, MiB")
    axes.margins(0.15)
    axes.set_xlim(left=0)
    return _finished(axes, metric)


def plot_recall_against_exact(benchmarks: Benchmark | Sequence[Benchmark], *, axes: Any = None) -> Any:
    """Draw, for each setting, the share of the k best of exact search among its own k best, by k.

    Raises:
        InvalidInput: no benchmark, or one that was made without ``exact=``. MissingExtra: matplotlib is not installed.
    """
    shown, axes = _shown(benchmarks), _axes(axes)
    for number, each in enumerate(shown):
        for place, setting in enumerate(each.settings):
            if setting.recall_against_exact is None:
                raise InvalidInput(f"the benchmark {each.name!r} was made without exact search: pass exact=Exact()")
            depths, found = zip(*setting.recall_against_exact.items(), strict=True)
            # Colours tell benchmarks apart, and settings where there is one benchmark; dashes tell settings apart.
            style = {**_style(place), "color": _style(place if len(shown) == 1 else number)["color"]}
            label = setting.name if len(shown) == 1 else f"{each.name}, {setting.name}"
            axes.plot(depths, found, linewidth=1.2, linestyle=_DASHES[place % len(_DASHES)], **style, label=label)
            axes.set_xscale("log")
            axes.set_xticks(depths, [str(depth) for depth in depths])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("k")
    return _finished(axes, "recall of the k best of exact search")


def _shown(benchmarks: Benchmark | Sequence[Benchmark]) -> list[Benchmark]:
    shown = [benchmarks] if isinstance(benchmarks, Benchmark) else list(benchmarks)
    if not shown or not all(isinstance(each, Benchmark) for each in shown):
        raise InvalidInput(f"expected a Benchmark or several, got {benchmarks!r}; Benchmark.read reads a file")
    return shown


def _axes(axes: Any) -> Any:
    figure = require("matplotlib.figure", extra="viz", purpose="serotine.visualize.plots")
    # A Figure of its own, not pyplot's: nothing global, nothing to close, no display needed.
    return figure.Figure(figsize=(6, 4.5), layout="constrained").subplots() if axes is None else axes


def _interval(each: Benchmark, setting: Any, metric: str) -> Any:
    if metric not in setting.metrics:
        raise InvalidInput(f"the benchmark {each.name!r} has no {metric!r}; it has {', '.join(setting.metrics)}")
    return setting.metrics[metric]


def _style(number: int) -> dict[str, Any]:
    return {"color": _COLOURS[number % len(_COLOURS)], "marker": _MARKERS[number % len(_MARKERS)], "markersize": 5}


def _finished(axes: Any, quantity: str) -> Any:
    axes.set_ylabel(quantity)
    axes.grid(which="both", alpha=0.25, linewidth=0.5)
    # Below the axes, where it hides nothing.
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    return axes
