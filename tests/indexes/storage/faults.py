"""Makes the N-th change of the file system fail, or kills the process at it, and records the order of changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

OPERATIONS = ("open", "write", "fsync", "replace", "unlink", "mkdir")


class FileSystem:
    """Stands between the index and `os` once installed by a pytest monkeypatch, or by itself in a child process.

    at: number of the change, from 1, at which act is called; act gets the operation, and raises or ends the process.
    """

    def __init__(self, *, at: int = 0, act: Callable[[str], None] | None = None) -> None:
        self.log: list[tuple[str, str]] = []
        self._at, self._act = at, act
        self._num_writes = 0
        self._paths: dict[int, str] = {}
        self._real = {name: getattr(os, name) for name in OPERATIONS}

    def install(self, monkeypatch=None) -> FileSystem:
        for name in OPERATIONS:
            set_attribute = setattr if monkeypatch is None else monkeypatch.setattr
            set_attribute(os, name, getattr(self, f"_{name}"))
        return self

    def _step(self, operation: str, path: str) -> None:
        self.log.append((operation, Path(path).name))
        if len(self.log) == self._at and self._act is not None:
            self._act(operation)

    def _open(self, path, flags, *args, **kwargs):
        if flags & (os.O_CREAT | os.O_WRONLY):
            self._step("create", path)
        descriptor = self._real["open"](path, flags, *args, **kwargs)
        self._paths[descriptor] = os.fspath(path)
        return descriptor

    def _write(self, descriptor, data):
        self._num_writes += 1
        is_short = self._num_writes % 2 and len(data) > 1  # every other write takes half; the caller must go on
        written = self._real["write"](descriptor, memoryview(data)[: len(data) // 2] if is_short else data)
        self._step("write", self._paths[descriptor])
        return written

    def _fsync(self, descriptor):
        self._step("fsync", self._paths[descriptor])  # recorded, not done: the tests crash processes, not machines

    def _replace(self, source, target):
        self._step("replace", target)
        self._real["replace"](source, target)

    def _unlink(self, path, **kwargs):
        self._step("unlink", path)
        self._real["unlink"](path, **kwargs)

    def _mkdir(self, path, *args, **kwargs):
        self._step("mkdir", path)
        self._real["mkdir"](path, *args, **kwargs)


def dies_at(step: int, work: Callable[[], None]) -> bool:
    """Run work in a child process that ends without any clean-up at a step; whether it lived to reach that step."""
    child = os.fork()
    if child == 0:
        status = 3  # an exception in work
        try:
            FileSystem(at=step, act=lambda _: os._exit(1)).install()
            work()
            status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 1)
    return status == 1
