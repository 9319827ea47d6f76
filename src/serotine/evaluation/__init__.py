"""How good is a ranking?  Metrics, intervals, run files and the BEIR collections; exports only.

Importing this package imports neither ranx nor torch; ranx (extra ``eval``) is imported by the first evaluation.
"""

from typing import TYPE_CHECKING

from serotine._lazy import lazy_exports

if TYPE_CHECKING:
    from serotine.evaluation.agreement import recall_against_exact
    from serotine.evaluation.beir import BEIR_DATASETS, CQADUPSTACK_FORUMS, load_beir
    from serotine.evaluation.benchmark_result import Benchmark, Setting
    from serotine.evaluation.benchmarking import DEFAULT_BENCHMARK_METRICS, benchmark
    from serotine.evaluation.bright import BrightDataset, load_bright
    from serotine.evaluation.comparison import Comparison, ComparisonTable, compare
    from serotine.evaluation.datasets import Dataset, load_custom_dataset
    from serotine.evaluation.ir_datasets_ids import load_ir_datasets
    from serotine.evaluation.longembed import LONGEMBED_TASKS, load_longembed
    from serotine.evaluation.machine import machine_facts
    from serotine.evaluation.metrics import DEFAULT_METRICS, MetricValues, evaluate, evaluate_run
    from serotine.evaluation.qrels import Qrels, read_qrels, write_qrels
    from serotine.evaluation.run import Run
    from serotine.evaluation.self_matches import SELF_MATCH_DATASETS, has_self_matches
    from serotine.evaluation.significance import Interval, bootstrap, randomization_test
    from serotine.evaluation.triples import get_beir_triples

__all__ = [
    "BEIR_DATASETS",
    "CQADUPSTACK_FORUMS",
    "DEFAULT_BENCHMARK_METRICS",
    "DEFAULT_METRICS",
    "LONGEMBED_TASKS",
    "SELF_MATCH_DATASETS",
    "Benchmark",
    "BrightDataset",
    "ColBERTDistillationEvaluator",
    "ColBERTInformationRetrievalEvaluator",
    "ColBERTTripletEvaluator",
    "Comparison",
    "ComparisonTable",
    "Dataset",
    "Interval",
    "MetricValues",
    "NanoBEIREvaluator",
    "Qrels",
    "Run",
    "Setting",
    "benchmark",
    "bootstrap",
    "compare",
    "evaluate",
    "evaluate_run",
    "get_beir_triples",
    "has_self_matches",
    "load_beir",
    "load_bright",
    "load_custom_dataset",
    "load_ir_datasets",
    "load_longembed",
    "machine_facts",
    "randomization_test",
    "read_qrels",
    "recall_against_exact",
    "write_qrels",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "BEIR_DATASETS": "serotine.evaluation.beir",
        "CQADUPSTACK_FORUMS": "serotine.evaluation.beir",
        "DEFAULT_BENCHMARK_METRICS": "serotine.evaluation.benchmarking",
        "DEFAULT_METRICS": "serotine.evaluation.metrics",
        "LONGEMBED_TASKS": "serotine.evaluation.longembed",
        "SELF_MATCH_DATASETS": "serotine.evaluation.self_matches",
        "Benchmark": "serotine.evaluation.benchmark_result",
        "BrightDataset": "serotine.evaluation.bright",
        "ColBERTDistillationEvaluator": "serotine.evaluation.evaluators",
        "ColBERTInformationRetrievalEvaluator": "serotine.evaluation.evaluators",
        "ColBERTTripletEvaluator": "serotine.evaluation.evaluators",
        "Comparison": "serotine.evaluation.comparison",
        "ComparisonTable": "serotine.evaluation.comparison",
        "Dataset": "serotine.evaluation.datasets",
        "Interval": "serotine.evaluation.significance",
        "MetricValues": "serotine.evaluation.metrics",
        "NanoBEIREvaluator": "serotine.evaluation.evaluators",
        "Qrels": "serotine.evaluation.qrels",
        "Run": "serotine.evaluation.run",
        "Setting": "serotine.evaluation.benchmark_result",
        "benchmark": "serotine.evaluation.benchmarking",
        "bootstrap": "serotine.evaluation.significance",
        "compare": "serotine.evaluation.comparison",
        "evaluate": "serotine.evaluation.metrics",
        "evaluate_run": "serotine.evaluation.metrics",
        "get_beir_triples": "serotine.evaluation.triples",
        "has_self_matches": "serotine.evaluation.self_matches",
        "load_beir": "serotine.evaluation.beir",
        "load_bright": "serotine.evaluation.bright",
        "load_custom_dataset": "serotine.evaluation.datasets",
        "load_ir_datasets": "serotine.evaluation.ir_datasets_ids",
        "load_longembed": "serotine.evaluation.longembed",
        "machine_facts": "serotine.evaluation.machine",
        "randomization_test": "serotine.evaluation.significance",
        "read_qrels": "serotine.evaluation.qrels",
        "recall_against_exact": "serotine.evaluation.agreement",
        "write_qrels": "serotine.evaluation.qrels",
    },
)
