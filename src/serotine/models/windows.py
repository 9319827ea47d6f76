"""How is a document longer than the model's context encoded whole?  As overlapping windows of one matrix.

A document is tokenised without truncation; its content is cut into windows that each carry the special
tokens and the prompt; the token vectors are joined again so that every content token appears once, taken
from the window in which it has most context on both sides (the overlap is split in the middle), between
the leading special tokens of the first window and the trailing ones of the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from serotine.errors import InvalidInput

__all__ = ["Frame", "Row", "split_row"]

Features = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Frame:
    """How many tokens stand before and after the content of every text: special tokens and prompt."""

    num_leading: int
    num_trailing: int

    @classmethod
    def of(cls, tokenizer: Any, prompt: str) -> Frame:
        """Measure the frame that a tokenizer and a prompt put around a text."""
        empty = tokenizer("")["input_ids"]
        probe = tokenizer("a")["input_ids"]
        num_leading = next(
            (i for i, (left, right) in enumerate(zip(empty, probe, strict=False)) if left != right), len(empty)
        )
        num_trailing = len(empty) - num_leading
        return cls(len(tokenizer(prompt)["input_ids"]) - num_trailing, num_trailing)


@dataclass(frozen=True)
class Row:
    """One sequence for the model: a whole text, or one window of it.

    text: position of the text in its chunk. features: one 1-D tensor per key, all of one length.
    kept: slice of the positions whose vectors belong to the text, None for all.
    """

    text: int
    features: Features
    length: int
    kept: slice | None = None


def split_row(row: Row, *, max_length: int, overlap: int, frame: Frame) -> list[Row]:
    """Cut a row into windows of at most ``max_length`` tokens whose contents overlap by ``overlap`` tokens.

    A row that fits is returned as it is.

    Raises:
        InvalidInput: the overlap leaves no room for progress in a window of that length.
    """
    if row.length <= max_length:
        return [row]
    lead, trail = frame.num_leading, frame.num_trailing
    capacity = max_length - lead - trail
    if not 0 <= overlap < capacity:
        raise InvalidInput(
            f"window_overlap={overlap} must be in 0..{capacity - 1}: windows of {max_length} tokens have room "
            f"for {capacity} tokens of content"
        )
    content = row.length - lead - trail
    starts = list(range(0, max(content - overlap, 1), capacity - overlap))
    windows = []
    for number, start in enumerate(starts):
        stop = min(start + capacity, content)
        first, last = number == 0, number == len(starts) - 1
        # Half of an overlap belongs to each of its two windows.
        skipped = 0 if first else overlap - overlap // 2
        dropped = 0 if last else overlap // 2
        begin = 0 if first else lead + skipped
        end = lead + (stop - start) + trail if last else lead + (stop - start) - dropped
        features = {
            key: torch.cat([values[:lead], values[lead + start : lead + stop], values[row.length - trail :]])
            for key, values in row.features.items()
        }
        windows.append(Row(row.text, features, lead + (stop - start) + trail, slice(begin, end)))
    return windows
