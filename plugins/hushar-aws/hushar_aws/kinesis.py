"""The log sink `kinesis://STREAM`: a Kinesis data stream, each record of it an InferenceLogs message.

A segment is read, cut and put call by call, in its order. What the stream has taken is remembered, so that
another attempt of this process goes on from there; after a restart a segment is sent from its beginning.
"""

import re
from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

import httpx
import trio

from hushar.plugins import (
    ConfigurationError,
    LogSink,
    PluginContext,
    Problem,
    Segment,
    SegmentRefused,
    SinkError,
)
from hushar_aws.client import AwsClient
from hushar_aws.errors import AwsError, sink_error
from hushar_aws.kinesis_calls import outcome_of, put_records
from hushar_aws.kinesis_cutting import BrokenSegment, KinesisRecord, Rest, groups
from hushar_aws.kinesis_progress import Progress, ProgressBook
from hushar_aws.settings import AwsSettings

SERVICE: Final = "kinesis"
ATTEMPTS: Final = 3
"""Calls in a row of which the stream takes not one record."""
LONGEST_PAUSE_SECONDS: Final = 20.0

_STREAM: Final = re.compile(r"[a-zA-Z0-9_.-]{1,128}", re.ASCII)


def kinesis_sink(uri: str, context: PluginContext) -> "KinesisLogSink":
    """The factory behind `log.uri = "kinesis://STREAM"`; no I/O. Raises ConfigurationError."""
    stream = uri.removeprefix("kinesis://").removesuffix("/")
    if not uri.startswith("kinesis://") or not _STREAM.fullmatch(stream):
        message = f"{uri} names no Kinesis stream: kinesis:// and 1 to 128 letters, digits, '_', '.' or '-'"
        raise ConfigurationError([Problem("", "log.uri", message)])
    return KinesisLogSink(stream, context.settings or AwsSettings())


class KinesisLogSink(LogSink):
    """Delivers segments to one stream, at least once."""

    def __init__(
        self,
        stream: str,
        settings: AwsSettings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        random: Random | None = None,
    ) -> None:
        """For tests: `transport` in place of httpx's own; `random` for the pauses between attempts."""
        self._stream = stream
        self._settings = settings
        self._transport = transport
        self._random = random if random is not None else Random()  # noqa: S311 - jitter
        self._client = self._new_client()
        self._progress = ProgressBook()

    def _new_client(self) -> AwsClient:
        return AwsClient(self._settings, SERVICE, random=self._random, transport=self._transport)

    @property
    def description(self) -> str:
        """The URI."""
        return f"kinesis://{self._stream}"

    async def check(self) -> None:
        """Raise ConfigurationError if no region can be found."""
        client = self._new_client()
        await client.open()
        await client.aclose()

    async def open(self) -> None:
        """Find region and endpoint. Raises ConfigurationError if there is none."""
        await self._client.open()

    async def deliver(self, segment: Segment) -> None:
        """Put every record of the segment that the stream does not have.

        Raises SegmentRefused, with what no record can hold as its `rest`, once all others are delivered.
        """
        progress = self._progress.of(segment.path)
        rest = Rest()
        calls = groups(segment, self._settings.kinesis_partition_key, rest)
        try:
            while records := await trio.to_thread.run_sync(_next, calls):
                await self._put(progress.missing(records), progress)
        except BrokenSegment as error:
            raise SegmentRefused(f"{segment.path.name}: {error}") from error
        except OSError as error:
            raise SinkError(f"{segment.path.name}: {error.strerror or error}") from error
        finally:
            calls.close()
        if rest.batches:
            raise _refused(segment, rest, delivered_any=progress.has_any)
        self._progress.forget(segment.path)

    async def _put(self, records: Sequence[KinesisRecord], progress: Progress) -> None:
        """Put records with one call, and those that failed again, until the stream has all of them."""
        failures = 0
        while records:
            call = await trio.to_thread.run_sync(put_records, self._stream, records)
            try:
                response = await self._client.request(
                    "POST", "/", headers=call.headers, body=call.body, payload_hash=call.payload_hash
                )
                outcome = outcome_of(records, response.body)
            except AwsError as error:
                raise sink_error(error) from error
            except ValueError as error:
                raise SinkError(f"{self.description}: {error}") from error
            progress.add(outcome.delivered)
            records = outcome.failed
            if not records:
                return
            failures = 1 if outcome.delivered else failures + 1
            if failures == ATTEMPTS:
                raise SinkError(f"{self.description}: {len(records)} records not taken: {outcome.reason}")
            await trio.sleep(self._random.uniform(0, min(LONGEST_PAUSE_SECONDS, 2.0**failures)))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _next(calls: Iterator[list[KinesisRecord]]) -> list[KinesisRecord]:
    """Of one call; none at the end."""
    return next(calls, [])


def _refused(segment: Segment, rest: Rest, *, delivered_any: bool) -> SegmentRefused:
    """The rest is the whole segment where nothing of it fits."""
    text = (
        f"{segment.path.name}: {len(rest.batches)} batches with rows that no Kinesis record can hold (1 MiB)"
    )
    if not delivered_any:
        return SegmentRefused(text)
    return SegmentRefused(text, rest=b"".join(rest.batches), rest_batches=len(rest.batches))
