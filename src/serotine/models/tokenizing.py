"""How does a text become the tokens that the model sees, as a query or as a document?

The part of `ColBERT` that knows markers, prompts and the tokenizer; training and encoding both go through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

from serotine.errors import InvalidInput
from serotine.models.building import CopyableLock, is_retrieval_backbone
from serotine.models.loading import CheckpointLoader
from serotine.models.windows import Frame

__all__ = ["TaskTokenizer"]


class TaskTokenizer(CheckpointLoader):
    """A loaded model whose queries and documents get their own markers and prompts wherever they are made."""

    _prefixes: dict[str, str]
    _tokenizer_lock: CopyableLock

    @property
    def query_prefix(self) -> str:
        """Marker before queries, "" for none."""
        return self._prefixes["query"]

    @property
    def document_prefix(self) -> str:
        """Marker before documents, "" for none."""
        return self._prefixes["document"]

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Tokenise inputs for the model; the features carry their ``task``.

        The task's own prompt is applied when none is given, so that a model is trained on what it will see in
        inference; a prompt that is given goes after the marker. Texts lose the spaces at their ends. Safe to call from
        several threads.

        Raises:
            InvalidInput: an input is a list of texts.
        """
        task = kwargs.get("task")
        if task in self._prefixes:
            _check_flat(inputs)
            prompt = self._task_prompt(task) if prompt is None else self._with_prefix(task, prompt)
            if self._takes_plain_text and all(isinstance(text, str) for text in inputs):
                # A tokenizer of bytes or of whole sentences would make a token of a space. PyLate and, up to version 5,
                # Sentence Transformers stripped them, so models have never seen it.
                words = prompt.removeprefix(self._prefixes[task])
                inputs, prompt = [(words + text).strip() for text in inputs], self._prefixes[task]
        # Fast tokenizers keep truncation and padding as state: two threads would tokenise with each other's.
        with self._tokenizer_lock:
            features: dict[str, Any] = super().preprocess(inputs, prompt=prompt, **kwargs)
        if self._marker_second and self._prefixes.get(task or ""):
            features = _with_marker_second(features)
        features.pop("prompt_length", None)  # serves mean pooling, and is an int that DataParallel cannot gather
        if task is not None:
            features["task"] = task
        return features

    def tokenize(
        self, texts: Sequence[Any], is_query: bool = True, pad: bool = False, task: str | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Tokenise texts as queries or as documents (``task`` overrides ``is_query``); see `preprocess`.

        pad: to the full length of the task instead of to the longest text.
        """
        if pad:
            kwargs.setdefault("processing_kwargs", {"text": {"padding": "max_length"}})
        return self.preprocess(texts, task=task or ("query" if is_query else "document"), **kwargs)

    def scored_tokens(self, texts: Sequence[str], *, is_query: bool) -> list[list[str]]:
        """Return the tokens that are scored, as the vocabulary writes them: one string per vector of `encode`.

        For explanations (`serotine.scores.align`) of texts encoded without windows and pooling. Runs the tokenizer
        and the scoring mask, not the model.
        """
        if isinstance(texts, str):
            raise InvalidInput("scored_tokens takes a list of texts, got one text: put it into a list")
        if not texts:
            return []
        task = "query" if is_query else "document"
        features = self.preprocess(texts, task=task)
        input_ids = features["input_ids"]
        for module in self:
            if isinstance(module, MultiVectorMask):
                features = module(features, task=task)
        masks = features["attention_mask"].bool()
        return [self.tokenizer.convert_ids_to_tokens(ids[mask]) for ids, mask in zip(input_ids, masks, strict=True)]

    def forward(self, input: dict[str, Any], **kwargs: Any) -> dict[str, Any]:  # noqa: A002 - the base's name
        """Run the modules on features; their task is that of `preprocess` unless another is given.

        Words that travel with features, such as the task, are left out of what is returned: torch's DataParallel joins
        the outputs of devices, and cannot join words.
        """
        if kwargs.get("task") is None:
            kwargs["task"] = input.get("task")
        return {name: value for name, value in super().forward(input, **kwargs).items() if not isinstance(value, str)}

    @property
    def _takes_plain_text(self) -> bool:
        # Chat models get the prompt as a message, retrieval models have a processor that writes their own.
        modalities = getattr(self[0], "modality_config", {})
        return "text" in modalities and "message" not in modalities and not is_retrieval_backbone(list(self))

    def _chosen_prompt(self, task: str, prompt: str | None, prompt_name: str | None) -> str:
        """Return the text before each text: the given one, the named one, or the task's own."""
        if prompt is not None and not isinstance(prompt, str):
            raise InvalidInput(f"prompt must be a string, got {prompt!r}")
        if prompt_name is not None and prompt_name not in self.prompts:
            raise InvalidInput(f"unknown prompt_name {prompt_name!r}: this model has {sorted(self.prompts)}")
        # The default prompt is for calls without a task, of which there are none here: as in the plain class.
        if prompt is None and prompt_name is None:
            return self._task_prompt(task)
        return self._with_prefix(task, self._resolve_prompt(prompt, prompt_name) or "")

    def _task_prompt(self, task: str) -> str:
        return self._with_prefix(task, self.prompts.get(task) or "")

    def _with_prefix(self, task: str, prompt: str) -> str:
        prefix = self._prefixes[task]
        return prompt if prompt.startswith(prefix) else prefix + prompt

    def _frame(self, prompt: str) -> Frame:
        """Measure what stands around the content of a text."""
        if self._marker_second:
            raise InvalidInput(
                "this model has its marker after the first token of a text, so a document cannot be cut into windows"
            )
        with self._tokenizer_lock:
            return Frame.of(self.tokenizer, prompt)


def _check_flat(inputs: Sequence[Any]) -> None:
    """Raise InvalidInput for lists of texts, which Sentence Transformers would join to pairs."""
    for position, text in enumerate(inputs):
        if isinstance(text, (list, tuple)) and all(isinstance(part, str) for part in text):
            raise InvalidInput(
                f"input {position} is a list of texts, expected one text. In training, lists of documents need "
                "data_collator=serotine.utils.ColBERTCollator(model.tokenize)"
            )


def _with_marker_second(features: dict[str, Any]) -> dict[str, Any]:
    """Exchange the first two tokens of every row: the marker, and the first token of the text."""
    input_ids = features["input_ids"]
    if input_ids.shape[1] < 2:
        return features
    order = torch.arange(input_ids.shape[1]).repeat(len(input_ids), 1)
    first = features["attention_mask"].int().argmax(dim=1).clamp(max=input_ids.shape[1] - 2)
    rows = torch.arange(len(input_ids))
    order[rows, first], order[rows, first + 1] = first + 1, first
    return {
        key: value.gather(1, order) if isinstance(value, torch.Tensor) and value.shape == input_ids.shape else value
        for key, value in features.items()
    }
