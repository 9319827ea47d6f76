"""What do processes that train together exchange for a loss?  Documents one way, gradients the other.

A process's loss is the mean over its own queries, and DistributedDataParallel averages gradients over processes. So the
gradients of gathered documents are summed, without a factor: what results is the gradient of the mean over all queries.
Source: Gao et al. 2021 for the exchange; the scale is checked against one process in tests.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

import torch
import torch.distributed as dist
import torch.nn.functional as functional
from torch import Tensor, nn

from serotine.errors import InvalidInput
from serotine.losses.embedding import Documents

__all__ = ["gather_documents", "mean_gradients", "num_processes", "process_number", "sum_own_part", "synchronized"]


def num_processes() -> int:
    """Return how many processes train together, 1 if this one is alone."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_number() -> int:
    """Return this process's number among them."""
    return dist.get_rank() if num_processes() > 1 else 0


def gather_documents(documents: Documents) -> Documents:
    """Return the documents of all processes in their order, this one's own if it is alone.

    Gradients flow back to every process: one gather of token vectors forward, one sum backward. Masks and sizes, which
    are small, travel apart. Lists and texts are filled up to the longest anywhere.

    Raises:
        InvalidInput: in every process, if the numbers of queries differ.
    """
    if num_processes() == 1:
        return documents
    num_queries, num_documents, num_tokens, _ = documents.tokens.shape
    sizes = _all_gather(torch.tensor([[num_queries, num_documents, num_tokens]], device=documents.tokens.device))
    if len(set(sizes[:, 0].tolist())) > 1:
        raise InvalidInput(
            f"processes have {sizes[:, 0].tolist()} queries in this batch, expected as many in each: drop the last "
            "batch (dataloader_drop_last=True) or gather_across_devices"
        )
    most, longest = int(sizes[:, 1].max()), int(sizes[:, 2].max())
    missing = (0, longest - num_tokens, 0, most - num_documents)
    tokens: Tensor = _GatherWithGradient.apply(functional.pad(documents.tokens, (0, 0, *missing)))  # type: ignore[no-untyped-call]
    exists_everywhere = functional.pad(documents.existing(), missing[2:]).unsqueeze(2)
    flags = _all_gather(torch.cat([functional.pad(documents.mask, missing), exists_everywhere], dim=2).to(torch.uint8))
    mask, exist = flags[..., :-1].bool(), flags[..., -1].bool()
    return Documents(tokens, mask, None if bool(exist.all()) else exist)


class _GatherWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        return _all_gather(values)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        """Return what the losses of all processes say about this process's documents."""
        return sum_own_part(gradient)


def _all_gather(values: Tensor) -> Tensor:
    """Join equal shapes of all processes along the first axis."""
    values = values.contiguous()
    parts = [torch.empty_like(values) for _ in range(num_processes())]
    dist.all_gather(parts, values)
    return torch.cat(parts)


def sum_own_part(gradient: Tensor) -> Tensor:
    """Add up a gathered tensor's gradients over processes; return the part of this process."""
    parts = num_processes()
    if parts == 1:
        return gradient
    if dist.get_backend() == "gloo":  # has no reduce_scatter
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(parts)[dist.get_rank()].contiguous()
    own = gradient.new_empty((len(gradient) // parts, *gradient.shape[1:]))
    dist.reduce_scatter_tensor(own, gradient.contiguous())
    return own


def mean_gradients(gradients: list[Tensor]) -> list[Tensor]:
    """Average tensors over processes, in one exchange."""
    if num_processes() == 1 or not gradients:
        return gradients
    flat = torch.cat([gradient.reshape(-1).float() for gradient in gradients])
    dist.all_reduce(flat)
    parts = torch.split(flat / num_processes(), [gradient.numel() for gradient in gradients])
    return [part.view(gradient.shape).to(gradient.dtype) for part, gradient in zip(parts, gradients, strict=True)]


_equal_everywhere: WeakSet[nn.Module] = WeakSet()


def synchronized(module: nn.Module, *, gradients: bool = True) -> dict[str, Tensor]:
    """Return a module's parameters such that their gradients are averaged over processes.

    For a learnt score, which is no part of the model and so not of its DistributedDataParallel. The first time, the
    values of process 0 go to all, because each may have drawn its own. gradients=False: only that.
    """
    parameters: dict[str, Tensor] = {name: value for name, value in module.named_parameters() if value.requires_grad}
    if num_processes() == 1 or not parameters:
        return parameters
    if module not in _equal_everywhere:
        with torch.no_grad():
            for value in module.state_dict().values():
                dist.broadcast(value, src=0)
        _equal_everywhere.add(module)
    if not gradients:
        return parameters
    shared = _MeanGradient.apply(*parameters.values())  # type: ignore[no-untyped-call]
    return dict(zip(parameters, shared, strict=True))


class _MeanGradient(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, *parameters: Tensor) -> tuple[Tensor, ...]:
        return tuple(parameter.view_as(parameter) for parameter in parameters)

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Any:
        """Average them all at once."""
        return tuple(mean_gradients(list(gradients)))
