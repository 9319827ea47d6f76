"""What is a late-interaction encoder?  `ColBERT`: Sentence Transformers' `MultiVectorEncoder` with ColBERT's
defaults, PyLate's arguments and an encoding path of its own.

It saves only modules of Sentence Transformers, so that what it saves loads there with identical output.
`loading.py` loads modules and `building.py` completes them, `tokenizing.py` makes tokens, `encoding.py` has the encode
methods, `inference.py` runs the model, `scoring.py` has the scores; this file is the constructor and the settings.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from serotine._unused import NOT_GIVEN, warn_of_unused
from serotine.errors import InvalidInput
from serotine.models import building
from serotine.models.card import ColBERTModelCardData, with_model_id
from serotine.models.formats.pylate import save_pylate
from serotine.models.loading import MARKER_SECOND
from serotine.models.scoring import ScoringEncoder
from serotine.models.settings import Settings, apply_lengths, positive_int, read_lengths, read_skiplist
from serotine.scores.scorer_files import remove_scorer

__all__ = ["ColBERT"]


class ColBERT(ScoringEncoder):
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
        do_query_expansion, attend_to_expansion_tokens, skiplist_words, query_skiplist_words (none): see
            `settings.Settings`.
        truncate_dim: encode to the leading dimensions only, normalised again (Matryoshka models).
        similarity_fn_name: "maxsim" (default) or "meanmaxsim"; PyLate's "MaxSim" is understood.
        tokenizer_kwargs, use_auth_token: PyLate's names for processor_kwargs and token.
        allow_pickled_weights: read pytorch_model.bin where there are no safetensors.
        truncation: PyLate's; has no effect, there as here: a warning says so.
        options: every other argument of `MultiVectorEncoder` (default_prompt_name, cache_folder, revision,
            local_files_only, trust_remote_code, model_kwargs, config_kwargs, backend, ...).

    None for any of the settings means: what the checkpoint says, else the default above.

    Raises:
        InvalidInput: a setting that the backbone cannot have, such as a length above its maximum.
        CorruptModel: a file of the model is missing, or is not what it should be.
        UntrustedModel: the model brings or names code, or has only pickled weights, and neither was allowed.

    Sources: Khattab & Zaharia 2020 (ColBERT); Chaffin & Sourty 2025 (PyLate, whose arguments these are).
    """

    model_card_data_class = ColBERTModelCardData

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
        query_skiplist_words: list[str] | None = None,
        truncate_dim: int | None = None,
        similarity_fn_name: Any = None,
        tokenizer_kwargs: dict[str, Any] | None = None,
        use_auth_token: bool | str | None = None,
        allow_pickled_weights: bool = False,
        truncation: Any = NOT_GIVEN,
        **options: Any,
    ) -> None:
        warn_of_unused(
            "ColBERT",
            "texts are cut at query_length and document_length; encode has window_overlap",
            truncation=truncation,
        )
        self._given = Settings(
            query_prefix=query_prefix,
            document_prefix=document_prefix,
            query_length=query_length,
            document_length=document_length,
            do_query_expansion=do_query_expansion,
            attend_to_expansion_tokens=attend_to_expansion_tokens,
            skiplist_words=skiplist_words,
            query_skiplist_words=query_skiplist_words,
            embedding_size=embedding_size,
        )
        self._given.check()
        self.truncate_dim = positive_int(truncate_dim, name="truncate_dim")
        self._bias = bias
        self._origin: building.Origin = "modules" if model_name_or_path is None else "checkpoint"
        self._allow_pickles = allow_pickled_weights
        self._trained_modules: set[int] = set()
        self._prefixes = {"query": "", "document": ""}
        self._tokenizer_lock = building.CopyableLock()
        self._vocabulary_grew = False
        if tokenizer_kwargs is not None:
            options["processor_kwargs"] = {**tokenizer_kwargs, **(options.get("processor_kwargs") or {})}
        if use_auth_token is not None:
            options.setdefault("token", use_auth_token)
        super().__init__(
            model_name_or_path,
            modules=None if modules is None else list(modules),
            device=device,
            prompts=prompts,
            similarity_fn_name=None if similarity_fn_name is None else _name_of(similarity_fn_name),
            **options,
        )
        if model_name_or_path is not None:
            hub = ("token", "cache_folder", "revision", "local_files_only")
            self._load_scorer(model_name_or_path, **{name: options[name] for name in hub if name in options})
        width = self.get_embedding_dimension()
        if self.truncate_dim is not None and width is not None and self.truncate_dim > width:
            raise InvalidInput(f"truncate_dim={truncate_dim} is more than the {width} dimensions of the model")

    @classmethod
    def load(cls, input_path: str) -> ColBERT:
        """Load a model from a folder: PyLate's name for calling the constructor."""
        return cls(input_path)

    # Hooks of Sentence Transformers: the moment to complete the modules, and what is saved beside them.

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
            **({MARKER_SECOND: True} if self._marker_second else {}),
        }

    def add_adapter(self, *args: Any, **kwargs: Any) -> None:
        """Add an adapter to the backbone, such as LoRA: ``model.add_adapter(peft.LoraConfig(...))``. Extra ``train``.

        Only it and the modules after the backbone are trained from then on, and are saved, with the name of the
        backbone's own files, which loading needs again.

        Raises:
            InvalidInput: the backbone has tokens that its files do not have, such as new markers.
        """
        if self._vocabulary_grew:
            raise InvalidInput(
                f"the markers {list(self._prefixes.values())} are new tokens, which the files of the backbone do not "
                "have: an adapter saved with this model could not be loaded. Save the model without an adapter first, "
                "and go on with what is loaded: model.save_pretrained('base'); model = ColBERT('base')"
            )
        super().add_adapter(*args, **kwargs)

    def save(self, path: str, *args: Any, format: str = "native", **kwargs: Any) -> None:  # noqa: A002
        """Save into a folder, as `MultiVectorEncoder` does (``format="native"``) or as PyLate does ("pylate").

        The native format is read by Sentence Transformers too, PyLate's by PyLate 1.6 and Serotine. The other arguments
        are those of `MultiVectorEncoder.save`.

        Raises:
            InvalidInput: another format, or a model for which PyLate's has no place.
        """
        if format == "native":
            super().save(path, *args, **kwargs)
        elif format == "pylate":
            self._save_pylate(path, *args, **kwargs)
        else:
            raise InvalidInput(f"format must be 'native' or 'pylate', got {format!r}")

    def _save_pylate(
        self,
        path: str,
        model_name: str | None = None,
        create_model_card: bool = True,
        train_datasets: list[str] | None = None,
        safe_serialization: bool = True,
    ) -> None:
        if not safe_serialization:
            raise InvalidInput("format='pylate' writes safetensors only")
        save_pylate(self, path)
        remove_scorer(path)
        if create_model_card:
            self._create_model_card(path, model_name, train_datasets)

    def save_pretrained(self, path: str, *args: Any, **kwargs: Any) -> None:
        """Save as `save` does: Sentence Transformers' other name for it."""
        self.save(path, *args, **kwargs)

    def _push_to_hub_usage_tip(self, repo_id: str) -> str:
        kind = type(self)
        module = "serotine.models" if kind is ColBERT else kind.__module__
        tip = str(super()._push_to_hub_usage_tip(repo_id))
        return tip.replace(
            f"from sentence_transformers import {kind.__name__}", f"from {module} import {kind.__name__}"
        )

    def _update_default_model_id(self, model_card: str) -> str:
        model_id = self.model_card_data.model_id
        return with_model_id(model_card, model_id) if model_id else model_card

    # Settings are read from and written to the modules, so that the two cannot disagree.

    def get_sentence_embedding_dimension(self) -> int | None:
        """Return the width of a token's vector: PyLate's name of `get_embedding_dimension`."""
        width: int | None = self.get_embedding_dimension()
        return width

    @property
    def skiplist_words(self) -> list[str]:
        """Tokens whose vectors are dropped from documents."""
        return read_skiplist(self, "document")

    @property
    def query_skiplist_words(self) -> list[str]:
        """Tokens whose vectors are dropped from queries; PyLate has no such setting."""
        return read_skiplist(self, "query")

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


def _name_of(similarity: Any) -> Any:
    """Return the lower-case name of a similarity given as PyLate, Sentence Transformers or an enum writes it."""
    name = getattr(similarity, "value", similarity)
    return name.lower() if isinstance(name, str) else name
