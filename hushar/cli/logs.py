"""`hushar logs`: what can be done with inference logs."""

import sys
import time

import click

from hushar.errors import ConfigurationError, Problem


@click.group("logs")
def command() -> None:
    """Read inference logs."""


@command.command("cat")
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option("--since", metavar="TIME", help="Only what was received at or after this time.")
@click.option("--until", metavar="TIME", help="Only what was received before this time.")
@click.option("--model-id", metavar="ID", help="Only what this model scored.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Stop after N lines.")
@click.pass_context
def cat(
    ctx: click.Context,
    *,
    sources: tuple[str, ...],
    since: str | None,
    until: str | None,
    model_id: str | None,
    limit: int | None,
) -> None:
    """Print inference logs as JSON lines, one a call, in the order of the files.

    SOURCE is a log file, a folder (all of it is searched), or a file:// URI of one. TIME is ISO 8601 (UTC
    where it has no offset) or an age: 90s, 10m, 1h, 7d.

    A torn file is printed up to the tear, which is told on stderr.
    """
    # Imported here to keep `hushar --help` fast.
    from hushar.cli.logcat import Selection, print_batches  # noqa: PLC0415
    from hushar.logreading.partitions import Window  # noqa: PLC0415
    from hushar.logreading.source import log_files  # noqa: PLC0415

    now = time.time_ns() // 1000
    window = Window(since=_time("--since", since, now), until=_time("--until", until, now))
    files = log_files(sources, window)
    if not print_batches(files, Selection(window, model_id, limit), sys.stdout.buffer):
        ctx.exit(1)


def _time(option: str, text: str | None, now_unix_micros: int) -> int | None:
    from hushar.logreading.times import parse_time  # noqa: PLC0415

    if text is None:
        return None
    try:
        return parse_time(text, now_unix_micros=now_unix_micros)
    except ValueError as error:
        raise ConfigurationError([Problem("", option, str(error))]) from None
