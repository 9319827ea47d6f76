"""`CachedContrastive`: `Contrastive` with batches that need not fit.  Gradients are cached, texts embedded twice.

(1) Embed every mini-batch without gradients, remembering the state of the random numbers. (2) Compute the loss of
the whole batch and its gradients by the embeddings. (3) In the backward pass, embed each mini-batch again with
gradients and the same random numbers, and pass the cached gradients on. Only one mini-batch of activations exists at a
time.

Mini-batches are cut from texts sorted by length. Sources: Gao et al. 2021, "Scaling Deep Contrastive Learning Batch
Size under Memory Limited Setup"; steps 1 and 3 use Sentence Transformers' parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from sentence_transformers.base.losses.gradcache import (
    RandContext,
    _backward_hook,
    _create_minibatch,
    _get_batch_size,
)
from sentence_transformers.util import cat_padded_token_embeddings
from torch import Tensor, nn
from tqdm.auto import tqdm

from serotine.errors import InvalidInput
from serotine.losses.contrastive import Contrastive
from serotine.losses.distributed import gather_documents, mean_gradients, sum_own_part, synchronized
from serotine.losses.embedding import Columns, Documents, Features, Texts, group, read_columns, scoring_output
from serotine.losses.scoring import Metric

__all__ = ["CachedContrastive"]


class CachedContrastive(Contrastive):
    """`Contrastive` at any batch size in the memory of a mini-batch, for about a third more time.

    Loss and gradients are those of `Contrastive`, at any size of mini-batch (with dropout: in distribution).

    Args:
        model: as for `Contrastive`, which has all arguments not named here.
        score_metric: as for `Contrastive`.
        mini_batch_size: texts embedded together.
        mini_batch_num_tokens: instead, tokens embedded together, padding included; a longer text goes alone.
        score_mini_batch_size: queries scored together; None for mini_batch_size.
        show_progress_bar: over mini-batches.

    With gather_across_devices, documents are gathered once and their gradients summed once per step.
    Memory beside the model: the embeddings four times (and those of all processes three times, if gathered), one of
    which, the sums of gradients, is float32, and what the score needs for ``score_mini_batch_size`` queries.
    """

    # Sentence Transformers asks, because such a loss runs the model in the backward pass.
    uses_gradient_cache = True

    def __init__(
        self,
        model: Any,
        score_metric: Metric | None = None,
        *,
        mini_batch_size: int = 32,
        mini_batch_num_tokens: int | None = None,
        score_mini_batch_size: int | None = None,
        size_average: bool = True,
        gather_across_devices: bool = False,
        show_progress_bar: bool = False,
        temperature: float = 1.0,
    ) -> None:
        for name, value in (("mini_batch_size", mini_batch_size), ("mini_batch_num_tokens", mini_batch_num_tokens)):
            if (value is not None or name == "mini_batch_size") and (
                isinstance(value, bool) or not isinstance(value, int) or value < 1
            ):
                raise InvalidInput(f"{name} must be a positive whole number, got {value!r}")
        super().__init__(
            model,
            score_metric,
            score_mini_batch_size=mini_batch_size if score_mini_batch_size is None else score_mini_batch_size,
            size_average=size_average,
            gather_across_devices=gather_across_devices,
            temperature=temperature,
        )
        self.mini_batch_size = mini_batch_size
        self.mini_batch_num_tokens = mini_batch_num_tokens
        self.show_progress_bar = show_progress_bar

    def forward(self, sentence_features: Iterable[Features], labels: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return the loss of a batch, a scalar whose backward pass runs the model. labels are not used."""
        columns = read_columns(sentence_features, loss=type(self).__name__)
        plans = [_plan(features, self.mini_batch_size, self.mini_batch_num_tokens) for features in columns.features]
        with_gradient = torch.is_grad_enabled()
        cache = [self._embed_column(plan, remember=with_gradient) for plan in plans]
        queries, own = self._assemble(plans, cache, columns)
        if not with_gradient:
            documents = gather_documents(own) if self.gather_across_devices else own
            loss = torch.stack(list(self._part_losses(queries, documents))).sum()
            return self._watch(loss, queries, own)
        loss, scorer_gradients = self._cache_gradients(queries, own)
        # A leaf, so that the hook runs when the caller's backward pass arrives, with the caller's scale.
        loss = self._watch(loss, queries, own).requires_grad_()
        loss.register_hook(  # type: ignore[no-untyped-call]
            partial(
                _backward_hook,
                sentence_features=[plan.features for plan in plans],
                loss_obj=self,
                cache=[[part.tokens.grad for part in column] for column in cache],
                random_states=[[part.state for part in column] for column in cache],
                ranges=[plan.ranges for plan in plans],
            )
        )
        loss.register_hook(  # type: ignore[no-untyped-call]
            partial(_add_gradients, self._scorer_parameters(), scorer_gradients)
        )
        return loss

    def _embed_column(self, plan: _Plan, *, remember: bool) -> list[_Part]:
        """Embed a column without gradients: leaves, in which gradients will be collected."""
        parts = self.embed_minibatch_iter(
            plan.features, with_grad=False, copy_random_state=remember, ranges=plan.ranges
        )
        return [_Part(tokens.detach().requires_grad_(remember), mask, state) for tokens, mask, state in parts]

    def embed_minibatch_iter(
        self,
        sentence_feature: Features,
        with_grad: bool,
        copy_random_state: bool,
        random_states: list[Any] | None = None,
        ranges: list[tuple[int, int]] | None = None,
    ) -> Iterator[tuple[Tensor, Tensor, _Replay | None]]:
        """Yield tokens, scoring mask and state of each mini-batch: the interface of Sentence Transformers' hook."""
        for number, (begin, end) in enumerate(
            tqdm(ranges or (), desc="Embed mini-batches", disable=not self.show_progress_bar)
        ):
            features = _create_minibatch(sentence_feature, begin, end)
            if random_states is not None:
                with random_states[number], torch.set_grad_enabled(with_grad):
                    texts = scoring_output(self.model(features, task=features["task"]))
                yield *texts, None
                continue
            state = _Replay(features) if copy_random_state else None
            with torch.set_grad_enabled(with_grad):
                texts = scoring_output(self.model(features, task=features["task"]))
            yield *texts, state

    def _assemble(self, plans: list[_Plan], cache: list[list[_Part]], columns: Columns) -> tuple[Texts, Documents]:
        """Put mini-batches back into the order of the rows; gradients flow back to the leaves."""
        texts = []
        for plan, parts in zip(plans, cache, strict=True):
            joined = Texts(*cat_padded_token_embeddings([part.tokens for part in parts], [part.mask for part in parts]))
            if plan.places is not None:
                joined = Texts(joined.tokens[plan.places], joined.mask[plan.places])
            texts.append(joined)
        return texts[0], group(texts[1:], columns)

    def _cache_gradients(self, queries: Texts, own: Documents) -> tuple[Tensor, list[Tensor]]:
        """Leave the gradients of the loss in the mini-batches; return it and the gradients of the score's parameters.

        The loss is differentiated part by part, up to one leaf per side. What lies before those leaves - order,
        padding, the gather - is passed once, with the sums. These are made in float32 at least, over processes too, and
        rounded once: in 16 bits a sum of many parts would lose the small ones.
        """
        parameters = self._scorer_parameters()
        if parameters:
            synchronized(self.score_metric, gradients=False)  # type: ignore[arg-type]
        with torch.no_grad():
            everywhere = gather_documents(own) if self.gather_across_devices else own
        self._check_negatives(everywhere)
        leaves = (queries.tokens.detach().requires_grad_(), everywhere.tokens.detach().requires_grad_())
        sums = [
            torch.zeros_like(leaf, dtype=torch.promote_types(leaf.dtype, torch.float32))
            for leaf in (*leaves, *parameters)
        ]
        sides = (queries._replace(tokens=leaves[0]), everywhere._replace(tokens=leaves[1]))
        loss = torch.zeros((), device=leaves[0].device)
        for part in self._part_losses(*sides, share_gradients=False):
            gradients = torch.autograd.grad(part, (*leaves, *parameters), allow_unused=True)
            for total, gradient in zip(sums, gradients, strict=True):
                if gradient is not None:
                    total += gradient
            loss = loss + part.detach()
            del part, gradient, gradients  # before those of the next few queries are made
        of_queries, of_documents, *of_scorer = sums
        if self.gather_across_devices:
            of_documents = sum_own_part(of_documents)
            of_documents = of_documents[:, : own.mask.shape[1], : own.mask.shape[2]]
        torch.autograd.backward(
            [queries.tokens, own.tokens], [of_queries.to(queries.tokens.dtype), of_documents.to(own.tokens.dtype)]
        )
        return loss, mean_gradients(of_scorer)

    def _scorer_parameters(self) -> list[Tensor]:
        if not isinstance(self.score_metric, nn.Module):
            return []
        return [parameter for parameter in self.score_metric.parameters() if parameter.requires_grad]

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for model cards."""
        return {
            **super().get_config_dict(),
            "mini_batch_size": self.mini_batch_size,
            "mini_batch_num_tokens": self.mini_batch_num_tokens,
        }


class _Part(NamedTuple):
    """An embedded mini-batch."""

    tokens: Tensor
    mask: Tensor
    state: _Replay | None


class _Replay(RandContext):  # type: ignore[misc]
    """Repeats a forward pass: its random numbers, and its autocast, which is off in a backward pass."""

    def __init__(self, features: Features) -> None:
        tensors = [value for value in features.values() if isinstance(value, Tensor)]
        super().__init__(*tensors)
        kind = tensors[0].device.type
        self._precision = (kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))

    def __enter__(self) -> None:
        kind, dtype, enabled = self._precision
        self._autocast = torch.autocast(kind, dtype=dtype, enabled=enabled)
        self._autocast.__enter__()  # type: ignore[no-untyped-call]
        super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._autocast.__exit__(*error)


def _add_gradients(parameters: list[Tensor], gradients: list[Tensor], scale: Tensor) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        scaled = (gradient * scale).to(parameter.dtype)
        parameter.grad = scaled if parameter.grad is None else parameter.grad + scaled


class _Plan(NamedTuple):
    """How a column is embedded: features in the order of lengths, and which rows go together."""

    features: Features
    ranges: list[tuple[int, int]]
    places: Tensor | None  # (num_texts,): where each text of the column went; None if they stayed


def _plan(features: Features, batch_size: int, num_tokens: int | None) -> _Plan:
    rows = _get_batch_size(features)
    lengths = _lengths(features)
    if lengths is None:
        if num_tokens is not None:
            raise InvalidInput("mini_batch_num_tokens needs features with an attention_mask; use mini_batch_size")
        return _Plan(features, _ranges([1] * rows, batch_size, None), None)
    order = torch.argsort(lengths, stable=True)
    tensors = {key: value for key, value in features.items() if isinstance(value, Tensor) and value.ndim}
    if any(len(value) != rows for value in tensors.values()):
        # Pieces of images lie end to end: rows cannot change places.
        return _Plan(features, _ranges(lengths.tolist(), batch_size, num_tokens), None)
    moved = {**features, **{key: value[order.to(value.device)] for key, value in tensors.items()}}
    places = torch.argsort(order).to(tensors["attention_mask"].device)
    return _Plan(moved, _ranges(lengths[order].tolist(), batch_size, num_tokens), places)


def _lengths(features: Features) -> Tensor | None:
    """Return the tokens that each row makes the model compute, None if that is not known.

    Up to the last one that is attended to or, being an expansion token, scored.
    """
    attention = features.get("attention_mask")
    if not isinstance(attention, Tensor) or attention.ndim != 2 or "cu_seq_lens_q" in features:
        return None
    counts = attention.bool()
    expansion = features.get("query_expansion_positions")
    if isinstance(expansion, Tensor):
        counts = counts | expansion.bool()
    ends = torch.arange(1, counts.shape[1] + 1, device=counts.device)
    return (counts * ends).amax(dim=1).cpu()


def _ranges(lengths: list[int], batch_size: int, num_tokens: int | None) -> list[tuple[int, int]]:
    """Cut rows into ranges of a number of rows, or of the tokens that they have when filled up to the longest."""
    if num_tokens is None:
        return [(begin, min(begin + batch_size, len(lengths))) for begin in range(0, len(lengths), batch_size)]
    ranges, begin, longest = [], 0, 0
    for row, length in enumerate(lengths):
        longest = max(longest, length)
        if row > begin and longest * (row + 1 - begin) > num_tokens:
            ranges.append((begin, row))
            begin, longest = row, length
    return [*ranges, (begin, len(lengths))]
