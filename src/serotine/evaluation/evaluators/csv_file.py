"""How does a result become a row of a file?  One csv file per evaluator, one row per evaluation, all or nothing."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serotine.evaluation._files import write_lines

__all__ = ["append_row"]

logger = logging.getLogger(__name__)


def append_row(folder: str | os.PathLike[str], name: str, headers: Sequence[str], row: Sequence[Any]) -> Path:
    """Add a row to a csv file, made with its header line if it is not there; return the file.

    A file with other columns, of an earlier run, is left as it is: the row goes to ``<stem>_2.csv`` and so on, which is
    logged.

    Raises:
        StorageError: the file cannot be written.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    header, line = _line(headers), _line(row)
    wanted = Path(folder, name)
    file, number = wanted, 1
    while file.is_file() and _lines(file)[:1] != [header]:
        number += 1
        file = wanted.with_name(f"{wanted.stem}_{number}{wanted.suffix}")
    if file != wanted and not file.is_file():
        logger.warning("%s has other columns than this evaluation: writing to %s", wanted, file.name)
    write_lines(file, [*(_lines(file) if file.is_file() else [header]), line])
    return file


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()


def _line(values: Sequence[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(values)
    return buffer.getvalue()
