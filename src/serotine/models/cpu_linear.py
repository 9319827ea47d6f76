"""How do a model's linear layers run at the processor's rate?  By oneDNN instead of the BLAS that torch was built with.

torch sends float32 linear layers to MKL, which takes its slower code on processors that are not Intel's: on a Zen 5
core it reaches 93 GFLOP/s where oneDNN, which is in the same torch build, reaches 205 (4,096 rows of 384, to 1,536).
Both are float32 throughout; the results differ by the rounding of sums. `benchmarks/encoding.py` measures it.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["fast_linear"]


# Below this many positions the layers are a small part of the time and looking at every call of torch costs more (one
# query took 14.6 instead of 10.7 ms); and a few texts then get the very bits that the plain class computes.
_MIN_POSITIONS = 256


class _OneDnnLinear(TorchFunctionMode):
    """While active in a thread, eligible calls of `torch.nn.functional.linear` in it go to oneDNN."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is nn.functional.linear and not kwargs and _is_eligible(*args):
            bias = args[2] if len(args) > 2 else None
            return torch.ops.mkldnn._linear_pointwise(args[0], args[1], bias, "none", [], "")
        return func(*args, **(kwargs or {}))


def _is_eligible(values: Any, weight: Any, bias: Any = None) -> bool:
    operands = (values, weight) if bias is None else (values, weight, bias)
    return values.numel() > 0 and all(
        type(operand) in (Tensor, nn.Parameter) and operand.dtype is torch.float32 and operand.device.type == "cpu"
        for operand in operands
    )


def fast_linear(
    model: nn.Module, device: torch.device, *, num_positions: int
) -> contextlib.AbstractContextManager[object]:
    """Return a context in which the linear layers of an inference run fast.

    num_positions: rows times width of the batch. The context does nothing where there is nothing to gain: for small
    batches, on other devices and processors, under autocast, and in compiled models, which choose their kernels.
    """
    small = num_positions < _MIN_POSITIONS
    own_kernels = getattr(model, "_compiled_call_impl", None) is not None or torch.is_autocast_enabled("cpu")
    if small or own_kernels or device.type != "cpu" or not _is_available():
        return contextlib.nullcontext()
    return _OneDnnLinear()


def _is_available() -> bool:
    return (
        platform.machine() in ("x86_64", "AMD64")
        and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
        and bool(torch.backends.mkldnn.enabled)
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )
