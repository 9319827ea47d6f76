"""How do modules become a ColBERT?  The construction steps that run once, when a model is loaded or made.

Sentence Transformers loads or creates the modules; the steps here complete the sequence
``Transformer -> Dense ... -> MultiVectorMask ... -> Normalize``, add the marker tokens and write the settings.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from torch import nn
from transformers import AddedToken

from serotine.errors import InvalidInput
from serotine.models.settings import (
    COLBERT_DEFAULTS,
    Settings,
    apply_lengths,
    read_lengths,
    read_skiplist,
    write_skiplists,
)

if TYPE_CHECKING:
    from serotine.models.colbert import ColBERT

__all__ = ["CopyableLock", "Origin", "finish", "is_retrieval_backbone"]

logger = logging.getLogger(__name__)

Origin = Literal["checkpoint", "fresh", "modules"]
"""Where the modules came from: a late-interaction checkpoint; a backbone that was none (its projection may be
random); or the caller."""


class CopyableLock:
    """A lock that a model may hold: copies and pickles of the model get a lock of their own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type[CopyableLock], tuple[()]]:
        return CopyableLock, ()

    def __deepcopy__(self, _: object) -> CopyableLock:
        return CopyableLock()


def is_retrieval_backbone(modules: Sequence[nn.Module]) -> bool:
    """True for backbones that project and normalise by themselves (ColPali and its kind)."""
    return any(getattr(module, "transformer_task", None) == "retrieval" for module in modules)


def finish(model: ColBERT) -> None:
    """Complete the modules of a model that was just loaded, and write its settings to them."""
    modules = list(model)
    if not isinstance(modules[0], Transformer):
        if not model._given.is_empty:
            raise InvalidInput(f"settings were given, but the first module is a {type(modules[0]).__name__}")
        return
    unmasked = not any(isinstance(module, MultiVectorMask) for module in modules)
    fresh = model._origin == "fresh" or (model._origin == "modules" and unmasked)
    settings = model._given.over(_found(model, modules))
    if fresh:
        settings = settings.over(COLBERT_DEFAULTS)
    if settings.do_query_expansion and settings.query_length is None:
        settings = replace(settings, query_length=COLBERT_DEFAULTS.query_length)
    completed = _with_projection(model, modules, settings.embedding_size, fresh=fresh)
    if not is_retrieval_backbone(completed):
        completed = _with_mask_and_norm(completed)
        completed = write_skiplists(
            completed, queries=settings.query_skiplist_words or [], documents=settings.skiplist_words or []
        )
    _replace_modules(model, completed)
    if not is_retrieval_backbone(completed):
        _set_prefixes(model, settings)
        apply_lengths(model[0], settings)


def _found(model: ColBERT, modules: list[nn.Module]) -> Settings:
    """Return the settings that the loaded modules have; those that are at nobody's choice are None."""
    legacy = model._legacy
    lengths: dict[str, Any] = read_lengths(modules[0])
    if not (lengths["do_query_expansion"] or model._origin == "checkpoint"):
        # A backbone without expansion has not decided against it: it never heard of it.
        lengths = {key: value for key, value in lengths.items() if key in ("query_length", "document_length") and value}
    words = read_skiplist(modules, "document")
    query_words = read_skiplist(modules, "query")
    is_checkpoint = model._origin == "checkpoint"
    return Settings(
        query_prefix=legacy.prefixes.get("query"),
        document_prefix=legacy.prefixes.get("document"),
        skiplist_words=words if words or is_checkpoint else None,
        query_skiplist_words=query_words if query_words or is_checkpoint else None,
        **lengths,
    )


def _with_projection(
    model: ColBERT, modules: list[nn.Module], embedding_size: int | None, *, fresh: bool
) -> list[nn.Module]:
    """Give the modules a projection to ``embedding_size``; a trained one is kept, and extended if it must be."""
    projections = [module for module in modules if isinstance(module, Dense)]
    wanted = model._given.embedding_size
    if projections and model._origin == "fresh" and id(projections[-1]) not in model._trained_modules:
        # The random projection that Sentence Transformers appended: make it what was asked for.
        replaced = _projection(_width(modules[: modules.index(projections[-1])]), embedding_size, model._bias)
        return [replaced if module is projections[-1] else module for module in modules]
    if not projections and fresh:
        return [*modules[:1], _projection(_width(modules[:1]), embedding_size, model._bias), *modules[1:]]
    if wanted is None or is_retrieval_backbone(modules) or wanted == _width(modules):
        return modules
    logger.warning(
        "The checkpoint's token vectors have %d dimensions, embedding_size=%d was asked for: a random projection "
        "is appended, which needs training.",
        _width(modules),
        wanted,
    )
    position = max(number for number, module in enumerate(modules) if isinstance(module, (Dense, Transformer))) + 1
    return [*modules[:position], _projection(_width(modules), wanted, model._bias), *modules[position:]]


def _width(modules: Iterable[nn.Module]) -> int:
    widths = [module.get_embedding_dimension() for module in modules if isinstance(module, (Dense, Transformer))]
    return int(widths[-1])


def _projection(in_features: int, out_features: int | None, bias: bool) -> Dense:
    return Dense(
        in_features=in_features,
        out_features=out_features or 128,
        bias=bias,
        activation_function=nn.Identity(),
        module_input_name="token_embeddings",
    )


def _with_mask_and_norm(modules: list[nn.Module]) -> list[nn.Module]:
    """Add the scoring mask and the normalisation, without which vectors are scored that must not be."""
    if not any(isinstance(module, MultiVectorMask) for module in modules):
        position = max(number for number, module in enumerate(modules) if isinstance(module, (Dense, Transformer))) + 1
        modules = [*modules[:position], MultiVectorMask(), *modules[position:]]
        if not any(isinstance(module, Normalize) for module in modules):
            modules = [
                *modules[: position + 1],
                Normalize(module_input_name="token_embeddings"),
                *modules[position + 1 :],
            ]
    return modules


def _replace_modules(model: ColBERT, modules: list[nn.Module]) -> None:
    """Set the sequence of modules, each where and in the precision that the model is."""
    old_names = {id(module): name for name, module in model._modules.items()}
    reference = next(iter(model.parameters()), None)
    added = [module for module in modules if id(module) not in old_names]
    if reference is not None:
        for module in added:
            module.to(device=reference.device, dtype=reference.dtype)
    if not added and len(modules) == len(old_names):
        return
    kwargs = model.module_kwargs or {}
    model._modules.clear()
    for number, module in enumerate(modules):
        model.add_module(str(number), module)
    if kwargs:
        model.module_kwargs = {
            str(number): kwargs[old_names[id(module)]]
            for number, module in enumerate(modules)
            if old_names.get(id(module)) in kwargs
        }


def _set_prefixes(model: ColBERT, settings: Settings) -> None:
    """Put the markers before the prompts, and into the vocabulary as one token each."""
    before = model._legacy.prefixes
    prefixes = {"query": settings.query_prefix or "", "document": settings.document_prefix or ""}
    # Documents have three names for their prompt; one is kept, so that a save means the same to the plain class.
    names = {"query": ("query",), "document": ("document", "passage", "corpus")}
    for task, prefix in prefixes.items():
        text = next((model.prompts[name] for name in names[task] if model.prompts.get(name)), "")
        text = text.removeprefix(before.get(task) or "").removeprefix(prefix)
        model.prompts[task] = prefix + text
        model._prefixes[task] = prefix
    model._vocabulary_grew = _add_tokens(model[0], [prefix for prefix in prefixes.values() if prefix])


def _add_tokens(transformer: Transformer, prefixes: list[str]) -> bool:
    """Make each prefix one token; return whether the backbone got embeddings that its files do not have."""
    tokenizer = transformer.tokenizer
    if tokenizer is None:
        return False
    missing = [prefix for prefix in dict.fromkeys(prefixes) if not _is_one_token(tokenizer, prefix)]
    if not missing:
        return False
    # Not normalised: a lower-casing tokenizer would never find "[Q] " in a text otherwise. Added one by one
    # and as plain tokens of the special kind, so that the tokenizer's other special tokens stay what they are.
    added = [AddedToken(prefix, normalized=False, special=True) for prefix in missing]
    tokenizer.add_tokens(added, special_tokens=True)
    # Some vocabularies are padded beyond the tokenizer's: never make them smaller.
    exported = transformer.backend != "torch"
    config, network = transformer.config, transformer.model
    words = config.get_text_config().vocab_size if exported else network.get_input_embeddings().weight.shape[0]
    if len(tokenizer) <= words:
        return False
    if exported:
        raise InvalidInput(
            f"the markers {missing} are not in the vocabulary, and a model for {transformer.backend} cannot be given "
            "more words: load it with backend='torch', save it, and export what was saved; or pass query_prefix='' "
            "and document_prefix=''"
        )
    network.resize_token_embeddings(len(tokenizer))
    return True


def _is_one_token(tokenizer: Any, prefix: str) -> bool:
    pieces = tokenizer.tokenize(prefix)
    return len(pieces) == 1 and pieces[0] != tokenizer.unk_token
