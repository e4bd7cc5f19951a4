"""Kinesis and CloudWatch that fail under load: no call is lost, no record, no count."""

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from promisekit.calling import Load, eventually
from promisekit.stores import KinesisStore, client, missing, twice

from hushar.testing.exchanges import Answer
from hushar.testing.faults import INTERNAL_ERROR, THROTTLING, Fault, Refuse, Reset


class SomeTaken(Fault):
    """Every other record is put, the others are throttled: what Kinesis answers with a 200."""

    def act(self, exchange):
        asked = json.loads(exchange.read())
        answer = exchange.forward(json.dumps({**asked, "Records": asked["Records"][::2]}).encode())
        taken = iter(json.loads(answer.body)["Records"])
        refused = {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded"}
        results = [refused if index % 2 else next(taken) for index in range(len(asked["Records"]))]
        body = {"FailedRecordCount": len(results) // 2, "Records": results}
        exchange.answer(Answer(200, answer.headers, json.dumps(body).encode()))


@pytest.fixture
def stream(aws):
    aws.moto.create_stream("promised", shards=2)
    with closing(KinesisStore(aws.moto.url, "promised")) as store:
        yield store


def test_kinesis_gets_every_batch_once_whatever_it_refuses(serve, aws, stream):
    service = serve("kinesis://promised", log={"acknowledge": "spooled"})
    faults = [
        INTERNAL_ERROR,
        Refuse(400, "ProvisionedThroughputExceededException"),
        SomeTaken(),
        Reset("middle"),
        Reset("after"),
    ]
    with Load(lambda: service.address) as load:
        for fault in faults:
            with aws.proxy.inject(fault, operation="PutRecords") as rule:
                eventually(lambda rule=rule: rule.hits >= 2, "calls that meet the fault")
        answered = list(load.answered)
        eventually(lambda: not missing(answered, stream.ids()), "the delivery of what was spooled")
        assert twice(stream.ids()) == {}
        service.kill()
        service.start()
        load.wait_for_answers(100)
        load.stop()
    assert service.terminate() == 0, service.lines
    ids = stream.ids()
    assert missing(load.answered, ids) == []
    # At most the one segment that was under way when the server was killed.
    assert len(twice(ids)) < 65536 / 200
    assert set(load.statuses) <= {"UNAVAILABLE"}


def test_cloudwatch_gets_every_count_however_long_it_takes_none(serve, aws):
    metrics = {"sinks": ["cloudwatch"], "interval_seconds": 1}
    service = serve(aws.uri, metrics=metrics)
    with Load(lambda: service.address) as load:
        for fault in (THROTTLING, INTERNAL_ERROR, Reset("after")):
            with aws.proxy.inject(fault, operation="PutMetricData") as rule:
                eventually(lambda rule=rule: rule.hits >= 2, "calls that meet the fault")
                load.wait_for_answers(100)
        load.stop()
    assert service.terminate() == 0
    assert load.failed == []
    assert aws.store.ids().keys() == load.answered.keys()
    assert total_of(aws.moto.url, "Requests", status="OK") == len(load.answered)


def total_of(endpoint, name, **labels):
    """The sum over everything that was ever sent of this counter."""
    now = datetime.now(UTC)
    dimensions = {"ModelId": "tested", **labels}
    with closing(client(endpoint, "cloudwatch")) as cloudwatch:
        points = cloudwatch.get_metric_statistics(
            Namespace="HusharService",
            MetricName=name,
            Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(hours=1),
            Period=3600,
            Statistics=["Sum"],
        )["Datapoints"]
    return sum(point["Sum"] for point in points)
