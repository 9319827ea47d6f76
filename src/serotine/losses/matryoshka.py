"""`Matryoshka`: a loss at several widths, so that vectors can be cut short after training."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from serotine.errors import InvalidInput
from serotine.losses.contrastive import Contrastive, positive
from serotine.losses.embedding import Features
from serotine.losses.teaching import TeacherLoss

__all__ = ["Matryoshka"]


class Matryoshka(nn.Module):
    """The weighted sum of a loss over the leading dimensions of the vectors, each cut to norm 1 again.

    `ColBERT(truncate_dim=...)` cuts and normalises the same way. Texts are embedded once per step.

    Args:
        model: the model of the loss; Sentence Transformers' argument.
        loss: any loss of this package. It keeps the widths: use it through this object only.
        matryoshka_dims: widths, the model's own among them if it is to stay usable. A learnt score that reads vectors
            (`TokenWeights`) fits one width only.
        matryoshka_weights: of the widths' losses; None for 1 each.
        n_dims_per_step: how many widths a step uses, drawn at random, the same in all processes; -1 for all.

    Source: Kusupati et al. 2022, "Matryoshka Representation Learning".
    """

    def __init__(
        self,
        model: Any,
        loss: Contrastive | TeacherLoss,
        matryoshka_dims: Sequence[int],
        matryoshka_weights: Sequence[float] | None = None,
        *,
        n_dims_per_step: int = -1,
    ) -> None:
        super().__init__()
        if not isinstance(loss, (Contrastive, TeacherLoss)):
            raise InvalidInput(f"loss must be one of serotine.losses, got {type(loss).__name__}")
        dims = list(matryoshka_dims)
        width = model.get_embedding_dimension() if hasattr(model, "get_embedding_dimension") else None
        for dim in dims:
            if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1 or (width is not None and dim > width):
                raise InvalidInput(f"matryoshka_dims must be from 1 to the model's {width} dimensions, got {dim!r}")
        weights = [1.0] * len(dims) if matryoshka_weights is None else list(matryoshka_weights)
        if not dims or len(weights) != len(dims):
            raise InvalidInput(f"matryoshka_weights has {len(weights)} weights for {len(dims)} matryoshka_dims")
        if n_dims_per_step != -1 and not 1 <= n_dims_per_step <= len(dims):
            raise InvalidInput(f"n_dims_per_step must be -1 or from 1 to {len(dims)}, got {n_dims_per_step!r}")
        self.model = model
        self.loss = loss
        self.matryoshka_dims, self.matryoshka_weights = dims, [positive(each, "matryoshka_weights") for each in weights]
        self.n_dims_per_step = n_dims_per_step
        self._step = 0

    @property
    def uses_gradient_cache(self) -> bool:
        """Whether the loss runs the model in the backward pass."""
        return bool(getattr(self.loss, "uses_gradient_cache", False))

    def forward(self, sentence_features: Iterable[Features], labels: Any = None) -> Tensor:
        """Return the sum of the loss at the chosen widths, a scalar."""
        views = list(zip(self.matryoshka_dims, self.matryoshka_weights, strict=True))
        if self.n_dims_per_step != -1:
            # Seeded by the step: processes must not differ, and a run can be repeated.
            views = random.Random(self._step).sample(views, self.n_dims_per_step)  # noqa: S311
        self._step += 1
        self.loss._views = tuple(views)
        loss: Tensor = self.loss(sentence_features, labels)
        return loss

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for model cards."""
        return {
            "loss": type(self.loss).__name__,
            **self.loss.get_config_dict(),
            "matryoshka_dims": self.matryoshka_dims,
            "matryoshka_weights": self.matryoshka_weights,
            "n_dims_per_step": self.n_dims_per_step,
        }
