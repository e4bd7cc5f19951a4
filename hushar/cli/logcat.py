"""`hushar logs cat`: the chosen batches of log files, as JSON lines."""

import errno
import json
import sys
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, BinaryIO

import click
from google.protobuf.json_format import MessageToDict

from hushar.cli.logprogress import ReadingProgress
from hushar.cli.logsources import Chosen, is_terminal, with_sources
from hushar.errors import StorageError
from hushar.logreading.partitions import Window
from hushar.logreading.source import LogFile, TornLog, read_batches
from hushar.proto.structs_pb2 import InferenceLogBatch


@click.command("cat")
@with_sources
@click.option("--model-id", metavar="ID", help="Only what this model scored.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Stop after N lines.")
@click.pass_context
def command(ctx: click.Context, *, chosen: Chosen, model_id: str | None, limit: int | None) -> None:
    """Print inference logs as JSON lines.

    One line a call, in the order of the files.

    SOURCE is a log file, a folder (all of it is searched), or a URI of one: file:// or what a plugin reads,
    such as s3://bucket/prefix. TIME is ISO 8601 (UTC where it has no offset) or an age: 90s, 10m, 1h, 7d.

    A torn file is printed up to the tear, which is told on stderr.
    """
    # A bar between the lines of a terminal would be in their way.
    if sys.stdout is None:
        raise OSError(errno.EBADF, "closed")
    with chosen.opened(bar=not is_terminal(sys.stdout)) as logs:
        selection = Selection(chosen.window, model_id, limit)
        readable = print_batches(logs.files, selection, sys.stdout.buffer, logs.progress)
    if not readable:
        ctx.exit(1)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which batches are printed."""

    window: Window
    """Of `received_unix_micros`; a batch without it (0) was received in 1970."""
    model_id: str | None = None
    limit: int | None = None
    """So many batches and no more."""

    def __contains__(self, batch: InferenceLogBatch) -> bool:
        return batch.received_unix_micros in self.window and self.model_id in (None, batch.model_id)


def print_batches(
    files: Iterable[LogFile], selection: Selection, stream: BinaryIO, progress: ReadingProgress
) -> bool:
    """Write one line a batch; a torn file up to the tear, which is told on stderr.

    False if a file could not be read; the others are printed all the same. Raises BrokenPipeError.
    """
    left = selection.limit
    readable = True
    for file in files:
        if left == 0:
            break
        try:
            with closing(read_batches(file, progress.read)) as batches:
                for batch in batches:
                    if batch in selection:
                        stream.write(json_line(batch))
                        left = None if left is None else left - 1
                        if left == 0:
                            break
        except TornLog as torn:
            stream.flush()
            progress.tell(str(torn))
        except StorageError as error:
            readable = False
            progress.tell(str(error))
    stream.flush()
    return readable


def json_line(batch: InferenceLogBatch) -> bytes:
    """JSON by protobuf's mapping with the names of the proto file, features sorted by name; ASCII."""
    document: dict[str, Any] = MessageToDict(batch, preserving_proto_field_name=True)
    for row in document.get("inference_log_rows", ()):
        if "features" in row:
            row["features"] = dict(sorted(row["features"].items()))
    return json.dumps(document).encode("ascii") + b"\n"
