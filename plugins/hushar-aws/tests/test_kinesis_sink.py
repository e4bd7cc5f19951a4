"""The log sink: what the stream gets, what happens when it takes only a part, and at moto's server."""

import base64
import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
import trio

from hushar.plugins import (
    ConfigurationError,
    LogSink,
    PluginContext,
    Segment,
    SegmentRefused,
    SinkError,
    SinkRefused,
)
from hushar.proto import structs_pb2
from hushar.testing import aws_environment, check_log_sink, log_record, segment
from hushar.testing.faults import THROTTLING, Hang, LoseAnswer, Refuse, Reset, Truncate
from hushar_aws.kinesis import ATTEMPTS, KinesisLogSink, kinesis_sink
from hushar_aws.settings import AwsSettings

SEGMENT: ContextVar[str] = ContextVar("segment")
"""The key of the segment that the task delivers: what a stream does not know, and the kit asks for."""
PAGE = Path(__file__).parents[3] / "docs" / "kinesis.md"
EXCEEDED = "ProvisionedThroughputExceededException"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name, value in aws_environment("http://127.0.0.1:1").items():
        monkeypatch.setenv(name, value)


class NoPauses(Random):
    """Draws the shortest of all pauses."""

    def random(self) -> float:
        return 0.0


def answer(status: int, content: Any) -> httpx.Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return httpx.Response(status, stream=httpx.ByteStream(body))


def refusal(code: str, status: int = 400) -> httpx.Response:
    return answer(status, {"__type": code, "message": "no"})


class FakeStream:
    """Takes records, but for those that it is told to refuse."""

    def __init__(self) -> None:
        self.records: list[tuple[str, str, bytes]] = []
        """Segment, partition key and data, in the order of their arrival."""
        self.calls: list[int] = []
        """How many records each had."""
        self.refuses: list[Sequence[int] | httpx.Response | Exception] = []
        """For each of the next calls: places of the records that fail, or an answer, or an exception."""
        self.transport = httpx.MockTransport(self._answer)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        ordered = self.refuses.pop(0) if self.refuses else ()
        if isinstance(ordered, Exception):
            raise ordered
        given = json.loads(await request.aread())
        assert request.headers["x-amz-target"] == "Kinesis_20131202.PutRecords"
        assert given["StreamName"] == "stream"
        self.calls.append(len(given["Records"]))
        if isinstance(ordered, httpx.Response):
            return ordered
        entries = []
        for i, record in enumerate(given["Records"]):
            if i in ordered:
                entries.append({"ErrorCode": EXCEEDED, "ErrorMessage": "Rate exceeded for shard"})
                continue
            data = base64.b64decode(record["Data"])
            self.records.append((SEGMENT.get(""), record["PartitionKey"], data))
            entries.append({"SequenceNumber": str(len(self.records)), "ShardId": "shardId-000000000000"})
        return answer(200, {"FailedRecordCount": len(ordered), "Records": entries})

    def content(self, key: str = "") -> bytes:
        """Of one segment: what came several times is taken once, as readers of a stream have to."""
        return b"".join(dict.fromkeys(data for name, _, data in self.records if name == key))

    def by_segment(self) -> dict[str, bytes]:
        return {key: self.content(key) for key in {name for name, _, _ in self.records}}

    def ids(self) -> list[str]:
        """The request id of every batch, in the order of arrival."""
        return [
            each.request_id
            for _, _, data in self.records
            for each in structs_pb2.InferenceLogs.FromString(data).inferenceLogBatches
        ]


@pytest.fixture
def stream() -> FakeStream:
    return FakeStream()


@pytest.fixture
def make_sink(stream) -> Callable[..., KinesisLogSink]:
    def make(**settings: Any) -> KinesisLogSink:
        return KinesisLogSink(
            "stream", AwsSettings(**settings), transport=stream.transport, random=NoPauses()
        )

    return make


class Marked(LogSink):
    """A sink that tells the fake stream which segment the records are of."""

    def __init__(self, sink: KinesisLogSink) -> None:
        self._sink = sink
        self.open = sink.open
        self.aclose = sink.aclose

    @property
    def description(self) -> str:
        return self._sink.description

    async def deliver(self, segment: Segment) -> None:
        SEGMENT.set(segment.key)
        await self._sink.deliver(segment)


def large(directory: Any, records: int = 12, size: int = 600_000) -> Segment:
    """A segment whose batches are one Kinesis record each: `r0`, `r1` …"""
    return segment(directory, [log_record(f"r{i}", features={"text": "x" * size}) for i in range(records)])


async def test_it_keeps_the_rules_of_a_log_sink(make_sink, stream):
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    broken = httpx.MockTransport(refuse)
    await check_log_sink(
        lambda: Marked(make_sink()),
        stream.by_segment,
        # A stream has no compressed records.
        exact=False,
        compressed=True,
        make_broken_sink=lambda: KinesisLogSink("stream", AwsSettings(), transport=broken, random=NoPauses()),
    )


class TestDelivery:
    async def test_joined_records_are_the_segment_and_in_its_order(self, make_sink, stream, tmp_path):
        sink, one = make_sink(), large(tmp_path)
        await sink.open()
        await sink.deliver(one)
        await sink.aclose()
        assert stream.content() == one.path.read_bytes()
        assert stream.ids() == [f"r{i}" for i in range(12)]
        # 600 KB each, 5 MiB a call.
        assert stream.calls == [8, 4]
        assert [key for _, key, _ in stream.records] == [f"r{i}" for i in range(12)]
        assert len(structs_pb2.InferenceLogs.FromString(stream.content()).segment_info) == 1

    async def test_a_compressed_segment_is_unpacked(self, make_sink, stream, tmp_path):
        one = segment(tmp_path)
        content = one.path.read_bytes()
        one.path.write_bytes(gzip.compress(content, mtime=0))
        await make_sink().deliver(replace(one, compression="gzip", size_bytes=one.path.stat().st_size))
        assert stream.content() == content

    @pytest.mark.parametrize(
        ("setting", "keys"), [("model_id", {"model"}), ("request_id", {"r0", "r1", "r2"})]
    )
    async def test_the_partition_key_is_the_settings(self, make_sink, stream, tmp_path, setting, keys):
        await make_sink(kinesis_partition_key=setting).deliver(large(tmp_path, 3))
        assert {key for _, key, _ in stream.records} == keys

    async def test_a_call_that_is_cancelled_goes_on_later(self, make_sink, stream, tmp_path):
        sink, one = make_sink(), large(tmp_path)
        with trio.CancelScope() as scope:
            stream.refuses = [(0, 3)]
            stop = trio.Event()

            async def cancel() -> None:
                await stop.wait()
                scope.cancel()

            def sleepy(low: float, high: float) -> float:
                stop.set()
                return 3600.0

            sink._random.uniform = sleepy  # type: ignore[method-assign]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel)
                await sink.deliver(one)
        assert scope.cancelled_caught
        assert len(stream.records) == 6
        await sink.deliver(one)
        assert sorted(stream.ids()) == sorted(f"r{i}" for i in range(12))


class TestPartialFailures:
    async def test_only_what_failed_is_put_again(self, make_sink, stream, tmp_path):
        stream.refuses = [(1, 6), (1,), ()]
        one = large(tmp_path)
        await make_sink().deliver(one)
        assert stream.calls == [8, 2, 1, 4]
        assert stream.ids() == [
            "r0",
            "r2",
            "r3",
            "r4",
            "r5",
            "r7",
            "r1",
            "r6",
            *(f"r{i}" for i in range(8, 12)),
        ]

    async def test_a_stream_that_takes_a_record_at_a_time_is_not_given_up(self, make_sink, stream, tmp_path):
        stream.refuses = [tuple(range(1, 8 - i)) for i in range(8)]
        await make_sink().deliver(large(tmp_path, 8))
        assert stream.calls == [8, 7, 6, 5, 4, 3, 2, 1]
        assert stream.ids() == [f"r{i}" for i in range(8)]

    async def test_one_that_takes_nothing_is_a_sink_error(self, make_sink, stream, tmp_path):
        stream.refuses = [tuple(range(8))] * ATTEMPTS
        with pytest.raises(SinkError, match=EXCEEDED) as raised:
            await make_sink().deliver(large(tmp_path))
        assert not isinstance(raised.value, (SegmentRefused, SinkRefused))
        assert stream.calls == [8] * ATTEMPTS

    async def test_the_next_attempt_goes_on_from_there(self, make_sink, stream, tmp_path):
        sink, one = make_sink(), large(tmp_path, 20)
        stream.refuses = [(), (2, 5), *[(0, 1)] * (ATTEMPTS - 1)]
        with pytest.raises(SinkError):
            await sink.deliver(one)
        assert len(stream.records) == 14
        await sink.deliver(one)
        assert Counter(stream.ids()) == Counter(f"r{i}" for i in range(20))
        assert stream.ids()[14:] == ["r10", "r13", "r16", "r17", "r18", "r19"]

    async def test_after_a_restart_all_of_it_is_sent(self, make_sink, stream, tmp_path):
        one = large(tmp_path, 3)
        stream.refuses = [(1,), *[(0,)] * (ATTEMPTS - 1)]
        with pytest.raises(SinkError):
            await make_sink().deliver(one)
        await make_sink().deliver(one)
        assert Counter(stream.ids()) == {"r0": 2, "r1": 1, "r2": 2}

    async def test_two_segments_do_not_mix(self, make_sink, stream, tmp_path):
        sink, first, second = make_sink(), large(tmp_path, 2), large(tmp_path, 2)
        stream.refuses = [(0,), *[(0,)] * (ATTEMPTS - 1)]
        with pytest.raises(SinkError):
            await sink.deliver(first)
        await sink.deliver(second)
        await sink.deliver(first)
        assert stream.ids() == ["r1", "r0", "r1", "r0"]


class TestErrors:
    @pytest.mark.parametrize(
        ("answers", "error"),
        [
            ([refusal("ResourceNotFoundException")], SinkRefused),
            ([refusal("AccessDeniedException")], SinkRefused),
            ([refusal("KMSAccessDeniedException")], SinkRefused),
            ([refusal("ExpiredTokenException"), refusal("ExpiredTokenException")], SinkRefused),
            ([refusal("InvalidArgumentException")], SegmentRefused),
            ([refusal(EXCEEDED) for _ in range(3)], SinkError),
            ([refusal("InternalFailure", 500) for _ in range(3)], SinkError),
            ([httpx.ReadTimeout("slow")] * 3, SinkError),
            ([answer(200, b"<html>")], SinkError),
            ([answer(200, {"Records": []})], SinkError),
        ],
        ids=lambda value: getattr(value, "__name__", ""),
    )
    async def test_what_each_answer_means(self, make_sink, stream, tmp_path, answers, error):
        sink, one = make_sink(), large(tmp_path, 2)
        stream.refuses = list(answers)
        with pytest.raises(SinkError) as raised:
            await sink.deliver(one)
        assert type(raised.value) is error
        stream.refuses = []
        await sink.deliver(one)
        assert stream.content() == one.path.read_bytes()

    async def test_an_error_that_passes_is_overcome_within_the_delivery(self, make_sink, stream, tmp_path):
        stream.refuses = [refusal("InternalFailure", 500), httpx.ReadError("reset")]
        await make_sink().deliver(large(tmp_path, 2))
        assert stream.ids() == ["r0", "r1"]

    async def test_a_torn_segment_is_refused(self, make_sink, tmp_path):
        one = segment(tmp_path)
        one.path.write_bytes(one.path.read_bytes()[:-3])
        with pytest.raises(SegmentRefused, match="middle of a record"):
            await make_sink().deliver(one)

    async def test_no_error_tells_what_was_logged(self, make_sink, stream, tmp_path):
        secret = "secret-value"
        one = segment(tmp_path, [log_record("r", features={"name": secret})])
        stream.refuses = [(0,)] * ATTEMPTS
        with pytest.raises(SinkError) as raised:
            await make_sink().deliver(one)
        assert secret not in repr(raised.value)


class TestRest:
    """Rows that no record can hold: SETTINGS.md, Kinesis."""

    def mixed(self, directory: Any) -> Segment:
        too_large = log_record("big", features={"text": "x" * 1_100_000})
        return segment(directory, [log_record("a"), too_large, log_record("b")])

    async def test_all_others_are_delivered_and_the_rest_is_told(self, make_sink, stream, tmp_path):
        one = self.mixed(tmp_path)
        with pytest.raises(SegmentRefused, match="1 batch") as raised:
            await make_sink().deliver(one)
        assert stream.ids() == ["a", "b"]
        assert raised.value.rest is not None
        (left,) = structs_pb2.InferenceLogs.FromString(raised.value.rest).inferenceLogBatches
        assert (left.request_id, raised.value.rest_batches) == ("big", 1)
        assert one.path.exists()

    async def test_another_attempt_sends_nothing_twice(self, make_sink, stream, tmp_path):
        sink, one = make_sink(), self.mixed(tmp_path)
        for _ in range(2):
            with pytest.raises(SegmentRefused):
                await sink.deliver(one)
        assert stream.ids() == ["a", "b"]

    async def test_the_rest_alone_is_refused_as_it_is(self, make_sink, stream, tmp_path):
        """Also by the sink that made it, as in `hushar logs deliver`: a rest has the key of its segment."""
        sink, one = make_sink(), self.mixed(tmp_path)
        with pytest.raises(SegmentRefused) as raised:
            await sink.deliver(one)
        assert raised.value.rest is not None
        path = tmp_path / "rest.pb"
        path.write_bytes(raised.value.rest)
        with pytest.raises(SegmentRefused) as again:
            await sink.deliver(replace(one, path=path, size_bytes=path.stat().st_size, batches=1))
        assert again.value.rest is None
        assert stream.ids() == ["a", "b"]


class TestFactory:
    def test_the_uri_names_the_stream(self):
        sink = kinesis_sink(
            "kinesis://my_stream.v-1", PluginContext(settings=AwsSettings(region="eu-west-1"))
        )
        assert sink.description == "kinesis://my_stream.v-1"
        assert kinesis_sink("kinesis://s/", PluginContext()).description == "kinesis://s"

    @pytest.mark.parametrize(
        "uri", ["kinesis://", "kinesis://a/b", "kinesis://a?b", "kinesis://" + "a" * 129, "kinesis://é"]
    )
    def test_a_uri_that_cannot_be_meant(self, uri):
        with pytest.raises(ConfigurationError, match=r"log\.uri"):
            kinesis_sink(uri, PluginContext())

    async def test_no_region_is_a_mistake_of_the_configuration(self, monkeypatch):
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            monkeypatch.delenv(name)
        sink = kinesis_sink("kinesis://stream", PluginContext())
        for call in (sink.check, sink.open):
            with pytest.raises(ConfigurationError, match=r"plugins\.aws\.region"):
                await call()


def read_all(name: str) -> list[bytes]:
    """Every record of the stream, shard by shard, by a stock boto3."""
    boto3 = pytest.importorskip("boto3", reason="needs tool: boto3 (hushar[testing])")
    client = boto3.client("kinesis")
    found: list[bytes] = []
    for shard in client.list_shards(StreamName=name)["Shards"]:
        iterator = client.get_shard_iterator(
            StreamName=name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while True:
            page = client.get_records(ShardIterator=iterator)
            found += [record["Data"] for record in page["Records"]]
            if not page["Records"]:
                break
            iterator = page["NextShardIterator"]
    return found


def ids_of(records: list[bytes]) -> Counter[str]:
    logs = structs_pb2.InferenceLogs.FromString(b"".join(records))
    return Counter(each.request_id for each in logs.inferenceLogBatches)


@pytest.mark.slow
class TestMoto:
    """moto's server over HTTP, with a stock boto3 reading back."""

    async def test_everything_is_there_once_and_joined_it_is_a_log(self, aws_server, tmp_path):
        aws_server.create_stream("logs", shards=3)
        sink = kinesis_sink("kinesis://logs", PluginContext(settings=AwsSettings()))
        await sink.open()
        given = [segment(tmp_path, [log_record(f"{s}-{i}") for i in range(5000)]) for s in range(3)]
        given.append(large(tmp_path, 7, size=1_040_000))
        for one in given:
            await sink.deliver(one)
        await sink.aclose()
        records = read_all("logs")
        assert ids_of(records) == {
            **{f"{s}-{i}": 1 for s in range(3) for i in range(5000)},
            **{f"r{i}": 1 for i in range(7)},
        }
        logs = structs_pb2.InferenceLogs.FromString(b"".join(records))
        assert sum(info.batches for info in logs.segment_info) == 15_007
        assert len(records) < 20

    async def test_the_program_in_the_documentation_reads_what_was_delivered(
        self, aws_server, tmp_path, capsys
    ):
        (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        aws_server.create_stream("inference-log")
        sink = kinesis_sink("kinesis://inference-log", PluginContext())
        await sink.deliver(segment(tmp_path))
        await sink.aclose()
        exec(compile(program, PAGE.name, "exec"), {})
        assert capsys.readouterr().out == "request-1 1\nrequest-2 1\nrequest-3 1\n"

    async def test_no_such_stream_is_refused_slowly(self, aws_server, tmp_path):
        sink = kinesis_sink("kinesis://none", PluginContext())
        with pytest.raises(SinkRefused, match="ResourceNotFoundException"):
            await sink.deliver(segment(tmp_path))
        await sink.aclose()

    @pytest.mark.parametrize(
        ("fault", "at_most"),
        [
            (THROTTLING, 1),
            (Refuse(400, EXCEEDED), 1),
            (Refuse(500, "InternalFailure"), 1),
            (Refuse(503, "ServiceUnavailable"), 1),
            (Reset("before"), 1),
            (Reset("middle"), 1),
            (Reset("after"), 1),
            (Hang(), 1),
            # What became of these the client cannot know: at least once.
            (LoseAnswer(), 2),
            (Truncate(), 2),
        ],
        ids=lambda value: str(value)[:40],
    )
    async def test_faults_on_the_way(self, aws_server, faulty_aws, tmp_path, fault, at_most):
        aws_server.create_stream("logs", shards=2)
        sink = KinesisLogSink("logs", AwsSettings(read_seconds=0.3), random=NoPauses())
        faulty_aws.inject(fault, operation="PutRecords", times=1)
        one = large(tmp_path, 6)
        await sink.deliver(one)
        await sink.aclose()
        found = ids_of(read_all("logs"))
        assert found.keys() == {f"r{i}" for i in range(6)}
        assert set(found.values()) <= set(range(1, at_most + 1))

    async def test_an_outage_is_a_sink_error_and_then_it_goes_on(self, aws_server, faulty_aws, tmp_path):
        aws_server.create_stream("logs")
        sink = KinesisLogSink("logs", AwsSettings(read_seconds=0.3), random=NoPauses())
        one = large(tmp_path, 12)
        with (
            faulty_aws.inject(Refuse(503, "ServiceUnavailable"), operation="PutRecords", skip=1),
            pytest.raises(SinkError, match="ServiceUnavailable"),
        ):
            await sink.deliver(one)
        await sink.deliver(one)
        await sink.aclose()
        assert ids_of(read_all("logs")) == {f"r{i}": 1 for i in range(12)}
