"""The metric sink: what it sends, when it sends it again, and what CloudWatch makes of it."""

import gzip
import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import httpx
import numpy as np
import pytest

from hushar.plugins import (
    ConfigurationError,
    Counter,
    Distribution,
    MetricBatch,
    PluginContext,
    SinkError,
    SinkRefused,
)
from hushar.sidecars.histogram import EXACT_VALUES, Histogram
from hushar.testing import aws_environment, check_metric_sink
from hushar.testing.faults import THROTTLING, Hang, LoseAnswer, Refuse, Reset
from hushar_aws.cloudwatch import CloudWatchSink, cloudwatch_sink
from hushar_aws.cloudwatch_backlog import INTERVALS
from hushar_aws.settings import AwsSettings

NOW = 1_754_000_100.0


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name, value in aws_environment("http://127.0.0.1:1").items():
        monkeypatch.setenv(name, value)


def batch(start: float = NOW - 60, requests: float = 1, **changes: Any) -> MetricBatch:
    given = MetricBatch(
        namespace="HusharService",
        dimensions={"ModelId": "penguins", "Stage": "test"},
        start_unix_seconds=start,
        end_unix_seconds=start + 60,
        distributions=(Distribution("InferenceTime", "Microseconds", np.array([8.5, 9.0, 9.0, 1234.5])),),
        counters=(Counter("Requests", requests, {"status": "OK"}),),
        gauges=(Counter("InFlight", 0, {}),),
    )
    return replace(given, **changes)


class NoPauses(Random):
    """Draws the shortest of all pauses."""

    def random(self) -> float:
        return 0.0


def answer(status: int, content: Any) -> httpx.Response:
    return httpx.Response(status, stream=httpx.ByteStream(json.dumps(content).encode()))


class FakeCloudWatch:
    """Answers as it is told, else with success; keeps the calls that it has taken."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.compressed: list[bool] = []
        self.attempts = 0
        self.answers: list[httpx.Response | Exception] = []
        self.transport = httpx.MockTransport(self._answer)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self.attempts += 1
        if self.answers:
            ordered = self.answers.pop(0)
            if isinstance(ordered, Exception):
                raise ordered
            return ordered
        assert request.headers["x-amz-target"] == "GraniteServiceVersion20100801.PutMetricData"
        assert "/monitoring/aws4_request" in request.headers["authorization"]
        body = request.content
        self.compressed.append(request.headers.get("content-encoding") == "gzip")
        if self.compressed[-1]:
            body = gzip.decompress(body)
        self.taken.append(json.loads(body))
        return answer(200, {})

    def requests_counted(self) -> list[float]:
        """The counter of each call taken that has one."""
        return [
            datum["Value"]
            for call in self.taken
            for datum in call["MetricData"]
            if datum["MetricName"] == "Requests"
        ]


def refusal(code: str, status: int = 400) -> httpx.Response:
    return answer(status, {"__type": f"com.amazon#{code}", "message": "no"})


def throttled(times: int) -> list[httpx.Response | Exception]:
    return [refusal("Throttling") for _ in range(times)]


def sink_for(transport: httpx.AsyncBaseTransport | None, **settings: Any) -> CloudWatchSink:
    clock = (lambda: NOW) if transport is not None else time.time
    return CloudWatchSink(AwsSettings(**settings), transport=transport, random=NoPauses(), wall_clock=clock)


@pytest.fixture
def fake() -> FakeCloudWatch:
    return FakeCloudWatch()


@pytest.fixture
def make_sink(fake) -> Callable[..., CloudWatchSink]:
    def make(**settings: Any) -> CloudWatchSink:
        return sink_for(fake.transport, **settings)

    return make


async def test_it_keeps_the_rules_of_a_metric_sink(make_sink):
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    await check_metric_sink(
        make_sink,
        make_broken_sink=lambda: sink_for(httpx.MockTransport(refuse)),
    )


async def test_one_interval_is_one_call(make_sink, fake):
    sink = make_sink()
    await sink.open()
    await sink.emit(batch(model_version="3f0c"))
    await sink.aclose()
    (call,) = fake.taken
    assert call["Namespace"] == "HusharService"
    assert [datum["MetricName"] for datum in call["MetricData"]] == [
        "Requests",
        "InFlight",
        "ModelVersion",
        "InferenceTime",
    ]
    assert call["MetricData"][3]["Values"] == [8.5, 9.0, 1234.5]
    assert call["MetricData"][3]["Counts"] == [1, 2, 1]


async def test_the_option_makes_it_high_resolution(make_sink, fake):
    sink = make_sink(cloudwatch_high_resolution=True)
    await sink.emit(batch())
    await sink.aclose()
    assert {datum["StorageResolution"] for datum in fake.taken[0]["MetricData"]} == {1}


async def test_compression_can_be_turned_off_as_in_awss_sdks(make_sink, fake, monkeypatch):
    given = batch(distributions=(Distribution("m", "Count", np.random.default_rng(1).random(4096)),))
    for setting in ("", "TRUE"):
        monkeypatch.setenv("AWS_DISABLE_REQUEST_COMPRESSION", setting)
        await make_sink().emit(given)
    assert fake.taken[0] == fake.taken[1]
    assert fake.compressed == [True, False]


async def test_an_empty_interval_is_no_call(make_sink, fake):
    sink = make_sink()
    await sink.emit(batch(distributions=(), counters=(), gauges=()))
    assert fake.attempts == 0


class TestWhenItFails:
    async def test_a_throttled_call_is_made_again(self, make_sink, fake):
        fake.answers = throttled(2)
        sink = make_sink()
        await sink.emit(batch())
        assert (fake.attempts, fake.requests_counted()) == (3, [1])

    async def test_what_was_not_taken_comes_before_the_next_interval(self, make_sink, fake):
        fake.answers = throttled(3)
        sink = make_sink()
        with pytest.raises(SinkError, match="Throttling"):
            await sink.emit(batch(NOW - 120, 1))
        await sink.emit(batch(NOW - 60, 2))
        assert fake.requests_counted() == [1, 2]
        times = [call["MetricData"][0]["Timestamp"] for call in fake.taken]
        assert times == [NOW - 90, NOW - 30]

    async def test_a_long_outage_loses_the_oldest_intervals_but_no_count(self, make_sink, fake):
        sink = make_sink()
        intervals = 3 * INTERVALS
        for i in range(intervals):
            fake.answers = throttled(3)
            with pytest.raises(SinkError):
                await sink.emit(batch(NOW - 60 * (intervals - i), 2.0**i))
        assert fake.taken == []
        fake.answers = []
        await sink.emit(batch(NOW - 60, 2.0**intervals))
        assert len(fake.taken) == INTERVALS
        assert sum(fake.requests_counted()) == 2.0 ** (intervals + 1) - 1

    async def test_of_several_calls_only_those_that_failed_are_made_again(self, make_sink, fake):
        many = tuple(Distribution(f"m{i}", "Count", np.random.default_rng(i).random(4096)) for i in range(20))
        given = batch(distributions=many)
        whole = FakeCloudWatch()
        await sink_for(whole.transport).emit(given)
        assert len(whole.taken) > 1
        sink = make_sink()
        taken = answer(200, {})
        fake.answers = [taken, *throttled(3)]
        with pytest.raises(SinkError):
            await sink.emit(given)
        await sink.emit(batch(distributions=(), counters=(), gauges=()))
        assert fake.taken == whole.taken[1:]

    async def test_a_call_that_no_attempt_gets_through_is_not_kept(self, make_sink, fake):
        fake.answers = [refusal("InvalidParameterValue")]
        sink = make_sink()
        with pytest.raises(SinkError, match="InvalidParameterValue"):
            await sink.emit(batch(NOW - 120, 1))
        await sink.emit(batch(NOW - 60, 2))
        assert fake.requests_counted() == [2]

    async def test_a_refusal_is_kept_as_it_may_end(self, make_sink, fake):
        fake.answers = [refusal("AccessDenied", 403)]
        sink = make_sink()
        with pytest.raises(SinkRefused, match="AccessDenied"):
            await sink.emit(batch(NOW - 120, 1))
        await sink.emit(batch(NOW - 60, 2))
        assert fake.requests_counted() == [1, 2]

    async def test_what_was_never_taken_is_said_at_the_end(self, make_sink, fake, caplog):
        fake.answers = [httpx.ConnectError("no route")] * 3
        sink = make_sink()
        with pytest.raises(SinkError):
            await sink.emit(batch())
        with caplog.at_level(logging.WARNING, "hushar.aws"):
            await sink.aclose()
        assert "1 interval" in caplog.text


class TestFactory:
    def test_settings_are_the_plugins(self):
        sink = cloudwatch_sink(PluginContext(settings=AwsSettings(region="eu-west-1")))
        assert sink.description == "cloudwatch"
        assert cloudwatch_sink(PluginContext()).description == "cloudwatch"

    async def test_no_region_is_a_mistake_of_the_configuration(self, monkeypatch):
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            monkeypatch.delenv(name)
        sink = cloudwatch_sink(PluginContext())
        for call in (sink.check, sink.open):
            with pytest.raises(ConfigurationError, match=r"plugins\.aws\.region"):
                await call()
        await sink.aclose()

    async def test_check_leaves_nothing_behind(self):
        await cloudwatch_sink(PluginContext()).check()


def statistics(name: str, **dimensions: str) -> dict[str, float]:
    """What CloudWatch, asked by a stock boto3, says of the last hour."""
    boto3 = pytest.importorskip("boto3", reason="needs tool: boto3 (hushar[testing])")
    now = time.time()
    (point,) = boto3.client("cloudwatch").get_metric_statistics(
        Namespace="HusharService",
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        StartTime=now - 3600,
        EndTime=now + 60,
        Period=7200,
        Statistics=["SampleCount", "Sum", "Minimum", "Maximum", "Average"],
    )["Datapoints"]
    return {key: value for key, value in point.items() if isinstance(value, float)}


def raw_statistics(values: Any) -> dict[str, Any]:
    return pytest.approx(
        {
            "SampleCount": len(values),
            "Sum": float(np.sum(values)),
            "Minimum": float(np.min(values)),
            "Maximum": float(np.max(values)),
            "Average": float(np.mean(values)),
        },
        rel=1e-9,
    )


@pytest.mark.slow
class TestMoto:
    """moto's server over HTTP, with a stock boto3 reading back."""

    @pytest.mark.parametrize("count", [1, 150, 1000, EXACT_VALUES + 2000])
    async def test_statistics_are_those_of_the_raw_timings(self, aws_server, count):
        raw = np.random.default_rng(count).gamma(2.0, 40.0, count)
        histogram = Histogram()
        histogram.extend(raw.tolist())
        distribution = histogram.distribution("InferenceTime", "Microseconds")
        assert distribution is not None
        sink = sink_for(None)
        await sink.open()
        await sink.emit(batch(time.time() - 60, distributions=(distribution,)))
        await sink.aclose()
        assert statistics("InferenceTime", ModelId="penguins", Stage="test") == raw_statistics(raw)
        assert statistics("Requests", ModelId="penguins", status="OK")["Sum"] == 1

    async def test_high_resolution_and_non_ascii_ids_are_taken(self, aws_server):
        sink = sink_for(None, cloudwatch_high_resolution=True)
        await sink.emit(batch(time.time() - 60, dimensions={"ModelId": "modèle"}))
        await sink.aclose()
        assert statistics("InferenceTime", ModelId="mod%C3%A8le")["SampleCount"] == 4

    async def test_faults_on_the_way(self, faulty_aws):
        """Everything that may pass is overcome within one interval, or with the next."""
        sink = sink_for(None)
        for fault in (
            THROTTLING,
            Refuse(500, "InternalFailure"),
            Refuse(503, "ServiceUnavailable"),
            Reset("middle"),
        ):
            faulty_aws.inject(fault, service="monitoring", times=2)
            await sink.emit(batch(time.time() - 60))
        faulty_aws.inject(THROTTLING, service="monitoring", times=3)
        with pytest.raises(SinkError):
            await sink.emit(batch(time.time() - 60))
        await sink.emit(batch(time.time() - 60))
        await sink.aclose()
        assert statistics("Requests", ModelId="penguins")["Sum"] == 6

    async def test_a_service_that_hangs_is_a_sink_error(self, faulty_aws):
        sink = sink_for(None, read_seconds=0.2)
        faulty_aws.inject(Hang(), service="monitoring", times=3)
        with pytest.raises(SinkError, match="Timeout"):
            await sink.emit(batch(time.time() - 60))
        await sink.emit(batch(time.time() - 60))
        await sink.aclose()
        assert statistics("Requests", ModelId="penguins")["Sum"] == 2

    async def test_an_answer_that_is_lost_may_count_twice(self, faulty_aws):
        """CloudWatch has no way to make a repeated call harmless: docs/aws-metrics.md says so."""
        sink = sink_for(None)
        faulty_aws.inject(LoseAnswer(), service="monitoring", times=1)
        await sink.emit(batch(time.time() - 60))
        await sink.aclose()
        assert statistics("Requests", ModelId="penguins")["Sum"] == 2
