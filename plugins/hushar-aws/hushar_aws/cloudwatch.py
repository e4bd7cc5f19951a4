"""The metric sink "cloudwatch": each interval becomes PutMetricData calls, one of them as a rule.

What CloudWatch does not take now waits for the next interval, in bounded memory: see Backlog.
"""

import logging
import os
import time
from collections.abc import Callable
from random import Random

import httpx
import trio

from hushar.plugins import MetricBatch, MetricSink, PluginContext, SinkError
from hushar_aws.client import AwsClient
from hushar_aws.cloudwatch_backlog import Backlog, Waiting
from hushar_aws.cloudwatch_data import data_of
from hushar_aws.cloudwatch_requests import PutMetricData, requests_of
from hushar_aws.errors import AwsError, sink_error
from hushar_aws.settings import AwsSettings

logger = logging.getLogger("hushar.aws")

SERVICE = "cloudwatch"
NOT_COMPRESSED = "AWS_DISABLE_REQUEST_COMPRESSION"
"""A setting of AWS's SDKs, for what stands in for CloudWatch and cannot unpack."""


def cloudwatch_sink(context: PluginContext) -> "CloudWatchSink":
    """The factory behind `metrics.sinks = ["cloudwatch"]`; no I/O."""
    return CloudWatchSink(context.settings or AwsSettings())


class CloudWatchSink(MetricSink):
    """Sends intervals to CloudWatch, the oldest first."""

    def __init__(
        self,
        settings: AwsSettings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        random: Random | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """For tests: `transport` in place of httpx's own; `random` for the pauses between attempts;
        `wall_clock`, seconds since the epoch.
        """
        self._settings = settings
        self._transport = transport
        self._random = random
        self._client = self._new_client()
        self._wall_clock = wall_clock
        self._backlog = Backlog()
        self._sending = trio.Lock()

    def _new_client(self) -> AwsClient:
        return AwsClient(self._settings, SERVICE, random=self._random, transport=self._transport)

    @property
    def description(self) -> str:
        """`cloudwatch`."""
        return "cloudwatch"

    async def check(self) -> None:
        """Raise ConfigurationError if no region can be found."""
        client = self._new_client()
        await client.open()
        await client.aclose()

    async def open(self) -> None:
        """Find region and endpoint. Raises ConfigurationError if there is none."""
        await self._client.open()

    async def emit(self, batch: MetricBatch) -> None:
        """Send the interval, and before it those that wait. Raises SinkError; it waits itself then."""
        async with self._sending:
            self._backlog.add(batch)
            refused: AwsError | None = None
            while (waiting := self._backlog.first(self._wall_clock())) is not None:
                refused = await self._send(waiting) or refused
                self._backlog.done()
        if refused is not None:
            raise SinkError(f"CloudWatch refuses a part of an interval: {refused}")

    async def _send(self, waiting: Waiting) -> AwsError | None:
        """Make the calls of one interval that are not made yet. Raises SinkError where that may work later.

        Returns why a call was refused that no attempt would get through: the others are made.
        """
        refused = None
        calls = await trio.to_thread.run_sync(self._calls, waiting)
        for call in calls[waiting.sent :]:
            try:
                await self._client.request("POST", "/", headers=call.headers, body=call.body)
            except AwsError as error:
                if error.kind != "invalid":
                    raise sink_error(error) from error
                refused = error
            waiting.sent += 1
        return refused

    def _calls(self, waiting: Waiting) -> list[PutMetricData]:
        data = data_of(waiting.batch, high_resolution=self._settings.cloudwatch_high_resolution)
        compress = os.environ.get(NOT_COMPRESSED, "").lower() != "true"
        return list(requests_of(waiting.batch.namespace, data, compress=compress))

    async def aclose(self) -> None:
        """Close the connections. What still waits is lost, and said."""
        if self._backlog:
            logger.warning("metrics: cloudwatch: %d intervals were never taken", len(self._backlog))
        await self._client.aclose()
