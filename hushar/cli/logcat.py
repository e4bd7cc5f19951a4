"""What `hushar logs cat` does: the chosen batches of log files, as JSON lines."""

import json
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import click
from google.protobuf.json_format import MessageToDict

from hushar.errors import StorageError
from hushar.logreading.partitions import Window
from hushar.logreading.source import TornLog, read_batches
from hushar.proto.structs_pb2 import InferenceLogBatch


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


def print_batches(files: Iterable[Path], selection: Selection, stream: BinaryIO) -> bool:
    """Write one line a batch; a torn file up to the tear, which is told on stderr.

    False if a file could not be read; the others are printed all the same. Raises BrokenPipeError.
    """
    left = selection.limit
    readable = True
    for file in files:
        if left == 0:
            break
        try:
            with closing(read_batches(file)) as batches:
                for batch in batches:
                    if batch in selection:
                        stream.write(json_line(batch))
                        left = None if left is None else left - 1
                        if left == 0:
                            break
        except TornLog as torn:
            stream.flush()
            click.echo(str(torn), err=True)
        except StorageError as error:
            readable = False
            click.echo(str(error), err=True)
    stream.flush()
    return readable


def json_line(batch: InferenceLogBatch) -> bytes:
    """JSON by protobuf's mapping with the names of the proto file, features sorted by name; ASCII."""
    document: dict[str, Any] = MessageToDict(batch, preserving_proto_field_name=True)
    for row in document.get("inference_log_rows", ()):
        if "features" in row:
            row["features"] = dict(sorted(row["features"].items()))
    return json.dumps(document).encode("ascii") + b"\n"
