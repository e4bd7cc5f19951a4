"""Sleeping by the system's timer, and doing without where there is none."""

import os
import time
import types

import pytest
import trio

from hushar import timer as module
from hushar.timer import make_timer


@pytest.fixture
async def timer():
    made = make_timer()
    if made is None:
        pytest.skip("this system has no timerfd")
    yield made
    made.close()


async def test_it_sleeps_so_long_and_others_run_meanwhile(timer, nursery):
    ran = trio.Event()
    nursery.start_soon(_soon, ran)
    begun = time.monotonic()
    await timer.sleep(0.02)
    assert time.monotonic() - begun >= 0.02
    assert ran.is_set()


async def _soon(event):
    event.set()


async def test_it_sleeps_again_and_again(timer):
    for seconds in (0.005, 1e-10, 0.003):
        begun = time.monotonic()
        await timer.sleep(seconds)
        assert time.monotonic() - begun >= seconds


async def test_whole_seconds_count(timer):
    with trio.move_on_after(0.05) as scope:
        await timer.sleep(3600.0)
    assert scope.cancelled_caught


async def test_after_a_sleep_that_was_cut_short_the_next_one_is_whole(timer):
    with trio.move_on_after(0.001):
        await timer.sleep(0.01)
    await trio.sleep(0.02)
    # The first one has run out by now: that must not end the second.
    begun = time.monotonic()
    await timer.sleep(0.01)
    assert time.monotonic() - begun >= 0.01


async def test_closed_its_descriptor_is_free():
    made = make_timer()
    if made is None:
        pytest.skip("this system has no timerfd")
    descriptor = made._descriptor
    made.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


async def test_a_mock_clock_has_no_timer(autojump_clock):
    assert make_timer() is None


@pytest.mark.parametrize("failing", [AttributeError, OSError])
async def test_a_system_without_has_none(monkeypatch, failing):
    def none(*args, **kwargs):
        raise failing("no such thing")

    monkeypatch.setattr(module.ctypes, "CDLL", none)
    assert make_timer() is None


async def test_without_a_descriptor_there_is_none(monkeypatch):
    library = types.SimpleNamespace(timerfd_create=lambda *_: -1, timerfd_settime=None)
    monkeypatch.setattr(module.ctypes, "CDLL", lambda *_, **__: library)
    assert make_timer() is None


async def test_a_32_bit_system_has_none(monkeypatch):
    monkeypatch.setattr(module.ctypes, "sizeof", lambda _: 4)
    assert make_timer() is None


async def test_a_timer_that_cannot_be_set_is_done_without(timer):
    timer._set = lambda *_: -1
    begun = time.monotonic()
    with trio.fail_after(5):
        await timer.sleep(0.005)
    assert time.monotonic() - begun >= 0.005
