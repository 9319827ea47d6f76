"""How do texts and vectors lie on a device?  End to end, and padded only while something computes with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from serotine.scores import colbert_scores, maxsim_packed
from serotine.types import TokenMatrix

BATCH_TOKENS = {"cuda": 2**17, "cpu": 2**12}  # of a forward pass
QUERY_BLOCK, DOCUMENT_BLOCK = 512, 256  # of a matrix of scores


class Packed(NamedTuple):
    """Token ids `(num_tokens,)` or vectors `(num_tokens, dim)` of many texts, and where each begins."""

    values: Tensor
    offsets: Tensor  # int64 (num_texts + 1,)
    depth: int = 0  # layers of the transformer that hidden states have been through; 0 of token ids

    @property
    def lengths(self) -> Tensor:
        """Tokens of each text."""
        return self.offsets.diff()

    def padded(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return some texts side by side, `(num_texts, longest, ...)`, and which tokens are theirs."""
        lengths = self.lengths[numbers]
        places = torch.arange(int(lengths.max()), device=numbers.device)
        mask = places < lengths[:, None]
        rows = (self.offsets[numbers][:, None] + places).clamp(max=len(self.values) - 1)
        return self.values[rows], mask


def tokenized(model: Any, texts: list[str], max_length: int, device: torch.device) -> Packed:
    """Return token ids, int32, of texts cut to `max_length`."""
    ids = model.tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
    lengths = torch.tensor([0, *map(len, ids)])
    values = torch.tensor([token for text in ids for token in text], dtype=torch.int32)
    return Packed(values.to(device), lengths.cumsum(0).to(device))


def run(model: Any, inputs: Packed, numbers: Tensor, task: str) -> tuple[Tensor, Tensor]:
    """Return the model's vectors of some texts, `(num_texts, longest, dim)`, and their scoring mask.

    From hidden states, those of a model that ends at its transformer: through the layers above them.
    """
    values, mask = inputs.padded(numbers)
    with _fast(values.device):
        if inputs.depth:
            hidden = _layers(model, values.float(), mask, slice(inputs.depth, None))
            return functional.normalize(hidden.float(), dim=-1), mask
        features = {"input_ids": values.long() * mask, "attention_mask": mask.long(), "task": task}
        output = model(features, task=task)
    return output["token_embeddings"], output["attention_mask"].bool()


def _fast(device: torch.device) -> torch.autocast:
    """Bfloat16 where the processor multiplies it."""
    native = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=native)


def _layers(model: Any, hidden: Tensor, mask: Tensor, which: slice) -> Tensor:
    bias = torch.zeros(mask.shape, dtype=hidden.dtype, device=mask.device).masked_fill(~mask, -1e4)
    for layer in model[0].model.encoder.layer[which]:
        hidden = layer(hidden, attention_mask=bias[:, None, None, :])
    return hidden


@torch.no_grad()
def _of_all(inputs: Packed, dim: int, forward: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
    """Put what `forward` makes of some texts, by their numbers, end to end: float16 `(num_tokens, dim)`."""
    values = torch.empty((len(inputs.values), dim), dtype=torch.float16, device=inputs.values.device)
    for numbers in by_length(inputs.lengths):
        vectors, mask = forward(numbers)
        places = torch.arange(mask.shape[1], device=mask.device)
        values[(inputs.offsets[numbers][:, None] + places)[mask]] = vectors[mask].half()
    return values


def through(model: Any, ids: Packed, depth: int) -> Packed:
    """Return the hidden states, float16, behind the first `depth` layers: where those are frozen no ids are needed."""

    def forward(numbers: Tensor) -> tuple[Tensor, Tensor]:
        tokens, mask = ids.padded(numbers)
        with _fast(tokens.device):
            embedded = model[0].model.embeddings(input_ids=tokens.long() * mask)
            return _layers(model, embedded, mask, slice(depth)), mask

    return Packed(_of_all(ids, model[0].model.config.hidden_size, forward), ids.offsets, depth)


def projected(vectors: Tensor, weight: Tensor) -> Tensor:
    """Unit vectors in the projection's dimensions."""
    return functional.normalize(functional.linear(vectors.float(), weight), dim=-1)


def by_length(lengths: Tensor) -> Iterator[Tensor]:
    """Yield positions in batches of about BATCH_TOKENS tokens, longest first."""
    batch_tokens = BATCH_TOKENS[lengths.device.type]
    order = lengths.argsort(descending=True, stable=True)
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // int(lengths[order[start]]))
        yield order[start : start + size]
        start += size


def encoded(model: Any, inputs: Packed, task: str) -> Packed:
    """Return the vectors of all texts, float16. Every token is scored: the bundled model has no skiplist."""
    dim = model.get_embedding_dimension()
    return Packed(_of_all(inputs, dim, lambda numbers: run(model, inputs, numbers, task)), inputs.offsets)


@torch.no_grad()
def mean_similarities(queries: Packed, documents: Packed) -> Tensor:
    """Return MaxSim divided by the number of query tokens, float32 `(num_queries, num_documents)`."""
    if not queries.values.is_cuda:
        matrices = (TokenMatrix(texts.values.numpy(), texts.offsets.numpy()) for texts in (queries, documents))
        return torch.from_numpy(maxsim_packed(*matrices)) / queries.lengths[:, None]
    scores = torch.empty(len(queries.lengths), len(documents.lengths), device=queries.values.device)
    order = documents.lengths.argsort()
    for columns in order.split(DOCUMENT_BLOCK):
        rows, mask = documents.padded(columns)
        for start in range(0, len(scores), QUERY_BLOCK):
            numbers = torch.arange(start, min(start + QUERY_BLOCK, len(scores)), device=order.device)
            query, query_mask = queries.padded(numbers)
            part = colbert_scores(query, rows, query_mask, mask) / query_mask.sum(dim=1, keepdim=True)
            scores[numbers[:, None], columns] = part.float()
    return scores
