"""One line an interval: JSON that every tool reads."""

import io
import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from hushar.errors import SinkError
from hushar.sinks.interface import Counter, Distribution, MetricBatch
from hushar.sinks.stderr import StderrMetricSink
from hushar.testing import check_metric_sink


class Stream(io.StringIO):
    """Keeps each write by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return super().write(text)


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def batch(*counters: Counter, distributions: tuple[Distribution, ...] = ()) -> MetricBatch:
    return MetricBatch(
        "HusharService", {"ModelId": "m"}, 1_754_000_000.0, 1_754_000_060.25, distributions, counters
    )


FULL = replace(
    batch(
        Counter("Requests", 3, {"status": "OK"}),
        Counter("Requests", 1, {"status": "INTERNAL"}),
        Counter("Rows", 4.0, {}),
        Counter("LogRecordsDropped", 0, {"reason": "torn"}),
        distributions=(
            Distribution("InferenceTime", "Microseconds", np.arange(1.0, 101.0)),
            Distribution("BatchRows", "Count", np.array([1.5, 2.0]), np.array([1, 3])),
        ),
    ),
    gauges=(Counter("InFlight", 2, {}), Counter("QueuedCalls", 0, {})),
    model_version="1a2b",
)


async def test_it_keeps_the_rules_of_a_metric_sink():
    await check_metric_sink(
        lambda: StderrMetricSink(Stream()), make_broken_sink=lambda: StderrMetricSink(Broken())
    )


async def test_an_interval_is_one_line_of_json_in_one_write():
    stream = Stream()
    await StderrMetricSink(stream).emit(FULL)
    (line,) = stream.writes
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert json.loads(line) == {
        "metrics": "HusharService",
        "dimensions": {"ModelId": "m"},
        "model_version": "1a2b",
        "interval_seconds": 60.25,
        "time": "2025-07-31T22:14:20.250Z",
        "distributions": {
            "InferenceTime": {
                "unit": "Microseconds",
                "count": 100,
                "mean": 50.5,
                "p50": 50,
                "p90": 90,
                "p99": 99,
                "max": 100,
            },
            "BatchRows": {
                "unit": "Count",
                "count": 4,
                "mean": 1.875,
                "p50": 2,
                "p90": 2,
                "p99": 2,
                "max": 2,
            },
        },
        "counters": {"Requests": {"OK": 3, "INTERNAL": 1}, "Rows": 4},
        "gauges": {"InFlight": 2, "QueuedCalls": 0},
    }


async def test_nothing_happened_is_no_line():
    stream = Stream()
    await StderrMetricSink(stream).emit(batch(Counter("Rows", 0, {})))
    assert stream.writes == []


async def test_calls_that_hang_are_a_line_though_nothing_has_happened():
    stream = Stream()
    sink = StderrMetricSink(stream)
    await sink.emit(replace(batch(), gauges=(Counter("InFlight", 0, {}),)))
    assert stream.writes == []
    await sink.emit(replace(batch(), gauges=(Counter("InFlight", 3, {}),)))
    (line,) = stream.writes
    assert json.loads(line)["gauges"] == {"InFlight": 3}


async def test_what_json_cannot_say_is_null():
    stream = Stream()
    nan = Distribution("InferenceTime", "Microseconds", np.array([np.nan]))
    await StderrMetricSink(stream).emit(batch(distributions=(nan,)))
    assert json.loads(stream.writes[0])["distributions"]["InferenceTime"]["max"] is None


async def test_a_stream_that_is_closed_is_an_error_of_the_sink():
    stream = io.StringIO()
    stream.close()
    with pytest.raises(SinkError, match="stderr: "):
        await StderrMetricSink(stream).emit(FULL)


async def test_without_a_stream_it_is_stderr_as_it_is_then(monkeypatch):
    sink = StderrMetricSink()
    stream = Stream()
    monkeypatch.setattr(sys, "stderr", stream)
    await sink.emit(FULL)
    assert len(stream.writes) == 1
    assert sink.description == "stderr"
