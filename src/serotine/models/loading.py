"""How does a checkpoint become modules?  The hooks of Sentence Transformers through which `ColBERT` loads.

`formats` says what a checkpoint is and refuses what must not be loaded; Sentence Transformers reads the modules; here
each format takes its path, and what was read is compared with what there was to read.
"""

from __future__ import annotations

import inspect
import logging
from typing import Any

from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from torch import nn

from serotine._lazy import require
from serotine.errors import InvalidInput
from serotine.models.building import Origin
from serotine.models.formats import Checkpoint, Layout, Source, check, pylate, recognize, stanford
from serotine.models.formats.checks import EXPORTED
from serotine.models.formats.classes import module_class
from serotine.models.formats.loaded import check_loaded, named_errors
from serotine.models.formats.weights import Weights, find_weights
from serotine.models.settings import Settings, apply_lengths

logger = logging.getLogger(__name__)

__all__ = ["MARKER_SECOND", "CheckpointLoader"]

MARKER_SECOND = "marker_after_first_token"
"""Setting of a saved model: markers go after the first token of a text, where PyLate put them in training."""


class CheckpointLoader(MultiVectorEncoder):  # type: ignore[misc]
    """A `MultiVectorEncoder` that loads the formats of `formats.Layout`."""

    _given: Settings
    _origin: Origin
    _allow_pickles: bool
    _trained_modules: set[int]
    _marker_second: bool = False

    def _load_modules(self, model_name_or_path: str, **options: Any) -> Any:
        # The moment at which everything is known and nothing has been read.
        hub = {name: options.get(name) for name in ("token", "cache_folder", "revision")}
        source = Source(model_name_or_path, **hub, local_files_only=bool(options.get("local_files_only")))
        checkpoint, trusted = recognize(source), bool(options.get("trust_remote_code"))
        weights = check(
            checkpoint,
            backend=self.backend,
            trust_remote_code=trusted,
            allow_pickles=self._allow_pickles,
            known_classes=self._module_classes,
        )
        if self.backend in EXPORTED:
            require("optimum", extra=self.backend, purpose=f"backend={self.backend!r}")
        elif self.backend != "torch":
            raise InvalidInput(f"backend must be 'torch', 'onnx' or 'openvino', got {self.backend!r}")
        if not self._allow_pickles and self.backend == "torch":
            options["model_kwargs"] = {**(options.get("model_kwargs") or {}), "use_safetensors": True}
        with named_errors(source.name):
            modules, module_kwargs = self._load_as(checkpoint, weights, options)
        loaded = list(modules.values() if isinstance(modules, dict) else modules)
        check_loaded(checkpoint, loaded, weights, trust_remote_code=trusted)
        return modules, module_kwargs

    def _load_as(self, checkpoint: Checkpoint, weights: Weights | None, options: dict[str, Any]) -> Any:
        name, layout, settings = checkpoint.source.name, checkpoint.layout, checkpoint.settings
        if layout is Layout.NATIVE:
            self._marker_second = settings.get(MARKER_SECOND) is True
            return self._load_config_modules(name, **options)
        if layout is Layout.PYLATE:
            modules, module_kwargs = self._load_converted_modules(name, **options, model_type="SentenceTransformer")
            # The mask and the normalisation that PyLate does not save are there already.
            self._legacy.is_pylate_v3 = False
            if isinstance(modules[0], Transformer):
                self._marker_second = pylate.begins_with_text(modules[0].tokenizer)
            if not any(isinstance(module, Dense) and id(module) in self._trained_modules for module in modules):
                logger.warning("%s has no projection: a random one is added, which needs training.", name)
            return modules, module_kwargs
        if layout in (Layout.DENSE, Layout.OTHER):
            self._origin = "fresh"
            model_type = settings.get("model_type") or "SentenceTransformer"
            return self._load_converted_modules(name, **options, model_type=model_type)
        if layout is Layout.STANFORD:
            weights = weights or find_weights(checkpoint.source, allow_pickles=self._allow_pickles)
            return self._load_stanford(checkpoint, weights, options)
        if layout is Layout.BACKBONE:
            self._origin = "fresh"
        return self._load_default_modules(name, **options)

    def _load_config_modules(self, *args: Any, **kwargs: Any) -> Any:
        modules, module_kwargs = super()._load_config_modules(*args, **kwargs)
        self._trained_modules = {id(module) for module in modules.values()}
        return modules, module_kwargs

    def _load_module_class_from_ref(self, class_ref: str, *args: Any, **kwargs: Any) -> type:
        found = self._module_classes.get(class_ref) or module_class(class_ref)
        # Anything else has been refused by `check`, unless the caller trusts the model's code.
        return found or super()._load_module_class_from_ref(class_ref, *args, **kwargs)

    def _get_module_init_defaults(self, class_ref: str) -> dict[str, Any]:
        kind = self._module_classes.get(class_ref) or module_class(class_ref)
        if kind is None:
            defaults: dict[str, Any] = super()._get_module_init_defaults(class_ref)
            return defaults
        if inspect.isclass(kind) and issubclass(kind, Transformer):
            return dict(self._legacy.transformer_config)
        return {"module_input_name": "token_embeddings"} if issubclass(kind, Dense) else {}

    def _register_prefix_tokens(self, *_: Any) -> None:
        # `building` adds the markers, without taking the place of the tokenizer's other special tokens.
        return

    def _load_stanford(
        self, checkpoint: Checkpoint, weights: Weights, options: dict[str, Any]
    ) -> tuple[list[nn.Module], dict[str, Any]]:
        """Return backbone, projection, mask and normalisation of a checkpoint of Stanford's ColBERT."""
        name, settings = checkpoint.source.name, stanford.read_settings(checkpoint)
        hub = {key: options.get(key) for key in ("token", "trust_remote_code", "revision", "local_files_only")}
        kinds = ("model_kwargs", "processor_kwargs", "config_kwargs")
        transformer = Transformer(
            name,
            cache_dir=options.get("cache_folder"),
            backend=self.backend,
            **{kind: {**hub, **(options.get(kind) or {})} for kind in kinds},
        )
        apply_lengths(transformer, self._given.over(settings))
        projection = stanford.read_projection(checkpoint, weights, transformer.get_embedding_dimension())
        self._legacy.prefixes = {
            task: stanford.known_marker(transformer.tokenizer, marker)
            for task, marker, given in (
                ("query", settings.query_prefix, self._given.query_prefix),
                ("document", settings.document_prefix, self._given.document_prefix),
            )
            if given is None
        }
        if not options.get("local_files_only"):
            self.model_card_data.set_base_model(name, revision=options.get("revision"))
        mask = MultiVectorMask(skiplist_words=settings.skiplist_words)
        return [transformer, projection, mask, Normalize(module_input_name="token_embeddings")], {}
