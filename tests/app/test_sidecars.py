"""The sidecars run around what is served; leaving the block flushes both."""

import dataclasses
from pathlib import Path

import pytest
import trio

from hushar.app.sidecars import make_sidecars, spool_dir
from hushar.errors import ConfigurationError, Problem
from hushar.records import BatchMetrics, LogBatch
from hushar.testing import MemoryLogSink, MemoryMetricSink, log_record


class Refusing(MemoryLogSink):
    async def open(self):
        raise ConfigurationError([Problem("", "log.uri", "no")])


class RefusingMetrics(MemoryMetricSink):
    async def open(self):
        raise ConfigurationError([Problem("", "metrics.sinks", "no")])


@pytest.fixture
def prepared(workspace):
    """prepared(log_sink=None, metric_sink=None, **keys of `log`): with these sinks, if they are given."""

    async def make(log_sink=None, metric_sink=None, environ=None, **log):
        made = await workspace.prepare(log=log, metrics={"sinks": [], "namespace": "TestedService"})
        return dataclasses.replace(
            made,
            log_sink=log_sink or made.log_sink,
            metric_sinks={"memory": metric_sink} if metric_sink else {},
            source=dataclasses.replace(made.source, environ=environ or {}),
        )

    return make


def ids_of(sink):
    return [batch.request_id for batch in sink.batches]


class TestRunning:
    async def test_what_was_accepted_in_the_block_is_delivered_when_it_is_left(self, prepared):
        log, metrics = MemoryLogSink(), MemoryMetricSink()
        sidecars = make_sidecars(await prepared(log, metrics, uri="logs"))
        async with sidecars.running():
            assert sidecars.log.outlet(LogBatch((log_record("q1"), log_record("q2"))))
            sidecars.metrics.outlet(BatchMetrics(2, None, queue_us=[(1.0, 1), (2.0, 1)]))
        assert ids_of(log) == ["q1", "q2"]
        assert (log.opened, log.closed, metrics.opened, metrics.closed) == (1, 1, 1, 1)
        (batch,) = metrics.batches
        assert batch.dimensions["ModelId"] == "tested"

    async def test_what_the_log_counts_while_it_drains_is_in_the_last_metrics(self, prepared):
        metrics = MemoryMetricSink()
        sidecars = make_sidecars(await prepared(MemoryLogSink(), metrics, uri="logs"))
        async with sidecars.running():
            sidecars.log.outlet(LogBatch((log_record(),)))
        counted = {counter.name: counter.value for counter in metrics.batches[-1].counters}
        assert counted["LogRecordsDelivered"] == 1

    async def test_both_end_when_the_block_fails(self, prepared):
        log, metrics = MemoryLogSink(), MemoryMetricSink()
        sidecars = make_sidecars(await prepared(log, metrics, uri="logs"))
        failed = False
        try:
            async with sidecars.running():
                raise ZeroDivisionError
        except* ZeroDivisionError:
            failed = True
        assert failed
        assert (log.closed, metrics.closed) == (1, 1)

    async def test_what_was_answered_before_the_block_fails_is_in_the_log_all_the_same(self, prepared):
        """A mistake in the server is no SIGKILL: it must not cost what is in the channel."""
        log = MemoryLogSink()
        sidecars = make_sidecars(await prepared(log, MemoryMetricSink(), uri="logs"))

        async def fail() -> None:
            async with sidecars.running():
                sidecars.log.outlet(LogBatch((log_record("q1"),)))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        now = sidecars.log.statistics()
        assert (now.queued_bytes, now.spooled_records + now.delivered_records) == (0, 1)
        # By the next start.
        sidecars = make_sidecars(await prepared(log, MemoryMetricSink(), uri="logs"))
        async with sidecars.running():
            pass
        assert ids_of(log) == ["q1"]

    async def test_without_a_log_there_are_the_metrics_only(self, prepared):
        metrics = MemoryMetricSink()
        sidecars = make_sidecars(await prepared(metric_sink=metrics))
        assert sidecars.log is None
        async with sidecars.running():
            sidecars.metrics.outlet(BatchMetrics(1, None, queue_us=[(1.0, 1)]))
        assert len(metrics.batches) == 1
        assert not any(counter.name.startswith("Log") for counter in metrics.batches[0].counters)

    @pytest.mark.parametrize(
        ("log", "metrics"), [(Refusing, MemoryMetricSink), (MemoryLogSink, RefusingMetrics)]
    )
    async def test_a_sink_that_cannot_be_opened_keeps_the_block_from_running(self, prepared, log, metrics):
        sidecars = make_sidecars(await prepared(log(), metrics(), uri="logs"))
        with pytest.raises(ExceptionGroup) as caught:
            async with sidecars.running():
                pytest.fail("the block runs")
        assert caught.value.split(ConfigurationError)[1] is None

    async def test_the_settings_are_those_of_the_configuration(self, prepared):
        log, metrics = MemoryLogSink(), MemoryMetricSink()
        sidecars = make_sidecars(await prepared(log, metrics, uri="logs", sample_rate=0.0))
        async with sidecars.running():
            sidecars.log.outlet(LogBatch((log_record(),)))
            sidecars.metrics.outlet(BatchMetrics(1, None, queue_us=[(1.0, 1)]))
        assert log.batches == []
        (batch,) = metrics.batches
        assert batch.namespace == "TestedService"

    async def test_cancelling_ends_both(self, prepared):
        sidecars = make_sidecars(await prepared(MemoryLogSink(), MemoryMetricSink(), uri="logs"))
        with trio.CancelScope() as scope:
            async with sidecars.running():
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught


class TestWhereTheSpoolIs:
    async def test_beside_the_files_of_a_local_log(self, prepared, workspace):
        assert spool_dir(await prepared(uri="logs")) == Path(workspace.path("logs/.spool"))
        by_uri = await prepared(uri=f"file://{workspace.folder}/logs")
        assert spool_dir(by_uri) == Path(workspace.path("logs/.spool"))

    async def test_where_it_is_told(self, prepared, workspace):
        made = await prepared(uri="logs", spool_dir="elsewhere")
        assert spool_dir(made) == Path(workspace.path("elsewhere"))

    async def test_else_below_the_users_state_directory(self, prepared, install_plugin):
        install_plugin("memory", log_sinks={"mem": lambda uri, context: MemoryLogSink()})
        made = await prepared(uri="mem://bucket", environ={"XDG_STATE_HOME": "/state"})
        assert spool_dir(made) == Path("/state/hushar/tested")

    async def test_a_remote_log_of_a_user_without_a_home_needs_to_be_told(self, prepared, install_plugin):
        install_plugin("memory", log_sinks={"mem": lambda uri, context: MemoryLogSink()})
        with pytest.raises(ConfigurationError, match=r"log\.spool_dir: .*HOME"):
            make_sidecars(await prepared(uri="mem://bucket"))
