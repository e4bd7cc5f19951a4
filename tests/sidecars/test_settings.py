"""The records have the names and defaults of the public settings."""

import dataclasses

import pytest

from hushar.sidecars.settings import LogSettings, MetricsSettings

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
