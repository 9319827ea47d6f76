"""How good is a ranking?  Metrics, intervals, run files and the BEIR collections; exports only.

Importing this package imports neither ranx nor torch; ranx (extra ``eval``) is imported by the first evaluation.
"""

from typing import TYPE_CHECKING

from serotine._lazy import lazy_exports

if TYPE_CHECKING:
    from serotine.evaluation.beir import BEIR_DATASETS, load_beir
    from serotine.evaluation.comparison import Comparison, ComparisonTable, compare
    from serotine.evaluation.datasets import load_custom_dataset
    from serotine.evaluation.metrics import DEFAULT_METRICS, MetricValues, evaluate, evaluate_run
    from serotine.evaluation.qrels import Qrels, read_qrels, write_qrels
    from serotine.evaluation.run import Run
    from serotine.evaluation.self_matches import SELF_MATCH_DATASETS, has_self_matches
    from serotine.evaluation.significance import Interval, bootstrap
    from serotine.evaluation.triples import get_beir_triples

__all__ = [
    "BEIR_DATASETS",
    "DEFAULT_METRICS",
    "SELF_MATCH_DATASETS",
    "Comparison",
    "ComparisonTable",
    "Interval",
    "MetricValues",
    "Qrels",
    "Run",
    "bootstrap",
    "compare",
    "evaluate",
    "evaluate_run",
    "get_beir_triples",
    "has_self_matches",
    "load_beir",
    "load_custom_dataset",
    "read_qrels",
    "write_qrels",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "BEIR_DATASETS": "serotine.evaluation.beir",
        "Comparison": "serotine.evaluation.comparison",
        "ComparisonTable": "serotine.evaluation.comparison",
        "DEFAULT_METRICS": "serotine.evaluation.metrics",
        "Interval": "serotine.evaluation.significance",
        "MetricValues": "serotine.evaluation.metrics",
        "Qrels": "serotine.evaluation.qrels",
        "Run": "serotine.evaluation.run",
        "SELF_MATCH_DATASETS": "serotine.evaluation.self_matches",
        "bootstrap": "serotine.evaluation.significance",
        "compare": "serotine.evaluation.comparison",
        "evaluate": "serotine.evaluation.metrics",
        "evaluate_run": "serotine.evaluation.metrics",
        "get_beir_triples": "serotine.evaluation.triples",
        "has_self_matches": "serotine.evaluation.self_matches",
        "load_beir": "serotine.evaluation.beir",
        "load_custom_dataset": "serotine.evaluation.datasets",
        "read_qrels": "serotine.evaluation.qrels",
        "write_qrels": "serotine.evaluation.qrels",
    },
)
