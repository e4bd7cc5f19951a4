"""The records have the names and defaults of the public settings."""

import dataclasses

import pytest

from hushar.sidecars.settings import LogSettings, MetricsSettings, spool_problem

MIB = 1024 * 1024


def test_the_log_defaults_are_the_public_ones():
    assert dataclasses.asdict(LogSettings()) == {
        "workers": 1,
        "sample_rate": 1.0,
        "queue_bytes": 64 * MIB,
        "fsync": "interval",
        "fsync_seconds": 0.5,
        "rotate_bytes": 64 * MIB,
        "rotate_seconds": 60,
        "spool_max_bytes": 2048 * MIB,
        "spool_max_age_seconds": None,
        "spool_min_free_bytes": 256 * MIB,
        "max_attempts": 5,
        "retry_min_seconds": 0.2,
        "retry_max_seconds": 30,
        "refused_retry_seconds": 60,
        "drain_seconds": 10,
        "compression": "none",
        "compression_level": None,
    }


def test_the_metrics_defaults_are_the_public_ones():
    assert dataclasses.asdict(MetricsSettings()) == {
        "workers": 1,
        "interval_seconds": 60,
        "queue_values": 100_000,
        "namespace": "HusharService",
        "dimensions": {},
    }


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        LogSettings().workers = 2


@pytest.mark.parametrize("workers", [1, 3, 64])
def test_the_spool_holds_a_segment_of_every_worker_or_is_too_small(workers):
    least = workers * (64 * 1024 + 256)
    assert spool_problem(LogSettings(workers=workers, spool_max_bytes=least)) is None
    problem = spool_problem(LogSettings(workers=workers, spool_max_bytes=least - 1))
    assert problem == (
        f"{least - 1} bytes are too few: each worker has a segment of its own, of at least 65536 bytes and "
        f"256 to close it, which with log.workers = {workers} takes {least}"
    )


def test_the_defaults_have_room():
    assert spool_problem(LogSettings()) is None
