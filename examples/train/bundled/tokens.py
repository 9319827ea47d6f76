"""How do texts and vectors lie on a device?  End to end, and padded only while something computes with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from serotine.scores import colbert_scores

BATCH_TOKENS = 2**16  # of a forward pass; fewer on a CPU
QUERY_BLOCK, DOCUMENT_BLOCK = 512, 256  # of a matrix of scores


class Packed(NamedTuple):
    """Token ids `(num_tokens,)` or vectors `(num_tokens, dim)` of many texts, and where each begins."""

    values: Tensor
    offsets: Tensor  # int64 (num_texts + 1,)

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


def run(model: Any, ids: Packed, numbers: Tensor, task: str) -> tuple[Tensor, Tensor]:
    """Return the model's vectors of some texts, `(num_texts, longest, dim)`, and their scoring mask."""
    tokens, mask = ids.padded(numbers)
    features = {"input_ids": tokens.long() * mask, "attention_mask": mask.long(), "task": task}
    with torch.autocast(tokens.device.type, dtype=torch.bfloat16, enabled=tokens.is_cuda):
        output = model(features, task=task)
    return output["token_embeddings"], output["attention_mask"].bool()


def by_length(lengths: Tensor, batch_tokens: int = BATCH_TOKENS) -> Iterator[Tensor]:
    """Yield positions in batches of about as many tokens, longest first."""
    order = lengths.argsort(descending=True, stable=True)
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // int(lengths[order[start]]))
        yield order[start : start + size]
        start += size


@torch.no_grad()
def encoded(model: Any, ids: Packed, task: str) -> Packed:
    """Return the vectors of all texts, float16. Every token is scored: the bundled model has no skiplist."""
    shape = (len(ids.values), model.get_embedding_dimension())
    values = torch.empty(shape, dtype=torch.float16, device=ids.values.device)
    for numbers in by_length(ids.lengths, BATCH_TOKENS if ids.values.is_cuda else 2**12):
        vectors, mask = run(model, ids, numbers, task)
        places = torch.arange(mask.shape[1], device=mask.device)
        values[(ids.offsets[numbers][:, None] + places)[mask]] = vectors[mask].half()
    return Packed(values, ids.offsets)


@torch.no_grad()
def mean_similarities(queries: Packed, documents: Packed) -> Tensor:
    """Return MaxSim divided by the number of query tokens, float32 `(num_queries, num_documents)`."""
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
