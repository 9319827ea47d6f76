"""How are the token vectors of a document made fewer?  Pooling methods, and the interface for new ones.

`pool_factor=2` in `ColBERT.encode` means `SharedPooling(2)`; any other method is passed as ``token_pooling=``, such as
`HierarchicalPooling(2)`, Sentence Transformers' own. A method is a module of Sentence Transformers (`TokenPooling`), so
that it can also be appended to a model and saved with it. Such a model loads without Serotine if the method is Sentence
Transformers'.

Source: Clavié, Chaffin & Adams 2024, "Reducing the Footprint of Multi-Vector Retrieval with Minimal
Performance Impact via Token Pooling": Ward's method within each document. That documents share the number of vectors
is ours; docs/measurements.md compares the two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers.multi_vector_encoder.modules import BaseTokenPooling as TokenPooling
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling as HierarchicalPooling
from torch import Tensor
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence

from serotine.errors import InvalidInput

__all__ = ["HierarchicalPooling", "SharedPooling", "TokenPooling", "choose_pooling"]


class SharedPooling(TokenPooling):  # type: ignore[misc]
    """Keep ``1 / pool_factor`` of the vectors of documents that are pooled together, by the merges that change least.

    Ward's method merges, within a document, the two clusters whose merge adds least to the sum of squared distances
    between tokens and the means that replace them. With a factor for each document it would stop at the same share
    everywhere; here the documents that are pooled together share the number of vectors that this leaves them, and
    the cheapest merges of all are made (on ties, those of earlier documents). A document that repeats itself then
    gives vectors to one whose every token is another word. A document alone keeps its own share: inside a model, whose
    batches are no collection, each document of a batch is pooled alone.

    Vectors are expected to have comparable lengths, such as 1: long ones lie further apart and would keep more.

    Args:
        pool_factor: any number >= 1. The number of vectors is exactly that of pooling each document by itself.
        num_protected_tokens: leading vectors of a document that stay as they are (its [CLS]).
        normalize_embeddings: give all vectors unit length.
        tasks: what it applies to, ``["document"]`` by default.

    Raises:
        InvalidInput: a factor below 1, a negative number of protected tokens.

    Cost: O(num_tokens^2) time and memory for each document, on the CPU: 1.5 ms for 256 tokens, 2 s and 200 MB for
    4,096. Beside what goes in and what comes out, 24 bytes a token are kept.
    """

    config_keys: list[str] = ["pool_factor", "num_protected_tokens", "normalize_embeddings", "tasks"]  # noqa: RUF012

    def __init__(
        self,
        pool_factor: float = 1.0,
        *,
        num_protected_tokens: int = 1,
        normalize_embeddings: bool = True,
        tasks: str | list[str] | None = None,
    ) -> None:
        super().__init__(tasks=tasks)
        self.pool_factor = _checked_factor(pool_factor)
        self.num_protected_tokens = _checked_protected(num_protected_tokens)
        self.normalize_embeddings = normalize_embeddings

    def pool(
        self,
        embeddings: list[Tensor] | Tensor,
        *,
        task: str | None = None,
        attention_mask: Tensor | None = None,
        padding_side: str = "right",
    ) -> list[Tensor] | Tensor:
        """Pool documents together.

        embeddings: one ``(num_tokens, dim)`` tensor per document, any of them empty, or all of them padded to
        ``(num_documents, longest, dim)``. attention_mask: of the latter, ``(num_documents, longest)``; None: rows
        of zeros are padding. task: unchanged if the method does not apply to it.

        Returns what it got, with fewer vectors: in the order of the first token that each stands for, same dtype
        and device.

        Raises:
            InvalidInput: a document that is not 2-D, or whose vectors have no finite distances (its position among
                these documents is named).
        """
        if not self.applies_to(task):
            return embeddings
        if not isinstance(embeddings, Tensor):
            return self._pooled(list(embeddings))
        if embeddings.ndim != 3:
            raise InvalidInput(f"expected (num_documents, longest, dim) or a list, got shape {tuple(embeddings.shape)}")
        mask = (embeddings != 0).any(dim=-1) if attention_mask is None else attention_mask.bool()
        rows = self._pooled([vectors[kept] for vectors, kept in zip(embeddings, mask, strict=True)])
        return pad_sequence(rows, batch_first=True, padding_side=padding_side) if rows else embeddings

    def pool_one(self, embedding: Tensor, **_: Any) -> Tensor:
        """Pool one document ``(num_tokens, dim)`` by itself. Raises what `pool` raises."""
        return self._pooled([embedding])[0]

    def _pooled(self, documents: list[Tensor]) -> list[Tensor]:
        for position, vectors in enumerate(documents):
            if vectors.ndim != 2:
                raise InvalidInput(f"document {position} must be 2-D (num_tokens, dim), got {tuple(vectors.shape)}")
        poolable = [max(len(vectors) - self.num_protected_tokens, 0) for vectors in documents]
        surplus = sum(count - max(int(count // self.pool_factor), 1) for count in poolable if count)
        if not surplus:
            return [self._finished(vectors.float(), vectors) for vectors in documents]
        merges = [_ward(vectors[self.num_protected_tokens :], number) for number, vectors in enumerate(documents)]
        counts = _cheapest([heights for _, heights in merges], surplus)
        return [
            self._finished(self._merged(vectors.float(), pairs[:count]), vectors)
            for vectors, (pairs, _), count in zip(documents, merges, counts, strict=True)
        ]

    def _merged(self, vectors: Tensor, pairs: npt.NDArray[np.int64]) -> Tensor:
        """Replace clusters by their means, in the vectors' order; a document without merges stays as it is."""
        if not len(pairs):
            return vectors
        protected, rest = vectors[: self.num_protected_tokens], vectors[self.num_protected_tokens :].cpu()
        labels = torch.from_numpy(_labels(pairs, len(rest)))
        sizes = torch.bincount(labels)
        sums = torch.zeros((len(sizes), rest.shape[1])).index_add(0, labels, rest)
        return torch.cat([protected, (sums / sizes[:, None]).to(vectors.device)])

    def _finished(self, vectors: Tensor, like: Tensor) -> Tensor:
        """Give float32 vectors unit length, if asked to, and only then the precision that they came in."""
        return (normalize(vectors, dim=-1) if self.normalize_embeddings else vectors).to(like.dtype)


def _ward(vectors: Tensor, number: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return all merges of Ward's method, the cheapest first.

    Of n vectors: pairs of clusters ``(n - 1, 2)``, where cluster ``n + i`` is what merge i made, and heights
    ``(n - 1,)``: half of a height's square is what the merge adds to the sum of squared distances. number: of the
    document, for the error.
    """
    # Half a second to import, for those who pool.
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    if len(vectors) < 2:
        return np.empty((0, 2), dtype=np.int64), np.empty(0)
    values = vectors.detach().float().cpu()
    # Around their mean, so that no digits are lost where all of them lie far from the origin.
    values = values - values.mean(dim=0)
    norms = values.square().sum(dim=1)
    squares = (norms[:, None] + norms - 2 * (values @ values.T)).clamp_(min=0)
    if not torch.isfinite(squares).all():
        raise InvalidInput(
            f"document {number} of those that are pooled together has vectors with NaN, infinity or values near the "
            "largest of their type: they have no distances"
        )
    tree = linkage(squareform(squares.sqrt_().numpy(), checks=False), method="ward")
    return tree[:, :2].astype(np.int64), tree[:, 2]


def _cheapest(heights: list[npt.NDArray[np.float64]], count: int) -> npt.NDArray[np.int64]:
    """Return how many of its merges each document makes if the cheapest of all are made; earlier ones on ties."""
    owners = np.repeat(np.arange(len(heights)), [len(each) for each in heights])
    chosen = np.argsort(np.concatenate(heights), kind="stable")[:count] if heights else owners
    return np.bincount(owners[chosen], minlength=len(heights))


def _labels(pairs: npt.NDArray[np.int64], num_vectors: int) -> npt.NDArray[np.int64]:
    """Return the cluster of each vector after some merges, numbered by their first vectors.

    Exactly these merges: where heights tie, scipy's `fcluster` may make more of them.
    """
    parents = np.arange(num_vectors + len(pairs))
    parents[pairs] = (num_vectors + np.arange(len(pairs)))[:, None]
    while not np.array_equal(parents, above := parents[parents]):
        parents = above
    _, first, clusters = np.unique(parents[:num_vectors], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[clusters]


def _checked_factor(pool_factor: float) -> float:
    if isinstance(pool_factor, bool) or not isinstance(pool_factor, (int, float)) or not pool_factor >= 1:
        raise InvalidInput(f"pool_factor must be a number >= 1 (2 keeps half of the vectors), got {pool_factor!r}")
    return pool_factor


def _checked_protected(protected_tokens: int) -> int:
    if isinstance(protected_tokens, bool) or not isinstance(protected_tokens, int) or protected_tokens < 0:
        raise InvalidInput(f"protected_tokens must be an integer >= 0, got {protected_tokens!r}")
    return protected_tokens


def choose_pooling(
    token_pooling: TokenPooling | None, *, pool_factor: float, protected_tokens: int, normalize: bool
) -> TokenPooling | None:
    """Return the pooling that the arguments of ``encode`` ask for, None for none.

    Raises:
        InvalidInput: both a method and a factor, a factor below 1, a negative number of protected tokens,
            or something that is not a pooling method.
    """
    if token_pooling is not None:
        if not isinstance(token_pooling, TokenPooling):
            raise InvalidInput(
                f"token_pooling must be a serotine.models.TokenPooling, got {type(token_pooling).__name__}. "
                "Subclass it and define pool_one(embedding) -> embedding"
            )
        if pool_factor != 1:
            raise InvalidInput("give either pool_factor or token_pooling, not both: they would pool twice")
        return token_pooling
    factor, protected = _checked_factor(pool_factor), _checked_protected(protected_tokens)
    if factor == 1:
        return None
    return SharedPooling(factor, num_protected_tokens=protected, normalize_embeddings=normalize)
