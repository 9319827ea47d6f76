"""How do texts become token vectors?  The one encoding path that every `encode` method takes.

A chunk of texts is tokenised once, cut into batches of equal length (batching.py), run through the model
and put back into the order of the texts, in one flat array. Only vectors that are scored leave the model's
device, in one copy per batch; no object is made per token, and none per text until a caller asks for it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers.base.modules import Normalize
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence

from serotine.errors import InvalidInput
from serotine.models.batching import plan_batches
from serotine.models.cpu_linear import fast_linear
from serotine.models.pooling import TokenPooling
from serotine.models.settings import maximum_length
from serotine.models.windows import Row, split_row
from serotine.types import TokenMatrix

if TYPE_CHECKING:
    from serotine.models.colbert import ColBERT

__all__ = ["EncodeOptions", "EncodedChunk", "encode_chunk", "pooled_chunk", "raw_outputs"]

# Texts tokenised at once: enough to amortise the call, few enough that their padding costs nothing.
_TOKENIZE_ROWS = 256

# On a CPU, activations of more positions than this leave the caches between layers: 32 rows of 300 tokens took 1.17
# times as long as batches of 2,048 positions, with one thread and with two (benchmarks/encoding.py --batch-tokens).
_CPU_BATCH_TOKENS = 2048


@dataclass(frozen=True)
class EncodeOptions:
    """What `encode` was asked for, resolved: no field refers to the model any more.

    task: "query" or "document". prompt: text put before each text, markers included. batch_size, batch_tokens: bounds
    of a batch (`plan_batches`), the second None for the device's default. dtype: of the result, None for the model's
    own. normalized: True makes vectors unit length even if the model does not, False takes them as they are before the
    model's own normalisation, None leaves it to the model. token_pooling: applied to all texts of a chunk, each whole.
    window_overlap: tokens shared by windows of long documents, None to truncate. truncate_dim: leading dimensions to
    keep. to_cpu: whether each batch leaves the device at once. num_threads: for a worker process on the CPU, None to
    leave torch as it is.
    """

    task: str
    prompt: str = ""
    batch_size: int = 32
    batch_tokens: int | None = None
    dtype: torch.dtype | None = None
    normalized: bool | None = None
    token_pooling: TokenPooling | None = None
    window_overlap: int | None = None
    truncate_dim: int | None = None
    to_cpu: bool = True
    num_threads: int | None = None


@dataclass(frozen=True)
class EncodedChunk:
    """Token vectors of some texts, in order: rows ``offsets[i]:offsets[i + 1]`` of values are text ``i``."""

    values: Tensor
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def tensors(self) -> list[Tensor]:
        """One 2-D view per text, on the device of the values."""
        return list(torch.split(self.values, np.diff(self.offsets).tolist()))

    @classmethod
    def of(cls, vectors: list[Tensor]) -> EncodedChunk:
        """Pack one 2-D tensor per text."""
        lengths = [len(rows) for rows in vectors]
        return cls(torch.cat(vectors), np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)]))

    def matrix(self) -> TokenMatrix:
        """The same vectors as numpy; bfloat16, which numpy lacks, becomes float32."""
        values = self.values.float() if self.values.dtype == torch.bfloat16 else self.values
        return TokenMatrix(values.cpu().numpy(), self.offsets)


@dataclass(frozen=True)
class _Batch:
    """Rows on their way to the model.

    texts: the text of each row. kept: the slice of each row's tokens that belong to it (None: all of them), or None
    if that is so for every row. features: what the tokenizer made, padded.
    """

    texts: npt.NDArray[np.int64]
    kept: list[slice | None] | None
    features: dict[str, Any]

    @property
    def num_positions(self) -> int:
        """Rows times width; 0 for what has no token ids."""
        return int(self.features["input_ids"].numel()) if "input_ids" in self.features else 0

    @property
    def num_begun(self) -> int:
        """Texts whose first (mostly only) row is here."""
        return len(self.texts) if self.kept is None else sum(part is None or part.start == 0 for part in self.kept)


def encode_chunk(
    model: ColBERT,
    texts: Sequence[Any],
    options: EncodeOptions,
    device: torch.device,
    on_progress: Callable[[int], object] | None = None,
) -> EncodedChunk:
    """Encode at least one text with a model that is on the device.

    on_progress: called after each batch with the number of its texts.

    Cost: one forward pass per batch; peak memory is the token vectors twice (as batches and in order) plus one
    batch's activations.
    """
    model.eval()
    if options.batch_tokens is None and device.type == "cpu":
        options = replace(options, batch_tokens=_CPU_BATCH_TOKENS)
    batches = _text_batches(model, texts, options) if _packable(model, texts) else _any_batches(model, texts, options)
    encoded = []
    with torch.inference_mode():
        for batch in batches:
            encoded.append((batch.texts, *_forward(model, batch, options, device)))
            if on_progress is not None:
                on_progress(batch.num_begun)
        chunk = _in_order(encoded, len(texts))
        return pooled_chunk(chunk, options)


def _packable(model: ColBERT, texts: Sequence[Any]) -> bool:
    # Images and audio have no token rows to sort; unpadded flash-attention batches have no padding to save.
    return all(isinstance(text, str) for text in texts) and not model._can_flatten_inputs()


def _text_batches(model: ColBERT, texts: Sequence[str], options: EncodeOptions) -> Iterator[_Batch]:
    """Tokenise everything, then yield padded batches of rows of similar length."""
    rows = list(_tokenized_rows(model, texts, options))
    plan = plan_batches([row.length for row in rows], batch_size=options.batch_size, batch_tokens=options.batch_tokens)
    tokenizer = model.tokenizer
    padding = {"input_ids": tokenizer.pad_token_id or 0, "token_type_ids": tokenizer.pad_token_type_id or 0}
    for batch in plan:
        chosen = [rows[position] for position in batch]
        features: dict[str, Any] = {
            key: pad_sequence(
                [row.features[key] for row in chosen],
                batch_first=True,
                padding_value=padding.get(key, 0),
                padding_side=tokenizer.padding_side,
            )
            for key in chosen[0].features
        }
        features["task"] = options.task
        kept = None if all(row.kept is None for row in chosen) else [row.kept for row in chosen]
        yield _Batch(np.array([row.text for row in chosen]), kept, features)


def _tokenized_rows(model: ColBERT, texts: Sequence[str], options: EncodeOptions) -> Iterator[Row]:
    """Yield the token sequences of the texts without padding; several windows of a long document in a row."""
    windowed = options.window_overlap is not None and options.task == "document"
    frame, max_length = None, None
    arguments: dict[str, Any] = {}
    if windowed:
        if any(isinstance(module, TokenPooling) for module in model):
            raise InvalidInput(
                "windows of a document cannot be joined after pooling inside the model: remove the pooling module and "
                "pass pool_factor, which pools whole documents"
            )
        frame, max_length = model._frame(options.prompt), _window_length(model)
        arguments["processing_kwargs"] = {"text": {"truncation": False, "max_length": None}}
        # A text longer than the model's limit is what we are here for: no warning about it.
        model.tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    for start in range(0, len(texts), _TOKENIZE_ROWS):
        block = list(texts[start : start + _TOKENIZE_ROWS])
        features = model.preprocess(block, prompt=options.prompt, task=options.task, **arguments)
        for offset, row in enumerate(_unpadded(features)):
            length = len(row["input_ids"])
            sequence = Row(start + offset, row, length)
            if frame is None or max_length is None or options.window_overlap is None:
                yield sequence
            else:
                yield from split_row(sequence, max_length=max_length, overlap=options.window_overlap, frame=frame)


def _window_length(model: ColBERT) -> int:
    return int(model.document_length or maximum_length(model[0]) or model.tokenizer.model_max_length)


def _unpadded(features: dict[str, Any]) -> Iterator[dict[str, Tensor]]:
    """Yield each row of a padded batch without its padding (expansion tokens are no padding)."""
    input_ids = features["input_ids"]
    used = features["attention_mask"].bool()
    if "query_expansion_positions" in features:
        used = used | features["query_expansion_positions"].bool()
    per_token = {
        key: value for key, value in features.items() if isinstance(value, Tensor) and value.shape == input_ids.shape
    }
    numpy_used = used.numpy()
    width = numpy_used.shape[1]
    first = numpy_used.argmax(axis=1)
    last = width - numpy_used[:, ::-1].argmax(axis=1)
    for number in range(len(input_ids)):
        yield {key: value[number, first[number] : last[number]] for key, value in per_token.items()}


def _any_batches(model: ColBERT, inputs: Sequence[Any], options: EncodeOptions) -> Iterator[_Batch]:
    """Yield batches of inputs of any modality, sorted by Sentence Transformers' measure of their size."""
    if options.window_overlap is not None:
        raise InvalidInput("windows need texts and padded batches: not for other inputs, nor with unpadded attention")
    order = np.argsort([-model._input_length(item) for item in inputs], kind="stable")
    if model._can_flatten_inputs():
        # Without padding the cost of a batch is its total length: mix long and short for even batches.
        order = model._interleave_sorted_indices(order)
    for start in range(0, len(order), options.batch_size):
        positions = order[start : start + options.batch_size]
        features = model.preprocess([inputs[i] for i in positions], prompt=options.prompt, task=options.task)
        features["task"] = options.task
        yield _Batch(positions, None, features)


def _forward(
    model: ColBERT, batch: _Batch, options: EncodeOptions, device: torch.device
) -> tuple[Tensor, npt.NDArray[np.int64]]:
    """Run one batch; return the scored vectors of its rows end to end, and how many each row has."""
    on_device = _moved(batch.features, device)
    runner = without_normalization(model) if options.normalized is False else model
    with fast_linear(model, device, num_positions=batch.num_positions):
        outputs = runner(on_device, task=options.task)
    mask = outputs["attention_mask"].bool()
    if batch.kept is not None:
        mask = mask & _kept_mask(batch.kept, batch.features["attention_mask"]).to(device)
    vectors = outputs["token_embeddings"][mask]
    if options.truncate_dim is not None:
        vectors = vectors[:, : options.truncate_dim]
    if options.normalized or (options.truncate_dim is not None and options.normalized is None):
        vectors = normalize(vectors, p=2, dim=-1)
    lengths = mask.sum(dim=1).cpu().numpy()
    target = torch.device("cpu") if options.to_cpu else device
    # Pooling works on the model's own precision; the result is cast after it.
    dtype = options.dtype if options.token_pooling is None else None
    return vectors.to(device=target, dtype=dtype or vectors.dtype), lengths


def without_normalization(model: ColBERT) -> ColBERT:
    """Return a model that shares everything with the given one but leaves its token vectors unnormalised."""
    bare = copy.copy(model)
    bare._modules = {
        name: nn.Identity() if isinstance(module, Normalize) else module for name, module in model._modules.items()
    }
    return bare


def raw_outputs(
    model: ColBERT, texts: Sequence[Any], options: EncodeOptions, device: torch.device
) -> dict[str, list[Any]]:
    """Return what the model computes for each text, padding included, nothing selected.

    token_embeddings ``(width, dim)``, input_ids, attention_mask (the tokenizer's) and masks (True where a
    vector would be scored), each ``(width,)``; numpy arrays if ``options.to_cpu``. The width is that of the
    batch a text was in.
    """
    model.eval()
    collected: dict[str, list[Any]] = {}
    with torch.inference_mode():
        for batch in _any_batches(model, texts, options):
            on_device = _moved(batch.features, device)
            attended = on_device.get("attention_mask")
            runner = without_normalization(model) if options.normalized is False else model
            outputs = runner(dict(on_device), task=options.task)
            found = {
                "token_embeddings": outputs["token_embeddings"],
                "input_ids": on_device.get("input_ids"),
                "attention_mask": attended,
                "masks": outputs["attention_mask"].bool(),
            }
            for name, values in found.items():
                if values is None:
                    continue
                rows = collected.setdefault(name, [None] * len(texts))
                for position, row in zip(batch.texts, values, strict=True):
                    vectors = row.float() if row.dtype == torch.bfloat16 else row
                    rows[position] = vectors.cpu().numpy() if options.to_cpu else row
    return collected


def _moved(features: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {key: value.to(device) if isinstance(value, Tensor) else value for key, value in features.items()}


def _kept_mask(kept: list[slice | None], attention_mask: Tensor) -> Tensor:
    """True where a window's vectors belong to its text; slices count from a row's first real token."""
    mask = torch.zeros(attention_mask.shape, dtype=torch.bool)
    first = attention_mask.bool().int().argmax(dim=1).tolist()
    for number, part in enumerate(kept):
        if part is None:
            mask[number] = True
        else:
            mask[number, first[number] + part.start : first[number] + part.stop] = True
    return mask


def _in_order(
    batches: list[tuple[npt.NDArray[np.int64], Tensor, npt.NDArray[np.int64]]], num_texts: int
) -> EncodedChunk:
    """Put the rows of all batches into the order of the texts; windows of one text end to end."""
    row_texts = np.concatenate([positions for positions, _, _ in batches])
    row_lengths = np.concatenate([lengths for _, _, lengths in batches])
    lengths = np.zeros(num_texts, dtype=np.int64)
    np.add.at(lengths, row_texts, row_lengths)
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    # The windows of a text are equally long but for the last, so the batches, longest first, hold them in order.
    starts = np.empty(len(row_texts), dtype=np.int64)
    order = np.argsort(row_texts, kind="stable")
    before = np.cumsum(row_lengths[order]) - row_lengths[order]
    starts[order] = before
    first = batches[0][1]
    values = torch.empty((int(offsets[-1]), first.shape[1]), dtype=first.dtype, device=first.device)
    row = 0
    while batches:
        positions, flat, batch_lengths = batches.pop(0)
        batch_starts = starts[row : row + len(positions)]
        row += len(positions)
        inner = np.arange(len(flat)) - np.repeat(np.cumsum(batch_lengths) - batch_lengths, batch_lengths)
        targets = np.repeat(batch_starts, batch_lengths) + inner
        values[torch.from_numpy(targets).to(values.device)] = flat
    return EncodedChunk(values, offsets)


def pooled_chunk(chunk: EncodedChunk, options: EncodeOptions) -> EncodedChunk:
    """Return the chunk with the texts' vectors pooled, if that was asked for, and then cast."""
    pooling = options.token_pooling
    if pooling is None:
        return chunk
    if pooling.applies_to(options.task):
        vectors = chunk.tensors()
        # Methods of others are spared texts without vectors.
        filled = [position for position, rows in enumerate(vectors) if len(rows)]
        fewer = pooling.pool([vectors[position] for position in filled], task=options.task)
        for position, rows in zip(filled, fewer, strict=True):
            vectors[position] = rows
        chunk = EncodedChunk.of(vectors)
    return chunk if options.dtype is None else replace(chunk, values=chunk.values.to(options.dtype))
