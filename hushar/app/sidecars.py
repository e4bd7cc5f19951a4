"""The sidecars of a server: made from its configuration, and run around what is served."""

import dataclasses
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import trio

from hushar.app.preparing import Prepared, PreparedLog
from hushar.errors import ConfigurationError
from hushar.features.vectorize import kernel_name
from hushar.sidecars.durations import Durations
from hushar.sidecars.log import LogSidecar
from hushar.sidecars.metrics import Gauges, MetricsSidecar, Totals
from hushar.sidecars.settings import LogSettings, MetricsSettings, spool_problem
from hushar.sidecars.spool import default_spool_dir
from hushar.uris import local_path, scheme_of

Settings = TypeVar("Settings", LogSettings, MetricsSettings)


@dataclass(frozen=True, slots=True)
class Sidecars:
    """The two sidecars; `log` is None where nothing is logged."""

    log: LogSidecar | None
    metrics: MetricsSidecar

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run them around the block. Leaving it closes their channels; they then flush and end.

        Should the block fail, what it has logged goes into the spool all the same, for the next start.
        Raises ConfigurationError, before the block, if one cannot start.
        """
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            try:
                await nursery.start(self.metrics.run)
                # Inside the other: what the log counts while it drains is in the last metrics.
                async with trio.open_nursery() as logging:
                    try:
                        if self.log is not None:
                            await logging.start(self.log.run)
                        try:
                            yield
                        except Exception as error:
                            # Not on its way yet: it would cancel the log, and lose what is in its channel.
                            failure = error
                    finally:
                        if self.log is not None:
                            self.log.close(drain=failure is None)
            finally:
                self.metrics.close()
        if failure is not None:
            raise failure


def make_sidecars(
    prepared: Prepared,
    gauges: Sequence[Gauges] = (),
    totals: Sequence[Totals] = (),
    durations: Durations | None = None,
) -> Sidecars:
    """The sidecars of a prepared server; nothing of them runs yet. `gauges`: what goes into the metrics
    as it is at the end of an interval; `totals`: what has been counted, of which what was added goes in;
    `durations`: what is counted for good, for the admin port."""
    configuration = prepared.configuration
    log = None
    if prepared.log_sink is not None:
        settings = log_settings(prepared)
        unfit = spool_problem(settings)
        if unfit is not None:
            raise ConfigurationError([prepared.loaded.problem("log.spool_max_bytes", unfit)])
        log = LogSidecar(settings, prepared.log_sink, spool_dir(prepared), instance=str(uuid.uuid4()))
    metrics = MetricsSidecar(
        _settings(MetricsSettings, configuration.metrics),
        prepared.metric_sinks,
        model_id=configuration.model_id,
        model_version=prepared.served.version,
        totals=[*totals, *(() if log is None else (log.counters,))],
        gauges=gauges,
        kernel=kernel_name(configuration.kernel),
        durations=durations,
    )
    return Sidecars(log, metrics)


def spool_dir(prepared: Prepared | PreparedLog) -> Path:
    """`log.spool_dir`, or where CONTRACT.md 3 has it if it is not given."""
    log = prepared.configuration.log
    if log.spool_dir is not None:
        return Path(log.spool_dir)
    is_local = log.uri is not None and scheme_of(log.uri) == "file"
    directory = Path(local_path(log.uri)) if log.uri is not None and is_local else None
    return default_spool_dir(directory, prepared.configuration.model_id, prepared.source.environ)


def log_settings(prepared: Prepared | PreparedLog) -> LogSettings:
    """The section `log`, as far as the sidecar is concerned."""
    return _settings(LogSettings, prepared.configuration.log)


def _settings(record: type[Settings], section: Any) -> Settings:
    """The fields of a section of the configuration that the sidecar has a use for."""
    names = [field.name for field in dataclasses.fields(record)]
    return record(**{name: getattr(section, name) for name in names})
