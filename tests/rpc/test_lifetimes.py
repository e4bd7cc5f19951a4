"""What a connection is held to, by explicit clocks."""

import math
from types import SimpleNamespace

import pytest

from hushar.rpc.connection_state import ConnectionState
from hushar.rpc.lifetimes import Lifetimes


@pytest.fixture
def state():
    """A connection accepted at 100, whose engine and link do what a test says."""
    made = ConnectionState(SimpleNamespace(established=False, pending_bytes=0), "127.0.0.1", 100.0, math.inf)
    made.engine = SimpleNamespace(
        greeted=False,
        settings_acknowledged=False,
        open_streams=0,
        lingering=0,
        last_stream_id=0,
        waiting_bytes=0,
    )
    return made


class TestHandshake:
    TIMES = Lifetimes(handshake_seconds=10)

    def test_each_step_has_its_time(self, state):
        assert not self.TIMES.handshake_is_late(state, 110)
        assert self.TIMES.handshake_is_late(state, 111)
        state.link.established = True
        assert not self.TIMES.handshake_is_late(state, 111)
        state.engine.greeted = True
        assert not self.TIMES.handshake_is_late(state, 121)
        assert not self.TIMES.handshake_is_late(state, 131)
        assert self.TIMES.handshake_is_late(state, 132)

    def test_once_it_is_over_it_is_never_late(self, state):
        state.engine.settings_acknowledged = True
        assert not self.TIMES.handshake_is_late(state, 1e9)


class TestStall:
    TIMES = Lifetimes(write_stall_seconds=30)

    @pytest.mark.parametrize(
        ("pending", "waiting", "waits", "stalls"),
        [(1, 0, True, True), (0, 1, True, True), (0, 0, True, False), (1, 1, False, False)],
    )
    def test_something_must_wait(self, state, pending, waiting, waits, stalls):
        state.link.pending_bytes, state.engine.waiting_bytes, state.waits = pending, waiting, waits
        assert not self.TIMES.writes_stall(state, 130)
        assert self.TIMES.writes_stall(state, 131) is stalls


class TestGoing:
    TIMES = Lifetimes(idle_seconds=60, max_connection_age_seconds=1000)

    def test_without_calls(self, state):
        assert not self.TIMES.is_due_to_go(state, 160)
        assert self.TIMES.is_due_to_go(state, 161)

    @pytest.mark.parametrize("seen", ["open_streams", "lingering", "last_stream_id"])
    def test_a_call_counts_from_when_it_was_last_seen(self, state, seen):
        setattr(state.engine, seen, 1)
        assert not self.TIMES.is_due_to_go(state, 150)
        state.engine.open_streams = state.engine.lingering = 0
        assert not self.TIMES.is_due_to_go(state, 210)
        assert self.TIMES.is_due_to_go(state, 211)

    def test_too_old_whatever_it_does(self, state):
        state.age_limit, state.engine.open_streams = 500.0, 1
        assert not self.TIMES.is_due_to_go(state, 600)
        assert self.TIMES.is_due_to_go(state, 601)

    def test_not_all_connections_are_too_old_at_once(self):
        limits = {self.TIMES.age_limit() for _ in range(100)}
        assert len(limits) > 50
        assert all(900 <= limit <= 1100 for limit in limits)
        assert Lifetimes().age_limit() == math.inf


class TestKeepalive:
    TIMES = Lifetimes(keepalive_seconds=50, keepalive_timeout_seconds=20)

    def test_after_silence(self, state):
        assert not self.TIMES.ping_is_due(state, 150)
        assert self.TIMES.ping_is_due(state, 151)
        assert not self.TIMES.ping_is_lost(state, 1e9)

    def test_one_at_a_time(self, state):
        state.pinged_at = 151.0
        assert not self.TIMES.ping_is_due(state, 1e9)
        assert not self.TIMES.ping_is_lost(state, 171)
        assert self.TIMES.ping_is_lost(state, 172)

    def test_whatever_comes_is_an_answer(self, state):
        state.pinged_at, state.active_at = 151.0, 160.0
        assert not self.TIMES.ping_is_lost(state, 1e9)
        assert not self.TIMES.ping_is_due(state, 180)
        assert state.pinged_at is None
        assert self.TIMES.ping_is_due(state, 211)
