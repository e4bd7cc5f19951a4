"""Signals: the first SIGTERM or SIGINT drains, a second one ends the process at once; SIGHUP reads again.

The event loop may be busy in a model for longer than whoever sends a second signal wants to wait, and
Python runs its handlers between two of its own instructions only. So the numbers of the signals are also
written to a pipe, by Python's handler in C, and a thread reads it: it counts, and passes them on to the
loop.
"""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import trio

log = logging.getLogger("hushar")

STOPPING: Final = (signal.SIGTERM, signal.SIGINT)
LEAVE_SECONDS: Final = 0.3
"""How long the loop may take to say that it leaves, before the thread leaves without a word."""


async def obey(
    stop: Callable[[], None],
    read_again: Callable[[], None],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Call `stop` at the first SIGTERM or SIGINT, `read_again` at every SIGHUP, until cancelled.

    A second SIGTERM or SIGINT ends the process with status 1, whatever the loop is doing; what is in the
    spool stays there. Runs in the main thread only.
    """
    with _Watch() as watch, trio.open_signal_receiver(*STOPPING, signal.SIGHUP) as received:
        task_status.started()
        stopping = False
        async for number in received:
            name = signal.Signals(number).name
            if number == signal.SIGHUP:
                log.info("%s: reading certificates and tokens again", name)
                read_again()
            elif stopping:
                log.warning("%s again: leaving at once", name)
                sys.stderr.flush()
                watch.leave()
            else:
                stopping = True
                log.info("%s: draining", name)
                stop()


class _Watch:
    """The thread that sees a second signal also while the loop is busy."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._leaving = threading.Event()
        self._loop = -1

    def __enter__(self) -> Self:
        self._loop = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._watch, name="hushar signals", daemon=True).start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        signal.set_wakeup_fd(self._loop, warn_on_full_buffer=False)
        self._writer.close()  # which ends the thread

    def leave(self) -> None:
        """End the process, from the loop."""
        self._leaving.set()
        os._exit(1)

    def _watch(self) -> None:
        stops = 0
        with self._reader as reader:
            while numbers := reader.recv(64):
                # trio listened here before: it wakes up to run the handlers.
                with suppress(OSError):
                    os.write(self._loop, numbers)
                stops += sum(number in STOPPING for number in numbers)
                if stops > 1 and not self._leaving.wait(LEAVE_SECONDS):
                    os._exit(1)
