"""How does a model score, and where does a learnt score live?  `similarity`, and a `Scorer` beside the modules.

The score is no module of the model: modules run one after another, and Sentence Transformers' plain class must load all
of them. It is saved in a folder of its own, and travels with the state dict, so that the trainer restores it with the
best checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sentence_transformers.util import load_file_path
from torch import Tensor

from serotine.errors import InvalidInput
from serotine.models.encoding import Encoder
from serotine.scores import Scorer, load_scorer, maxsim, maxsim_pairwise, save_scorer
from serotine.scores.scorer_files import SCORER_FOLDER, remove_scorer
from serotine.types import TokenMatrix

__all__ = ["ScoringEncoder"]

_STATE_PREFIX = f"{SCORER_FOLDER}."


class ScoringEncoder(Encoder):
    """An `Encoder` that scores: by MaxSim, or by what was learnt with it."""

    @property
    def scorer(self) -> Scorer | None:
        """The learnt score that takes the place of MaxSim in `similarity`, None for MaxSim."""
        scorer: Scorer | None = self.__dict__.get("_scorer")
        return scorer

    def use_scorer(self, scorer: Scorer | None) -> None:
        """Score by a learnt score, and save it with the model; None for MaxSim. Losses do it with theirs.

        Indexes search by MaxSim all the same: fold `TokenWeights` into the vectors, rerank with a `SimilarityMLP`.
        """
        if scorer is not None and not isinstance(scorer, Scorer):
            raise InvalidInput(f"expected a serotine.scores.Scorer or None, got {type(scorer).__name__}")
        # Past nn.Module, which would make it a module.
        self.__dict__["_scorer"] = scorer

    def _load_scorer(self, model_name_or_path: str, **hub: Any) -> None:
        """Take the learnt score of a checkpoint, in a folder or on the Hub, if it has one.

        hub: token, cache_folder, revision and local_files_only of the constructor.
        """
        config = load_file_path(model_name_or_path, "config.json", subfolder=SCORER_FOLDER, **hub)
        if config is not None:
            load_file_path(model_name_or_path, "model.safetensors", subfolder=SCORER_FOLDER, **hub)
            self.use_scorer(load_scorer(Path(config).parent.parent, device=self.device))

    def save(self, path: str, *args: Any, **kwargs: Any) -> None:
        """Save as `MultiVectorEncoder` does, and the learnt score, if there is one, in the folder ``scorer``.

        Without one, the score of a model that was saved there before is removed: it would be loaded with this one.
        """
        super().save(path, *args, **kwargs)
        if self.scorer is None:
            remove_scorer(path)
        else:
            save_scorer(self.scorer, path)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.scorer is not None:
            destination.update(self.scorer.state_dict(prefix=prefix + _STATE_PREFIX, keep_vars=keep_vars))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if self.scorer is not None:
            own = prefix + _STATE_PREFIX
            names = [name for name in state_dict if name.startswith(own)]
            weights = {name.removeprefix(own): state_dict.pop(name) for name in names}
            # A state from before the score was given leaves it as it is.
            if weights:
                self.scorer.load_state_dict(weights)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def similarity(self, embeddings1: Any, embeddings2: Any, **kwargs: Any) -> Tensor:
        """Score all queries against all documents; takes the options of `serotine.scores.maxsim`.

        device: where to compute, the documents' own by default. Returns a float32 tensor on the documents' device.
        """
        return self._score(maxsim, embeddings1, embeddings2, kwargs)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any, **kwargs: Any) -> Tensor:
        """Score query i against document i; everything else as `similarity`."""
        return self._score(maxsim_pairwise, embeddings1, embeddings2, kwargs)

    def _score(self, function: Callable[..., Any], queries: Any, documents: Any, options: dict[str, Any]) -> Tensor:
        if self.scorer is not None:
            return self._score_learnt(function, queries, documents, options)
        options.setdefault("length_normalize", self.similarity_fn_name == "meanmaxsim")
        device = options.pop("device", None)
        if device is None:
            return torch.as_tensor(function(queries, documents, **options))
        documents = documents if hasattr(documents, "ndim") or isinstance(documents, TokenMatrix) else list(documents)
        one = documents if hasattr(documents, "ndim") else next(iter(documents), None)
        home = one.device if isinstance(one, Tensor) else torch.device("cpu")
        scores: Tensor = function(_moved(queries, device), _moved(documents, device), **options)
        return scores.to(home)

    def _score_learnt(
        self, function: Callable[..., Any], queries: Any, documents: Any, options: dict[str, Any]
    ) -> Tensor:
        options.pop("device", None)  # the score is where its parameters are
        wrong = set(options) - {"queries_mask", "documents_mask"}
        if wrong:
            raise InvalidInput(f"{sorted(wrong)} are options of MaxSim, but this model has a learnt score")
        scorer = self.scorer.pairwise if function is maxsim_pairwise else self.scorer  # type: ignore[union-attr]
        # As MaxSim: of embeddings without gradients, numbers without gradients.
        with torch.set_grad_enabled(torch.is_grad_enabled() and (_has_gradient(queries) or _has_gradient(documents))):
            scores: Tensor = scorer(queries, documents, **options)  # type: ignore[misc]
        one = documents if hasattr(documents, "ndim") else next(iter(documents), None)
        return scores.to(one.device) if isinstance(one, Tensor) else scores


def _has_gradient(embeddings: Any) -> bool:
    if isinstance(embeddings, TokenMatrix):
        return False
    return any(
        getattr(one, "requires_grad", False) for one in ([embeddings] if hasattr(embeddings, "ndim") else embeddings)
    )


def _moved(embeddings: Any, device: torch.device | str) -> Any:
    """Return arrays or tensors as tensors on a device; a packed matrix moves in one piece."""
    if hasattr(embeddings, "ndim"):
        return torch.as_tensor(embeddings, device=device)
    if isinstance(embeddings, TokenMatrix):
        values = torch.as_tensor(embeddings.values, device=device)
        return list(torch.split(values, embeddings.lengths.tolist()))
    return [torch.as_tensor(embedding, device=device) for embedding in embeddings]
