"""A bar for long work on stderr, where somebody sits before it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


@contextmanager
def meter() -> Iterator[Callable[[str, int, int], None]]:
    """Gives a function that is told a step, how much of it is done and of how much (0: not known)."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    steps: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:

        def advance(step: str, done: int, total: int) -> None:
            if step not in steps:
                steps[step] = progress.add_task(step)
            progress.update(steps[step], completed=done, total=total or None)

        yield advance
