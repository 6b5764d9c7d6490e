"""Progress on standard error for everything that may take above a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

from crossgraft import processes

Advance = Callable[[int], None]
# Off by default, so that the library is silent inside other people's programs; the command turns it on.
_shown: ContextVar[bool] = ContextVar("shown", default=False)


def show(on: bool = True) -> None:
    """Turn progress bars on (the command line does) or off; of several processes the first shows them."""
    _shown.set(on and processes.first())


@contextmanager
def bar(title: str, total: int) -> Iterator[Advance]:
    """A bar on standard error while the block runs; call what it gives with the units done.

    >>> with bar("features", 2) as advance:
    ...     advance(2)
    """
    if not _shown.get():
        yield lambda n: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total)
        yield lambda n: progress.advance(task, n)


def say(message: str) -> None:
    """One line on standard error, where progress is shown."""
    if _shown.get():
        from rich.console import Console
        from rich.text import Text

        Console(stderr=True).print(Text(message))


def clock(seconds: dict[str, float]) -> Callable[[str], AbstractContextManager[None]]:
    """Times steps: what runs under `with timed("step"):` has its seconds put into the table.

    >>> table: dict[str, float] = {}
    >>> with clock(table)("prepare"):
    ...     pass
    >>> list(table)
    ['prepare']
    """

    @contextmanager
    def timed(step: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds[step] = time.perf_counter() - start

    return timed
