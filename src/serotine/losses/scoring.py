"""How does a loss ask its ``score_metric``?  The two shapes of scores, whatever the metric is.

A metric is any callable of ``(queries, documents, queries_mask=, documents_mask=)``: a function of
`serotine.scores`, a configured one such as `XTRScores`, one of Sentence Transformers, or a module with parameters
(`TokenWeights`), which is trained along and kept equal over processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from sentence_transformers.util import similarity_fct_name
from torch import Tensor, nn
from torch.func import functional_call

from serotine.errors import InvalidInput
from serotine.losses.distributed import num_processes, synchronized
from serotine.losses.embedding import Documents, Texts
from serotine.scores import Scorer

__all__ = ["choose_metric", "cross_scores", "metric_name", "own_scores", "row_slices"]

Metric = Callable[..., Any]


def cross_scores(metric: Metric, queries: Texts, documents: Documents, *, share_gradients: bool = True) -> Tensor:
    """Score each query against the documents of all: ``(A, Q * N)``, query-major; ``-inf`` where there is none.

    share_gradients: average those of the metric's parameters over processes in the backward pass.
    """
    scores = _call(metric, queries, documents, share_gradients=share_gradients)
    expected = (len(queries.tokens), documents.mask.shape[0] * documents.mask.shape[1])
    if tuple(scores.shape) != expected:
        raise InvalidInput(
            f"score_metric {metric_name(metric)} returned shape {tuple(scores.shape)}, expected {expected}: every "
            "query against the documents of every query"
        )
    return scores if documents.exist is None else scores.masked_fill(~documents.exist.view(1, -1), -torch.inf)


def own_scores(metric: Metric, queries: Texts, documents: Documents) -> Tensor:
    """Score each query against its own documents: ``(B, N)``, ``-inf`` where there is none.

    A metric that scores every pair, ``(B, B * N)``, is accepted, and costs that.
    """
    options = {"own": True} if getattr(metric, "scores_own", False) else {}
    scores = _call(metric, queries, documents, **options)
    num_queries, num_documents = documents.mask.shape[:2]
    if tuple(scores.shape) == (num_queries, num_queries * num_documents) and num_queries > 1:
        rows = torch.arange(num_queries, device=scores.device)
        scores = scores.view(num_queries, num_queries, num_documents)[rows, rows]
    if tuple(scores.shape) != (num_queries, num_documents):
        raise InvalidInput(
            f"score_metric {metric_name(metric)} returned shape {tuple(scores.shape)}, expected "
            f"{(num_queries, num_documents)}: each query against its own documents"
        )
    return scores if documents.exist is None else scores.masked_fill(~documents.exist, -torch.inf)


def _call(
    metric: Metric, queries: Texts, documents: Documents, *, share_gradients: bool = True, **options: Any
) -> Tensor:
    tokens = (queries.tokens, documents.tokens)
    keywords = {"queries_mask": queries.mask, "documents_mask": documents.mask, **options}
    scores: Tensor
    if isinstance(metric, nn.Module) and num_processes() > 1:
        scores = functional_call(metric, synchronized(metric, gradients=share_gradients), tokens, keywords)
    else:
        scores = metric(*tokens, **keywords)
    return scores


def metric_name(metric: Metric) -> str:
    """Return a metric's name with its options, for messages and model cards."""
    return str(similarity_fct_name(metric))


def choose_metric(
    model: Any, metric: Metric | None, *, default: Metric, score_mini_batch_size: int | None, own: bool
) -> Metric:
    """Return the metric that a loss uses: the one given, else the model's learnt score, else the default.

    A learnt score that is given belongs to the model from now on, which saves it and scores by it. One that the model
    has already is what it will be evaluated and searched by: training under MaxSim instead has to be asked for.

    Raises:
        InvalidInput: the metric or the size is one that a loss cannot use.
    """
    if isinstance(metric, Scorer) and hasattr(model, "use_scorer"):
        model.use_scorer(metric)
    if metric is None:
        learnt = getattr(model, "scorer", None)
        metric = learnt if isinstance(learnt, Scorer) else default
    _check_metric(metric, score_mini_batch_size=score_mini_batch_size, own=own)
    return metric


def _check_metric(metric: Metric, *, score_mini_batch_size: int | None, own: bool) -> None:
    """Raise InvalidInput for a metric or a size that a loss cannot use."""
    if not callable(metric):
        raise InvalidInput(f"score_metric must be callable, such as serotine.scores.ColBERTScores(), got {metric!r}")
    size = score_mini_batch_size
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise InvalidInput(f"score_mini_batch_size must be a positive whole number or None, got {size!r}")
    if own and size is not None and getattr(metric, "pools_documents", False):
        raise InvalidInput(
            f"score_metric {metric_name(metric)} ranks tokens of the whole batch: scoring it in parts of "
            f"{size} queries would change the scores. Leave score_mini_batch_size at None"
        )


def row_slices(length: int, step: int | None) -> Iterator[slice]:
    """Divide rows into slices of at most ``step``; None: one slice."""
    for start in range(0, length, step or length):
        yield slice(start, start + (step or length))
