"""Which calls turn texts into embeddings?  The encode methods of `ColBERT`.

Two families of callers are served, each by the contract it knows: `encode(is_query=)` is PyLate's and
gives numpy arrays; `encode_query` and `encode_document` are Sentence Transformers' (its evaluators call
them) and give tensors on the model's device. All of them, and `encode_stream`, are the same path.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sized
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from tqdm.auto import tqdm

from serotine.errors import InvalidInput
from serotine.models import workers
from serotine.models.batching import chunks
from serotine.models.inference import EncodedChunk, EncodeOptions, encode_chunk, pooled_chunk, raw_outputs
from serotine.models.nesting import flattened, regrouped
from serotine.models.pooling import TokenPooling, choose_pooling
from serotine.models.settings import Task, positive_int
from serotine.models.tokenizing import TaskTokenizer
from serotine.types import TokenMatrix

__all__ = ["Encoder"]

logger = logging.getLogger(__name__)

_DTYPES = {None: None, "float32": torch.float32, "float16": torch.float16}

# Texts encoded before results are put in order: sorting more of them would save no padding any more.
_CHUNK_TEXTS = 4096

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Encoder(TaskTokenizer):
    """The encode methods of `serotine.models.ColBERT`."""

    truncate_dim: int | None

    def encode(
        self,
        sentences: str | Iterable[Any] | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        precision: str | None = None,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        padding: bool = False,
        device: str | torch.device | list[str] | None = None,
        normalize_embeddings: bool | None = None,
        is_query: bool = True,
        pool_factor: float = 1,
        protected_tokens: int = 1,
        output_value: str | None = "token_embeddings",
        *,
        inputs: str | Iterable[Any] | None = None,
        task: Task | None = None,
        packed: bool = False,
        token_pooling: TokenPooling | None = None,
        normalize_pooled: bool = True,
        window_overlap: int | None = None,
        batch_tokens: int | None = None,
        pool: dict[str, Any] | None = None,
        chunk_size: int | None = None,
    ) -> Any:
        """Encode queries (``is_query=True``, the default) or documents into one vector per token.

        Args:
            sentences: one text, or any iterable of texts (``inputs`` is another name for it). A list of lists of
                texts, such as the candidates of several queries, gives a list of lists.
            prompt_name, prompt: text put before each text, after the marker; the task's own by default.
            batch_size: texts in a forward pass at most; batch_tokens: texts x longest text at most (None: 2,048
                on a CPU, where larger batches are slower, no bound elsewhere).
            show_progress_bar: None for "when the logger is at INFO".
            precision: "float32" or "float16" of the result; None keeps the model's own.
            convert_to_tensor: torch tensors on the model's device instead of numpy arrays (``convert_to_numpy=False``
                is the same); from several processes they come on the CPU.
            padding: pad all results with zero rows to the longest.
            device: where to compute; a list of devices starts one process for each.
            normalize_embeddings: None as the model does, True for unit length in any case, False for the
                vectors before the model's normalisation.
            pool_factor, protected_tokens, normalize_pooled: keep 1/pool_factor of the documents' vectors by
                `SharedPooling` (any factor >= 1), sparing the first ones; means of unit length.
            token_pooling: another pooling method instead, such as ``HierarchicalPooling(factor)``, which pools
                each document by itself.
            output_value: None for what the model computes before vectors are selected: a dict of lists with
                token_embeddings, input_ids, attention_mask (the tokenizer's) and masks (True where scored).
            packed: return one `TokenMatrix` instead of a list of arrays.
            task: "query" or "document"; overrides is_query.
            window_overlap: encode documents longer than document_length whole, in windows that share this
                many tokens, as one matrix; None truncates them.
            pool: processes from `start_multi_process_pool`. chunk_size: texts encoded, and with a pool_factor pooled,
                together (4,096; 512 for processes that do not pool).

        Returns:
            For one text a ``(num_tokens, dim)`` array; for several a list of them in the order of the texts
            (views of one array: keeping one keeps all), or with ``packed`` a TokenMatrix.

        Raises:
            InvalidInput: no texts, a dict, bytes, None or a list among the texts (its position is named),
                an unknown prompt name, precision, or pooling.

        Cost: one forward pass per batch. A result does not depend on the texts beside it, float rounding apart,
        unless a pool_factor is given: the documents of a chunk share the number of vectors that is kept. One that is
        encoded again by itself then has another number of vectors than before.
        """
        texts: Any = sentences if inputs is None else inputs
        single = self._is_single(texts)
        options = self._options(
            task or ("query" if is_query else "document"),
            prompt_name=prompt_name,
            prompt=prompt,
            batch_size=batch_size,
            batch_tokens=batch_tokens,
            precision=precision,
            normalized=normalize_embeddings,
            pooling=(token_pooling, pool_factor, protected_tokens, normalize_pooled),
            window_overlap=window_overlap,
            to_cpu=packed or (convert_to_numpy and not convert_to_tensor),
        )
        # To a model of several modalities a list may be one conversation.
        batch, group_sizes = flattened(texts) if self.modalities == ["text"] else (texts, None)
        batch = [batch] if single else batch
        if group_sizes is not None and (packed or output_value is None):
            raise InvalidInput("a list of lists of texts is neither packed nor given raw: pass one list of texts")
        if output_value is None:
            if packed or precision is not None:
                raise InvalidInput("output_value=None gives what the model computes: no packing, no other precision")
            return self._raw(list(self._checked(batch)), options, device, single=single)
        if output_value != "token_embeddings":
            raise InvalidInput(f"output_value must be 'token_embeddings' or None, got {output_value!r}")
        encoded = list(self._encoded(batch, options, device, pool, chunk_size, show_progress_bar))
        if not encoded:
            raise InvalidInput("there are no texts to encode: give at least one, or use encode_stream")
        if packed:
            return TokenMatrix.concatenate([chunk.matrix() for chunk in encoded])
        as_numpy = options.to_cpu
        results: list[Any] = [item for chunk in encoded for item in (chunk.matrix() if as_numpy else chunk.tensors())]
        results = _padded(results) if padding else results
        return results[0] if single else regrouped(results, group_sizes)

    def encode_query(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Encode queries by Sentence Transformers' contract: tensors on the model's device by default.

        Takes the arguments of `MultiVectorEncoder.encode_query` in their order and, by keyword, those of `encode`.
        """
        return self._encode_as("query", inputs, *args, **kwargs)

    def encode_document(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Encode documents by Sentence Transformers' contract: tensors on the model's device by default.

        Takes the arguments of `MultiVectorEncoder.encode_document` in their order and, by keyword, those of `encode`.
        """
        return self._encode_as("document", inputs, *args, **kwargs)

    def _encode_as(
        self,
        task: Task,
        inputs: Any,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: str | None = "token_embeddings",
        convert_to_numpy: bool = False,
        device: str | torch.device | list[str] | None = None,
        normalize_embeddings: bool = False,
        pool: dict[str, Any] | None = None,
        chunk_size: int | None = None,
        token_pooling: TokenPooling | None = None,
        **options: Any,
    ) -> Any:
        if options.keys() & {"is_query", "task"}:
            raise InvalidInput(f"encode_{task} encodes each text as a {task}: is_query and task belong to encode")
        result = self.encode(
            inputs,
            prompt_name=prompt_name,
            prompt=prompt,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            output_value=output_value,
            convert_to_numpy=convert_to_numpy,
            device=device,
            # There, False means "nothing beyond what the model does".
            normalize_embeddings=normalize_embeddings or None,
            task=task,
            pool=pool,
            chunk_size=chunk_size,
            token_pooling=token_pooling,
            **options,
        )
        if output_value is not None:
            return result
        # There, raw outputs are one dict of features per text, with the scoring mask as attention_mask.
        names = {"token_embeddings": "token_embeddings", "input_ids": "input_ids", "attention_mask": "masks"}
        if self._is_single(inputs):
            return {name: result[key] for name, key in names.items()}
        return [
            {name: result[key][number] for name, key in names.items()}
            for number in range(len(result["token_embeddings"]))
        ]

    def encode_stream(
        self,
        texts: Iterable[Any],
        *,
        is_query: bool = False,
        task: Task | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        batch_tokens: int | None = None,
        show_progress_bar: bool | None = None,
        precision: str | None = None,
        device: str | torch.device | list[str] | None = None,
        normalize_embeddings: bool | None = None,
        pool_factor: float = 1,
        protected_tokens: int = 1,
        token_pooling: TokenPooling | None = None,
        normalize_pooled: bool = True,
        window_overlap: int | None = None,
        pool: dict[str, Any] | None = None,
        chunk_size: int | None = None,
    ) -> Iterator[TokenMatrix]:
        """Encode documents (or queries) from an iterable of any length, a chunk at a time.

        Reads ``chunk_size`` texts (4,096), yields their `TokenMatrix`, and only then reads on: a corpus larger
        than memory goes through. The other arguments are those of `encode`; with a pool_factor the documents of a
        chunk share the number of vectors that is kept. No texts, no chunks.
        """
        if self._is_single(texts):
            raise InvalidInput("encode_stream takes an iterable of texts, got one text: put it into a list")
        options = self._options(
            task or ("query" if is_query else "document"),
            prompt_name=prompt_name,
            prompt=prompt,
            batch_size=batch_size,
            batch_tokens=batch_tokens,
            precision=precision,
            normalized=normalize_embeddings,
            pooling=(token_pooling, pool_factor, protected_tokens, normalize_pooled),
            window_overlap=window_overlap,
            to_cpu=True,
        )
        encoded = self._encoded(texts, options, device, pool, chunk_size, show_progress_bar)
        return (chunk.matrix() for chunk in encoded)

    def encode_multi_process(self, sentences: Iterable[Any], pool: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Encode in the processes of a pool: PyLate's name for ``encode(..., pool=pool)``."""
        return self.encode(sentences, *args, pool=pool, **kwargs)

    # What all of them share.

    def _options(
        self,
        task: str,
        *,
        prompt_name: str | None,
        prompt: str | None,
        batch_size: int,
        batch_tokens: int | None,
        precision: str | None,
        normalized: bool | None,
        pooling: tuple[TokenPooling | None, float, int, bool],
        window_overlap: int | None,
        to_cpu: bool,
    ) -> EncodeOptions:
        """Check the arguments that all encode methods have, and resolve them against this model.

        pooling: the arguments token_pooling, pool_factor, protected_tokens and normalize_pooled.
        """
        if task not in ("query", "document"):
            raise InvalidInput(f"task must be 'query' or 'document', got {task!r}")
        if precision not in _DTYPES:
            raise InvalidInput(
                f"precision must be 'float32', 'float16' or None, got {precision!r}. For int8 pass the packed "
                "result to serotine.scores.quantize"
            )
        if window_overlap is not None and not (window_overlap == 0 and type(window_overlap) is int):
            window_overlap = positive_int(window_overlap, name="window_overlap (0 is allowed too)")
        method, factor, protected, normalize = pooling
        return EncodeOptions(
            task=task,
            prompt=self._chosen_prompt(task, prompt, prompt_name),
            batch_size=positive_int(batch_size, name="batch_size") or 1,
            batch_tokens=positive_int(batch_tokens, name="batch_tokens"),
            dtype=_DTYPES[precision],
            normalized=normalized,
            token_pooling=choose_pooling(method, pool_factor=factor, protected_tokens=protected, normalize=normalize),
            window_overlap=window_overlap if task == "document" else None,
            truncate_dim=self.truncate_dim,
            to_cpu=to_cpu,
        )

    def _is_single(self, texts: Any) -> bool:
        if texts is None:
            raise InvalidInput("there is nothing to encode: give a text or an iterable of texts")
        if isinstance(texts, bytes):
            raise InvalidInput("bytes cannot be encoded: decode them to str first")
        if isinstance(texts, dict) and self.modalities == ["text"]:
            raise InvalidInput("a dict cannot be encoded: pass its texts, for example list(queries.values())")
        return (
            isinstance(texts, str)
            or (not hasattr(texts, "__iter__"))
            # An image may be an array; a generator of images is none.
            or (self.modalities != ["text"] and not hasattr(texts, "__next__") and bool(self.is_singular_input(texts)))
        )

    def _checked(self, texts: Iterable[Any]) -> Iterator[Any]:
        """Yield the texts; whatever cannot be encoded is an error that names its position."""
        only_text = self.modalities == ["text"]
        for position, text in enumerate(texts):
            if isinstance(text, str):
                if _LONE_SURROGATE.search(text):
                    raise InvalidInput(f"text {position} holds a lone surrogate, which is no character: {text[:60]!r}")
                yield str(text)
            elif text is None or isinstance(text, bytes):
                raise InvalidInput(f"text {position} is {type(text).__name__}, expected str")
            elif only_text and isinstance(text, (list, tuple)):
                raise InvalidInput(
                    f"text {position} is a {type(text).__name__}: expected str. Give texts alone, or to encode "
                    "a list of lists of texts"
                )
            elif only_text:
                raise InvalidInput(f"text {position} is {type(text).__name__}, expected str")
            else:
                yield text

    def _encoded(
        self,
        texts: Iterable[Any],
        options: EncodeOptions,
        device: str | torch.device | list[str] | None,
        pool: dict[str, Any] | None,
        chunk_size: int | None,
        show_progress_bar: bool | None,
    ) -> Iterator[EncodedChunk]:
        total = len(texts) if isinstance(texts, Sized) else None
        chunk_size = positive_int(chunk_size, name="chunk_size")
        if show_progress_bar is None:
            show_progress_bar = logger.isEnabledFor(logging.INFO)
        pools = options.token_pooling is not None
        bar = tqdm(total=total, desc=f"Encoding {options.task}s", disable=not show_progress_bar, unit=" texts")
        with bar:
            if pool is not None or isinstance(device, list):
                if pools:
                    # What is pooled together must not depend on where it is encoded.
                    chunk_size = chunk_size or _CHUNK_TEXTS
                for encoded in workers.encode_in_processes(
                    self, self._checked(texts), options, pool, device, chunk_size
                ):
                    bar.update(len(encoded))
                    yield encoded
                return
            for chunk in chunks(self._checked(texts), chunk_size or _CHUNK_TEXTS):
                if self._distributed_inference is not None and device is None:
                    # Inside a distributed evaluation Sentence Transformers shares the texts out over the ranks.
                    # What is pooled together is not one rank's share.
                    unpooled = replace(options, token_pooling=None, dtype=None) if pools else options
                    encoded = EncodedChunk.of(self._distributed_inference(chunk, options=unpooled))
                    yield pooled_chunk(encoded, options)
                else:
                    on_device = self._resolve_inference_device(device)
                    yield encode_chunk(self, chunk, options, on_device, bar.update)

    def _inference(self, inputs: list[Any], *, options: EncodeOptions, device: Any = None, **_: Any) -> list[Tensor]:
        """Encode without processes: what Sentence Transformers calls on each rank of a distributed evaluation."""
        if not inputs:
            return []
        return encode_chunk(self, inputs, options, self._resolve_inference_device(device)).tensors()

    def _raw(
        self, texts: list[Any], options: EncodeOptions, device: str | torch.device | list[str] | None, *, single: bool
    ) -> dict[str, Any]:
        if options.token_pooling is not None or options.window_overlap is not None or isinstance(device, list):
            raise InvalidInput("output_value=None gives what the model computes: no pooling, windows or processes")
        if not texts:
            raise InvalidInput("there are no texts to encode: give at least one")
        outputs = raw_outputs(self, texts, options, self._resolve_inference_device(device))
        return {name: values[0] for name, values in outputs.items()} if single else outputs

    @classmethod
    def _multi_process_worker(cls, target_device: str, model: Any, input_queue: Any, results_queue: Any) -> None:
        workers.serve(cls, target_device, model, input_queue, results_queue)

    def start_multi_process_pool(self, target_devices: list[str] | None = None) -> dict[str, Any]:
        """Start one encoding process per device (all GPUs, or as many as there are cores, 4 at most).

        The model moves to the CPU, where its weights are shared. End it with `stop_multi_process_pool`.
        """
        with workers.sharing_few_descriptors(self):
            pool: dict[str, Any] = super().start_multi_process_pool(target_devices or workers.default_devices())
        return pool


def _padded(results: list[Any]) -> list[Any]:
    """Pad 2-D arrays or tensors with zero rows to the longest."""
    longest = max(len(result) for result in results)
    if isinstance(results[0], np.ndarray):
        return [np.pad(result, ((0, longest - len(result)), (0, 0))) for result in results]
    return [pad(result, (0, 0, 0, longest - len(result))) for result in results]
