"""The last minutes, step by step."""

import pytest

from hushar.admin.history import RECENT_STEPS, STEP_SECONDS, STEPS, History
from hushar.admin.reading import Glance, Queue
from hushar.sidecars.durations import Buckets

BOUNDS = (0.001, 0.01)


def glance(calls=0, slow=0, failed=0, rows=0, runs=0, run_seconds=0.0):
    answered = Buckets(BOUNDS, (calls - slow, slow, 0), 0.0)
    stages = {"run": Buckets(BOUNDS, (runs, 0, 0), run_seconds)}
    return Glance(answered, failed, rows, stages, Queue(3, 1, 8))


class Time:
    now = 100.0


@pytest.fixture
def history():
    return History(lambda: Time.now)


@pytest.fixture(autouse=True)
def from_the_start(monkeypatch):
    monkeypatch.setattr(Time, "now", 100.0)


def look(history, seconds, **figures):
    Time.now += seconds
    history.add(glance(**figures))


def test_one_look_says_nothing(history):
    look(history, 0, calls=5)
    assert history.recent() == {}
    assert all(column == [] for column in history.series().values())


def test_rates_latencies_and_means_between_two_looks(history):
    look(history, 0, calls=100, failed=1, rows=1000, runs=10, run_seconds=5.0)
    look(history, 2, calls=200, slow=2, failed=5, rows=1500, runs=20, run_seconds=5.1)
    recent = history.recent()
    assert recent["seconds"] == 2
    assert recent["answered_per_second"] == 50
    assert recent["failed_per_second"] == 2
    assert recent["rows_per_second"] == 250
    assert recent["p50_seconds"] == pytest.approx(0.0005, rel=0.05)
    assert recent["p99_seconds"] == pytest.approx(0.0055)
    assert recent["stage_mean_seconds"] == {"run": pytest.approx(0.01)}
    Time.now += 1
    assert history.series() == {
        "age_seconds": [1],
        "answered": [50],
        "failed": [2],
        "p50": [recent["p50_seconds"]],
        "p99": [recent["p99_seconds"]],
        "queue_rows": [8],
        "in_flight": [3],
    }


def test_without_calls_there_is_no_latency_and_no_mean(history):
    look(history, 0)
    look(history, 2)
    assert (history.recent()["p50_seconds"], history.series()["p99"]) == (None, [None])
    assert history.recent()["stage_mean_seconds"] == {"run": None}


def test_now_is_the_last_seconds_and_memory_has_a_bound(history):
    for number in range(STEPS + 50):
        look(history, STEP_SECONDS, calls=number)
    assert history.recent()["seconds"] == RECENT_STEPS * STEP_SECONDS
    series = history.series()
    assert {len(column) for column in series.values()} == {STEPS}
    assert series["age_seconds"][0] == pytest.approx((STEPS - 1) * STEP_SECONDS)
    assert series["age_seconds"][-1] == 0
    assert set(series["answered"]) == {1 / STEP_SECONDS}
