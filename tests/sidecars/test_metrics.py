"""The metrics sidecar: one batch an interval to each sink, and no sink that can hold up anything."""

from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from hushar.errors import ConfigurationError, Problem, SinkError, SinkRefused
from hushar.records import BatchMetrics, Timings
from hushar.sidecars.durations import Durations
from hushar.sidecars.metrics import (
    CLOSE_SECONDS,
    GATHERED_BATCHES,
    LONGEST_LINGER_SECONDS,
    SHORTEST_LINGER_SECONDS,
    MetricsSidecar,
)
from hushar.sidecars.settings import MetricsSettings
from hushar.sinks.interface import Counter
from hushar.testing import MemoryMetricSink

METRICS = BatchMetrics(2, Timings(1.0, 2.0, 3.0, 4.0, 5.0), [(6.0, 1)], [(7.0, 1)])
START = 1_754_000_000.0


def made(
    sinks=None, *, totals=(), gauges=(), model_version="", kernel="", durations=None, **settings
) -> MetricsSidecar:
    return MetricsSidecar(
        MetricsSettings(**settings),
        {"memory": MemoryMetricSink()} if sinks is None else sinks,
        model_id="m",
        model_version=model_version,
        totals=totals,
        gauges=gauges,
        kernel=kernel,
        durations=durations,
        wall_clock=lambda: START + trio.current_time(),
    )


@asynccontextmanager
async def running(sidecar: MetricsSidecar):
    async with trio.open_nursery() as nursery:
        await nursery.start(sidecar.run)
        yield sidecar
        sidecar.close()


def counts(batch) -> dict[tuple[str, ...], float]:
    return {(c.name, *c.labels.values()): c.value for c in batch.counters}


def losses(sidecar) -> dict[str, dict[str, int]]:
    """By sink and reason, without zeros."""
    found = sidecar.statistics().sink_errors
    return {sink: {why: lost for why, lost in errors.items() if lost} for sink, errors in found.items()}


class HangingSink(MemoryMetricSink):
    async def emit(self, batch) -> None:
        await trio.sleep_forever()


class HeldSink(MemoryMetricSink):
    """Takes its time over the first batch, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = trio.Event()

    async def emit(self, batch) -> None:
        await self.let_go.wait()
        await super().emit(batch)


class TestIntervals:
    async def test_each_interval_is_one_batch_with_what_happened_in_it(self, autojump_clock):
        sink = MemoryMetricSink()
        async with running(made({"memory": sink}, interval_seconds=10)) as sidecar:
            sidecar.outlet(METRICS)
            sidecar.outlet(METRICS)
            await trio.sleep(10.5)
            sidecar.outlet(METRICS)
            await trio.sleep(10)
        first, second = sink.batches
        assert counts(first) == {("Requests", "OK"): 2, ("Rows",): 4, ("Batches",): 2}
        assert counts(second) == {("Requests", "OK"): 1, ("Rows",): 2, ("Batches",): 1}
        assert {d.name: d.count for d in first.distributions}["InferenceTime"] == 2
        assert second.start_unix_seconds == first.end_unix_seconds
        assert first.end_unix_seconds - first.start_unix_seconds == pytest.approx(10)

    async def test_what_is_still_in_the_channel_belongs_to_the_interval_that_ends(self, autojump_clock):
        sink = MemoryMetricSink()
        async with running(made({"memory": sink}, interval_seconds=10)) as sidecar:
            sidecar.outlet(METRICS)
            await trio.sleep(10 - SHORTEST_LINGER_SECONDS / 2)
            sidecar.outlet(METRICS)
            await wait_all_tasks_blocked()
            sidecar.outlet(METRICS)
            await trio.sleep(1)
            assert counts(sink.batches[0])["Batches",] == 3

    async def test_a_worker_is_not_woken_for_every_batch(self, autojump_clock):
        async with running(made(interval_seconds=10)) as sidecar:
            sidecar.outlet(METRICS)
            await wait_all_tasks_blocked()
            assert sidecar.statistics().queued_values == 0
            sidecar.outlet(METRICS)
            await wait_all_tasks_blocked()
            assert sidecar.statistics().queued_values == 8
            await trio.sleep(LONGEST_LINGER_SECONDS)
            assert sidecar.statistics().queued_values == 0

    @pytest.mark.parametrize(
        ("batches_a_second", "queue_values", "least", "most"),
        [
            (100, 100_000, 4, 8),  # four a second, and a few at the beginning
            (640, 100_000, 8, 20),
            (4 * GATHERED_BATCHES / SHORTEST_LINGER_SECONDS, 100_000, 45, 52),
            (100, 1000, 45, 52),  # 1000 values would soon be too many
        ],
    )
    async def test_it_is_woken_the_more_often_the_more_comes(
        self, autojump_clock, batches_a_second, queue_values, least, most
    ):
        found = 0
        async with running(made(interval_seconds=10, queue_values=queue_values)) as sidecar:
            for _ in range(int(batches_a_second)):
                before = sidecar.statistics().queued_values
                sidecar.outlet(METRICS)
                await trio.sleep(1 / batches_a_second)
                found += sidecar.statistics().queued_values < before + 8
            assert sidecar.statistics().dropped_values == 0
        assert least <= found <= most

    async def test_who_reads_what_was_measured_need_not_wait(self, autojump_clock):
        async with running(made(interval_seconds=10)) as sidecar:
            for _ in range(3):
                sidecar.outlet(METRICS)
                await wait_all_tasks_blocked()
            sidecar.catch_up()
            assert sidecar.statistics().queued_values == 0
        sidecar.catch_up()

    async def test_an_interval_in_which_nothing_happened_is_not_emitted(self, autojump_clock):
        sink = MemoryMetricSink()
        async with running(made({"memory": sink}, interval_seconds=1)) as sidecar:
            await trio.sleep(100)
            sidecar.outlet(METRICS)
            await trio.sleep(100)
        assert len(sink.batches) == 1

    async def test_the_last_interval_is_emitted_at_the_end_with_what_was_still_in_the_channel(
        self, autojump_clock
    ):
        sink = MemoryMetricSink()
        async with running(made({"memory": sink}, interval_seconds=60)) as sidecar:
            await trio.sleep(5)
            sidecar.outlet(METRICS)
        (batch,) = sink.batches
        assert counts(batch)["Batches",] == 1
        assert batch.end_unix_seconds - batch.start_unix_seconds == pytest.approx(5)

    async def test_namespace_and_dimensions_are_those_configured_and_the_model(self, autojump_clock):
        sink = MemoryMetricSink()
        sidecar = made({"memory": sink}, namespace="Mine", dimensions={"Stage": "test"})
        async with running(sidecar):
            sidecar.outlet(METRICS)
        assert sink.batches[0].namespace == "Mine"
        assert sink.batches[0].dimensions == {"ModelId": "m", "Stage": "test"}

    async def test_several_workers_share_one_aggregate(self, autojump_clock):
        sink = MemoryMetricSink()
        async with running(made({"memory": sink}, workers=4)) as sidecar:
            for _ in range(2000):
                sidecar.outlet(METRICS)
                if sidecar.statistics().queued_values > 5000:
                    await wait_all_tasks_blocked()
        (batch,) = sink.batches
        assert counts(batch)["Batches",] == 2000


class TestTotals:
    async def test_other_rooms_totals_are_emitted_as_what_was_added(self, autojump_clock):
        sink = MemoryMetricSink()
        accepted = [5.0]
        source = lambda: [Counter("LogRecordsAccepted", accepted[0], {})]  # noqa: E731
        async with running(made({"memory": sink}, totals=[source], interval_seconds=1)):
            await trio.sleep(1.5)
            accepted[0] = 12.0
            await trio.sleep(10)
        assert [counts(batch) for batch in sink.batches] == [
            {("LogRecordsAccepted",): 5},
            {("LogRecordsAccepted",): 7},
        ]

    async def test_dropped_values_are_counted_in_the_metrics_themselves(self, autojump_clock):
        sink = MemoryMetricSink()
        async with running(made({"memory": sink}, queue_values=16)) as sidecar:
            for _ in range(5):
                sidecar.outlet(METRICS)
            assert sidecar.statistics().dropped_values == 24
            await wait_all_tasks_blocked()
            assert sidecar.statistics().queued_values == 0
        assert counts(sink.batches[0])["MetricValuesDropped",] == 24
        assert counts(sink.batches[0])["Batches",] == 2


class TestGauges:
    async def test_they_are_emitted_as_they_are_at_the_intervals_end(self, autojump_clock):
        sink = MemoryMetricSink()
        calls = [5.0]
        source = lambda: [Counter("InFlight", calls[0], {})]  # noqa: E731
        other = lambda: [Counter("QueuedCalls", 0, {})]  # noqa: E731
        async with running(made({"memory": sink}, gauges=[source, other], interval_seconds=1)):
            await trio.sleep(2.5)
            calls[0] = 3.0
            await trio.sleep(1)
            calls[0] = 0.0
        assert [[(gauge.name, gauge.value) for gauge in batch.gauges] for batch in sink.batches] == [
            [("InFlight", value), ("QueuedCalls", 0)] for value in (5, 5, 3)
        ]

    async def test_a_gauge_of_0_is_part_of_an_interval_and_no_reason_for_one(self, autojump_clock):
        sink = MemoryMetricSink()
        idle = lambda: [Counter("InFlight", 0, {})]  # noqa: E731
        async with running(made({"memory": sink}, gauges=[idle], interval_seconds=1)) as sidecar:
            await trio.sleep(10)
            sidecar.outlet(METRICS)
        (batch,) = sink.batches
        assert batch.gauges == (Counter("InFlight", 0, {}),)

    async def test_each_batch_says_which_kernel_computes_and_none_is_made_for_that(self, autojump_clock):
        sink = MemoryMetricSink()
        async with running(made({"memory": sink}, kernel="cython", interval_seconds=1)) as sidecar:
            await trio.sleep(10)
            sidecar.outlet(METRICS)
        (batch,) = sink.batches
        assert batch.gauges == (Counter("Kernel", 1, {"kernel": "cython"}),)

    async def test_each_batch_says_which_version_of_the_model_it_is_about(self, autojump_clock):
        sink = MemoryMetricSink()
        async with running(made({"memory": sink}, model_version="1a2b")) as sidecar:
            sidecar.outlet(METRICS)
        assert sink.batches[0].model_version == "1a2b"


class TestSinks:
    async def test_a_failing_sink_is_counted_and_the_others_get_everything(self, autojump_clock, caplog):
        good, bad = MemoryMetricSink(), MemoryMetricSink()
        bad.fail_next(2, SinkError("throttled"))
        sidecar = made({"bad": bad, "good": good}, interval_seconds=1)
        async with running(sidecar):
            for _ in range(4):
                sidecar.outlet(METRICS)
                await trio.sleep(1)
        assert [counts(batch)["Batches",] for batch in good.batches] == [1, 1, 1, 1]
        assert sum(counts(batch).get(("SinkErrors", "bad"), 0) for batch in good.batches) == 2
        assert len(bad.batches) == 2
        assert losses(sidecar) == {"bad": {"error": 2}, "good": {}}
        assert sidecar.statistics().sinks_up == {"bad": True, "good": True}
        assert sidecar.statistics().emitted_batches == {"bad": 2, "good": 4}
        assert caplog.text.count("throttled") == 1

    async def test_a_sink_that_refuses_is_told_from_one_that_is_down(self, autojump_clock):
        bad = MemoryMetricSink()
        bad.fail_next(1, SinkRefused("no right to"))
        sidecar = made({"bad": bad}, interval_seconds=1)
        async with running(sidecar):
            sidecar.outlet(METRICS)
            await trio.sleep(1.5)
            assert (losses(sidecar), sidecar.statistics().sinks_up) == (
                {"bad": {"refused": 1}},
                {"bad": False},
            )
            sidecar.outlet(METRICS)
            await trio.sleep(1)
            assert sidecar.statistics().sinks_up == {"bad": True}

    async def test_an_unexpected_exception_is_logged_with_its_traceback(self, autojump_clock, caplog):
        bad = MemoryMetricSink()
        bad.fail_next(1, ZeroDivisionError("bug"))
        async with running(made({"bad": bad})) as sidecar:
            sidecar.outlet(METRICS)
        assert losses(sidecar) == {"bad": {"unexpected": 1}}
        assert "Traceback" in caplog.text

    async def test_a_sink_that_hangs_loses_its_own_batches_only(self, autojump_clock):
        good = MemoryMetricSink()
        sidecar = made({"hangs": HangingSink(), "good": good}, interval_seconds=1)
        async with running(sidecar):
            await trio.sleep(0.5)
            for _ in range(6):
                sidecar.outlet(METRICS)
                await trio.sleep(1)
            assert sum(counts(batch)["Batches",] for batch in good.batches) == 6
            # One is on its way, one waits; the other four are lost.
            assert losses(sidecar) == {"hangs": {"busy": 4}, "good": {}}
            assert sidecar.statistics().sinks_up == {"hangs": False, "good": True}
            closed_at = trio.current_time()
        assert trio.current_time() - closed_at == pytest.approx(CLOSE_SECONDS)

    async def test_what_was_counted_while_a_sink_was_busy_goes_with_its_next_interval(self, autojump_clock):
        slow, good = HeldSink(), MemoryMetricSink()
        calls = [0.0]
        totals = lambda: [Counter("Shed", calls[0], {"reason": "queue_rows"})]  # noqa: E731
        sidecar = made({"slow": slow, "good": good}, totals=[totals], interval_seconds=1)
        async with running(sidecar):
            await trio.sleep(0.5)
            for _ in range(6):
                sidecar.outlet(METRICS)
                calls[0] += 10
                await trio.sleep(1)
            # One is being taken, one waits; what the other four have counted waits with the sidecar.
            assert (len(slow.batches), losses(sidecar)) == (0, {"slow": {"busy": 4}, "good": {}})
            slow.let_go.set()
            await wait_all_tasks_blocked()
            assert [counts(batch)["Batches",] for batch in slow.batches] == [1, 1]
            # Nothing happens any more, and it leaves all the same.
            await trio.sleep(3)
            assert len(slow.batches) == 3
        last = slow.batches[2]
        for name in (("Requests", "OK"), ("Rows",), ("Batches",), ("Shed", "queue_rows")):
            each = [counts(batch)[name] for batch in good.batches if name in counts(batch)]
            assert (len(each), counts(last)[name]) == (6, sum(each[2:]))
            assert sum(counts(batch)[name] for batch in slow.batches) == sum(each)
        assert counts(last)["SinkErrors", "slow"] == 4
        assert len({(counter.name, *counter.labels.values()) for counter in last.counters}) == len(
            last.counters
        )
        assert losses(sidecar) == {"slow": {"busy": 4}, "good": {}}

    async def test_sinks_are_opened_before_the_start_and_closed_after_the_end(self, autojump_clock):
        sinks = {"a": MemoryMetricSink(), "b": MemoryMetricSink()}
        async with running(made(sinks)):
            assert [(sink.opened, sink.closed) for sink in sinks.values()] == [(1, 0), (1, 0)]
        assert [(sink.opened, sink.closed) for sink in sinks.values()] == [(1, 1), (1, 1)]

    async def test_a_sink_that_cannot_work_stops_the_start(self, autojump_clock):
        class Refusing(MemoryMetricSink):
            async def open(self) -> None:
                raise ConfigurationError([Problem("", "metrics.sinks", "no region")])

        first = MemoryMetricSink()
        async with trio.open_nursery() as nursery:
            with pytest.raises(ConfigurationError, match=r"^metrics\.sinks: no region$"):
                await nursery.start(made({"first": first, "second": Refusing()}).run)
        assert first.closed == 1

    async def test_a_sink_that_is_down_at_the_start_is_opened_later(self, autojump_clock):
        class Late(MemoryMetricSink):
            async def open(self) -> None:
                await super().open()
                if self.opened == 1:
                    raise SinkError("down")

        sink = Late()
        async with running(made({"late": sink})) as sidecar:
            assert losses(sidecar) == {"late": {"error": 1}}
            assert sidecar.statistics().sinks_up == {"late": False}
            sidecar.outlet(METRICS)
        assert len(sink.batches) == 1

    async def test_a_sink_that_fails_to_close_ends_nothing_badly(self, autojump_clock, caplog):
        class Broken(MemoryMetricSink):
            async def aclose(self) -> None:
                raise OSError("broken pipe")

        async with running(made({"broken": Broken()})):
            pass
        assert "broken pipe" in caplog.text

    async def test_without_sinks_values_are_taken_all_the_same(self, autojump_clock):
        async with running(made({}, interval_seconds=1)) as sidecar:
            sidecar.outlet(METRICS)
            await trio.sleep(5)
            assert sidecar.statistics().queued_values == 0


async def test_after_the_end_values_are_dropped(autojump_clock):
    sidecar = made()
    async with running(sidecar):
        pass
    sidecar.outlet(METRICS)
    assert sidecar.statistics().dropped_values == 8


class TestDurations:
    async def test_they_outlive_intervals_and_are_there_before_the_end_of_one(self, autojump_clock):
        durations = Durations([0.001])
        sidecar = made({}, interval_seconds=1, durations=durations)
        async with running(sidecar):
            for _ in range(3):
                sidecar.outlet(METRICS)
                await trio.sleep(0.7)
            sidecar.outlet(METRICS)
            await wait_all_tasks_blocked()
            sidecar.catch_up()
            assert durations.answered().count == 4
            assert {stage: buckets.count for stage, buckets in durations.stages().items()} == {
                "decode": 4, "queue": 4, "vectorize": 4, "run": 4, "encode": 4,
            }  # fmt: skip
        sidecar.catch_up()
        assert durations.answered().count == 4
        assert durations.stages()["run"].seconds == pytest.approx(4 * 4e-6)
