"""How well does a model retrieve in general?  `NanoBEIREvaluator`: 13 small collections and their mean."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from tqdm.auto import tqdm

from serotine.errors import InvalidInput
from serotine.evaluation.evaluators.base import ColBERTEvaluator
from serotine.evaluation.evaluators.information_retrieval import ColBERTInformationRetrievalEvaluator
from serotine.evaluation.evaluators.nano_datasets import (
    HUB_DATASET,
    NANO_DATASETS,
    SELF_MATCHES,
    load_nano_dataset,
    nano_name,
)
from serotine.indexes.base import Index

__all__ = ["NanoBEIREvaluator"]

Prompts = str | Mapping[str, str] | None


class NanoBEIREvaluator(ColBERTEvaluator):
    """Evaluates on the collections of NanoBEIR, and reports each metric of each, and their means.

    The primary metric is ``NanoBEIR_mean_MaxSim_ndcg@10`` (instead of MaxSim the class of a learnt score); that of a
    collection ``NanoMSMARCO_MaxSim_ndcg@10``. Collections are read when the evaluator is made, once.

    Args:
        dataset_names: such as ``["msmarco", "nq"]``, in any spelling of `nano_datasets.nano_name`; None for all 13.
        dataset_id: a data set of the Hub, or a local folder with a subfolder in BEIR's layout for each collection.
        aggregate_fn, aggregate_key: how values become one, and its name in metrics.
        query_prompts, corpus_prompts: one prompt for all collections, or ``{collection: prompt}`` in the spelling of
            dataset_names; instead of the model's own.
        split: name of the judgements in a local folder.

    All other arguments: see `ColBERTInformationRetrievalEvaluator`. Self-matches are dropped in NanoArguAna and
    NanoQuoraRetrieval, as BEIR does, which PyLate and Sentence Transformers do not: ArguAna's figures are higher here.

    Raises:
        InvalidInput: an unknown or repeated name, a prompt that is missing, a collection that is not valid.
        DownloadFailed: the Hub cannot be reached.

    Example:
        >>> evaluator = NanoBEIREvaluator(["msmarco", "nfcorpus"])  # doctest: +SKIP
        >>> evaluator(model)[evaluator.primary_metric]  # doctest: +SKIP
        0.52
    """

    title: ClassVar[str] = "NanoBEIR"

    def __init__(
        self,
        dataset_names: Sequence[str] | None = None,
        dataset_id: str | os.PathLike[str] = HUB_DATASET,
        *,
        mrr_at_k: Sequence[int] = (10,),
        ndcg_at_k: Sequence[int] = (10,),
        accuracy_at_k: Sequence[int] = (1, 3, 5, 10),
        precision_recall_at_k: Sequence[int] = (1, 3, 5, 10),
        map_at_k: Sequence[int] = (100,),
        corpus_chunk_size: int = 5_000,
        show_progress_bar: bool = False,
        batch_size: int = 32,
        write_csv: bool = True,
        truncate_dim: int | None = None,
        score_functions: Mapping[str, Callable[..., Any]] | None = None,
        main_score_function: str | None = None,
        aggregate_fn: Callable[[list[float]], Any] = np.mean,
        aggregate_key: str = "mean",
        query_prompts: Prompts = None,
        corpus_prompts: Prompts = None,
        write_predictions: bool = False,
        index: Callable[[], Index] | None = None,
        num_candidates: int = 100,
        split: str = "test",
    ) -> None:
        suffix = "" if truncate_dim is None else f"_{truncate_dim}"
        super().__init__(
            name=f"NanoBEIR_{aggregate_key}{suffix}",
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            write_csv=write_csv,
            truncate_dim=truncate_dim,
        )
        self.dataset_names = list(NANO_DATASETS if dataset_names is None else _checked_names(dataset_names))
        self.dataset_id = os.fspath(dataset_id)
        self.aggregate_fn = aggregate_fn
        self.main_score_function = main_score_function
        self.query_prompts = _per_dataset(query_prompts, self.dataset_names, "query_prompts")
        self.corpus_prompts = _per_dataset(corpus_prompts, self.dataset_names, "corpus_prompts")
        self.evaluators = [
            ColBERTInformationRetrievalEvaluator.from_dataset(
                load_nano_dataset(nano_name(given), dataset_id, split=split),
                name=f"{nano_name(given)}{suffix}",
                remove_self_matches=nano_name(given) in SELF_MATCHES,
                allow_missing_documents=True,
                query_prompt=self.query_prompts.get(given),
                corpus_prompt=self.corpus_prompts.get(given),
                mrr_at_k=mrr_at_k,
                ndcg_at_k=ndcg_at_k,
                accuracy_at_k=accuracy_at_k,
                precision_recall_at_k=precision_recall_at_k,
                map_at_k=map_at_k,
                corpus_chunk_size=corpus_chunk_size,
                show_progress_bar=show_progress_bar,
                batch_size=batch_size,
                write_csv=write_csv,
                truncate_dim=truncate_dim,
                score_functions=score_functions,
                main_score_function=main_score_function,
                write_predictions=write_predictions,
                index=index,
                num_candidates=num_candidates,
            )
            for given in self.dataset_names
        ]
        self.metrics = self.evaluators[0].metrics
        self.csv_file = f"NanoBEIR_evaluation_{aggregate_key}{suffix}_results.csv"
        self.csv_headers = ["epoch", "steps"]

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """Evaluate a model on each collection; return their metrics and the aggregated ones, under their full names."""
        self._log_start(epoch, steps)
        of_each: dict[str, float] = {}
        columns: dict[str, list[float]] = {}
        bar = tqdm(self.evaluators, desc="NanoBEIR", unit="collection", disable=not self.show_progress_bar)
        for evaluator in bar:
            values = evaluator(model, output_path, epoch, steps)
            of_each.update(values)
            for metric, value in values.items():
                columns.setdefault(metric.removeprefix(f"{evaluator.name}_"), []).append(value)
        means = {metric: float(self.aggregate_fn(values)) for metric, values in columns.items()}
        scores = list(dict.fromkeys(metric.rpartition("_")[0] for metric in means))
        main = self.main_score_function or max(scores, key=lambda score: means[f"{score}_{self.metrics.primary}"])
        self.primary_metric = f"{main}_{self.metrics.primary}"
        self.csv_headers = ["epoch", "steps", *self.metrics.csv_headers(scores)]
        row = self.metrics.csv_values(scores, means)
        return {**of_each, **self._report(model, means, output_path, epoch, steps, row=row)}

    def store_metrics_in_model_card_data(self, model: Any, *args: Any, **kwargs: Any) -> None:
        """Hand the aggregated metrics to the model card, unless they are those of the only collection."""
        if len(self.evaluators) > 1:
            super().store_metrics_in_model_card_data(model, *args, **kwargs)

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings for the model card; of a local folder its name alone."""
        config: dict[str, Any] = {"dataset_names": self.dataset_names, "dataset_id": self.dataset_id}
        if os.path.isdir(self.dataset_id):
            config["dataset_id"] = os.path.basename(os.path.abspath(self.dataset_id))
        prompts = {"query_prompts": self.query_prompts, "corpus_prompts": self.corpus_prompts}
        return {**config, **super().get_config_dict(), **{name: value for name, value in prompts.items() if value}}


def _checked_names(dataset_names: Sequence[str]) -> list[str]:
    if isinstance(dataset_names, str):
        raise InvalidInput(f"dataset_names must be a list of names, got {dataset_names!r}")
    names = list(dataset_names)
    if not names:
        raise InvalidInput("dataset_names is empty; name at least one collection, or pass None for all")
    full = [nano_name(name) for name in names]
    repeated = sorted({name for name in full if full.count(name) > 1})
    if repeated:
        raise InvalidInput(f"dataset_names has {', '.join(repeated)} more than once")
    return names


def _per_dataset(prompts: Prompts, dataset_names: list[str], what: str) -> dict[str, str]:
    if prompts is None:
        return {}
    if isinstance(prompts, str):
        return dict.fromkeys(dataset_names, prompts)
    missing = [name for name in dataset_names if name not in prompts]
    if missing:
        raise InvalidInput(f"{what} lacks {', '.join(missing)}: one prompt for each of dataset_names, or one string")
    return dict(prompts)
