"""Long documents are encoded whole: every token once, and a text that fits exactly as without windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from serotine.errors import InvalidInput
from serotine.models import ColBERT
from serotine.models.windows import Frame, Row, split_row

from .conftest import TEXTS

LONG = " ".join(TEXTS[4] for _ in range(12))


@given(
    content=st.integers(0, 300), leading=st.integers(0, 3), trailing=st.integers(0, 2), room=st.integers(1, 40),
    data=st.data(),
)  # fmt: skip
def test_windows_keep_every_token_once_and_in_order(
    content: int, leading: int, trailing: int, room: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, room - 1))
    length = leading + content + trailing
    row = Row(0, {"input_ids": torch.arange(length)}, length)
    max_length = leading + room + trailing
    windows = split_row(row, max_length=max_length, overlap=overlap, frame=Frame(leading, trailing))
    kept = torch.cat([window.features["input_ids"][window.kept or slice(None)] for window in windows])
    assert kept.tolist() == list(range(length))
    assert all(window.length == len(window.features["input_ids"]) <= max_length for window in windows)
    # Equal lengths but for the last: batches, longest first, then hold the windows of a text in order.
    assert all(window.length == max_length for window in windows[:-1]) or len(windows) == 1
    for window in windows:
        assert window.features["input_ids"][:leading].tolist() == list(range(leading))


def test_each_inner_token_has_context_on_both_sides() -> None:
    row = Row(0, {"input_ids": torch.arange(100)}, 100)
    windows = split_row(row, max_length=20, overlap=8, frame=Frame(0, 0))
    for number, window in enumerate(windows):
        assert window.kept is not None
        assert window.kept.start == (0 if number == 0 else 4)
        assert window.length - window.kept.stop == (0 if number == len(windows) - 1 else 4)


def test_the_frame_is_measured_with_its_prompt(model: ColBERT) -> None:
    assert Frame.of(model.tokenizer, "") == Frame(1, 1)
    assert Frame.of(model.tokenizer, "[D] ") == Frame(2, 1)
    assert Frame.of(model.tokenizer, "[D] what is ") == Frame(4, 1)


@pytest.mark.parametrize("overlap", [0, 5, 30])
def test_a_long_document_is_one_matrix_with_nothing_truncated(model: ColBERT, overlap: int) -> None:
    whole = model.encode([TEXTS[0], LONG, TEXTS[3]], is_query=False, window_overlap=overlap)
    expected = len(model.tokenizer("[D] " + LONG, truncation=False)["input_ids"])
    assert [len(rows) for rows in whole] == [7, expected, 4]
    truncated = model.encode([TEXTS[0], LONG, TEXTS[3]], is_query=False)
    assert len(truncated[1]) == 40
    assert np.allclose(whole[0], truncated[0], atol=1e-6)
    assert np.allclose(whole[1][:20], truncated[1][:20], atol=1e-6) or overlap > 30


def test_windows_do_not_change_queries(model: ColBERT) -> None:
    assert np.array_equal(model.encode(LONG, window_overlap=5), model.encode(LONG))


def test_an_overlap_without_progress_is_an_error() -> None:
    row = Row(0, {"input_ids": torch.arange(100)}, 100)
    with pytest.raises(InvalidInput, match=r"window_overlap=18 must be in 0\.\.17"):
        split_row(row, max_length=20, overlap=18, frame=Frame(1, 1))
