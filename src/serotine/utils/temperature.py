"""How often is each of several data sets trained on?  `TemperatureSampler`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import torch
import torch.distributed as dist
from sentence_transformers.base.sampler import MultiDatasetDefaultBatchSampler

from serotine.errors import InvalidInput

__all__ = ["TemperatureSampler"]

# Added to the epoch when a data set begins again within it, so that its sampler orders its rows anew.
_EPOCHS_APART = 1_000_003


class TemperatureSampler(MultiDatasetDefaultBatchSampler):  # type: ignore[misc]
    """Batches of one data set each, drawn with probability proportional to ``size ** (1 / temperature)``.

    1 is in proportion to sizes, higher ones give small data sets more, infinity gives all the same. As many batches as
    the data sets have together; a data set that is used up begins again in another order.

    For the trainer's arguments, with a `DatasetDict`: ``multi_dataset_batch_sampler=utils.TemperatureSampler``, or with
    a temperature of your own ``functools.partial(utils.TemperatureSampler, temperature=4)``.

    Processes that train together get batches of the same data set at each step, so that documents gathered from others
    are homogeneous too.

    Args:
        dataset, batch_samplers, generator, seed: what the trainer gives.
        temperature: 1 or more; 2 gives square roots of sizes.

    Raises:
        InvalidInput: the temperature is below 1, or a data set has no batch.

    Source: Conneau & Lample 2019 (exponential smoothing of sampling probabilities).
    """

    def __init__(
        self,
        dataset: Any,
        batch_samplers: list[Any],
        generator: torch.Generator | None = None,
        seed: int | None = 0,
        *,
        temperature: float = 2.0,
    ) -> None:
        super().__init__(dataset, batch_samplers=batch_samplers, generator=generator, seed=seed)
        if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or not temperature >= 1:
            raise InvalidInput(f"temperature must be a number of 1 or more, got {temperature!r}")
        for number, sampler in enumerate(batch_samplers):
            if len(sampler) == 0:
                raise InvalidInput(
                    f"data set {number} of {len(batch_samplers)} has {len(dataset.datasets[number])} rows and no batch "
                    f"of {sampler.batch_size}: leave it out, or use smaller batches"
                )
        self.temperature = temperature

    @property
    def probabilities(self) -> list[float]:
        """How probable each data set is, in their order."""
        weights = [len(rows) ** (1 / self.temperature) for rows in self.dataset.datasets]
        return [weight / sum(weights) for weight in weights]

    def __len__(self) -> int:
        return sum(len(sampler) for sampler in self.batch_samplers)

    def __iter__(self) -> Iterator[list[int]]:
        # Not the trainer's generator: samplers of data sets seed it while this draws.
        generator = torch.Generator().manual_seed((self.seed or 0) + self.epoch)
        probabilities = torch.tensor(self.probabilities, dtype=torch.float64)
        first_rows = [0, *accumulate(len(rows) for rows in self.dataset.datasets)]
        batches = [self._batches_of(number) for number in range(len(self.batch_samplers))]
        together = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        number = 0
        for step in range(len(self)):
            if step % together == 0:
                number = int(torch.multinomial(probabilities, 1, generator=generator))
            yield [row + first_rows[number] for row in next(batches[number])]

    def _batches_of(self, number: int) -> Iterator[list[int]]:
        """Yield batches of a data set without end."""
        sampler, times = self.batch_samplers[number], 0
        while True:
            if times and hasattr(sampler, "set_epoch"):
                sampler.set_epoch(self.epoch + times * _EPOCHS_APART)
            batch = None
            for batch in sampler:
                yield batch
            if batch is None:
                raise InvalidInput(f"the sampler of data set {number} of {len(self.batch_samplers)} made no batch")
            times += 1
