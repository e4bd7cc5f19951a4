"""The log sink `jsonl:///directory`: each segment becomes a file of JSON lines, one line a batch."""

import os
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import trio
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import DecodeError
from pydantic import BaseModel, ConfigDict, Field

from hushar.plugins import (
    ConfigurationError,
    LogSink,
    PluginContext,
    Problem,
    Segment,
    SegmentRefused,
    SinkError,
    read_segment,
)
from hushar.proto import structs_pb2


class Settings(BaseModel):
    """The section `plugins.example` of the service configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    suffix: str = Field(default=".jsonl", pattern=r"^\.[a-z0-9.]+$")


def make_sink(uri: str, context: PluginContext) -> LogSink:
    """The factory: looks at the URI, touches nothing."""
    parts = urlsplit(uri)
    path = unquote(parts.path)
    if parts.netloc or parts.query or parts.fragment or not path.startswith("/"):
        message = f"{uri} must be jsonl:// and an absolute path, such as jsonl:///var/log/scores"
        raise ConfigurationError([Problem("", "log.uri", message)])
    return JsonLinesSink(Path(path), context.settings.suffix)


class JsonLinesSink(LogSink):
    """Writes below a directory, each segment under its own key."""

    def __init__(self, directory: Path, suffix: str) -> None:
        self._directory = directory
        self._suffix = suffix

    @property
    def description(self) -> str:
        """For the banner."""
        return f"jsonl://{self._directory}"

    async def open(self) -> None:
        """Make the directory. That it cannot be made is the user's mistake, and stops the start."""
        try:
            await trio.to_thread.run_sync(partial(self._directory.mkdir, parents=True, exist_ok=True))
        except OSError as error:
            message = f"cannot make the directory {self._directory}: {error.strerror}"
            raise ConfigurationError([Problem("", "log.uri", message)]) from error

    async def deliver(self, segment: Segment) -> None:
        """Write the segment's file, in a thread. Raises SinkError, or SegmentRefused where it is hopeless."""
        try:
            await trio.to_thread.run_sync(self._write, segment)
        except (DecodeError, ValueError) as error:
            raise SegmentRefused(f"{segment.path} is not a log file") from error
        except OSError as error:
            raise SinkError(f"cannot write below {self._directory}: {error}") from error

    def _write(self, segment: Segment) -> None:
        # Also where `log.compression` is set: `.pb.gz` and `.pb.zst` are read like `.pb`.
        logs = structs_pb2.InferenceLogs.FromString(b"".join(read_segment(segment)))
        target = self._directory / (segment.key.partition(".pb")[0] + self._suffix)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Under another name until it is whole; a second delivery replaces the first.
        unfinished = target.with_name(target.name + ".part")
        with unfinished.open("w", encoding="utf-8") as lines:
            for batch in logs.inferenceLogBatches:
                lines.write(MessageToJson(batch, preserving_proto_field_name=True, indent=None) + "\n")
            lines.flush()
            os.fsync(lines.fileno())
        unfinished.replace(target)
