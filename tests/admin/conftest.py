"""Readings to tell of, and an admin port to ask."""

import dataclasses
import socket

import httpx
import pytest
import trio

from hushar.admin.port import AdminPort
from hushar.admin.reading import FeatureCounts, Glance, Method, Queue, Reading, Served, Sink, Source, State
from hushar.admin.serving import serve
from hushar.sidecars.durations import Buckets
from hushar.sidecars.ledger import DropReason, LogStatistics

BOUNDS = (0.0001, 0.001, 0.01)
STAGES = ("decode", "queue", "vectorize", "run", "encode")


def buckets(*counts, seconds=1.5):
    return Buckets(BOUNDS, counts or (0, 0, 0, 0), seconds)


LOG = LogStatistics(
    accepted_records=100,
    delivered_records=60,
    spooled_records=20,
    dropped_records={**dict.fromkeys(DropReason, 0), DropReason.QUEUE_FULL: 9, DropReason.TORN: 1},
    dead_lettered_records=10,
    queued_bytes=300,
    spool_bytes=4096,
    oldest_seconds=2.5,
    sink="s3://bucket/logs",
    sink_up=False,
    sink_errors={"error": 3, "refused": 0},
)

READING = Reading(
    served=Served("penguins", "0123456789ab", "onnxruntime 1.20", "cython", "0.1.0"),
    methods=(
        Method("hushar.Hushar", "InferenceService", 2, {"OK": 40, "INVALID_ARGUMENT": 3}),
        Method("grpc.health.v1.Health", "Check", 0, {}),
        Method("unknown", "unknown", 0, {"UNIMPLEMENTED": 4}),
    ),
    answered=buckets(10, 20, 9, 1),
    failed={"INVALID_ARGUMENT": buckets(3, 0, 0, 0)},
    stages={stage: buckets(5, 6, 0, 0, seconds=0.02) for stage in STAGES},
    rows=77,
    batches=11,
    queue=Queue(in_flight=2, calls=1, rows=5),
    shed={"queue_rows": 1, "queue_bytes": 0, "queue_seconds": 7, "in_flight": 2, "in_flight_bytes": 0},
    features={'odd "name"\\\n': FeatureCounts(4, 2, 1), "fine": FeatureCounts(0, 0, 0)},
    log=LOG,
    sinks=(Sink("s3://bucket/logs", False, LOG.sink_errors), Sink("stderr", True, {"error": 0, "busy": 2})),
    metrics_queued=12,
    metrics_dropped=0,
)


@pytest.fixture
def reading():
    return READING


@pytest.fixture
def without_log():
    return dataclasses.replace(READING, log=None, sinks=READING.sinks[1:], features={})


@pytest.fixture
def glance():
    return looked


def looked(calls=40, failed=3, rows=77, stage_seconds=0.02):
    stages = {stage: buckets(5, 6, 0, 0, seconds=stage_seconds) for stage in STAGES}
    return Glance(buckets(calls, 0, 0, 0), failed, rows, stages, Queue(2, 1, 5))


class Asked:
    """An admin port on a socket."""

    def __init__(self, port: AdminPort, number: int) -> None:
        self.port = port
        self.number = number
        self.url = f"http://127.0.0.1:{number}"
        self.readings = 0

    def ready(self, reading=READING):
        def read():
            self.readings += 1
            return reading

        self.port.source = Source({"model_id": "penguins", "model_version": "0123456789ab"}, read, looked)
        self.port.state = State.READY

    async def get(self, path, **headers):
        async with httpx.AsyncClient(base_url=self.url) as client:
            return await client.get(path, headers=headers)

    async def talk(self, data, *, shut=False, whole=True):
        """What the server says to some bytes: until it closes, or, not `whole`, once."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.number)
        async with stream:
            await stream.send_all(data)
            if shut:
                await stream.send_eof()
            said = b""
            with trio.fail_after(10):
                while received := await stream.receive_some():
                    said += received
                    if not whole:
                        break
            return said


async def _asked(nursery, port):
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    made = Asked(port, listener.getsockname()[1])
    await nursery.start(serve, made.port.app, [listener])
    return made


@pytest.fixture
async def asked(nursery):
    return await _asked(nursery, AdminPort())


@pytest.fixture
async def asked_locally(nursery):
    """As on the loopback address."""
    return await _asked(nursery, AdminPort(is_local=True))
