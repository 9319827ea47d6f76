"""How does an evaluator encode?  Through the model's own methods, into packed matrices in bounded pieces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serotine._arrays import pack, to_numpy
from serotine.models.encoding import Encoder
from serotine.types import TokenMatrix

__all__ = ["encode", "score_name", "score_pairs"]

_SCORE_NAMES = {"maxsim": "MaxSim", "meanmaxsim": "MeanMaxSim"}


def encode(model: Any, texts: Sequence[Any], *, is_query: bool, **options: Any) -> TokenMatrix:
    """Encode texts, of which there is at least one, by a `ColBERT` or another `MultiVectorEncoder`.

    options: those of its encode_query and encode_document. In a distributed evaluation the ranks share the texts, as
    Sentence Transformers arranges it.
    """
    method = model.encode_query if is_query else model.encode_document
    if isinstance(model, Encoder):
        matrix: TokenMatrix = method(texts, packed=True, **options)
        return matrix
    return pack(method(texts, convert_to_numpy=True, **options))


def score_pairs(model: Any, queries: TokenMatrix, documents: TokenMatrix) -> npt.NDArray[np.float64]:
    """Score query i against document i by the model's own score: float64 ``(n,)``."""
    packed = isinstance(model, Encoder)
    scores = model.similarity_pairwise(*((queries, documents) if packed else (list(queries), list(documents))))
    return to_numpy(scores).astype(np.float64)


def score_name(model: Any) -> str:
    """Return what a model scores by, as metrics and cards write it: MaxSim, MeanMaxSim, or the class of its scorer."""
    scorer = getattr(model, "scorer", None)
    if scorer is not None:
        return type(scorer).__name__
    name = str(model.similarity_fn_name)
    return _SCORE_NAMES.get(name, name)
