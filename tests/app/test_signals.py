"""Signals: the first stops, the second ends the process whatever it is doing, SIGHUP reads again."""

import os
import signal
import subprocess
import sys

import pytest
import trio
import trio.testing

from hushar.app import signals

PATIENCE_SECONDS = 20

BUSY = """
import hashlib, trio
from hushar.app import signals

async def main():
    async with trio.open_nursery() as nursery:
        await nursery.start(signals.obey, lambda: None, lambda: None)
        print("busy", flush=True)
        # In C for a minute, without the interpreter's lock, as a model is: no handler of Python's runs.
        hashlib.pbkdf2_hmac("sha256", b"", b"", 100_000_000)

trio.run(main)
"""


@pytest.fixture
async def called(nursery):
    """What the signals have called so far, in order."""
    names = []
    await nursery.start(signals.obey, lambda: names.append("stop"), lambda: names.append("read"))
    return names


async def send(number):
    """To this process, until it has acted on it."""
    os.kill(os.getpid(), number)
    await trio.testing.wait_all_tasks_blocked(0.01)


@pytest.mark.parametrize("number", signals.STOPPING)
async def test_the_first_stops(called, number):
    await send(number)
    assert called == ["stop"]


async def test_every_hangup_reads_again_and_ends_nothing(called):
    for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
        await send(number)
    assert called == ["read", "read", "stop", "read"]


@pytest.mark.parametrize("numbers", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)])
async def test_the_second_ends_the_process_with_1(called, monkeypatch, caplog, numbers):
    left = []
    monkeypatch.setattr(signals.os, "_exit", left.append)
    for number in numbers:
        await send(number)
    assert left == [1]
    assert called == ["stop"]
    assert caplog.messages[-1] == f"{numbers[1].name} again: leaving at once"


@pytest.mark.slow
def test_the_second_ends_the_process_also_while_it_is_busy():
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"busy\n"
            # Two of one kind, one right after the other, may count as one.
            for number in (signal.SIGTERM, signal.SIGINT):
                process.send_signal(number)
            assert process.wait(PATIENCE_SECONDS) == 1
        finally:
            process.kill()


async def test_afterwards_signals_are_what_they_were():
    handlers = [signal.getsignal(number) for number in (*signals.STOPPING, signal.SIGHUP)]
    woken_by = current_wakeup()
    async with trio.open_nursery() as nursery:
        await nursery.start(signals.obey, lambda: None, lambda: None)
        assert current_wakeup() != woken_by
        nursery.cancel_scope.cancel()
    assert current_wakeup() == woken_by
    assert [signal.getsignal(number) for number in (*signals.STOPPING, signal.SIGHUP)] == handlers


def current_wakeup():
    """Where Python writes the numbers of signals: trio's, unless somebody listens before it."""
    found = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(found, warn_on_full_buffer=False)
    return found
