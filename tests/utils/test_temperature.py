"""Proves that data sets are drawn as often as their temperature says, one in each batch."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from datasets import Dataset
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch.utils.data import ConcatDataset, RandomSampler

from serotine.errors import InvalidInput
from serotine.utils import NoDuplicatesSampler, TemperatureSampler

SIZES = (320, 80, 20)


def sampler_of(temperature: float, *, sizes: tuple[int, ...] = SIZES, drop_last: bool = True) -> TemperatureSampler:
    rows = [
        Dataset.from_dict({"query": [f"{size} {i}" for i in range(size)], "positive": [f"p {i}" for i in range(size)]})
        for size in sizes
    ]
    generator = torch.Generator().manual_seed(0)
    samplers = [
        NoDuplicatesSampler(each, 4, drop_last)
        if number == 2
        else DefaultBatchSampler(RandomSampler(each, generator=generator), 4, drop_last)
        for number, each in enumerate(rows)
    ]
    return TemperatureSampler(ConcatDataset(rows), samplers, generator, seed=0, temperature=temperature)


def counts_of(sampler: TemperatureSampler, epochs: int = 30) -> list[int]:
    """How many batches each data set had, in some epochs."""
    bounds, counts = (0, 320, 400, 420), [0, 0, 0]
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler) == 105
        for batch in batches:
            sources = {number for number in range(3) for row in batch if bounds[number] <= row < bounds[number + 1]}
            assert len(sources) == 1
            counts[sources.pop()] += 1
    return counts


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(1, [16 / 21, 4 / 21, 1 / 21]), (2, [4 / 7, 2 / 7, 1 / 7]), (float("inf"), [1 / 3] * 3)],
)
def test_batches_are_of_one_data_set_drawn_by_its_size_and_the_temperature(temperature, expected):
    sampler = sampler_of(temperature)
    assert sampler.probabilities == pytest.approx(expected)
    counts = counts_of(sampler)
    for count, probability in zip(counts, expected, strict=True):
        assert count / 3150 == pytest.approx(probability, abs=0.03)  # three standard deviations


def test_a_small_data_set_begins_again_in_another_order():
    batches = [batch for batch in sampler_of(float("inf")) if batch[0] >= 400]
    assert len(batches) > 15  # it has 5
    passes = [sorted(row for batch in batches[start : start + 5] for row in batch) for start in (0, 5, 10)]
    assert passes == [list(range(400, 420))] * 3
    assert batches[:5] != batches[5:10] != batches[10:15]


def test_epochs_differ_and_repeat():
    one, other = sampler_of(2), sampler_of(2)
    first = list(one)
    assert list(other) == first
    for sampler in (one, other):
        sampler.set_epoch(1)
    second = list(one)
    assert list(other) == second != first


def test_processes_get_the_same_data_set_at_each_step(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    batches = list(sampler_of(2))
    sources = [0 if batch[0] < 320 else 1 if batch[0] < 400 else 2 for batch in batches]
    assert all(len(set(sources[start : start + 3])) == 1 for start in range(0, 105, 3))
    assert len({tuple(batch) for batch in batches[:3]}) == 3


@pytest.mark.parametrize("temperature", [0.5, 0, float("nan"), "2", True])
def test_temperatures_below_1_are_refused(temperature):
    with pytest.raises(InvalidInput, match="temperature"):
        sampler_of(temperature)


def test_a_data_set_without_a_batch_is_named():
    with pytest.raises(InvalidInput, match=r"data set 1 of 3 has 3 rows and no batch of 4"):
        sampler_of(2, sizes=(8, 3, 8))


def test_a_temperature_is_given_with_partial():
    made = partial(TemperatureSampler, temperature=7)
    base = sampler_of(2)
    assert made(base.dataset, batch_samplers=base.batch_samplers, generator=None, seed=1).temperature == 7
