"""How do several processes encode together?  Whole chunks in, one packed buffer per chunk out.

A worker answers with two numpy arrays, whose bytes go through the pipe. Tensors would be shared by file
descriptor, one for each text, and a process that runs out of them waits forever for an answer.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
import torch.multiprocessing

from serotine.errors import InvalidInput
from serotine.models.batching import chunks
from serotine.models.inference import EncodedChunk, EncodeOptions, encode_chunk

if TYPE_CHECKING:
    from serotine.models.encoding import Encoder

__all__ = ["default_devices", "encode_in_processes", "serve", "sharing_few_descriptors"]

_CHUNK_TEXTS = 512


def default_devices() -> list[str]:
    """Every GPU; without one, as many CPU processes as this process may use cores, 4 at most."""
    if torch.cuda.is_available():
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return ["cpu"] * min(4, _num_cores())


def encode_in_processes(
    model: Encoder,
    texts: Iterable[Any],
    options: EncodeOptions,
    pool: dict[str, Any] | None,
    device: str | torch.device | list[str] | None,
    chunk_size: int | None,
) -> Iterator[EncodedChunk]:
    """Yield the encoded chunks in the order of the texts; at most two chunks per process are under way.

    A pool that is made here ends here, also when the caller stops early or a worker fails. An error in a
    worker is raised here; a worker that died is reported with its exit code.

    Raises:
        InvalidInput: another call is using the pool (its answers would be mixed up with ours), or no device is named.
    """
    own = pool is None
    devices = device if isinstance(device, list) else None
    if own and not devices:
        raise InvalidInput("an empty list of devices was given: name at least one")
    running = model.start_multi_process_pool(devices) if pool is None else pool
    in_use: threading.Lock = running.setdefault("in_use", threading.Lock())
    if not in_use.acquire(blocking=False):
        raise InvalidInput("this pool is encoding for another call: wait until that ends, or start another pool")
    processes = len(running["processes"])
    options = replace(options, to_cpu=True, num_threads=max(1, _num_cores() // processes))
    waiting: dict[int, EncodedChunk] = {}
    sent = answered = yielded = 0
    chunk_iterator = iter(chunks(texts, chunk_size or _CHUNK_TEXTS))
    try:
        exhausted = False
        while not exhausted or yielded < sent:
            while not exhausted and sent - yielded < 2 * processes:
                chunk = next(chunk_iterator, None)
                if chunk is None:
                    exhausted = True
                else:
                    running["input"].put([sent, chunk, options])
                    sent += 1
            while yielded < sent and yielded not in waiting:
                number, answer = model._get_worker_result(running)
                answered += 1
                if isinstance(answer, Exception):
                    raise answer
                values, offsets = answer
                waiting[number] = EncodedChunk(torch.from_numpy(values), offsets)
            if yielded in waiting:
                yield waiting.pop(yielded)
                yielded += 1
    finally:
        if own:
            model.stop_multi_process_pool(running)
        else:
            # Answers that nobody waited for would be taken for those of the pool's next call.
            with contextlib.suppress(RuntimeError):
                for _ in range(sent - answered):
                    model._get_worker_result(running)
            in_use.release()


def _num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def serve(model_class: Any, target_device: str, model: Any, input_queue: Any, results_queue: Any) -> None:
    """Encode chunks from one queue into another until the process is ended (the loop of a worker)."""
    device = model._resolve_inference_device(target_device)
    model.eval()
    while True:
        number, texts, options = input_queue.get()
        try:
            if device.type == "cpu" and options.num_threads is not None:
                torch.set_num_threads(options.num_threads)
            matrix = encode_chunk(model, texts, options, device).matrix()
        except Exception as error:
            results_queue.put(model_class._report_worker_failure(number, error, target_device))
        else:
            results_queue.put([number, (matrix.values, matrix.offsets)])


@contextlib.contextmanager
def sharing_few_descriptors(model: torch.nn.Module) -> Iterator[None]:
    """Share tensors by file name while a pool starts, if sharing by descriptor could run out of descriptors.

    A model in shared memory holds one descriptor per tensor (600 for a large one), and Linux gives a process
    1,024 by default, some containers 256.
    """
    try:
        import resource
    except ImportError:  # not a POSIX system: descriptors are not used there
        yield
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    tensors = sum(1 for _ in model.parameters()) + sum(1 for _ in model.buffers())
    strategy = torch.multiprocessing.get_sharing_strategy()  # type: ignore[no-untyped-call]
    by_name = limit != resource.RLIM_INFINITY and tensors * 2 + 64 > limit
    if by_name:
        torch.multiprocessing.set_sharing_strategy("file_system")  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if by_name:
            torch.multiprocessing.set_sharing_strategy(strategy)  # type: ignore[no-untyped-call]
