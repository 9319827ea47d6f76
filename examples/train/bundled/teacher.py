"""How does the teacher rank?  Without weights of its own: token similarities, words, and means.

A document's score is a weighted sum of MaxSim over the base model's 384 dimensions, of BM25, and of the cosine of the
means of all token vectors, each standardised over a query's candidates. The weights were chosen on the dev sets:
`python examples/train/bundled/teacher.py --data build/bundled` prints them all.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tokens import Packed, encoded, mean_similarities, projected, through, tokenized
from torch import Tensor
from torch.nn import functional

from serotine.models import bundled

CANDIDATES = 100
SKIPPED_RANKS = 5  # the best of the rest are often answers that nobody judged
LIST_LENGTH = 16
DOCUMENT_LENGTH, DEV_DOCUMENT_LENGTH, QUERY_LENGTH = 256, 512, 128


class Weights(NamedTuple):
    """Shares of the three parts."""

    similarity: float = 0.8
    lexical: float = 0.2
    mean: float = 0.0


class Texts(NamedTuple):
    """A source or a dev set on a device: what is trained on, the teacher's vectors, and BM25's best documents."""

    name: str
    query_inputs: Packed  # token ids, or hidden states behind the layers that are frozen
    document_inputs: Packed
    queries: Packed
    documents: Packed
    lexical: Tensor  # int64 (num_queries, candidates), -1 where there are fewer
    lexical_scores: Tensor
    positives: Tensor  # int64 (num_queries,); none of a dev set
    relevant: list[list[int]]  # of each query; none of a source


def read_texts(folder: Path) -> dict[str, Any]:
    """Read the queries and documents that candidates.py wrote, and what is relevant in a dev set."""
    with gzip.open(folder / "texts.json.gz", "rt", encoding="utf-8") as file:
        texts: dict[str, Any] = json.load(file)
    return texts


def read(
    folder: Path,
    base: Any,
    device: torch.device,
    *,
    share: float = 1.0,
    projection: Tensor | None = None,
    depth: int = 0,
) -> Texts:
    """Read what candidates.py wrote and encode it with the base model and the projection, if any.

    share: of the queries, for a trial. depth: of that many layers of the transformer only what comes out is kept.
    """
    texts = read_texts(folder)
    count = max(1, int(len(texts["queries"]) * share))

    def array(name: str) -> Tensor:
        return torch.from_numpy(np.load(folder / f"{name}.npy")[:count]).to(device)

    is_dev = "relevant" in texts
    query_inputs = tokenized(base, texts["queries"][:count], QUERY_LENGTH, device)
    length = DEV_DOCUMENT_LENGTH if is_dev else DOCUMENT_LENGTH
    document_inputs = tokenized(base, texts["documents"], length, device)
    if depth:
        query_inputs, document_inputs = (through(base, ids, depth) for ids in (query_inputs, document_inputs))

    def vectors(inputs: Packed, task: str) -> Packed:
        found = encoded(base, inputs, task)
        return found if projection is None else found._replace(values=projected(found.values, projection).half())

    return Texts(
        folder.name,
        query_inputs,
        document_inputs,
        vectors(query_inputs, "query"),
        vectors(document_inputs, "document"),
        array("lexical").long(),
        array("lexical_scores").float(),
        torch.empty(0, dtype=torch.int64, device=device) if is_dev else array("positives").long(),
        texts["relevant"][:count] if is_dev else [],
    )


def standardised(scores: Tensor, candidates: Tensor) -> Tensor:
    """Scores with mean 0 and deviation 1 over each row's candidates."""
    count = candidates.sum(dim=1, keepdim=True)
    mean = (scores * candidates).sum(dim=1, keepdim=True) / count
    deviation = (((scores - mean) * candidates).square().sum(dim=1, keepdim=True) / count).sqrt()
    return (scores - mean) / (deviation + 1e-6)


def means(vectors: Packed) -> Tensor:
    """Unit means of the token vectors of each text, float32."""
    summed = torch.segment_reduce(vectors.values.float(), "sum", lengths=vectors.lengths, axis=0)
    return functional.normalize(summed, dim=-1)


def parts_of(texts: Texts) -> tuple[list[Tensor], Tensor]:
    """Return the three standardised parts, each `(num_queries, num_documents)`, and the candidates, bool.

    A document that BM25 does not list gets the score of the last one that it does.
    """
    similarity = mean_similarities(texts.queries, texts.documents)
    listed = texts.lexical >= 0
    lowest = texts.lexical_scores.where(listed, torch.inf).amin(dim=1, keepdim=True).nan_to_num(posinf=0)
    lexical = lowest.where(listed.all(dim=1, keepdim=True), 0).expand_as(similarity).clone()
    rows = torch.arange(len(listed), device=listed.device)[:, None].expand_as(listed)
    lexical[rows[listed], texts.lexical[listed]] = texts.lexical_scores[listed]
    candidates = torch.zeros_like(similarity, dtype=torch.bool)
    candidates[rows[listed], texts.lexical[listed]] = True
    candidates.scatter_(1, similarity.topk(min(CANDIDATES, similarity.shape[1]), dim=1).indices, True)
    if len(texts.positives):
        candidates.scatter_(1, texts.positives[:, None], True)
    mean = means(texts.queries) @ means(texts.documents).T
    return [standardised(part, candidates) for part in (similarity, lexical, mean)], candidates


def fused(parts: list[Tensor], candidates: Tensor, weights: Weights) -> Tensor:
    """Return the teacher's scores, -inf for what is no candidate."""
    total = sum(weight * part for weight, part in zip(weights, parts, strict=True))
    return total.masked_fill(~candidates, -torch.inf)


def lists(
    texts: Texts,
    weights: Weights,
    generator: torch.Generator,
    *,
    length: int = LIST_LENGTH,
    skipped: int = SKIPPED_RANKS,
    last: int = CANDIDATES + SKIPPED_RANKS,
) -> tuple[Tensor, Tensor]:
    """Return documents and teacher scores of each query's list, `(num_queries, length)`, the positive first.

    The others are drawn from the fused ranks `skipped` to `last`, without the positive.
    """
    scores = fused(*parts_of(texts), weights)
    positive = texts.positives[:, None]
    others = scores.scatter(1, positive, -torch.inf)
    ranked = others.topk(min(last, others.shape[1]), dim=1)
    pool, usable = ranked.indices[:, skipped:], ranked.values[:, skipped:].isfinite()
    keys = torch.rand(pool.shape, generator=generator).to(pool.device).masked_fill(~usable, -1)
    drawn = pool.gather(1, keys.topk(length - 1, dim=1).indices)
    documents = torch.cat([positive, drawn], dim=1)
    return documents, scores.gather(1, documents).nan_to_num(neginf=-3.0)


def ndcg(scores: Tensor, relevant: list[list[int]]) -> float:
    """Mean nDCG@10 with equal gains."""
    discounts = 1 / torch.arange(2, 12).float().log2()
    top = scores.topk(10, dim=1).indices.cpu()
    values = []
    for row, documents in zip(top.tolist(), relevant, strict=True):
        gains = torch.tensor([float(document in documents) for document in row])
        ideal = discounts[: len(documents)].sum()
        values.append(float((gains * discounts).sum() / ideal))
    return float(np.mean(values))


def main() -> None:
    """Print nDCG@10 of the dev sets for a grid of weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("build/bundled"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--share", type=float, default=1.0)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    base = bundled(projected=False, device=arguments.device)
    parts = {}
    for folder in sorted((arguments.data / "dev").iterdir()):
        texts = read(folder, base, device, share=arguments.share)
        parts[folder.name] = (texts, *parts_of(texts))
    for lexical in (0.0, 0.1, 0.2, 0.3, 0.4):
        for mean in (0.0, 0.1, 0.2, 0.3):
            weights = Weights(1 - lexical - mean, lexical, mean)
            row = {name: ndcg(fused(*each, weights), texts.relevant) for name, (texts, *each) in parts.items()}
            print(weights, {name: round(value, 4) for name, value in row.items()}, round(np.mean([*row.values()]), 4))


if __name__ == "__main__":
    main()
