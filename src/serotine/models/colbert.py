"""What is a late-interaction encoder?  `ColBERT`: Sentence Transformers' `MultiVectorEncoder` with ColBERT's
defaults, PyLate's arguments and an encoding path of its own.

It saves only modules of Sentence Transformers, so that what it saves loads there with identical output.
`building.py` completes the modules, `encoding.py` has the encode methods, `inference.py` runs the model;
this file is the constructor, the settings and the tokenising.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from torch import Tensor, nn

from serotine.errors import InvalidInput
from serotine.models import building
from serotine.models.encoding import EncodingMixin
from serotine.models.settings import Settings, apply_lengths, read_lengths, read_skiplist
from serotine.scores import maxsim, maxsim_pairwise

__all__ = ["ColBERT"]


class ColBERT(EncodingMixin):
    """A late-interaction encoder: one vector per token of a query or document.

    Loads late-interaction checkpoints (of Sentence Transformers, PyLate, Stanford ColBERT) with their own
    settings, and turns any other backbone into a ColBERT model to be trained: a random projection to
    ``embedding_size`` dimensions, ``[Q] `` and ``[D] `` markers added to the vocabulary, queries expanded
    to 32 tokens with [MASK], documents cut at 180, punctuation of documents skipped.

    Args:
        model_name_or_path: folder or name on the Hugging Face Hub.
        modules: modules to use instead of loading; a mask and a normalisation are added if missing.
        embedding_size: width of the projection (128); on a trained checkpoint that has another one, a
            random projection is appended, with a warning.
        bias: whether a new projection has a bias.
        query_prefix, document_prefix: marker token before the text, "" for none; goes before ``prompts``.
        query_length, document_length: tokens kept, special tokens and marker included.
        do_query_expansion, attend_to_expansion_tokens, skiplist_words: see `settings.Settings`.
        truncate_dim: encode to the leading dimensions only, normalised again (Matryoshka models).
        similarity_fn_name: "maxsim" (default) or "meanmaxsim"; PyLate's "MaxSim" is understood.
        tokenizer_kwargs, use_auth_token: PyLate's names for processor_kwargs and token.
        options: every other argument of `MultiVectorEncoder` (default_prompt_name, cache_folder, revision,
            local_files_only, trust_remote_code, model_kwargs, config_kwargs, backend, ...).

    None for any of the settings means: what the checkpoint says, else the default above.

    Raises:
        InvalidInput: a setting that the backbone cannot have, such as a length above its maximum.

    Sources: Khattab & Zaharia 2020 (ColBERT); Chaffin & Sourty 2025 (PyLate, whose arguments these are).
    """

    def __init__(
        self,
        model_name_or_path: str | None = None,
        modules: Iterable[nn.Module] | None = None,
        device: str | None = None,
        prompts: dict[str, str] | None = None,
        *,
        embedding_size: int | None = None,
        bias: bool = False,
        query_prefix: str | None = None,
        document_prefix: str | None = None,
        query_length: int | None = None,
        document_length: int | None = None,
        do_query_expansion: bool | None = None,
        attend_to_expansion_tokens: bool | None = None,
        skiplist_words: list[str] | None = None,
        truncate_dim: int | None = None,
        similarity_fn_name: str | None = None,
        tokenizer_kwargs: dict[str, Any] | None = None,
        use_auth_token: bool | str | None = None,
        **options: Any,
    ) -> None:
        self._given = Settings(
            query_prefix=query_prefix,
            document_prefix=document_prefix,
            query_length=query_length,
            document_length=document_length,
            do_query_expansion=do_query_expansion,
            attend_to_expansion_tokens=attend_to_expansion_tokens,
            skiplist_words=skiplist_words,
            embedding_size=embedding_size,
        )
        self._given.check()
        if truncate_dim is not None and (not isinstance(truncate_dim, int) or truncate_dim < 1):
            raise InvalidInput(f"truncate_dim must be a positive integer, got {truncate_dim!r}")
        self.truncate_dim = truncate_dim
        self._bias = bias
        self._origin: building.Origin = "modules" if model_name_or_path is None else "checkpoint"
        self._trained_modules: set[int] = set()
        self._prefixes = {"query": "", "document": ""}
        self._tokenizer_lock = building.CopyableLock()
        if tokenizer_kwargs is not None:
            options["processor_kwargs"] = {**tokenizer_kwargs, **(options.get("processor_kwargs") or {})}
        if use_auth_token is not None:
            options.setdefault("token", use_auth_token)
        super().__init__(
            model_name_or_path,
            modules=None if modules is None else list(modules),
            device=device,
            prompts=prompts,
            similarity_fn_name=None if similarity_fn_name is None else similarity_fn_name.lower(),
            **options,
        )

    @classmethod
    def load(cls, input_path: str) -> ColBERT:
        """Load a model from a folder: PyLate's name for calling the constructor."""
        return cls(input_path)

    # Hooks of Sentence Transformers: where the modules come from, and the moment to complete them.

    def _load_default_modules(self, *args: Any, **kwargs: Any) -> Any:
        # A folder without modules.json: a bare backbone, or a Stanford checkpoint (which has prefixes).
        modules, module_kwargs = super()._load_default_modules(*args, **kwargs)
        if not self._legacy.prefixes and not building.is_retrieval_backbone(modules):
            self._origin = "fresh"
        return modules, module_kwargs

    def _load_converted_modules(self, *args: Any, **kwargs: Any) -> Any:
        # A checkpoint of another kind: a dense model, or an early PyLate one (which has prefixes).
        modules, module_kwargs = super()._load_converted_modules(*args, **kwargs)
        if not self._legacy.prefixes:
            self._origin = "fresh"
        return modules, module_kwargs

    def _load_config_modules(self, *args: Any, **kwargs: Any) -> Any:
        modules, module_kwargs = super()._load_config_modules(*args, **kwargs)
        self._trained_modules = {id(module) for module in modules.values()}
        return modules, module_kwargs

    def _apply_legacy_fixups(self) -> None:
        # After this, modules are told that the model is ready, and the mask looks its skiplist up.
        super()._apply_legacy_fixups()
        building.finish(self)

    def _get_model_config(self) -> dict[str, Any]:
        # All or none: a prefix alone would make the plain class switch query expansion on.
        return {
            **super()._get_model_config(),
            "query_prefix": self.query_prefix,
            "document_prefix": self.document_prefix,
            "query_length": self.query_length,
            "document_length": self.document_length,
            "do_query_expansion": self.do_query_expansion,
            "attend_to_expansion_tokens": self.attend_to_expansion_tokens,
            "skiplist_words": self.skiplist_words,
        }

    def _push_to_hub_usage_tip(self, repo_id: str) -> str:
        tip = str(super()._push_to_hub_usage_tip(repo_id))
        return tip.replace("from sentence_transformers import ColBERT", "from serotine.models import ColBERT")

    # Settings are read from and written to the modules, so that the two cannot disagree.

    @property
    def query_prefix(self) -> str:
        """Marker before queries, "" for none."""
        return self._prefixes["query"]

    @property
    def document_prefix(self) -> str:
        """Marker before documents, "" for none."""
        return self._prefixes["document"]

    @property
    def skiplist_words(self) -> list[str]:
        """Tokens whose vectors are dropped from documents."""
        return read_skiplist(list(self))

    @property
    def query_length(self) -> int | None:
        """Tokens kept of a query, and the length it is expanded to if it is; None for the backbone's limit."""
        length: int | None = self._lengths["query_length"]
        return length

    @query_length.setter
    def query_length(self, value: int | None) -> None:
        self._change(query_length=value)

    @property
    def document_length(self) -> int | None:
        """Tokens kept of a document; None for the backbone's limit."""
        length: int | None = self._lengths["document_length"]
        return length

    @document_length.setter
    def document_length(self, value: int | None) -> None:
        self._change(document_length=value)

    @property
    def do_query_expansion(self) -> bool:
        """Whether queries are padded to query_length with [MASK] tokens whose vectors are scored."""
        return bool(self._lengths["do_query_expansion"])

    @do_query_expansion.setter
    def do_query_expansion(self, value: bool) -> None:
        self._change(do_query_expansion=value)

    @property
    def attend_to_expansion_tokens(self) -> bool:
        """Whether the other tokens of a query attend to its expansion tokens."""
        return bool(self._lengths["attend_to_expansion_tokens"])

    @attend_to_expansion_tokens.setter
    def attend_to_expansion_tokens(self, value: bool) -> None:
        self._change(attend_to_expansion_tokens=value)

    @property
    def _lengths(self) -> dict[str, Any]:
        # Backbones of the ColPali kind and routers have none of these settings.
        if hasattr(self[0], "query_expansion"):
            return read_lengths(self[0])
        return dict.fromkeys(("query_length", "document_length", "do_query_expansion", "attend_to_expansion_tokens"))

    def _change(self, **changes: Any) -> None:
        settings = Settings(**{**read_lengths(self[0]), **changes})
        settings.check()
        apply_lengths(self[0], settings)

    # Tokenising.

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Tokenise inputs for the model; the features carry their ``task``.

        The task's own prompt is applied when none is given, so that a model is trained on what it will see
        in inference; a prompt that is given goes after the marker. Safe to call from several threads.
        """
        task = kwargs.get("task")
        if task in self._prefixes:
            prompt = self._task_prompt(task) if prompt is None else self._with_prefix(task, prompt)
        # Fast tokenizers fail with "Already borrowed" when two threads set their padding at once.
        with self._tokenizer_lock:
            features: dict[str, Any] = super().preprocess(inputs, prompt=prompt, **kwargs)
        features.pop("prompt_length", None)  # serves mean pooling, and is an int that DataParallel cannot gather
        if task is not None:
            features["task"] = task
        return features

    def tokenize(
        self,
        texts: Sequence[Any],
        is_query: bool = True,
        pad: bool = False,
        task: str | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Tokenise texts as queries or as documents (``task`` overrides ``is_query``); see `preprocess`.

        pad: to the full length of the task instead of to the longest text.
        """
        if pad:
            kwargs.setdefault("processing_kwargs", {"text": {"padding": "max_length"}})
        return self.preprocess(texts, task=task or ("query" if is_query else "document"), **kwargs)

    def scored_tokens(self, texts: Sequence[str], *, is_query: bool) -> list[list[str]]:
        """Return the tokens that are scored, one string per vector of `encode`, as the vocabulary writes them.

        For explanations (`serotine.scores.align`). Runs the tokenizer and the scoring mask, not the model.
        """
        task = "query" if is_query else "document"
        features = self.preprocess(texts, task=task)
        input_ids = features["input_ids"]
        for module in self:
            if isinstance(module, MultiVectorMask):
                features = module(features, task=task)
        masks = features["attention_mask"].bool()
        return [self.tokenizer.convert_ids_to_tokens(ids[mask]) for ids, mask in zip(input_ids, masks, strict=True)]

    def _task_prompt(self, task: str) -> str:
        names = ("query",) if task == "query" else ("document", "passage", "corpus")
        return self._with_prefix(task, next((self.prompts[name] for name in names if self.prompts.get(name)), ""))

    def _with_prefix(self, task: str, prompt: str) -> str:
        prefix = self._prefixes[task]
        return prompt if prompt.startswith(prefix) else prefix + prompt

    def forward(self, input: dict[str, Any], **kwargs: Any) -> dict[str, Any]:  # noqa: A002 - the base's name
        """Run the modules on features; their task is that of `preprocess` unless another is given."""
        if kwargs.get("task") is None:
            kwargs["task"] = input.get("task")
        return dict(super().forward(input, **kwargs))

    # Scoring.

    def similarity(self, embeddings1: Any, embeddings2: Any, **kwargs: Any) -> Tensor:
        """Score all queries against all documents; takes the options of `serotine.scores.maxsim`.

        device: where to compute, the documents' own by default. Returns a float32 tensor on the documents' device.
        """
        return self._score(maxsim, embeddings1, embeddings2, kwargs)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any, **kwargs: Any) -> Tensor:
        """Score query i against document i; everything else as `similarity`."""
        return self._score(maxsim_pairwise, embeddings1, embeddings2, kwargs)

    def _score(self, function: Callable[..., Any], queries: Any, documents: Any, options: dict[str, Any]) -> Tensor:
        options.setdefault("length_normalize", self.similarity_fn_name == "meanmaxsim")
        device = options.pop("device", None)
        if device is None:
            return torch.as_tensor(function(queries, documents, **options))
        one = documents if hasattr(documents, "ndim") else next(iter(documents), None)
        home = one.device if isinstance(one, Tensor) else torch.device("cpu")
        scores: Tensor = function(_moved(queries, device), _moved(documents, device), **options)
        return scores.to(home)


def _moved(embeddings: Any, device: torch.device | str) -> Any:
    """Return arrays or tensors as tensors on a device."""
    if hasattr(embeddings, "ndim"):
        return torch.as_tensor(embeddings, device=device)
    return [torch.as_tensor(embedding, device=device) for embedding in embeddings]
