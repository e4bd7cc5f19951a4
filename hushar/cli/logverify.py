"""`hushar logs verify`: whether the batches that were written are in the store."""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Final

import click

from hushar.cli.logprogress import ReadingProgress
from hushar.cli.logsources import Chosen, Opened, with_sources
from hushar.errors import StorageError
from hushar.logreading.completeness import Completeness, FileCount, Verdict
from hushar.logreading.partitions import Window, partition_of
from hushar.logreading.source import LogFile, TornLog, read_records
from hushar.proto.structs_pb2 import InferenceLogBatch
from hushar.texts import printable
from hushar.uris import local_path, scheme_of

_LOOKS: Final = 3
"""For files that have come since the listing."""


@click.command("verify")
@with_sources
@click.pass_context
def command(ctx: click.Context, *, chosen: Chosen) -> None:
    """Check that inference logs are complete.

    SOURCE and TIME are as for `logs cat`. Every segment says how many calls it has, and how many its worker
    has logged until then. Copies of a segment count once. One line a gap, then the verdict.

    Exit status: 0 complete, 1 incomplete or not readable, 2 a mistake in what was given.
    """
    with chosen.opened() as logs:
        completeness = Completeness(chosen.window, from_the_start=_from_the_start(chosen))
        verdict, unread = _judge(logs, chosen, completeness)
        if not logs.files and verdict.complete and not verdict.present:
            when = "" if chosen.window == Window() else " of that time"
            logs.progress.tell(f"there are no log files{when}")
        _tell_notes(verdict, logs.progress)
    for gap in (*verdict.gaps, *verdict.unproven):
        click.echo(printable(str(gap)))
    for file in unread:
        click.echo(printable(f"{file}: not read, so nobody knows what is missing"))
    expected = verdict.present + verdict.missing
    if verdict.complete and not unread:
        click.echo(f"complete: {expected} batches")
        return
    click.echo(f"incomplete: {verdict.missing} of {expected} batches missing")
    ctx.exit(1)


def _judge(logs: Opened, chosen: Chosen, completeness: Completeness) -> tuple[Verdict, list[str]]:
    """The verdict, and the files that could not be read.

    A server that runs delivers meanwhile: a file may come into a folder that was listed already, and the next
    one into a folder that was not. So a gap is only believed if it is still there after another look.
    """
    unread = _count(logs.files, chosen, completeness, logs.progress)
    seen = {file.name for file in logs.files}
    verdict = completeness.verdict()
    for _ in range(_LOOKS):
        if not verdict.gaps:
            break
        new = [file for file in logs.list_again() if file.name not in seen]
        if not new:
            break
        logs.progress.expect(sum(file.size_bytes for file in new))
        unread += _count(new, chosen, completeness, logs.progress)
        seen.update(file.name for file in new)
        verdict = completeness.verdict()
    return verdict, unread


def _from_the_start(chosen: Chosen) -> bool:
    """Whether nothing older than what is read was left out by the user."""
    # "." may be the folder of a day.
    places = (
        Path(local_path(source)).resolve() if scheme_of(source) == "file" else PurePosixPath(source)
        for source in chosen.sources
    )
    return chosen.window.since is None and all(partition_of(place) is None for place in places)


def _count(
    files: Iterable[LogFile], chosen: Chosen, completeness: Completeness, progress: ReadingProgress
) -> list[str]:
    """The files that could not be read; the others are counted, torn ones up to the tear."""
    unread = []
    for file in files:
        count = FileCount(file.name, file.opened_unix_micros, chosen.window)
        try:
            with closing(read_records(file, progress.read)) as records:
                for record in records:
                    if isinstance(record, InferenceLogBatch):
                        count.batch(record.received_unix_micros)
                    else:
                        count.info(record)
        except TornLog as torn:
            count.torn = True
            count.torn_between = torn.between
            progress.tell(str(torn))
        except StorageError as error:
            unread.append(file.name)
            progress.tell(str(error))
            continue
        completeness.add(count)
    return unread


def _tell_notes(verdict: Verdict, progress: ReadingProgress) -> None:
    """What is no gap, and should be known."""
    for stream, last in verdict.endless:
        progress.tell(
            f"{stream}: no end after segment {last}: it runs, or was killed; "
            "later segments would not be missed"
        )
    if verdict.unnumbered:
        what = "batch is" if verdict.unnumbered == 1 else "batches are"
        progress.tell(
            f"{verdict.unnumbered} {what} in no numbered segment, as in logs of other servers: "
            "not counted, and nobody knows what is missing beside them"
        )
