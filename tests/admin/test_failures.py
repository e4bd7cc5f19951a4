"""Durations of calls that failed, by status."""

import pytest

from hushar.admin.failures import FOLDED_AT_ONCE, FailedCalls


def test_every_status_has_buckets_of_its_own():
    failed = FailedCalls([0.001, 0.01])
    assert (failed.count, failed.read()) == (0, {})
    for _ in range(FOLDED_AT_ONCE + 3):
        failed.note("INVALID_ARGUMENT", 0.0005)
    failed.note("DEADLINE_EXCEEDED", 0.5)
    assert failed.count == FOLDED_AT_ONCE + 4
    found = failed.read()
    assert {status: buckets.counts for status, buckets in found.items()} == {
        "INVALID_ARGUMENT": (FOLDED_AT_ONCE + 3, 0, 0),
        "DEADLINE_EXCEEDED": (0, 0, 1),
    }
    assert found["DEADLINE_EXCEEDED"].seconds == pytest.approx(0.5)
    failed.note("DEADLINE_EXCEEDED", 0.002, 3)
    assert failed.read()["DEADLINE_EXCEEDED"].counts == (0, 3, 1)
    assert failed.count == FOLDED_AT_ONCE + 7
