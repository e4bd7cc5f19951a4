"""The progress bar of a long read, on standard error, and sentences beside it."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from hushar.texts import printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_LONG_SECONDS: Final = 1.0
"""A read that ends before has no bar."""
_REDRAW_SECONDS: Final = 0.1


class ReadingProgress:
    """Counts the bytes that are read of `total_bytes`. A context manager."""

    def __init__(self, total_bytes: int, *, shown: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """`shown`: a bar is drawn once the read takes long."""
        self._total = total_bytes
        self._shown = shown
        self._clock = clock
        self._done = 0
        self._next = clock() + _LONG_SECONDS
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> "ReadingProgress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def read(self, size_bytes: int) -> None:
        """So many bytes more were read."""
        self._done += size_bytes
        if not self._shown:
            return
        now = self._clock()
        if now < self._next:
            return
        self._next = now + _REDRAW_SECONDS
        if self._bar is None:
            self._bar = _bar()
            self._task = self._bar.add_task("reading", total=max(self._total, self._done))
            self._bar.start()
        assert self._task is not None
        self._bar.update(self._task, completed=self._done, total=max(self._total, self._done))
        self._bar.refresh()

    def expect(self, size_bytes: int) -> None:
        """So many bytes more will be read than was said."""
        self._total += size_bytes

    def tell(self, text: str) -> None:
        """Say one line on standard error, above the bar."""
        if self._bar is None:
            click.echo(printable(text), err=True)
        else:
            self._bar.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def _bar() -> "Progress":
    from rich.console import Console  # noqa: PLC0415 - slow to import
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns: tuple[Any, ...] = (TextColumn("{task.description}", markup=False), BarColumn())
    columns = (*columns, DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True)
