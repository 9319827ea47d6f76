"""How is a long change shown?  A bar for what takes more than a second, on a terminal or on demand."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

__all__ = ["counting", "fraction_done", "is_shown"]

_DELAY_S = 1.0


def is_shown(show_progress: bool | None) -> bool:
    """Whether bars are wanted. None: if standard error is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty() if show_progress is None else show_progress


@contextlib.contextmanager
def counting(description: str, total: int, *, shown: bool) -> Iterator[Callable[[int], object]]:
    """Yield a function that is told how many documents more are done."""
    if not shown:
        yield _ignore
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=description, unit=" documents", unit_scale=True, delay=_DELAY_S) as bar:
        yield bar.update


@contextlib.contextmanager
def fraction_done(description: str, *, shown: bool) -> Iterator[Callable[[float], object] | None]:
    """Yield a function that is told the fraction that is done, None if nothing is shown."""
    if not shown:
        yield None
        return
    from tqdm import tqdm

    with tqdm(total=100, desc=description, bar_format="{l_bar}{bar}| {elapsed}", delay=_DELAY_S) as bar:
        yield lambda fraction: bar.update(100 * fraction - bar.n)


def _ignore(count: int) -> None:
    pass
