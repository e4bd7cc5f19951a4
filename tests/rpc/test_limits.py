"""The transport's limits: their defaults, and the counters that hold a peer to them, by explicit clocks."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hushar.config import transport
from hushar.rpc.limits import CALM_FACTOR, SETTINGS_SECONDS, Bucket, Limits, PingGuard, Rate

KIB, MIB = 2**10, 2**20
DEFAULTS = {
    "connection_concurrency": 200,
    "max_receive_bytes": 4 * MIB,
    "max_send_bytes": 64 * MIB,
    "max_header_bytes": 16384,
    "max_header_fields": 100,
    "compression": ("gzip", "deflate"),
    "compression_min_bytes": 1024,
    "stream_window_bytes": None,
    "connection_window_bytes": 16 * MIB,
    "max_frame_bytes": MIB,
    "stream_send_buffer_bytes": MIB,
    "connection_send_buffer_bytes": 8 * MIB,
    "max_continuation_frames": 8,
    "max_settings_entries": 32,
    "max_settings_frames": 20,
    "max_queued_control_frames": 1000,
    "max_empty_frames": 100,
    "ping_strikes": 2,
    "ping_min_seconds": 300,
    "reset_burst": 1000,
    "reset_rate": 33,
    "glitch_burst": 100,
    "glitch_rate": 10,
}
STARTS = [0.0, 1.0, 1e9, -5.0]
"""A clock may begin anywhere."""


class TestDefaults:
    def test_they_are_the_documented_ones(self):
        assert dataclasses.asdict(Limits()) == DEFAULTS
        assert (SETTINGS_SECONDS, CALM_FACTOR) == (10, 4)

    def test_the_configuration_has_the_same(self):
        # But for the calls a connection: purerpc's 200 here, the Rust server's 50 there.
        configured = {**dict(transport.ServerSection()), **dict(transport.Http2Section())}
        assert DEFAULTS.keys() - configured.keys() == {"connection_concurrency"}
        for name in DEFAULTS.keys() & configured.keys():
            assert configured[name] == DEFAULTS[name], name

    def test_a_stream_takes_any_message_that_is_allowed(self):
        assert Limits().stream_window == 4 * MIB + 64 * KIB
        assert Limits(max_receive_bytes=10).stream_window == 64 * KIB + 10
        assert Limits(stream_window_bytes=70_000).stream_window == 70_000
        assert Limits(max_receive_bytes=2**31 - 1).stream_window == 2**31 - 1


@pytest.mark.parametrize("start", STARTS)
class TestBuckets:
    def test_a_burst_at_once_and_no_more(self, start):
        bucket = Bucket(3, 1)
        assert [bucket.take(start) for _ in range(5)] == [True, True, True, False, False]

    def test_then_so_many_a_second(self, start):
        bucket = Bucket(3, 2)
        for _ in range(3):
            bucket.take(start)
        assert not bucket.take(start + 0.25)
        assert bucket.take(start + 0.5)
        assert not bucket.take(start + 0.5)
        assert [bucket.take(start + 1.5) for _ in range(3)] == [True, True, False]

    def test_never_more_than_the_burst_is_saved(self, start):
        bucket = Bucket(3, 100)
        bucket.take(start)
        assert [bucket.take(start + 1000) for _ in range(4)] == [True, True, True, False]

    def test_what_was_refused_costs_nothing(self, start):
        bucket = Bucket(1, 1)
        assert bucket.take(start)
        for _ in range(50):
            assert not bucket.take(start)
        assert bucket.take(start + 1)

    def test_a_rate_of_0(self, start):
        bucket = Bucket(2, 0)
        assert [bucket.take(start + second) for second in range(4)] == [True, True, False, False]


@settings(deadline=None)
@given(st.integers(1, 10), st.floats(0, 20), st.lists(st.floats(0, 2), max_size=60))
def test_a_bucket_never_gives_more_than_burst_and_rate(burst, rate, pauses):
    bucket, now, given_out = Bucket(burst, rate), 0.0, 0
    for pause in pauses:
        now += pause
        given_out += bucket.take(now)
        assert given_out <= burst + rate * now + 1e-6


@pytest.mark.parametrize("start", STARTS)
class TestRates:
    def test_so_many_in_a_span(self, start):
        rate = Rate(3, 10)
        assert [rate.take(start + second) for second in (0, 1, 9, 9.9)] == [True, True, True, False]

    def test_the_next_span_begins_anew(self, start):
        rate = Rate(2, 10)
        assert [rate.take(start + second) for second in (0, 0, 5, 10, 12, 13)] == [
            True,
            True,
            False,
            True,
            True,
            False,
        ]

    def test_a_span_begins_with_an_event(self, start):
        rate = Rate(2, 10)
        rate.take(start)
        assert [rate.take(start + second) for second in (25, 34, 34.9)] == [True, True, False]

    def test_ten_seconds_if_nothing_else_is_said(self, start):
        rate = Rate(1)
        assert [rate.take(start + second) for second in (0, 9.9, 10)] == [True, False, True]


@pytest.mark.parametrize("start", STARTS)
class TestPings:
    """gRFC A8: a ping may come every `minimum` seconds, earlier ones are strikes."""

    def test_the_first_is_free_and_then_come_the_strikes(self, start):
        guard = PingGuard(2, 300)
        assert [guard.take(start + second) for second in range(4)] == [True, True, True, False]

    def test_those_that_keep_the_interval_are_free(self, start):
        guard = PingGuard(0, 300)
        assert all(guard.take(start + second) for second in range(0, 3000, 300))
        assert not guard.take(start + 2999)

    def test_a_ping_in_time_does_not_take_strikes_back(self, start):
        guard = PingGuard(1, 300)
        assert [guard.take(start + second) for second in (0, 1, 400, 401)] == [True, True, True, False]

    def test_each_interval_is_counted_from_the_ping_before(self, start):
        guard = PingGuard(0, 300)
        assert guard.take(start)
        assert not guard.take(start + 299)

    def test_activity_takes_strikes_back_and_makes_the_next_free(self, start):
        # grpc-go measures the line with a ping after every burst of DATA.
        guard = PingGuard(0, 300)
        for second in range(50):
            guard.activity()
            assert guard.take(start + second)
        assert not guard.take(start + 50)

    def test_no_interval_no_strikes(self, start):
        guard = PingGuard(0, 0)
        assert all(guard.take(start) for _ in range(100))
