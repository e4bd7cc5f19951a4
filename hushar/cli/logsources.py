"""What the commands that read logs share: SOURCE…, --since and --until, and the files behind them."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, TextIO, TypeVar

import click

from hushar.cli.logprogress import ReadingProgress
from hushar.errors import ConfigurationError, Problem
from hushar.logreading.partitions import Window
from hushar.logreading.source import LogFile, log_files
from hushar.logreading.times import parse_time

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a command was told to read."""

    sources: tuple[str, ...]
    window: Window
    """Of `received_unix_micros`; a batch without it (0) was received in 1970."""

    @contextmanager
    def opened(self, *, bar: bool = True) -> "Iterator[Opened]":
        """The log files, for as long as they are read.

        `bar`: whether a progress bar may be drawn, where standard error is a terminal. Raises
        ConfigurationError.
        """
        # Here, not above: it loads what a server needs.
        from hushar.cli.logstores import PluginStores  # noqa: PLC0415

        with PluginStores() as stores:
            files = log_files(self.sources, self.window, stores)
            total = sum(file.size_bytes for file in files)
            with ReadingProgress(total, shown=bar and is_terminal(sys.stderr)) as progress:
                yield Opened(files, progress, lambda: log_files(self.sources, self.window, stores))


@dataclass(frozen=True, slots=True)
class Opened:
    """The log files that a command reads."""

    files: Sequence[LogFile]
    """In the order of time."""
    progress: ReadingProgress
    """To be told of the bytes that are read."""
    list_again: Callable[[], list[LogFile]]
    """What there is now. Raises ConfigurationError."""


def with_sources(function: Command) -> Command:
    """Add SOURCE…, --since and --until; the command gets them as one `chosen: Chosen`."""

    @wraps(function)
    def run(*, sources: tuple[str, ...], since: str | None, until: str | None, **options: Any) -> Any:
        now = time.time_ns() // 1000
        window = Window(since=_time("--since", since, now), until=_time("--until", until, now))
        if window.since is not None and window.until is not None and window.since > window.until:
            text = f"{since!r} is later than --until {until!r}"
            raise ConfigurationError([Problem("", "--since", text)])
        try:
            return function(chosen=Chosen(sources, window), **options)
        except BrokenPipeError:
            raise
        except OSError as error:
            # Whatever is read or written elsewhere has its own sentence: this is standard output.
            _give_up_stdout(error)
            raise click.exceptions.Exit(1) from error

    decorated: Any = run
    decorated = click.option("--until", metavar="TIME", help="Only what was received before this time.")(
        decorated
    )
    decorated = click.option("--since", metavar="TIME", help="Only what was received at or after this time.")(
        decorated
    )
    return click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)(decorated)  # type: ignore[no-any-return]


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person looks at it. Python has None for a stream that was closed when it started."""
    return stream is not None and stream.isatty()


def _give_up_stdout(error: OSError) -> None:
    """Say why, and see to it that Python does not try again at its end, and complain."""
    click.echo(f"standard output: {error.strerror or error}", err=True)
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _time(option: str, text: str | None, now_unix_micros: int) -> int | None:
    if text is None:
        return None
    try:
        return parse_time(text, now_unix_micros=now_unix_micros)
    except ValueError as error:
        raise ConfigurationError([Problem("", option, str(error))]) from None
